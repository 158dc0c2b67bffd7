// Chunks on their way from a command line to a node: for each, its hash, its size (u32), the size that follows (u32),
// and that many bytes, compressed when there are fewer. Reads them as they come; holds one chunk at most.

import { openChunk } from './chunk-codec.ts';
import { BlobError } from './errors.ts';
import { CHUNK_BYTES_MAX } from './limits.ts';
import { HASH_BYTES } from './manifest.ts';

const HEAD_BYTES = HASH_BYTES + 8;

export type FramedChunk = { hash: Buffer; bytes: number; stored: Buffer };

export class ChunkFrames {
  #waiting = Buffer.alloc(0);

  /** The chunks that are whole now, each checked. Fails with BlobError `corrupt`. */
  *read(bytes: Uint8Array): Generator<FramedChunk> {
    this.#waiting = Buffer.concat([this.#waiting, bytes]);
    let from = 0;
    while (this.#waiting.length - from >= HEAD_BYTES) {
      const hash = this.#waiting.subarray(from, from + HASH_BYTES);
      const size = this.#waiting.readUInt32BE(from + HASH_BYTES);
      const storedBytes = this.#waiting.readUInt32BE(from + HASH_BYTES + 4);
      if (size === 0 || size > CHUNK_BYTES_MAX || storedBytes === 0 || storedBytes > size) throw damaged();
      const end = from + HEAD_BYTES + storedBytes;
      if (end > this.#waiting.length) break;
      const stored = this.#waiting.subarray(from + HEAD_BYTES, end);
      if (openChunk(stored, { hash, bytes: size }) === undefined) throw damaged();
      yield { hash: Buffer.from(hash), bytes: size, stored };
      from = end;
    }
    this.#waiting = Buffer.from(this.#waiting.subarray(from));
  }

  /** Fails when something is left over. */
  end(): void {
    if (this.#waiting.length > 0) throw new BlobError('corrupt', 'the upload is incomplete: push again');
  }
}

const damaged = (): BlobError => new BlobError('corrupt', 'the upload is damaged: push again');
