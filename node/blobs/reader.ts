// Gives out a blob's content, from its chunks. Decompression runs on the thread pool; twice READ_BYTES_MAX and
// what that unpacks to are in memory at most.

import { type FileHandle, open, readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { zstdDecompress } from 'node:zlib';
import type { Digest } from '../../crdt/ids.ts';
import { BlobError } from './errors.ts';
import type { Layout, Stay } from './layout.ts';
import { type Chunk, Manifest, type PackId, type Run, runAt } from './manifest.ts';

const unpack = promisify(zstdDecompress);
/** The least that zlib takes. */
const OUTPUT_BYTES_MIN = 64;
/** A sweep may move the chunks while they are read; so often in a row means that they are gone. */
const MOVES_MAX = 5;

export async function* readBlob(layout: Layout, digest: Digest, stay: Stay): AsyncGenerator<Uint8Array> {
  let next = 0;
  let moves = 0;
  for (;;) {
    const manifest = new Manifest(await readFile(layout.manifest(digest, stay)));
    if (manifest.digest !== digest) throw new BlobError('corrupt', `the manifest of ${digest} on this node is damaged`);
    const packs = new OpenPack(layout);
    let ahead: Promise<Uint8Array[]> | undefined;
    try {
      while (next < manifest.chunks) {
        const run = runAt(manifest, next);
        const contents = await (ahead ?? contentsOf(packs, run, digest));
        const after = next + run.chunks.length;
        // Unpacked while the reader is busy with what is given out now.
        ahead = after < manifest.chunks ? contentsOf(packs, runAt(manifest, after), digest) : undefined;
        ahead?.catch(() => {});
        for (const bytes of contents) {
          yield bytes;
          next += 1;
        }
        moves = 0;
      }
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || ++moves > MOVES_MAX) throw error;
    } finally {
      await ahead?.catch(() => {});
      await packs.close();
    }
  }
}

/** One pack at a time. */
class OpenPack {
  readonly #layout: Layout;
  #open: { id: PackId; file: FileHandle } | undefined;

  constructor(layout: Layout) {
    this.#layout = layout;
  }

  async of(id: PackId): Promise<FileHandle> {
    if (this.#open?.id !== id) {
      await this.close();
      this.#open = { id, file: await open(this.#layout.pack(id), 'r') };
    }
    return this.#open.file;
  }

  async close(): Promise<void> {
    const file = this.#open?.file;
    this.#open = undefined;
    await file?.close();
  }
}

async function contentsOf(packs: OpenPack, run: Run, digest: Digest): Promise<Uint8Array[]> {
  const file = await packs.of(run.pack);
  const { buffer, bytesRead } = await file.read(Buffer.allocUnsafeSlow(run.bytes), 0, run.bytes, run.offset);
  if (bytesRead < run.bytes) throw new BlobError('corrupt', `the copy of ${digest} on this node is cut short`);
  return Promise.all(run.chunks.map((chunk) => contentOf(buffer, chunk, run.offset)));
}

async function contentOf(buffer: Buffer, chunk: Chunk, runOffset: number): Promise<Uint8Array> {
  const stored = buffer.subarray(chunk.offset - runOffset, chunk.offset - runOffset + chunk.storedBytes);
  if (chunk.storedBytes === chunk.bytes) return stored;
  // Room for all of it at once: otherwise it would be put together from pieces.
  return unpack(stored, { maxOutputLength: chunk.bytes, chunkSize: Math.max(OUTPUT_BYTES_MIN, chunk.bytes) });
}
