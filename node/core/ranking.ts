// Ranking: which of the feasible nodes is best for a slot. Never looks at whether a node is feasible (feasibility.ts).

import type { Candidate } from './feasibility.ts';
import { rendezvousWeight } from './hash.ts';

/** Lower is better, compared left to right; the last one makes the order total. */
export type Rank = {
  /** Slots of the same app assigned to the node. */
  sameApp: number;
  /** Slots of the same app assigned to the node's failure domain (label `zone`). */
  sameZone: number;
  /** Eighths of the node's memory that are taken, plus the load in whole cores' worth; coarse, so that noise does not decide. */
  fullness: number;
  /** Rendezvous weight; higher is better. */
  weight: number;
};

export function rankOf(candidate: Candidate, options: { slot: string; sameApp: number; sameZone: number }): Rank {
  const total = Math.max(1, candidate.report.memoryBytes);
  const takenEighths = 8 - Math.floor((8 * Math.max(0, candidate.freeBytes)) / total);
  return {
    sameApp: options.sameApp,
    sameZone: options.sameZone,
    fullness: takenEighths + loadRank(candidate.report.load),
    weight: rendezvousWeight(options.slot, candidate.node),
  };
}

/** What of a load ranking looks at. */
export const loadRank = (load: number): number => Math.floor(load);

/** Negative when `a` is the better one. */
export function compareRanks(a: Rank, b: Rank): number {
  return a.sameApp - b.sameApp || a.sameZone - b.sameZone || a.fullness - b.fullness || b.weight - a.weight;
}
