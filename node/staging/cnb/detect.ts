// Finds the group of buildpacks to build with: asks each whether it recognises the app, then resolves the build plan.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Descriptor, nameOf, readToml, type Target } from './descriptor.ts';
import type { Variables } from './environment.ts';
import { LifecycleError } from './errors.ts';
import type { Member } from './order.ts';
import { type Chosen, type Detected, type Offer, offersOf, resolvePlan } from './plan.ts';
import { type Folders, type Machine, runScript, scriptEnvironment, thisMachine } from './scripts.ts';

type Answer = { kind: 'passed'; offers: Offer[] } | { kind: 'failed'; reason: string };

/** Exit status of a bin/detect that does not recognise the app; any other but 0 is an error. */
const NOT_RECOGNISED = 100;
/** Reasons that one message gives. */
const REASONS_MAX = 5;

/** The first group that passes. Fails with `no_buildpack`, and why each did not. */
export const detect = async (
  groups: readonly (readonly Member[])[],
  context: { folders: Folders; user: Variables; base: Variables },
): Promise<Chosen[]> => {
  const answers = new Map<Descriptor, Answer>();
  const reasons = new Set<string>();
  const ask = async (buildpack: Descriptor): Promise<Answer> => {
    const answer = answers.get(buildpack) ?? (await askOne(buildpack, context));
    answers.set(buildpack, answer);
    return answer;
  };

  for (const group of groups) {
    const detected: Detected[] = [];
    let missing: string | undefined;
    for (const member of group) {
      const answer = await ask(member.buildpack);
      if (answer.kind === 'passed') detected.push({ ...member, offers: answer.offers });
      else if (!member.optional) missing ??= answer.reason;
    }
    if (missing === undefined) {
      const resolution = resolvePlan(detected);
      if (resolution.kind === 'group') return resolution.members;
      reasons.add(resolution.reason);
    } else {
      reasons.add(missing);
    }
  }
  const shown = [...reasons].slice(0, REASONS_MAX).join('; ');
  throw new LifecycleError(
    'no_buildpack',
    `no group of buildpacks recognises this folder (${shown}): check what they expect, or push with another --buildpack`,
  );
};

const askOne = async (
  buildpack: Descriptor,
  { folders, user, base }: { folders: Folders; user: Variables; base: Variables },
): Promise<Answer> => {
  const name = nameOf(buildpack);
  const unfit = targetProblem(buildpack.targets, thisMachine());
  if (unfit !== undefined) return { kind: 'failed', reason: `${name} ${unfit}` };
  const plan = join(folders.scratch, 'detect-plan.toml');
  writeFileSync(plan, '');
  const { status, output } = await runScript(buildpack, {
    script: 'detect',
    args: [folders.platform, plan],
    app: folders.app,
    env: scriptEnvironment(buildpack, { layers: base, user, folders, own: { CNB_BUILD_PLAN_PATH: plan } }),
    output: 'kept',
  });
  if (status === 0) return { kind: 'passed', offers: offersOf(readToml(plan)) };
  if (status === NOT_RECOGNISED) return { kind: 'failed', reason: `${name} does not recognise it` };
  process.stdout.write(output);
  return { kind: 'failed', reason: `bin/detect of ${name} ended with exit status ${status ?? 'unknown'}` };
};

/** A buildpack that names no target fits everywhere. */
export const targetProblem = (targets: readonly Target[], machine: Machine): string | undefined => {
  const fits = (target: Target): boolean =>
    (target.os ?? machine.os) === machine.os &&
    (target.arch ?? machine.arch) === machine.arch &&
    (target.distros.length === 0 ||
      target.distros.some(
        ({ name, version }) =>
          (name ?? machine.distro) === machine.distro && (version ?? machine.version) === machine.version,
      ));
  if (targets.length === 0 || targets.some(fits)) return undefined;
  const { os, arch, distro, version } = machine;
  return `does not name ${os}/${arch} on ${distro} ${version} as a target`;
};
