// A blob's manifest: which chunks its content is made of, and where this node keeps them. The blob's digest is the
// hash of the first half (each chunk's hash and size, in order), so whoever knows the digest can check a manifest from
// anywhere, and with it every chunk by itself. Reads and writes bytes in memory only.

import { createHash } from 'node:crypto';
import { asDigest, type Digest } from '../../crdt/ids.ts';
import { BlobError } from './errors.ts';
import { CHUNK_BYTES_MAX, CHUNKS_PER_BLOB_MAX, READ_BYTES_MAX } from './limits.ts';

/*
 * Numbers are big-endian.
 *   header: "peerblob", version (u32), packs (u32), chunks (u32), bytes of the content (u48)
 *   pack:   its id (16 bytes)
 *   chunk:  SHA-256 (32 bytes), bytes (u32), number of its pack (u32), offset there (u48), bytes stored there (u32)
 */
const MAGIC = Buffer.from('peerblob', 'latin1');
const VERSION = 1;
export const HEADER_BYTES = 26;
const PACK_BYTES = 16;
export const HASH_BYTES = 32;
const CHUNK_BYTES = 50;
/** What the digest is made of comes first; and it says what it is, so that no other content has the same digest. */
const DIGEST_PREFIX = 'peer-blob/1\n';
const DIGESTED_BYTES = HASH_BYTES + 4;

export type PackId = string;

/** Fewer bytes stored than there are: compressed with zstd; else as they are. */
export type Location = { pack: PackId; offset: number; storedBytes: number };
export type Chunk = Location & { hash: Buffer; bytes: number };

export class Manifest {
  readonly #bytes: Buffer;
  readonly #packs: PackId[] = [];
  readonly #chunksAt: number;
  readonly chunks: number;
  /** Of the whole content. */
  readonly sizeBytes: number;
  readonly digest: Digest;

  /** Fails with BlobError `corrupt` when the bytes are no manifest. Holds the bytes. */
  constructor(bytes: Buffer) {
    const corrupt = (): BlobError => new BlobError('corrupt', 'the manifest of the blob is damaged');
    if (bytes.length < HEADER_BYTES || !bytes.subarray(0, MAGIC.length).equals(MAGIC)) throw corrupt();
    const packs = bytes.readUInt32BE(12);
    this.chunks = bytes.readUInt32BE(16);
    if (bytes.readUInt32BE(8) !== VERSION || packs > this.chunks || this.chunks > CHUNKS_PER_BLOB_MAX) throw corrupt();
    this.#chunksAt = HEADER_BYTES + packs * PACK_BYTES;
    if (bytes.length !== this.#chunksAt + this.chunks * CHUNK_BYTES) throw corrupt();
    this.#bytes = bytes;
    for (let i = 0; i < packs; i++)
      this.#packs.push(bytes.toString('hex', HEADER_BYTES + i * 16, HEADER_BYTES + i * 16 + 16));
    let sizeBytes = 0;
    const hash = createHash('sha256').update(DIGEST_PREFIX);
    for (let i = 0; i < this.chunks; i++) {
      const at = this.#chunksAt + i * CHUNK_BYTES;
      const size = bytes.readUInt32BE(at + 32);
      const stored = bytes.readUInt32BE(at + 46);
      if (size === 0 || size > CHUNK_BYTES_MAX || stored === 0 || stored > size) throw corrupt();
      if (bytes.readUInt32BE(at + 36) >= packs) throw corrupt();
      sizeBytes += size;
      hash.update(bytes.subarray(at, at + DIGESTED_BYTES));
    }
    if (sizeBytes !== bytes.readUIntBE(20, 6)) throw corrupt();
    this.sizeBytes = sizeBytes;
    this.digest = asDigest(`sha256:${hash.digest('hex')}`);
  }

  get bytes(): Buffer {
    return this.#bytes;
  }

  get packs(): readonly PackId[] {
    return this.#packs;
  }

  chunk(index: number): Chunk {
    const at = this.#chunksAt + index * CHUNK_BYTES;
    return {
      hash: this.#bytes.subarray(at, at + HASH_BYTES),
      bytes: this.#bytes.readUInt32BE(at + 32),
      pack: this.#packs[this.#bytes.readUInt32BE(at + 36)]!,
      offset: this.#bytes.readUIntBE(at + 40, 6),
      storedBytes: this.#bytes.readUInt32BE(at + 46),
    };
  }

  /** As a key of a map. */
  key(index: number): string {
    const at = this.#chunksAt + index * CHUNK_BYTES;
    return this.#bytes.toString('latin1', at, at + HASH_BYTES);
  }
}

/** Chunks that lie next to each other, and no more than are read at once. */
export type Run = { pack: PackId; offset: number; bytes: number; chunks: Chunk[] };

/** Chunks from `index` on that lie next to each other. */
export function runAt(manifest: Manifest, index: number): Run {
  const first = manifest.chunk(index);
  const run: Run = { pack: first.pack, offset: first.offset, bytes: first.storedBytes, chunks: [first] };
  for (let at = index + 1; at < manifest.chunks; at++) {
    const chunk = manifest.chunk(at);
    if (chunk.pack !== run.pack || chunk.offset !== run.offset + run.bytes) break;
    if (run.bytes + chunk.storedBytes > READ_BYTES_MAX) break;
    run.chunks.push(chunk);
    run.bytes += chunk.storedBytes;
  }
  return run;
}

/** Of a manifest of this node's own, from its first HEADER_BYTES; undefined when it is none. */
export const sizeInHeader = (header: Buffer): number | undefined =>
  header.length === HEADER_BYTES && header.subarray(0, MAGIC.length).equals(MAGIC)
    ? header.readUIntBE(20, 6)
    : undefined;

export function encodeManifest(chunks: readonly Chunk[]): Buffer {
  if (chunks.length > CHUNKS_PER_BLOB_MAX) {
    throw new BlobError('too_large', `the blob has more than the ${CHUNKS_PER_BLOB_MAX} chunks that are allowed`);
  }
  let sizeBytes = 0;
  const numbers = new Map<PackId, number>();
  for (const { pack } of chunks) if (!numbers.has(pack)) numbers.set(pack, numbers.size);
  const chunksAt = HEADER_BYTES + numbers.size * PACK_BYTES;
  const bytes = Buffer.alloc(chunksAt + chunks.length * CHUNK_BYTES);
  MAGIC.copy(bytes);
  bytes.writeUInt32BE(VERSION, 8);
  bytes.writeUInt32BE(numbers.size, 12);
  bytes.writeUInt32BE(chunks.length, 16);
  for (const chunk of chunks) sizeBytes += chunk.bytes;
  bytes.writeUIntBE(sizeBytes, 20, 6);
  for (const [pack, number] of numbers) bytes.write(pack, HEADER_BYTES + number * PACK_BYTES, 'hex');
  for (const [index, chunk] of chunks.entries()) {
    const at = chunksAt + index * CHUNK_BYTES;
    chunk.hash.copy(bytes, at);
    bytes.writeUInt32BE(chunk.bytes, at + 32);
    bytes.writeUInt32BE(numbers.get(chunk.pack)!, at + 36);
    bytes.writeUIntBE(chunk.offset, at + 40, 6);
    bytes.writeUInt32BE(chunk.storedBytes, at + 46);
  }
  return bytes;
}
