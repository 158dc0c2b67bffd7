// The envelope of changes from other nodes: whole, checked, and bounded even once inflated.

import { deflateRawSync } from 'node:zlib';
import * as A from '@automerge/automerge';
import { describe, expect, it } from 'vitest';
import { CHANGE_INFLATED_BYTES_MAX, changeHash, readChunk } from '../../crdt/chunk.ts';

const HEADER_BYTES = 9;

const change = (length: number): Uint8Array =>
  A.getLastLocalChange(
    A.change(A.init<{ text: unknown }>(), (draft) => {
      draft.text = new A.ImmutableString('x'.repeat(length));
    }),
  )!;

const leb128 = (value: number): number[] => (value < 128 ? [value] : [(value & 127) | 128, ...leb128(value >>> 7)]);

/** The same change as a compressed chunk, which keeps the checksum of the plain one. */
function compressed(bytes: Uint8Array, content = bytes.subarray(bytes.length - contentLength(bytes))): Uint8Array {
  const deflated = deflateRawSync(content);
  return Uint8Array.from([...bytes.subarray(0, HEADER_BYTES - 1), 2, ...leb128(deflated.length), ...deflated]);
}

function contentLength(bytes: Uint8Array): number {
  for (let at = HEADER_BYTES; ; at++) if (bytes[at]! < 128) return bytes.length - at - 1;
}

describe('a change', () => {
  it.each([1, 100, 20_000])('of %i characters has the hash that Automerge gives it, plain or compressed', (length) => {
    const bytes = change(length);
    expect(changeHash(bytes)).toBe(A.decodeChange(bytes).hash);
    expect(changeHash(compressed(bytes))).toBe(A.decodeChange(bytes).hash);
    expect(A.decodeChange(compressed(bytes)).hash).toBe(A.decodeChange(bytes).hash);
  });

  it('with any flipped bit is refused', () => {
    const bytes = change(20);
    for (let at = 0; at < bytes.length; at++) {
      const flipped = bytes.map((byte, index) => (index === at ? byte ^ 4 : byte));
      expect(() => changeHash(flipped)).toThrow(RangeError);
    }
  });

  it('that inflates beyond the bound is refused', () => {
    const bomb = compressed(change(10), Buffer.alloc(CHANGE_INFLATED_BYTES_MAX + 1));
    expect(bomb.length).toBeLessThan(10_000);
    expect(() => changeHash(bomb)).toThrow(/does not inflate/);
  });

  it('followed by anything is refused', () => {
    expect(() => changeHash(Uint8Array.from([...change(1), 0]))).toThrow(/follow/);
  });
});

it('a saved document is a chunk, but no change', () => {
  const saved = A.save(A.from({ a: 1 }));
  expect(readChunk(saved)).toMatchObject({ kind: 'other', length: saved.length });
  expect(() => changeHash(saved)).toThrow(/not a change/);
});
