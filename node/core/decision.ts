// Decisions of placement as they are told to whoever asks why: what was decided on a slot, and what each node had to
// offer. Decides nothing itself.

import type { NodeId } from '../../crdt/ids.ts';
import type { Infeasible } from './feasibility.ts';
import type { Rank } from './ranking.ts';
import type { Slot } from './types.ts';

/**
 * - `kept`: a node that runs the slot already keeps it.
 * - `bestRank`: nobody runs it; the best of the feasible nodes gets it.
 * - `upgradeNeedsRoom`: its holder has no room for the old and the new release side by side, so the new one goes
 *   elsewhere.
 * - `upgradeBlocked`: the same, but no other node can take it, so it stays.
 * - `balance`: moved from the node that has most of the app's slots, to even them out.
 * - `evening`: moved from the fullest node to the emptiest, to even their memory out; rank has no part in it.
 * - `unplaceable`: no node may fill it.
 */
export type Decision = { slot: Slot } & (
  | { why: 'kept' | 'bestRank' | 'upgradeBlocked'; owner: NodeId }
  | { why: 'upgradeNeedsRoom' | 'balance' | 'evening'; owner: NodeId; from: NodeId }
  | { why: 'unplaceable' }
);

/** A node as a decision saw it: its rank when it may fill the slot, else all reasons why not. */
export type Considered = { node: NodeId; freeBytes: number; rank: Rank } | { node: NodeId; reasons: Infeasible[] };

/**
 * Told of every decision just before it takes effect; a later one on the same slot replaces the earlier. `consider`
 * weighs every node, feasible ones first and best first, as things stand when it is called: during the call that is
 * what the decision saw, and once place() has returned it is how everything ended.
 */
export type Recorder = (decision: Decision, consider: () => Considered[]) => void;

/**
 * @param nodes `owner`: who runs the slot and has no room to upgrade it, if anyone; `best`: who may take it, if
 * anyone.
 */
export function fillingDecision(slot: Slot, nodes: { owner: NodeId | undefined; best: NodeId | undefined }): Decision {
  const { owner, best } = nodes;
  if (best === undefined) {
    return owner === undefined ? { slot, why: 'unplaceable' } : { slot, why: 'upgradeBlocked', owner };
  }
  return owner === undefined
    ? { slot, why: 'bestRank', owner: best }
    : { slot, why: 'upgradeNeedsRoom', owner: best, from: owner };
}
