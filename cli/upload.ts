// Sends a folder to a node so that only what the node does not have travels: cuts the archive into chunks, asks which
// of them are missing, sends those, and returns the list that a push names its source by. One batch is in memory at a
// time.

import { createHash } from 'node:crypto';
import type { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { constants, zstdCompress } from 'node:zlib';
import { chunkLength } from '../node/blobs/chunker.ts';
import { CHUNK_BYTES_MAX } from '../node/blobs/limits.ts';
import type { Client } from './client.ts';
import { CliError } from './errors.ts';

/** Asked about and sent together; a cut upload begins again at its last batch. */
const BATCH_BYTES = 8 * 1024 * 1024;
/** Tries of one batch, with a pause between them: a connection may be lost for a moment. */
const ATTEMPTS_MAX = 3;
const RETRY_DELAY_MS = 500;
/** Chunks that are compressed at once. */
const COMPRESS_PARALLEL = 4;
const compress = promisify(zstdCompress);
const COMPRESSION = { params: { [constants.ZSTD_c_compressionLevel]: 3 } };

type Chunk = { hash: Buffer; bytes: Buffer };
export type Uploaded = { chunkList: Buffer; totalBytes: number; sentBytes: number };

/** `onProgress` is told of every batch: bytes of the archive so far, and bytes that were sent. */
export async function uploadSource(
  client: Client,
  app: string,
  archive: Readable,
  onProgress: (totalBytes: number, sentBytes: number) => void,
): Promise<Uploaded> {
  const path = `/v1/apps/${app}/source`;
  const listed: Buffer[] = [];
  let totalBytes = 0;
  let sentBytes = 0;
  for await (const batch of batchesOf(archive)) {
    const { missing } = await retried(() =>
      client.upload<{ missing: number[] }>(`${path}/missing`, Buffer.concat(batch.map(({ hash }) => hash))),
    );
    if (missing.length > 0) {
      const frames = await framesOf(missing.flatMap((index) => batch[index] ?? []));
      await retried(() => client.upload(`${path}/chunks`, frames));
      sentBytes += frames.length;
    }
    for (const { hash, bytes } of batch) {
      const size = Buffer.alloc(4);
      size.writeUInt32BE(bytes.length);
      listed.push(hash, size);
      totalBytes += bytes.length;
    }
    onProgress(totalBytes, sentBytes);
  }
  return { chunkList: Buffer.concat(listed), totalBytes, sentBytes };
}

async function* batchesOf(archive: Readable): AsyncGenerator<Chunk[]> {
  let batch: Chunk[] = [];
  let batchBytes = 0;
  for await (const bytes of chunksOf(archive)) {
    batch.push({ hash: createHash('sha256').update(bytes).digest(), bytes });
    batchBytes += bytes.length;
    if (batchBytes < BATCH_BYTES) continue;
    yield batch;
    batch = [];
    batchBytes = 0;
  }
  if (batch.length > 0) yield batch;
}

/** Cut as the blob store cuts, so that what it has from elsewhere counts too. */
async function* chunksOf(archive: Readable): AsyncGenerator<Buffer> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const part of archive) {
    rest = rest.length === 0 ? (part as Buffer) : Buffer.concat([rest, part as Buffer]);
    let from = 0;
    while (rest.length - from >= CHUNK_BYTES_MAX) {
      const length = chunkLength(rest, from, rest.length);
      yield rest.subarray(from, from + length);
      from += length;
    }
    rest = rest.subarray(from);
  }
  for (let from = 0; from < rest.length; ) {
    const length = chunkLength(rest, from, rest.length);
    yield rest.subarray(from, from + length);
    from += length;
  }
}

/** For each chunk: hash, size (u32), bytes that follow (u32), and those, compressed when that makes them fewer. */
async function framesOf(chunks: readonly Chunk[]): Promise<Buffer> {
  const frames: Buffer[] = [];
  for (let at = 0; at < chunks.length; at += COMPRESS_PARALLEL) {
    const some = chunks.slice(at, at + COMPRESS_PARALLEL);
    const packed = await Promise.all(some.map(({ bytes }) => compress(bytes, COMPRESSION)));
    for (const [index, { hash, bytes }] of some.entries()) {
      const stored = packed[index]!.length < bytes.length ? packed[index]! : bytes;
      const sizes = Buffer.alloc(8);
      sizes.writeUInt32BE(bytes.length);
      sizes.writeUInt32BE(stored.length, 4);
      frames.push(hash, sizes, stored);
    }
  }
  return Buffer.concat(frames);
}

async function retried<T>(attempt: () => Promise<T>): Promise<T> {
  for (let tried = 1; ; tried++) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof CliError) || error.code !== 'connection_lost' || tried === ATTEMPTS_MAX) throw error;
      await new Promise((resolve) => setTimeout(resolve, RETRY_DELAY_MS));
    }
  }
}
