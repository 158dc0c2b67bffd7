// Ranking: which of the feasible nodes is best for a slot. Never looks at whether a node is feasible (feasibility.ts).

import type { Candidate } from './candidates.ts';
import { rendezvousWeight, rendezvousWeights } from './hash.ts';

/** Lower is better, compared left to right; the last one makes the order total. */
export type CoarseRank = {
  /** Slots of the same app assigned to the node. */
  sameApp: number;
  /** Slots of the same app assigned to the node's failure domain (label `zone`). */
  sameZone: number;
  /**
   * Eighths of the node's memory that are taken, plus the load in whole cores' worth; coarse, so that noise does not
   * decide.
   */
  fullness: number;
};
/** `weight`: rendezvous weight; higher is better. */
export type Rank = CoarseRank & { weight: number };

export function rankOf(candidate: Candidate, options: { slot: string; sameApp: number; sameZone: number }): Rank {
  return { ...coarseRankOf(candidate, options), weight: weightOf(options.slot, candidate) };
}

const weightOf = (slot: string, candidate: Candidate): number => rendezvousWeight(slot, candidate.node);

/** Weights cost far more than the rest of a rank: asked for only when that does not decide. */
export function weightsOf(slot: string): (candidate: Candidate) => number {
  const weights = rendezvousWeights(slot);
  return (candidate) => weights(candidate.node);
}

export function coarseRankOf(candidate: Candidate, counts: { sameApp: number; sameZone: number }): CoarseRank {
  const total = Math.max(1, candidate.report.memoryBytes);
  const takenEighths = 8 - Math.floor((8 * Math.max(0, candidate.freeBytes)) / total);
  return {
    sameApp: counts.sameApp,
    sameZone: counts.sameZone,
    fullness: takenEighths + loadRank(candidate.report.load),
  };
}

/** What of a load ranking looks at. */
export const loadRank = (load: number): number => Math.floor(load);

/** Negative when `a` is the better one. */
export function compareRanks(a: Rank, b: Rank): number {
  return compareCoarseRanks(a, b) || b.weight - a.weight;
}

export function compareCoarseRanks(a: CoarseRank, b: CoarseRank): number {
  return a.sameApp - b.sameApp || a.sameZone - b.sameZone || a.fullness - b.fullness;
}
