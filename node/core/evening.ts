// Evening out: which slot goes from the fullest node to the emptiest, once everything else is settled. Part of
// placement; starts and stops nothing.

import type { Candidate } from './candidates.ts';
import { mayKeep } from './feasibility.ts';
import { takenBytes, takenShare, totalBytes } from './rivals.ts';
import type { Slot } from './types.ts';

/** What evening out asks of an app that is placed. */
export type MovableApp = {
  readonly memoryBytes: number;
  /** By the slot's copy where it is. */
  takenBytes(slot: Slot): number;
  slotToMove(from: Candidate, to: Candidate): Slot | undefined;
  move(slot: Slot, from: Candidate, to: Candidate): void;
};

/**
 * When every app is spread and settled: moves one slot, of any app, from the fullest node to the emptiest. Only when
 * the emptiest does not become the fuller of the two by it, so that a move can never call for the move back.
 */
export function evenOutMemory(apps: readonly MovableApp[], nodes: readonly Candidate[]): void {
  const alive = nodes.filter((node) => node.status === 'alive' && mayKeep(node));
  const [first, ...rest] = alive;
  if (first === undefined) return;
  const fullest = rest.reduce((a, b) => (takenShare(b) > takenShare(a) ? b : a), first);
  const emptiest = rest.reduce((a, b) => (takenShare(b) < takenShare(a) ? b : a), first);
  if (fullest === emptiest) return;
  let largest: { app: MovableApp; slot: Slot; memoryBytes: number } | undefined;
  for (const app of apps) {
    const { memoryBytes } = app;
    if (largest !== undefined && memoryBytes <= largest.memoryBytes) continue;
    if (isFuller(emptiest, memoryBytes, fullest, 0)) continue;
    const slot = app.slotToMove(fullest, emptiest);
    if (slot === undefined || isFuller(emptiest, memoryBytes, fullest, -app.takenBytes(slot))) continue;
    largest = { app, slot, memoryBytes };
  }
  largest?.app.move(largest.slot, fullest, emptiest);
}

/**
 * Whether `a` would be the fuller one after so many bytes more or less on each. Multiplied out: sums of shares that
 * are equal may differ in their last digit, and between two nodes of one size it is bytes that count.
 */
const isFuller = (a: Candidate, aBytes: number, b: Candidate, bBytes: number): boolean =>
  (takenBytes(a) + aBytes) * totalBytes(b) > (takenBytes(b) + bBytes) * totalBytes(a);
