// What placement compares nodes by besides their rank: how much of each is taken, how an app's slots are spread, and
// who may be better than a given one. Decides nothing.

import type { NodeId } from '../../crdt/ids.ts';
import type { Candidate } from './candidates.ts';

export const totalBytes = (node: Candidate): number => Math.max(1, node.report.memoryBytes);
export const takenBytes = (node: Candidate): number => totalBytes(node) - node.freeBytes;
/** Share of the node's memory that slots assigned so far take, 0 to 1. */
export const takenShare = (node: Candidate): number => takenBytes(node) / totalBytes(node);

/** How many of an app's slots are on each node, and in each zone. */
export type Spread = { nodes: Map<NodeId, number>; zones: Map<string, number> };

export const countsIn = (spread: Spread, candidate: Candidate) => ({
  sameApp: spread.nodes.get(candidate.node) ?? 0,
  sameZone: spread.zones.get(zoneOf(candidate)) ?? 0,
});

/** The failure domain; '' when the node names none. */
export const zoneOf = (candidate: Candidate): string => candidate.labels.zone ?? '';

/**
 * The nodes that are better than one for an app whatever the slot, or tie with it but for the weight, in the order
 * given. They are looked for as far as somebody asks, and found once for all slots.
 */
export class Rivals {
  betterCount = 0;
  readonly #found: { candidate: Candidate; isBetter: boolean }[] = [];
  readonly #all: readonly Candidate[];
  readonly #order: (candidate: Candidate) => number;
  #next = 0;

  /** `order`: negative for a better one, 0 for a tie. */
  constructor(all: readonly Candidate[], order: (candidate: Candidate) => number) {
    this.#all = all;
    this.#order = order;
  }

  at(index: number): { candidate: Candidate; isBetter: boolean } | undefined {
    while (index >= this.#found.length && this.#next < this.#all.length) {
      const candidate = this.#all[this.#next++]!;
      const order = this.#order(candidate);
      if (order > 0) continue;
      if (order < 0) this.betterCount++;
      this.#found.push({ candidate, isBetter: order < 0 });
    }
    return this.#found[index];
  }
}

/** The nodes as placement left them. */
export class FinalRanks {
  readonly #nodes: readonly Candidate[];
  #byNode: Map<NodeId, Candidate> | undefined;
  #emptiestFirst: Candidate[] | undefined;

  constructor(nodes: readonly Candidate[]) {
    this.#nodes = nodes;
  }

  of(node: NodeId): Candidate | undefined {
    this.#byNode ??= new Map(this.#nodes.map((one) => [one.node, one]));
    return this.#byNode.get(node);
  }

  /** Sorted so that a search for a better node finds one soon. */
  get emptiestFirst(): readonly Candidate[] {
    this.#emptiestFirst ??= [...this.#nodes].sort((a, b) => takenShare(a) - takenShare(b));
    return this.#emptiestFirst;
  }
}

/** Slots of an app for which successors are worked out: with more, every node is one anyway. */
export const SUCCESSOR_SLOTS_MAX = 8;
export const SUCCESSORS_PER_SLOT = 2;
