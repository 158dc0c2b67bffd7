// Gives out a blob's content, from its chunks. Decompression runs on the thread pool; no more than READ_BYTES_MAX and what
// it unpacks to are in memory.

import { type FileHandle, open, readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { zstdDecompress } from 'node:zlib';
import type { Digest } from '../../crdt/ids.ts';
import { BlobError } from './errors.ts';
import type { Layout, Stay } from './layout.ts';
import { READ_BYTES_MAX } from './limits.ts';
import { type Chunk, Manifest, type PackId } from './manifest.ts';

const unpack = promisify(zstdDecompress);
/** A sweep may move the chunks while they are read; so often in a row means that they are gone. */
const MOVES_MAX = 5;

export async function* readBlob(layout: Layout, digest: Digest, stay: Stay): AsyncGenerator<Uint8Array> {
  let next = 0;
  let moves = 0;
  for (;;) {
    const manifest = new Manifest(await readFile(layout.manifest(digest, stay)));
    if (manifest.digest !== digest) throw new BlobError('corrupt', `the manifest of ${digest} on this node is damaged`);
    let open: { id: PackId; file: FileHandle } | undefined;
    try {
      while (next < manifest.chunks) {
        const run = runAt(manifest, next);
        if (open?.id !== run.pack) {
          await open?.file.close();
          open = undefined;
          open = { id: run.pack, file: await openPack(layout, run.pack) };
        }
        const { buffer, bytesRead } = await open.file.read(Buffer.allocUnsafeSlow(run.bytes), 0, run.bytes, run.offset);
        if (bytesRead < run.bytes) throw new BlobError('corrupt', `the copy of ${digest} on this node is cut short`);
        for (const bytes of await Promise.all(run.chunks.map((chunk) => contentOf(buffer, chunk, run.offset)))) {
          yield bytes;
          next += 1;
        }
        moves = 0;
      }
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || ++moves > MOVES_MAX) throw error;
    } finally {
      await open?.file.close();
    }
  }
}

const openPack = (layout: Layout, id: PackId): Promise<FileHandle> => open(layout.pack(id), 'r');

type Run = { pack: PackId; offset: number; bytes: number; chunks: Chunk[] };

/** Chunks from `index` on that lie next to each other. */
function runAt(manifest: Manifest, index: number): Run {
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

async function contentOf(buffer: Buffer, chunk: Chunk, runOffset: number): Promise<Uint8Array> {
  const stored = buffer.subarray(chunk.offset - runOffset, chunk.offset - runOffset + chunk.storedBytes);
  return chunk.storedBytes === chunk.bytes ? stored : unpack(stored, { maxOutputLength: chunk.bytes });
}
