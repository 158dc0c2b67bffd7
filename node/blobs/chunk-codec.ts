// How a chunk is stored and sent: compressed when that makes it smaller, else as it is. Synchronous: for the worker
// only.

import { hash } from 'node:crypto';
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { CHUNK_ZSTD_LEVEL } from './limits.ts';

/** The least that zlib takes. */
const OUTPUT_BYTES_MIN = 64;

export const hashOf = (bytes: Uint8Array): Buffer => hash('sha256', bytes, 'buffer');

export function packChunk(bytes: Uint8Array): Uint8Array {
  const packed = zstdCompressSync(bytes, { params: { [constants.ZSTD_c_compressionLevel]: CHUNK_ZSTD_LEVEL } });
  return packed.length < bytes.length ? packed : bytes;
}

/** The content, unchecked. Room for all of it at once: otherwise it would be put together from pieces. */
export const unpackChunk = (stored: Uint8Array, bytes: number): Uint8Array =>
  stored.length === bytes
    ? stored
    : zstdDecompressSync(stored, { maxOutputLength: bytes, chunkSize: Math.max(OUTPUT_BYTES_MIN, bytes) });

/** The chunk's content; undefined when what is stored is not the chunk that was promised. */
export function openChunk(stored: Uint8Array, want: { hash: Buffer; bytes: number }): Uint8Array | undefined {
  try {
    const bytes = unpackChunk(stored, want.bytes);
    return bytes.length === want.bytes && hashOf(bytes).equals(want.hash) ? bytes : undefined;
  } catch {
    return undefined;
  }
}
