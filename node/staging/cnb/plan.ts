// The build plan: what the buildpacks of a group provide to and require of one another, and which of them take part.
// Pure. See "Phase #1: Detection" in https://github.com/buildpacks/spec/blob/main/buildpack.md

import { list, nameOf, type Table, table, text } from './descriptor.ts';
import type { Member } from './order.ts';

export type Require = { name: string; version?: string; metadata: Table };
/** One way in which a buildpack can take part. */
export type Offer = { provides: string[]; requires: Require[] };
export type Detected = Member & { offers: Offer[] };
/** A member with the offer that was chosen. */
export type Chosen = Member & { offer: Offer };

export type Resolution = { kind: 'group'; members: Chosen[] } | { kind: 'failed'; reason: string };

/** Ways to combine the offers of a group that are tried. */
const TRIALS_MAX = 10_000;

/** What bin/detect wrote: the plan itself, and each of `or`. */
export const offersOf = (document: Table): Offer[] => [document, ...list(document.or).map(table)].map(offerOf);

const offerOf = (plan: Table): Offer => ({
  provides: list(plan.provides).flatMap((value) => text(table(value).name) ?? []),
  requires: list(plan.requires).flatMap((value): Require[] => {
    const { name, version, metadata } = table(value);
    if (typeof name !== 'string') return [];
    return [{ name, ...(typeof version === 'string' ? { version } : {}), metadata: table(metadata) }];
  }),
});

/** The first combination of offers in which everything required is provided, and everything provided required. */
export const resolvePlan = (detected: readonly Detected[]): Resolution => {
  let reason = 'none of its buildpacks detects';
  let trials = 0;
  const search = (at: number, chosen: readonly Chosen[]): Chosen[] | undefined => {
    if (trials >= TRIALS_MAX) return undefined;
    if (at === detected.length) {
      trials += 1;
      const trial = runTrial(chosen);
      if (trial.kind === 'group') return trial.members;
      reason = trial.reason;
      return undefined;
    }
    const { offers, ...member } = detected[at]!;
    for (const offer of offers) {
      const found = search(at + 1, [...chosen, { ...member, offer }]);
      if (found !== undefined) return found;
    }
    return undefined;
  };
  const members = search(0, []);
  return members === undefined ? { kind: 'failed', reason } : { kind: 'group', members };
};

/** Optional members whose needs are not met, or whom nobody needs, drop out one after the other. */
const runTrial = (chosen: readonly Chosen[]): Resolution => {
  let members = [...chosen];
  for (;;) {
    const problem = firstProblem(members);
    if (problem === undefined) break;
    if (!problem.member.optional) return { kind: 'failed', reason: problem.reason };
    members = members.filter((member) => member !== problem.member);
  }
  return members.length > 0 ? { kind: 'group', members } : { kind: 'failed', reason: 'none of its buildpacks detects' };
};

const firstProblem = (members: readonly Chosen[]): { member: Chosen; reason: string } | undefined => {
  for (const [at, member] of members.entries()) {
    const before = members.slice(0, at + 1);
    const unmet = member.offer.requires.find(({ name }) => !before.some(({ offer }) => offer.provides.includes(name)));
    if (unmet !== undefined) {
      return { member, reason: `${nameOf(member.buildpack)} requires ${unmet.name}, which nothing before it provides` };
    }
  }
  for (const [at, member] of members.entries()) {
    const after = members.slice(at);
    const unused = member.offer.provides.find(
      (name) => !after.some(({ offer }) => offer.requires.some((require) => require.name === name)),
    );
    if (unused !== undefined) {
      return { member, reason: `${nameOf(member.buildpack)} provides ${unused}, which nothing after it requires` };
    }
  }
  return undefined;
};

/** What is still to be met, as the build goes on. */
export class OpenPlan {
  #open: { require: Require; providers: string[] }[];

  constructor(members: readonly Chosen[]) {
    this.#open = members.flatMap(({ offer }) =>
      offer.requires.map((require) => ({
        require,
        providers: members
          .filter((member) => member.offer.provides.includes(require.name))
          .map(({ buildpack }) => buildpack.id),
      })),
    );
  }

  /** What this buildpack is asked to meet. */
  entriesFor(id: string): Require[] {
    return this.#open.filter(({ providers }) => providers.includes(id)).map(({ require }) => require);
  }

  /** After its build: whatever it does not say is unmet, it has met. */
  met(id: string, unmet: readonly string[]): void {
    this.#open = this.#open.filter(({ require, providers }) => !providers.includes(id) || unmet.includes(require.name));
  }
}
