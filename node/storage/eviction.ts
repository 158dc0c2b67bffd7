// What a node gives up first when its blobs and build caches take more disk than they may: a pure function over facts.
// Never names what runs here, what may still be on its way into a release, or a copy of which too few others are
// known.

import type { AppId, Digest, NodeId } from '../../crdt/ids.ts';

/**
 * Garbage counts as such after this: a droplet may take so long to reach its holders before its release is written.
 */
export const UNUSED_GRACE_MS = 10 * 60_000;
/** A source counts as left after this: an upload may take 15 minutes. */
export const SOURCE_IDLE_MS = 20 * 60_000;
/** Other nodes that must hold a droplet before this one gives up its copy of an old release, or of a current one. */
export const OTHERS_OF_OLD_MIN = 2;
export const OTHERS_OF_CURRENT_MIN = 3;

export type EvictionFacts = {
  nowMs: number;
  /** Blobs that are here. */
  held: readonly Digest[];
  /** Since when each of them has been of no release. */
  unusedSinceMs: ReadonlyMap<Digest, number>;
  /** Of the droplets that releases refer to. `releasedAtMs`: the newest of them. */
  releases: ReadonlyMap<Digest, { current: boolean; releasedAtMs: number }>;
  /** Droplets of the instances of this node, in any state. */
  runningHere: ReadonlySet<Digest>;
  /** Other nodes that are alive, stay, and say that they hold it. */
  othersHolding: (digest: Digest) => readonly NodeId[];
  /** What this node promised to keep, or what others would not keep for it. */
  pinned: ReadonlySet<Digest>;
  sources: readonly { digest: Digest; usedAtMs: number }[];
  caches: readonly { app: AppId; bytes: number; usedAtMs: number }[];
};

export type Eviction =
  | { kind: 'garbage' | 'source'; digest: Digest }
  | { kind: 'cache'; app: AppId; bytes: number }
  /** Goes only when so many of these still say that they keep theirs. */
  | { kind: 'oldRelease' | 'ahead'; digest: Digest; others: readonly NodeId[]; othersMin: number };

/** What may go, what is missed least first. */
export function evictionOrder(facts: EvictionFacts): Eviction[] {
  const { nowMs, held, unusedSinceMs, releases, pinned } = facts;
  const garbage = held
    .filter((digest) => !releases.has(digest) && nowMs - (unusedSinceMs.get(digest) ?? nowMs) >= UNUSED_GRACE_MS)
    .map((digest): Eviction => ({ kind: 'garbage', digest }));
  const caches = [...facts.caches]
    .sort((a, b) => a.usedAtMs - b.usedAtMs)
    .map(({ app, bytes }): Eviction => ({ kind: 'cache', app, bytes }));
  const sources = facts.sources
    .filter(({ usedAtMs }) => nowMs - usedAtMs >= SOURCE_IDLE_MS)
    .sort((a, b) => a.usedAtMs - b.usedAtMs)
    .map(({ digest }): Eviction => ({ kind: 'source', digest }));
  const copies = held
    .flatMap((digest) => {
      const release = releases.get(digest);
      if (release === undefined || facts.runningHere.has(digest) || pinned.has(digest)) return [];
      const othersMin = release.current ? OTHERS_OF_CURRENT_MIN : OTHERS_OF_OLD_MIN;
      const others = facts.othersHolding(digest);
      return others.length < othersMin ? [] : [{ digest, release, others, othersMin }];
    })
    .sort(
      (a, b) =>
        Number(a.release.current) - Number(b.release.current) || a.release.releasedAtMs - b.release.releasedAtMs,
    )
    .map(({ digest, release, others, othersMin }): Eviction => {
      return { kind: release.current ? 'ahead' : 'oldRelease', digest, others, othersMin };
    });
  return [...garbage, ...caches, ...sources, ...copies];
}

/** The first of the order that together free the bytes; all of them when they do not. */
export function firstThatFree(bytes: number, order: readonly { eviction: Eviction; freesBytes: number }[]): Eviction[] {
  const chosen: Eviction[] = [];
  let leftBytes = bytes;
  for (const { eviction, freesBytes } of order) {
    if (leftBytes <= 0) break;
    chosen.push(eviction);
    leftBytes -= freesBytes;
  }
  return chosen;
}
