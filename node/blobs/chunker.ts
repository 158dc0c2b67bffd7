// Cuts content into chunks where the content itself says so, so that a change moves only the cuts around it. The same
// bytes are always cut at the same places. Holds no bytes.

import { CHUNK_BYTES_AVERAGE, CHUNK_BYTES_MAX, CHUNK_BYTES_MIN } from './limits.ts';

/**
 * One random number per byte value, from a fixed seed (xorshift32): nodes that drew others would share no chunk.
 * @see FastCDC, USENIX ATC 2016, sections 3.2 to 3.4
 */
const GEAR = ((): Uint32Array => {
  const table = new Uint32Array(256);
  let x = 0x9e3779b9;
  for (let i = 0; i < 256; i++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    table[i] = x;
  }
  return table;
})();

/**
 * High bits, which many bytes have gone into. Before the average size a cut is two bits rarer, after it two bits
 * likelier.
 */
const AVERAGE_BITS = Math.log2(CHUNK_BYTES_AVERAGE);
const MASK_BEFORE = ~0 << (32 - (AVERAGE_BITS + 2));
const MASK_AFTER = ~0 << (32 - (AVERAGE_BITS - 2));

/**
 * Length of the chunk at the beginning of `bytes[from, to)`. It may be cut short by `to` only at the end of the
 * content: before it, `to - from` has to be at least CHUNK_BYTES_MAX.
 */
export function chunkLength(bytes: Uint8Array, from: number, to: number): number {
  return knownChunkLength(bytes, from, to) ?? to - from;
}

/** The same, undefined while the chunk may go on after `to`. */
export function knownChunkLength(bytes: Uint8Array, from: number, to: number): number | undefined {
  const length = to - from;
  if (length < CHUNK_BYTES_MIN) return undefined;
  const average = from + Math.min(length, CHUNK_BYTES_AVERAGE);
  const end = from + Math.min(length, CHUNK_BYTES_MAX);
  let hash = 0;
  let at = from + CHUNK_BYTES_MIN;
  while (at < average) {
    hash = ((hash << 1) + GEAR[bytes[at++]!]!) | 0;
    if ((hash & MASK_BEFORE) === 0) return at - from;
  }
  while (at < end) {
    hash = ((hash << 1) + GEAR[bytes[at++]!]!) | 0;
    if ((hash & MASK_AFTER) === 0) return at - from;
  }
  return length >= CHUNK_BYTES_MAX ? CHUNK_BYTES_MAX : undefined;
}
