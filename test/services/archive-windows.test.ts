// Which moments can be made of what is held of a log, which pieces that takes, and what is forgotten.

import { describe, expect, it } from 'vitest';
import { asDigest, asLineageId, asServiceId } from '../../crdt/ids.ts';
import type { ArchivePiece } from '../../node/ports/archives.ts';
import { chainFor, chainsOf, neededOf, outdatedOf, windowsOf } from '../../node/services/archive-windows.ts';

const next = (name: string): string => String(Number(name) + 1).padStart(3, '0');

function piece(what: ArchivePiece['what'], names: string, takenAtMs: number, lineage = 'l1'): ArchivePiece {
  const [first, last = first] = names.split('-') as [string, string?];
  return {
    ...{ id: `${what}-${names}-${takenAtMs}`, service: asServiceId('s'), lineage: asLineageId(lineage), what },
    ...{ first, last: last ?? first, digest: asDigest(`sha256:${names}`), sizeBytes: 1, takenAtMs },
  };
}
const base = (name: string, takenAtMs: number, lineage?: string) => piece('base', name, takenAtMs, lineage);
const log = (names: string, takenAtMs: number, lineage?: string) => piece('log', names, takenAtMs, lineage);
const windows = (...pieces: ArchivePiece[]) =>
  windowsOf(chainsOf(pieces, next)).map(({ fromMs, toMs }) => [fromMs, toMs]);

describe('the moments that can be made again', () => {
  it('are those from when a base was whole to the end of the log that follows it', () => {
    expect(windows(base('002', 100), log('001', 90), log('002', 110), log('003-005', 200))).toEqual([[100, 200]]);
  });

  it('are none without the log that was written while the base was taken', () => {
    expect(windows(base('002', 100))).toEqual([]);
    expect(windows(base('002', 100), log('003', 110))).toEqual([]);
    expect(windows(base('002', 100), log('002', 90))).toEqual([]);
    expect(windows(log('002', 90), log('003', 110))).toEqual([]);
  });

  it('end where something is missing, and begin again with the next base', () => {
    const held = [base('001', 10), log('001', 20), log('002', 30), log('004', 50), base('004', 60), log('005', 70)];
    expect(windows(...held)).toEqual([
      [10, 30],
      [60, 70],
    ]);
  });

  it('are one row where the log goes on over the next base', () => {
    expect(windows(base('001', 10), log('001-002', 20), base('002', 25), log('003', 30))).toEqual([[10, 30]]);
  });

  it('are not mixed of two volumes, whose pieces have the same names', () => {
    expect(windows(base('001', 10), log('001', 20), log('002', 30, 'l2'))).toEqual([[10, 20]]);
  });

  it('take the piece that reaches farther where some were fetched twice', () => {
    expect(windows(base('001', 10), log('001', 20), log('001-003', 40), log('004', 50))).toEqual([[10, 50]]);
    expect(windows(base('002', 10), log('001-003', 40), log('004', 50))).toEqual([[10, 50]]);
  });

  it('go by the newest that is said to be whole: pieces of a round that goes on say no time', () => {
    expect(windows(base('001', 10), log('001', 20), log('002', 0), log('003', 60))).toEqual([[10, 60]]);
  });
});

describe('what a moment is made of', () => {
  const chains = chainsOf([base('001', 10), log('001', 20), log('002', 30), base('002', 25), log('003', 40)], next);

  it('is the newest base before it, and the log up to the first piece beyond it', () => {
    const chain = chainFor(chains, 28)!;
    expect([chain.base.takenAtMs, neededOf(chain, 28).map(({ first }) => first)]).toEqual([25, ['002']]);
    const earlier = chainFor(chains, 15)!;
    expect([earlier.base.takenAtMs, neededOf(earlier, 15).map(({ first }) => first)]).toEqual([10, ['001']]);
    expect(neededOf(chain, 40).map(({ first }) => first)).toEqual(['002', '003']);
  });

  it('is nothing outside of the windows', () => {
    expect([chainFor(chains, 9), chainFor(chains, 41)]).toEqual([undefined, undefined]);
  });
});

describe('what is forgotten', () => {
  it('is all before the oldest base that is kept, of other volumes too', () => {
    const held = [base('001', 10), log('001', 20), log('002', 30), base('002', 35), log('003', 40), base('004', 50)];
    const old = [base('007', 1, 'l0'), log('008', 2, 'l0')];
    const ids = (pieces: readonly ArchivePiece[]) => pieces.map(({ first, what }) => `${what} ${first}`);
    expect(ids(outdatedOf([...old, ...held], 2))).toEqual(['base 007', 'log 008', 'base 001', 'log 001']);
    expect(outdatedOf(held, 3)).toEqual([]);
    expect(outdatedOf(held, 4)).toEqual([]);
  });
});
