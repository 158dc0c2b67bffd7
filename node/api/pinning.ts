// Which node new data goes to: what the core's rule (core/pin.ts) is given of the cluster, and its answer as a node or
// as one line that says why each cannot. Pure.

import type { AppId, NodeId } from '../../crdt/ids.ts';
import type { DesiredView } from '../../crdt/view.ts';
import type { Infeasible } from '../core/feasibility.ts';
import { leftBytes, type PinCandidate, type PinWish, pin } from '../core/pin.ts';
import type { Slot } from '../core/types.ts';
import type { MemberView, ObservedView } from '../ports/node-service.ts';
import { ApiError } from './errors.ts';
import { reasonText } from './rollout-progress.ts';

/** Nodes named in one line that refuses. */
const REFUSALS_SHOWN_MAX = 5;

export type PinQuestion = {
  view: DesiredView;
  observed: ObservedView;
  /** Volumes that are asked for in the same write, and not in the view yet. */
  pending: readonly { owner: AppId; node: NodeId }[];
  /** Slots whose instances are to be replaced by what is pinned: the memory they hold is free for it. */
  replaced?: readonly Slot[];
};

/** Fails with `no_node_for_data`. `what`: for people, such as `postgres 15`. `node`: the only one that may. */
export function pinFor(question: PinQuestion, wish: PinWish, what: string, node?: NodeId): NodeId {
  const { view, pending } = question;
  const asked = [...view.nodes.values()].filter(({ id }) => node === undefined || id === node);
  const known = new Map(question.observed.members.map((member) => [member.id, member]));
  const candidates = asked.flatMap(({ id }) => {
    const member = known.get(id);
    return member?.report === undefined ? [] : [candidateOf(member, member.report, question)];
  });
  const pinned = pin(candidates, [...view.volumes.values(), ...pending], wish);
  if ('node' in pinned) return pinned.node;
  const nameOf = (id: NodeId): string => view.nodes.get(id)?.name ?? id;
  const unheard = asked.filter(({ id }) => known.get(id)?.report === undefined);
  const lines = [
    ...pinned.refusals.map((one) => `${nameOf(one.node)} ${refusalText(one.reasons)}`),
    ...unheard.map(({ name }) => `${name} has not been heard of`),
  ];
  const more = lines.length - REFUSALS_SHOWN_MAX;
  const shown = lines.slice(0, REFUSALS_SHOWN_MAX).join('; ');
  throw new ApiError(
    'no_node_for_data',
    `no node can take ${what}: ${shown}${more > 0 ? `; ${more} more refuse too` : ''}`,
  );
}

/** Of several reasons these say most. */
const TELLING: readonly Infeasible['kind'][] = ['notAlive', 'exhausted', 'noEngine', 'noHardQuota', 'disk'];

const refusalText = (reasons: readonly Infeasible[]): string =>
  reasonText(reasons.find(({ kind }) => TELLING.includes(kind)) ?? reasons[0]!);

function candidateOf(
  { id, status }: MemberView,
  report: NonNullable<MemberView['report']>,
  { view, replaced = [] }: PinQuestion,
): PinCandidate {
  return {
    node: id,
    status,
    draining: view.nodes.get(id)?.draining ?? false,
    freeBytes: leftBytes(view, report, replaced),
    report,
  };
}
