// Resolves the buildpacks that were asked for into groups of buildpacks that can be tried one after the other. Pure.
// See "Order Resolution" in https://github.com/buildpacks/spec/blob/main/buildpack.md

import { type Descriptor, type Entry, nameOf } from './descriptor.ts';
import { LifecycleError } from './errors.ts';

export type Member = { buildpack: Descriptor; optional: boolean };

/** Groups that one order can stand for; composites of composites multiply. */
const GROUPS_MAX = 1_000;
const DEPTH_MAX = 10;

/** `asked` is one group; a composite buildpack in it stands for each of its own groups in turn. */
export const resolveOrder = (asked: readonly Descriptor[], known: readonly Descriptor[]): Member[][] =>
  expandGroup(
    asked.map((buildpack) => ({ buildpack, optional: false })),
    known,
    0,
  );

const expandGroup = (group: readonly Member[], known: readonly Descriptor[], depth: number): Member[][] => {
  let groups: Member[][] = [[]];
  for (const member of group) {
    const choices = expandMember(member, known, depth);
    groups = groups.flatMap((before) => choices.map((choice) => [...before, ...choice]));
    if (groups.length > GROUPS_MAX) {
      throw new LifecycleError(
        'buildpack_invalid',
        `buildpack ${nameOf(member.buildpack)}: its order stands for more than ${GROUPS_MAX} groups`,
      );
    }
  }
  return groups;
};

const expandMember = ({ buildpack, optional }: Member, known: readonly Descriptor[], depth: number): Member[][] => {
  if (buildpack.order === undefined) return [[{ buildpack, optional }]];
  if (depth >= DEPTH_MAX) {
    throw new LifecycleError('buildpack_invalid', `buildpack ${nameOf(buildpack)}: its order contains itself`);
  }
  const groups = buildpack.order.flatMap((entries) =>
    expandGroup(
      entries.map((entry) => ({ buildpack: lookUp(entry, known, buildpack), optional: entry.optional })),
      known,
      depth + 1,
    ),
  );
  return optional ? [...groups, []] : groups;
};

const lookUp = (entry: Entry, known: readonly Descriptor[], from: Descriptor): Descriptor => {
  const named = known.filter((buildpack) => buildpack.id === entry.id);
  const found = named.find(({ version }) => entry.version === undefined || version === '' || version === entry.version);
  if (found !== undefined) return found;
  const others = named.length === 0 ? '' : ` (here is ${named.map(({ version }) => version).join(', ')})`;
  throw new LifecycleError(
    'buildpack_invalid',
    `buildpack ${nameOf(from)} needs ${nameOf(entry)}${others}: put it in the same folder or repository, or name it with another --buildpack`,
  );
};
