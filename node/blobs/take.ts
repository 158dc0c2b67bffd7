// Takes chunks that come by themselves, before the blob that is made of them, and makes that blob when all are there.
// For the worker only.

import type { Digest } from '../../crdt/ids.ts';
import type { Room } from '../ports/blobs.ts';
import { ChunkFrames } from './chunk-frames.ts';
import { BlobError } from './errors.ts';
import type { Stay } from './layout.ts';
import { type Chunk, encodeManifest, HASH_BYTES, Manifest } from './manifest.ts';
import { PackWriter } from './pack-writer.ts';
import { assertFits } from './room.ts';
import type { Shelf, Stored } from './shelf.ts';

const LISTED_BYTES = HASH_BYTES + 4;

export class Take {
  readonly #shelf: Shelf;
  readonly #pack: PackWriter;
  readonly #frames = new ChunkFrames();
  readonly #chunks: Chunk[] = [];
  readonly #bytesMax: number;
  readonly #room: Room | undefined;
  #bytes = 0;

  constructor(shelf: Shelf, options: { bytesMax: number; room?: Room }) {
    this.#shelf = shelf;
    this.#bytesMax = options.bytesMax;
    this.#room = options.room;
    this.#pack = new PackWriter(shelf.layout);
  }

  write(bytes: Uint8Array): void {
    this.#bytes += bytes.length;
    if (this.#bytes > this.#bytesMax) {
      throw new BlobError('too_large', `an upload has at most ${this.#bytesMax} bytes of chunks`);
    }
    for (const { hash, bytes: size, stored } of this.#frames.read(bytes)) {
      if (this.#shelf.find(hash.toString('latin1')) !== undefined) continue;
      assertFits(this.#pack.bytes + stored.length, this.#room);
      const part = { hash, bytes: size, storedBytes: stored.length };
      this.#chunks.push({ ...part, pack: this.#pack.id, offset: this.#pack.append(stored, [part]) });
    }
  }

  /** What has come whole stays, also when the end was cut off: it need not come again. */
  async end(): Promise<Stored> {
    const manifest = new Manifest(encodeManifest(this.#chunks));
    await this.#pack.seal();
    if (this.#chunks.length > 0) await this.#shelf.publish(manifest, 'passing');
    this.#frames.end();
    return { digest: manifest.digest, sizeBytes: manifest.sizeBytes };
  }

  discard(): void {
    this.#pack.discard();
  }
}

/** `pieces`: what came by itself before, and is all in this blob now. */
export type Assembled = Stored & { pieces: Digest[] };

function piecesOf(shelf: Shelf, whole: Manifest): Digest[] {
  const keys = new Set(Array.from({ length: whole.chunks }, (_, index) => whole.key(index)));
  const pieces: Digest[] = [];
  for (const [path, piece] of shelf.manifests()) {
    if (piece.digest === whole.digest || path !== shelf.layout.manifest(piece.digest, 'passing')) continue;
    if (everyChunk(piece, (key) => keys.has(key))) pieces.push(piece.digest);
  }
  return pieces;
}

function everyChunk(manifest: Manifest, holds: (key: string) => boolean): boolean {
  for (let index = 0; index < manifest.chunks; index++) if (!holds(manifest.key(index))) return false;
  return true;
}

/** Fails with BlobError `not_held` when a chunk is not here. */
export async function assemble(
  shelf: Shelf,
  asks: { chunks: Uint8Array; sizeBytesMax: number; stay: Stay },
): Promise<Assembled> {
  const listed = Buffer.from(asks.chunks.buffer, asks.chunks.byteOffset, asks.chunks.byteLength);
  if (listed.length % LISTED_BYTES !== 0) throw new BlobError('corrupt', 'the list of chunks is damaged: push again');
  const chunks: Chunk[] = [];
  let sizeBytes = 0;
  for (let at = 0; at < listed.length; at += LISTED_BYTES) {
    const hash = listed.subarray(at, at + HASH_BYTES);
    const held = shelf.find(hash.toString('latin1'));
    if (held === undefined || held.bytes !== listed.readUInt32BE(at + HASH_BYTES)) {
      throw new BlobError('not_held', 'part of the upload is not on this node any more: push again');
    }
    sizeBytes += held.bytes;
    if (sizeBytes > asks.sizeBytesMax) {
      throw new BlobError('too_large', `the upload has more than the ${asks.sizeBytesMax} bytes that are allowed`);
    }
    chunks.push({ ...held, hash });
  }
  const manifest = new Manifest(encodeManifest(chunks));
  if (!shelf.holds(manifest.digest, asks.stay)) await shelf.publish(manifest, asks.stay);
  return { digest: manifest.digest, sizeBytes, pieces: piecesOf(shelf, manifest) };
}
