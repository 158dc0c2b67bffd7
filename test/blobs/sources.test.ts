// What a push sends: chunks that the node asked for, each checked, and the blob they make. What came whole need not
// come again.

import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { zstdCompressSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createBlobStore, type LocalBlobStore } from '../../node/blobs/store.ts';

const KiB = 1024;
const bytesMax = 1024 * KiB;
const sizeBytesMax = 10 * bytesMax;
const within = { timeout: 20_000, interval: 10 };

const hashOf = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest();
const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};
const frame = (bytes: Buffer, stored = bytes, hash = hashOf(bytes)) =>
  Buffer.concat([hash, u32(bytes.length), u32(stored.length), stored]);
const listOf = (...chunks: Buffer[]) => Buffer.concat(chunks.flatMap((bytes) => [hashOf(bytes), u32(bytes.length)]));
const hashesOf = (...chunks: Buffer[]) => Buffer.concat(chunks.map(hashOf));

async function* sent(...parts: (Uint8Array | Error)[]): AsyncGenerator<Uint8Array> {
  for (const part of parts) {
    if (part instanceof Error) throw part;
    yield part;
  }
}

describe('a source', () => {
  let dir: string;
  let store: LocalBlobStore;
  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'peer-sources-'));
    store = await createBlobStore({ dir });
  });
  afterEach(async () => {
    await store.close();
    rmSync(dir, { recursive: true, force: true });
  });

  it('is made of chunks that were sent and of those that were here', async () => {
    const [here, one, two] = [randomBytes(20 * KiB), randomBytes(30 * KiB), Buffer.alloc(40 * KiB, 'compressible ')];
    await store.put(sent(here), { sizeBytesMax });
    expect(await store.sources.missing(hashesOf(here, one, two))).toEqual([1, 2]);
    const frames = Buffer.concat([frame(one), frame(two, zstdCompressSync(two))]);
    await store.sources.take(sent(frames.subarray(0, 100), frames.subarray(100, 31_000), frames.subarray(31_000)), {
      bytesMax,
    });
    expect(await store.sources.missing(hashesOf(here, one, two))).toEqual([]);
    const { digest, sizeBytes } = await store.sources.assemble(listOf(two, here, one), { sizeBytesMax });
    const content = await buffer(store.sources.read(digest));
    expect(content.equals(Buffer.concat([two, here, one]))).toBe(true);
    expect(sizeBytes).toBe(content.length);
  });

  it('is not listed among the blobs that other nodes are told of', async () => {
    const one = randomBytes(1000);
    await store.sources.take(sent(frame(one)), { bytesMax });
    const { digest } = await store.sources.assemble(listOf(one), { sizeBytesMax });
    expect([store.list(), store.has(digest), store.sources.has(digest)]).toEqual([[], false, true]);
  });

  it('keeps what had come whole when an upload is cut off', async () => {
    const [one, two] = [randomBytes(50 * KiB), randomBytes(50 * KiB)];
    const cut = store.sources.take(sent(frame(one), frame(two).subarray(0, 1000), new Error('connection lost')), {
      bytesMax,
    });
    await expect(cut).rejects.toThrow('connection lost');
    expect(await store.sources.missing(hashesOf(one, two))).toEqual([1]);
  });

  it.each<[string, () => Buffer, string]>([
    [
      'another content than its hash promises',
      () => frame(randomBytes(100), undefined, hashOf(Buffer.from('x'))),
      'corrupt',
    ],
    [
      'a size that is wrong',
      () => Buffer.concat([hashOf(Buffer.from('x')), u32(2), u32(1), Buffer.from('x')]),
      'corrupt',
    ],
    [
      'a bomb',
      () => frame(Buffer.alloc(100), zstdCompressSync(Buffer.alloc(64 * 1024 * KiB)).subarray(0, 99)),
      'corrupt',
    ],
    ['a chunk that is too large', () => frame(Buffer.alloc(300 * KiB, 'x')), 'corrupt'],
    ['a chunk of nothing', () => frame(Buffer.alloc(0)), 'corrupt'],
    ['half a chunk', () => frame(randomBytes(1000)).subarray(0, 500), 'corrupt'],
    [
      'more than is allowed',
      () => Buffer.concat(Array.from({ length: 20 }, () => frame(randomBytes(100 * KiB)))),
      'too_large',
    ],
  ])('refuses %s', async (_name, bytes, code) => {
    await expect(store.sources.take(sent(bytes()), { bytesMax })).rejects.toMatchObject({ code });
  });

  it('refuses a list that names what is not here, a wrong size, too much, or is damaged', async () => {
    const one = randomBytes(1000);
    await store.sources.take(sent(frame(one)), { bytesMax });
    const assemble = (list: Buffer, max = sizeBytesMax) => store.sources.assemble(list, { sizeBytesMax: max });
    await expect(assemble(listOf(one, randomBytes(10)))).rejects.toMatchObject({ code: 'not_held' });
    await expect(assemble(Buffer.concat([hashOf(one), u32(999)]))).rejects.toMatchObject({ code: 'not_held' });
    await expect(assemble(listOf(one, one), 1999)).rejects.toMatchObject({ code: 'too_large' });
    await expect(assemble(listOf(one).subarray(1))).rejects.toMatchObject({ code: 'corrupt' });
  });

  it('makes room for newer ones, the oldest first', async () => {
    const small = await createBlobStore({ dir: join(dir, 'small'), passingBytesMax: 100 * KiB });
    try {
      const [one, two, three] = [randomBytes(50 * KiB), randomBytes(50 * KiB), randomBytes(50 * KiB)];
      for (const chunk of [one, two, three]) await small.sources.take(sent(frame(chunk)), { bytesMax });
      await expect.poll(() => small.sources.missing(hashesOf(one, two, three)), within).toEqual([0]);
    } finally {
      await small.close();
    }
  });

  it('goes, with its chunks, when it is removed', async () => {
    const one = randomBytes(50 * KiB);
    await store.sources.take(sent(frame(one)), { bytesMax });
    for (const digest of store.sources.list()) await store.sources.remove(digest);
    await expect.poll(() => store.sources.missing(hashesOf(one)), within).toEqual([0]);
  });
});
