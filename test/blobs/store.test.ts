// The blob store: what is under its final name is whole and verified, and a failure leaves nothing behind.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { asDigest } from '../../crdt/ids.ts';
import { createBlobStore } from '../../node/blobs/store.ts';

const digestOf = (bytes: Uint8Array) => asDigest(`sha256:${createHash('sha256').update(bytes).digest('hex')}`);

async function* chunks(...parts: (string | Uint8Array | Error)[]): AsyncGenerator<Uint8Array> {
  for (const part of parts) {
    if (part instanceof Error) throw part;
    yield typeof part === 'string' ? Buffer.from(part) : part;
  }
}

describe('blob store', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'peer-blobs-'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  const leftovers = () => readdirSync(join(dir, 'incoming'));

  it('names a blob by its SHA-256 and tells its size', async () => {
    const store = await createBlobStore({ dir });
    const stored = await store.put(chunks('hello ', 'world'), { sizeBytesMax: 100 });
    expect(stored).toEqual({ digest: digestOf(Buffer.from('hello world')), sizeBytes: 11 });
    expect((await buffer(store.read(stored.digest))).toString()).toBe('hello world');
    expect([store.has(stored.digest), store.sizeBytes(stored.digest), store.list()]).toEqual([
      true,
      11,
      [stored.digest],
    ]);
    expect(leftovers()).toEqual([]);
  });

  it('keeps large content whole across many chunks', async () => {
    const store = await createBlobStore({ dir });
    const parts = Array.from({ length: 40 }, (_, i) => Buffer.alloc(64 * 1024 + i, i));
    const { digest } = await store.put(chunks(...parts), { sizeBytesMax: 10_000_000 });
    expect(digest).toBe(digestOf(await buffer(store.read(digest))));
    expect(digest).toBe(digestOf(Buffer.concat(parts)));
  });

  it('finds its blobs again, and removes what an interrupted write left', async () => {
    const first = await createBlobStore({ dir });
    const { digest } = await first.put(chunks('kept'), { sizeBytesMax: 100 });
    writeFileSync(join(dir, 'incoming', 'half'), 'half');
    mkdirSync(join(dir, 'sha256', 'not-a-digest'));
    const again = await createBlobStore({ dir });
    expect(again.list()).toEqual([digest]);
    expect(again.sizeBytes(digest)).toBe(4);
    expect(leftovers()).toEqual([]);
  });

  it.each([
    ['too large', chunks('12345', '67890'), { sizeBytesMax: 9 }, { code: 'too_large' }],
    [
      'other than its digest',
      chunks('x'),
      { sizeBytesMax: 9, expected: digestOf(Buffer.from('y')) },
      { code: 'corrupt' },
    ],
    [
      'asked for by a malformed digest',
      chunks('x'),
      { sizeBytesMax: 9, expected: asDigest('sha256:../x') },
      { code: 'bad_digest' },
    ],
    [
      'cut off by its source',
      chunks('x', new Error('connection lost')),
      { sizeBytesMax: 9 },
      { message: 'connection lost' },
    ],
  ])('refuses a blob that is %s, and leaves nothing behind', async (_name, source, options, failure) => {
    const store = await createBlobStore({ dir });
    await expect(store.put(source, options)).rejects.toMatchObject(failure);
    expect([store.list(), leftovers(), readdirSync(join(dir, 'sha256'))]).toEqual([[], [], []]);
  });

  it('says disk_full when there is no space, and leaves nothing behind', async () => {
    const mount = join(dir, 'small');
    mkdirSync(mount);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', mount]);
    try {
      const store = await createBlobStore({ dir: mount });
      const big = Array.from({ length: 32 }, () => Buffer.alloc(64 * 1024));
      await expect(store.put(chunks(...big), { sizeBytesMax: 10_000_000 })).rejects.toMatchObject({
        code: 'disk_full',
      });
      expect(readdirSync(join(mount, 'incoming'))).toEqual([]);
      await store.put(chunks('fits'), { sizeBytesMax: 100 });
    } finally {
      execFileSync('umount', [mount]);
    }
  });

  it('stores the same content once, also when it comes twice at the same time', async () => {
    const store = await createBlobStore({ dir });
    let changes = 0;
    store.onChange(() => changes++);
    await Promise.all([1, 2, 3].map(() => store.put(chunks('same'), { sizeBytesMax: 100 })));
    expect(store.list()).toHaveLength(1);
    expect(readdirSync(join(dir, 'sha256'))).toHaveLength(1);
    expect(changes).toBe(1);
  });

  it('tells listeners of arrivals and removals; removing twice is harmless', async () => {
    const store = await createBlobStore({ dir });
    const seen: string[] = [];
    store.onChange(() => seen.push(store.list().join()));
    const { digest } = await store.put(chunks('a'), { sizeBytesMax: 100 });
    await store.remove(digest);
    await store.remove(digest);
    expect(seen).toEqual([digest, '']);
    expect(readdirSync(join(dir, 'sha256'))).toEqual([]);
    expect(() => store.sizeBytes(digest)).toThrow(/does not hold/);
    expect(() => store.read(digest)).toThrow(/does not hold/);
  });
});
