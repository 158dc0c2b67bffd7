// Takes content as it comes, cuts it into chunks, and stores those that the node does not have. Synchronous but for the end:
// for the worker only.

import type { Digest } from '../../crdt/ids.ts';
import { hashOf, packChunk } from './chunk-codec.ts';
import { chunkLength } from './chunker.ts';
import { BlobError } from './errors.ts';
import type { Stay } from './layout.ts';
import { CHUNK_BYTES_MAX } from './limits.ts';
import { type Chunk, encodeManifest, Manifest } from './manifest.ts';
import { PackWriter } from './pack-writer.ts';
import type { Shelf, Stored } from './shelf.ts';

/** Twice the largest chunk, so that what is left over is moved to the front once per chunk at most. */
const BUFFER_BYTES = 4 * CHUNK_BYTES_MAX;

export class Put {
  readonly #shelf: Shelf;
  readonly #pack: PackWriter;
  readonly #options: { sizeBytesMax: number; expected?: Digest; stay: Stay };
  readonly #chunks: Chunk[] = [];
  readonly #own = new Map<string, Chunk>();
  readonly #buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  #filled = 0;
  #sizeBytes = 0;

  constructor(shelf: Shelf, options: { sizeBytesMax: number; expected?: Digest; stay: Stay }) {
    this.#shelf = shelf;
    this.#options = options;
    this.#pack = new PackWriter(shelf.layout);
  }

  /** Fails with BlobError `too_large`. */
  write(bytes: Uint8Array): void {
    this.#sizeBytes += bytes.length;
    const { sizeBytesMax } = this.#options;
    if (this.#sizeBytes > sizeBytesMax) {
      throw new BlobError('too_large', `the blob is larger than the ${sizeBytesMax} bytes that are allowed`);
    }
    for (let from = 0; from < bytes.length; ) {
      const part = bytes.subarray(from, from + BUFFER_BYTES - this.#filled);
      this.#buffer.set(part, this.#filled);
      this.#filled += part.length;
      from += part.length;
      if (this.#filled === BUFFER_BYTES) this.#cut(CHUNK_BYTES_MAX);
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
    const part = { hash, bytes: bytes.length, storedBytes: stored.length };
    const chunk = { ...part, pack: this.#pack.id, offset: this.#pack.append(stored, [part]) };
    this.#own.set(key, chunk);
    this.#chunks.push(chunk);
  }
}
