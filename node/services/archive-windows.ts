// What moments can be made of bases and pieces of a log, which pieces that takes, and which are kept. Pure.

import type { ArchivePiece, ArchiveWindow } from '../ports/archives.ts';

type Next = (name: string) => string;

/** A base and all pieces that follow it without a gap, oldest first. */
export type Chain<P extends ArchivePiece> = { base: P; log: P[]; toMs: number };

const byTime = (a: ArchivePiece, b: ArchivePiece): number => a.takenAtMs - b.takenAtMs || (a.first < b.first ? -1 : 1);

/** One for each base, oldest first. A base by itself gives no moment: it needs the log that was written meanwhile. */
export function chainsOf<P extends ArchivePiece>(pieces: readonly P[], next: Next): Chain<P>[] {
  const bases = pieces.filter(({ what }) => what === 'base').sort(byTime);
  const logs = Map.groupBy(
    pieces.filter(({ what }) => what === 'log'),
    ({ lineage }) => lineage,
  );
  const byFirst = new Map<string, P>();
  for (const one of pieces) {
    if (one.what !== 'log') continue;
    const key = `${one.lineage} ${one.first}`;
    // Fetched twice, by a node that was cut off before it had dropped it: the one that reaches farther.
    if ((byFirst.get(key)?.last ?? '') < one.last) byFirst.set(key, one);
  }
  return bases.flatMap((base) => {
    const holding = (wanted: string): P | undefined =>
      byFirst.get(`${base.lineage} ${wanted}`) ??
      (logs.get(base.lineage) ?? []).find(({ first, last }) => first <= wanted && wanted <= last);
    const log: P[] = [];
    let toMs = 0;
    for (let piece = holding(base.first); piece !== undefined; piece = holding(next(piece.last))) {
      log.push(piece);
      toMs = Math.max(toMs, piece.takenAtMs);
    }
    return toMs < base.takenAtMs ? [] : [{ base, log, toMs }];
  });
}

/** Overlapping ones as one. */
export function windowsOf(chains: readonly Pick<Chain<ArchivePiece>, 'base' | 'toMs'>[]): ArchiveWindow[] {
  const windows: ArchiveWindow[] = [];
  for (const { base, toMs } of chains) {
    const before = windows.at(-1);
    if (before !== undefined && base.takenAtMs <= before.toMs) before.toMs = Math.max(before.toMs, toMs);
    else windows.push({ fromMs: base.takenAtMs, toMs });
  }
  return windows;
}

/** With the newest base before that moment, so that as little as can be is to be made again. */
export const chainFor = <P extends ArchivePiece>(chains: readonly Chain<P>[], atMs: number): Chain<P> | undefined =>
  chains.findLast(({ base, toMs }) => base.takenAtMs <= atMs && atMs <= toMs);

/** The pieces up to that moment, and one beyond, which says that there is nothing between. */
export function neededOf<P extends ArchivePiece>({ log }: Chain<P>, atMs: number): P[] {
  const beyond = log.findIndex(({ takenAtMs }) => takenAtMs >= atMs);
  return beyond < 0 ? [...log] : log.slice(0, beyond + 1);
}

/** Beyond the newest bases of each service, and the log that they need. */
export function outdatedOf(pieces: readonly ArchivePiece[], basesKept: number): ArchivePiece[] {
  const bases = pieces.filter(({ what }) => what === 'base').sort(byTime);
  const oldest = bases.at(-basesKept);
  if (oldest === undefined || bases.length < basesKept) return [];
  return pieces.filter((one) =>
    one.what === 'base'
      ? one.takenAtMs < oldest.takenAtMs
      : one.lineage === oldest.lineage
        ? one.last < oldest.first
        : one.takenAtMs < oldest.takenAtMs,
  );
}
