// Takes content as it comes, cuts it into chunks, and stores those that the node does not have. Synchronous but for
// the end: for the worker only.

import { closeSync, openSync, readSync } from 'node:fs';
import type { Digest } from '../../crdt/ids.ts';
import type { BlobRange, Room } from '../ports/blobs.ts';
import { hashOf, openChunk, packChunk } from './chunk-codec.ts';
import { chunkLength, knownChunkLength } from './chunker.ts';
import { BlobError } from './errors.ts';
import type { Stay } from './layout.ts';
import { CHUNK_BYTES_MAX } from './limits.ts';
import { type Chunk, encodeManifest, Manifest } from './manifest.ts';
import { PackWriter } from './pack-writer.ts';
import { assertFits } from './room.ts';
import type { Shelf, Stored } from './shelf.ts';

/** Twice the largest chunk, so that what is left over is moved to the front once per chunk at most. */
const BUFFER_BYTES = 4 * CHUNK_BYTES_MAX;

export class Put {
  readonly #shelf: Shelf;
  readonly #pack: PackWriter;
  readonly #options: { sizeBytesMax: number; expected?: Digest; stay: Stay; room?: Room };
  readonly #chunks: Chunk[] = [];
  readonly #own = new Map<string, Chunk>();
  readonly #buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  #filled = 0;
  #sizeBytes = 0;

  constructor(shelf: Shelf, options: { sizeBytesMax: number; expected?: Digest; stay: Stay; room?: Room }) {
    this.#shelf = shelf;
    this.#options = options;
    this.#pack = new PackWriter(shelf.layout);
  }

  /** Fails with BlobError `too_large`, `over_budget`. */
  write(bytes: Uint8Array): void {
    this.#count(bytes.length);
    for (let from = 0; from < bytes.length; ) {
      const part = bytes.subarray(from, from + BUFFER_BYTES - this.#filled);
      this.#buffer.set(part, this.#filled);
      this.#filled += part.length;
      from += part.length;
      if (this.#filled === BUFFER_BYTES) this.#cut(CHUNK_BYTES_MAX);
    }
  }

  /**
   * Goes on with a part of a blob that is here, and ends up with the chunks that its bytes would have been cut into:
   * from the first cut that both have, its chunks are taken as they are, unread. Fails with BlobError `not_held` or
   * `corrupt`.
   */
  reuse({ digest, from, to }: BlobRange): void {
    const manifest = this.#shelf.manifest(digest, 'kept');
    if (manifest === undefined || from < 0 || to < from || to > manifest.sizeBytes) {
      throw new BlobError('not_held', `this node does not hold bytes ${from} to ${to} of ${digest}`);
    }
    let startsAt = 0;
    for (let index = 0; index < manifest.chunks && startsAt < to; index++) {
      const chunk = manifest.chunk(index);
      const endsAt = startsAt + chunk.bytes;
      if (endsAt > from) {
        // The last one of a blob may have ended where its content did, and not where it would be cut.
        const whole = startsAt >= from && endsAt <= to && index < manifest.chunks - 1;
        if (whole && this.#filled === 0) {
          this.#count(chunk.bytes);
          this.#chunks.push({ ...chunk, hash: Buffer.from(chunk.hash) });
        } else {
          this.write(this.#contentOf(chunk, digest).subarray(Math.max(0, from - startsAt), to - startsAt));
          this.#cutWhatIsKnown();
        }
      }
      startsAt = endsAt;
    }
  }

  /** Whole, verified and on disk. Fails with BlobError `corrupt`. */
  async end(): Promise<Stored> {
    this.#cut(1);
    const { expected, stay } = this.#options;
    const manifest = new Manifest(encodeManifest(this.#chunks));
    const { digest } = manifest;
    if (expected !== undefined && digest !== expected) {
      throw new BlobError('corrupt', `expected ${expected}, received ${digest}: the copy is damaged`);
    }
    if (this.#shelf.holds(digest, stay)) this.#pack.discard();
    else {
      await this.#pack.seal();
      await this.#shelf.publish(manifest, stay);
    }
    return { digest, sizeBytes: this.#sizeBytes };
  }

  discard(): void {
    this.#pack.discard();
  }

  #count(bytes: number): void {
    this.#sizeBytes += bytes;
    const { sizeBytesMax } = this.#options;
    if (this.#sizeBytes > sizeBytesMax) {
      throw new BlobError('too_large', `the blob is larger than the ${sizeBytesMax} bytes that are allowed`);
    }
  }

  #contentOf(chunk: Chunk, digest: Digest): Uint8Array {
    const stored = Buffer.allocUnsafe(chunk.storedBytes);
    const file = openSync(this.#shelf.layout.pack(chunk.pack), 'r');
    try {
      readSync(file, stored, 0, stored.length, chunk.offset);
    } finally {
      closeSync(file);
    }
    const content = openChunk(stored, chunk);
    if (content === undefined) throw new BlobError('corrupt', `the copy of ${digest} on this node is damaged`);
    return content;
  }

  /** Empties the buffer up to the last cut that no byte after it can move. */
  #cutWhatIsKnown(): void {
    let from = 0;
    for (;;) {
      const length = knownChunkLength(this.#buffer, from, this.#filled);
      if (length === undefined) break;
      this.#store(this.#buffer.subarray(from, from + length));
      from += length;
    }
    this.#buffer.copyWithin(0, from, this.#filled);
    this.#filled -= from;
  }

  /** Chunks from the buffer while at least so many bytes are in it. */
  #cut(bytesMin: number): void {
    let from = 0;
    while (this.#filled - from >= bytesMin) {
      const length = chunkLength(this.#buffer, from, this.#filled);
      this.#store(this.#buffer.subarray(from, from + length));
      from += length;
    }
    this.#buffer.copyWithin(0, from, this.#filled);
    this.#filled -= from;
  }

  #store(bytes: Buffer): void {
    const hash = hashOf(bytes);
    const key = hash.toString('latin1');
    const held = this.#own.get(key) ?? this.#shelf.find(key);
    if (held !== undefined) {
      this.#chunks.push({ ...held, hash });
      return;
    }
    const stored = packChunk(bytes);
    assertFits(this.#pack.bytes + stored.length, this.#options.room);
    const part = { hash, bytes: bytes.length, storedBytes: stored.length };
    const chunk = { ...part, pack: this.#pack.id, offset: this.#pack.append(stored, [part]) };
    this.#own.set(key, chunk);
    this.#chunks.push(chunk);
  }
}
