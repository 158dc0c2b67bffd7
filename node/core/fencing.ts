// Fencing: whether this node's side of a partition may run apps of mode `fence`, and from when on. Apps of mode
// `serve` never ask. Stops and starts nothing itself.

import { slotKey } from './slots.ts';
import type { CoreState } from './state.ts';
import type { Slot } from './types.ts';

/**
 * Whether this node sees more than half of the admitted nodes, itself included. Suspects do not count: they may be the
 * other side.
 */
export function hasMajority(state: CoreState): boolean {
  const admitted = state.desired?.nodes.size ?? 0;
  const seen = 1 + (state.staleSinceMs === undefined ? state.aliveCount : heardAnewCount(state, state.staleSinceMs));
  return 2 * seen > admitted;
}

/** This node's loop was blocked: whom it held for alive may long have held it for dead. */
export function doubtMajority(state: CoreState, lateMs: number, nowMs: number): void {
  if (lateMs < state.config.majorityStaleMs) return;
  state.staleSinceMs = nowMs;
  state.decisionDirty = true;
}

/** The doubt ends once a majority was heard. */
export function regainMajority(state: CoreState): void {
  if (state.staleSinceMs === undefined || !hasMajority(state)) return;
  state.staleSinceMs = undefined;
  state.decisionDirty = true;
}

/** What was sent before the loop went on may still arrive for a while. */
function heardAnewCount({ members, config }: CoreState, staleSinceMs: number): number {
  let count = 0;
  for (const member of members.values()) {
    if (member.status === 'alive' && member.heardAtMs > staleSinceMs + config.lastWordsMs) count++;
  }
  return count;
}

/**
 * When the slot may be started here: after every dead member that held it when last heard has had time to notice that
 * it is in the minority. A member that was never heard since this node started may hold anything. −Infinity: at once.
 */
export function fencedUntilMs(state: CoreState, slot: Slot): number {
  const key = slotKey(slot);
  let untilMs = Number.NEGATIVE_INFINITY;
  for (const node of state.desired?.nodes.keys() ?? []) {
    if (node === state.self.node) continue;
    const member = state.members.get(node);
    if (member === undefined) {
      untilMs = Math.max(untilMs, state.startedAtMs + state.config.fenceDelayMs);
      continue;
    }
    if (member.status !== 'dead') continue;
    const mayHoldIt = member.report?.instances.some((one) => slotKey(one) === key && one.state !== 'crashed') ?? true;
    if (mayHoldIt) untilMs = Math.max(untilMs, member.statusSinceMs + state.config.fenceDelayMs);
  }
  return untilMs;
}
