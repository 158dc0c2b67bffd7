// The blob store: what a manifest names is whole and verified, content is stored once, and a failure leaves nothing
// behind.

import { execFileSync, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { open as openFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { asDigest, type Digest } from '../../crdt/ids.ts';
import { createBlobStore, type LocalBlobStore } from '../../node/blobs/store.ts';
import type { BlobRange } from '../../node/ports/blobs.ts';

const KiB = 1024;
const MiB = 1024 * KiB;
const sizeBytesMax = 64 * MiB;
const within = { timeout: 20_000, interval: 10 };

async function* chunks(...parts: (string | Uint8Array | Error)[]): AsyncGenerator<Uint8Array> {
  for (const part of parts) {
    if (part instanceof Error) throw part;
    yield typeof part === 'string' ? Buffer.from(part) : part;
  }
}

async function* parts(...given: (Uint8Array | BlobRange)[]): AsyncGenerator<Uint8Array | BlobRange> {
  yield* given;
}

describe('blob store', () => {
  let dir: string;
  const stores: LocalBlobStore[] = [];
  const open = async (): Promise<LocalBlobStore> => {
    const store = await createBlobStore({ dir });
    stores.push(store);
    return store;
  };
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'peer-blobs-'));
  });
  afterEach(async () => {
    await Promise.all(stores.splice(0).map((store) => store.close()));
    rmSync(dir, { recursive: true, force: true });
  });

  const files = (name: string) => readdirSync(join(dir, name));
  const packedBytes = () => files('packs').reduce((sum, name) => sum + statSync(join(dir, 'packs', name)).size, 0);
  const contentOf = (store: LocalBlobStore, digest: Digest) => buffer(store.read(digest));

  it('gives back what was put, in one piece, and tells its size', async () => {
    const store = await open();
    const stored = await store.put(chunks('hello ', 'world'), { sizeBytesMax: 100 });
    expect(stored).toEqual({ digest: expect.stringMatching(/^sha256:[0-9a-f]{64}$/), sizeBytes: 11 });
    expect((await contentOf(store, stored.digest)).toString()).toBe('hello world');
    expect([store.has(stored.digest), store.sizeBytes(stored.digest), store.list()]).toEqual([
      true,
      11,
      [stored.digest],
    ]);
    expect(files('incoming')).toEqual([]);
  });

  describe('pours a blob into a pipe', () => {
    const content = Buffer.concat([randomBytes(3 * MiB), Buffer.alloc(2 * MiB, 'text ')]);
    let store: LocalBlobStore;
    let digest: Digest;
    let pipe: string;
    beforeEach(async () => {
      store = await open();
      ({ digest } = await store.put(chunks(content), { sizeBytesMax }));
      pipe = join(dir, 'pipe');
      execFileSync('mkfifo', [pipe]);
    });
    /** A program that reads it; what it printed. */
    const reader = (command: string) => {
      const child = spawn('sh', ['-c', `exec <"$0"; ${command}`, pipe], { stdio: ['ignore', 'pipe', 'inherit'] });
      return { child, said: buffer(child.stdout) };
    };
    /** With a reader there, as it has to be: the test's own, until it closes `both`. */
    const pour = async (options: { bytesMax?: number; signal?: AbortSignal } = {}) => {
      const both = await openFile(pipe, 'r+');
      try {
        const { done } = await store.pour(digest, { into: pipe, bytesMax: sizeBytesMax, ...options });
        return { done, both };
      } catch (error) {
        await both.close();
        throw error;
      }
    };

    it.each([
      ['all of it', sizeBytesMax, content.length],
      ['no more than it may have', 3 * MiB + 5, 3 * MiB + 5],
    ])('%s', async (_what, bytesMax, length) => {
      const { said } = reader('cat');
      const { done, both } = await pour({ bytesMax });
      await done;
      await both.close();
      expect((await said).equals(content.subarray(0, length))).toBe(true);
    });

    it("and closes no descriptor that is another's by then, when its thread ends", async () => {
      const { said } = reader('cat');
      const { done, both } = await pour();
      await done;
      await both.close();
      await said;
      // The pipe's number is the next that is given out.
      const others = await Promise.all(Array.from({ length: 20 }, () => openFile(pipe, 'r+')));
      await store.close();
      for (const other of others) expect((await other.stat()).isFIFO()).toBe(true);
      for (const other of others) await other.close();
    });

    it('that is not held: fails at once', async () => {
      await store.remove(digest);
      await expect(pour()).rejects.toMatchObject({ code: 'not_held' });
    });

    it('whose reader goes: says so, and goes on with other work', async () => {
      const { child } = reader('head -c 100 >/dev/null');
      const { done, both } = await pour();
      await once(child, 'exit');
      await both.close();
      await expect(done).rejects.toThrow(/EPIPE/);
      expect((await store.put(chunks('x'), { sizeBytesMax })).sizeBytes).toBe(1);
    });

    it('whose reader does not read: holds up nothing else, until it is given up', async () => {
      const { child } = reader('exec sleep 1000');
      const stop = new AbortController();
      const { done, both } = await pour({ signal: stop.signal });
      expect((await store.put(chunks('x'), { sizeBytesMax })).sizeBytes).toBe(1);
      stop.abort();
      await expect(done).rejects.toThrow();
      await both.close();
      child.kill();
    });
  });

  it.each<[string, (size: number) => [from: number, to: number]]>([
    ['all of a blob', (size) => [0, size]],
    ['its middle', (size) => [1_234_567, size - 654_321]],
    ['its beginning', () => [0, 2 * MiB]],
    ['its end', (size) => [size - 700_001, size]],
    ['less than a chunk', () => [100_000, 100_100]],
    ['nothing', () => [5, 5]],
  ])('gives content the same digest whether %s comes as bytes or as a range of the blob', async (_what, rangeOf) => {
    const store = await open();
    const content = Buffer.concat([randomBytes(3 * MiB), Buffer.alloc(2 * MiB, 'text '), randomBytes(3 * MiB)]);
    const { digest, sizeBytes } = await store.put(chunks(content), { sizeBytesMax });
    const [from, to] = rangeOf(sizeBytes);
    const [before, after] = [randomBytes(200_123), randomBytes(100_001)];
    const stored = await store.put(parts(before, { digest, from, to }, after), { sizeBytesMax });
    const whole = Buffer.concat([before, content.subarray(from, to), after]);
    expect((await contentOf(store, stored.digest)).equals(whole)).toBe(true);
    expect(await store.put(chunks(whole), { sizeBytesMax })).toEqual(stored);
    // Neither is kept by the other.
    await store.remove(digest);
    await store.sweep();
    expect((await contentOf(store, stored.digest)).equals(whole)).toBe(true);
  });

  it.each<[string, (digest: Digest) => BlobRange, number, string]>([
    ['is not here', () => ({ digest: asDigest(`sha256:${'0'.repeat(64)}`), from: 0, to: 1 }), sizeBytesMax, 'not_held'],
    ['ends after the blob', (digest) => ({ digest, from: 0, to: 6 }), sizeBytesMax, 'not_held'],
    ['ends before it begins', (digest) => ({ digest, from: 3, to: 2 }), sizeBytesMax, 'not_held'],
    ['makes the blob too large', (digest) => ({ digest, from: 0, to: 5 }), 4, 'too_large'],
  ])('refuses a range that %s, and leaves nothing', async (_what, range, bytesMax, code) => {
    const store = await open();
    const { digest } = await store.put(chunks('hello'), { sizeBytesMax: 100 });
    await expect(store.put(parts(range(digest)), { sizeBytesMax: bytesMax })).rejects.toMatchObject({ code });
    expect(store.list()).toEqual([digest]);
    expect(files('incoming')).toEqual([]);
  });

  it('names content by a digest of the hashes of its chunks, which anyone can compute', async () => {
    const store = await open();
    const { digest } = await store.put(chunks('hello'), { sizeBytesMax: 100 });
    const listed = Buffer.concat([createHash('sha256').update('hello').digest(), Buffer.from([0, 0, 0, 5])]);
    expect(digest).toBe(`sha256:${createHash('sha256').update('peer-blob/1\n').update(listed).digest('hex')}`);
  });

  it.each<[string, Buffer]>([
    ['nothing', Buffer.alloc(0)],
    ['noise', randomBytes(5 * MiB + 17)],
    ['one repeated byte', Buffer.alloc(3 * MiB, 'x')],
    ['text', Buffer.from(Array.from({ length: 100_000 }, (_, n) => `line ${n}\n`).join(''))],
  ])('keeps %s whole, however it comes in', async (_name, content) => {
    const store = await open();
    const parts = Array.from({ length: Math.ceil(content.length / 70_001) }, (_, n) =>
      content.subarray(n * 70_001, (n + 1) * 70_001),
    );
    const one = await store.put(chunks(...parts), { sizeBytesMax });
    const other = await store.put(chunks(content), { sizeBytesMax });
    expect(other).toEqual(one);
    expect((await contentOf(store, one.digest)).equals(content)).toBe(true);
  });

  it('stores what two blobs have in common once, wherever it is in them', async () => {
    const store = await open();
    const common = randomBytes(8 * MiB);
    await store.put(chunks(common), { sizeBytesMax });
    const before = packedBytes();
    const changed = Buffer.concat([
      randomBytes(1000),
      common.subarray(0, 4 * MiB),
      Buffer.from('one line more\n'),
      common.subarray(4 * MiB),
    ]);
    const { digest } = await store.put(chunks(changed), { sizeBytesMax });
    expect((packedBytes() - before) / common.length).toBeLessThan(0.1);
    expect((await contentOf(store, digest)).equals(changed)).toBe(true);
  });

  it('stores what can be compressed in less', async () => {
    const store = await open();
    await store.put(chunks(Buffer.from(Array.from({ length: 200_000 }, (_, n) => `line ${n}\n`).join(''))), {
      sizeBytesMax,
    });
    expect(packedBytes()).toBeLessThan(1 * MiB);
  });

  it('finds its blobs again, and removes what an interrupted write left', async () => {
    const { digest } = await (await open()).put(chunks('kept'), { sizeBytesMax: 100 });
    writeFileSync(join(dir, 'incoming', 'half.pack'), 'half');
    mkdirSync(join(dir, 'manifests', 'not-a-digest'));
    const again = await open();
    expect(again.list()).toEqual([digest]);
    expect(again.sizeBytes(digest)).toBe(4);
    expect((await contentOf(again, digest)).toString()).toBe('kept');
    expect(files('incoming')).toEqual([]);
  });

  it.each<[string, () => AsyncGenerator<Uint8Array>, { sizeBytesMax: number; expected?: Digest }, object]>([
    ['too large', () => chunks('12345', '67890'), { sizeBytesMax: 9 }, { code: 'too_large' }],
    [
      'other than its digest',
      () => chunks('x'),
      { sizeBytesMax: 9, expected: asDigest(`sha256:${'0'.repeat(64)}`) },
      { code: 'corrupt' },
    ],
    [
      'asked for by a malformed digest',
      () => chunks('x'),
      { sizeBytesMax: 9, expected: asDigest('sha256:../x') },
      { code: 'bad_digest' },
    ],
    [
      'cut off by its source',
      () => chunks(randomBytes(2 * MiB), new Error('connection lost')),
      { sizeBytesMax },
      { message: 'connection lost' },
    ],
  ])('refuses a blob that is %s, and leaves nothing behind', async (_name, source, options, failure) => {
    const store = await open();
    await expect(store.put(source(), options)).rejects.toMatchObject(failure);
    expect([store.list(), files('incoming'), files('packs'), files('manifests')]).toEqual([[], [], [], []]);
  });

  it('weighs what each blob would free of those that share content, and frees it', async () => {
    const store = await open();
    const [shared, own] = [randomBytes(2 * MiB), randomBytes(1 * MiB)];
    const first = await store.put(chunks(shared), { sizeBytesMax });
    const second = await store.put(chunks(shared, own), { sizeBytesMax });
    const candidates = [first, second].map(({ digest }) => ({ digest, stay: 'kept' as const }));
    const { usedBytes, unneededBytes, freesBytes } = await store.weigh(candidates);
    expect(unneededBytes).toBe(0);
    expect(usedBytes).toBeGreaterThan(packedBytes());
    // But for the chunk at the seam.
    expect(freesBytes[0]).toBeLessThanOrEqual(256 * KiB);
    expect(freesBytes[0]! + freesBytes[1]!).toBe(packedBytes());
    await store.evict(candidates);
    expect([files('manifests'), files('packs')]).toEqual([[], []]);
  });

  it('refuses what has no room, in the words of who decides, and leaves nothing of it behind', async () => {
    const room = { bytes: 1 * MiB, refusal: 'it does not fit: sell something' };
    const store = await createBlobStore({ dir, room: () => room });
    stores.push(store);
    const content = randomBytes(1.5 * MiB);
    const refused = { code: 'over_budget', message: room.refusal };
    await expect(store.put(chunks(content), { sizeBytesMax })).rejects.toMatchObject(refused);
    expect([files('incoming'), files('packs')]).toEqual([[], []]);
    room.bytes = 2 * MiB;
    await store.put(chunks(content), { sizeBytesMax });
    // What is here already needs no room.
    room.bytes = 0;
    await store.put(chunks(content), { sizeBytesMax });
  });

  it('says disk_full when there is no space, and leaves nothing behind', async () => {
    const mount = join(dir, 'small');
    mkdirSync(mount);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', mount]);
    const store = await createBlobStore({ dir: mount });
    try {
      const big = Array.from({ length: 32 }, () => randomBytes(64 * KiB));
      await expect(store.put(chunks(...big), { sizeBytesMax })).rejects.toMatchObject({ code: 'disk_full' });
      expect(readdirSync(join(mount, 'incoming'))).toEqual([]);
      await store.put(chunks('fits'), { sizeBytesMax: 100 });
    } finally {
      await store.close();
      execFileSync('umount', [mount]);
    }
  });

  it('shows the same content once, also when it comes twice at the same time', async () => {
    const store = await open();
    let changes = 0;
    store.onChange(() => changes++);
    await Promise.all([1, 2, 3].map(() => store.put(chunks('same'), { sizeBytesMax: 100 })));
    expect(store.list()).toHaveLength(1);
    expect(files('manifests')).toHaveLength(1);
    expect(changes).toBe(1);
  });

  it('tells listeners of arrivals and removals; removing twice is harmless', async () => {
    const store = await open();
    const seen: string[] = [];
    store.onChange(() => seen.push(store.list().join()));
    const { digest } = await store.put(chunks('a'), { sizeBytesMax: 100 });
    await store.remove(digest);
    await store.remove(digest);
    expect(seen).toEqual([digest, '']);
    await expect.poll(() => files('packs'), within).toEqual([]);
    expect(() => store.sizeBytes(digest)).toThrow(/does not hold/);
    expect(() => store.read(digest)).toThrow(/does not hold/);
  });

  it('frees the chunks that no blob needs any more, and keeps those that one does', async () => {
    const store = await open();
    const [a, b, c] = [randomBytes(4 * MiB), randomBytes(2 * MiB), randomBytes(2 * MiB)];
    const first = await store.put(chunks(a, b), { sizeBytesMax });
    const second = await store.put(chunks(b, c), { sizeBytesMax });
    await store.remove(first.digest);
    await store.sweep();
    expect(packedBytes() / MiB).toBeLessThan(4.5);
    expect((await contentOf(store, second.digest)).equals(Buffer.concat([b, c]))).toBe(true);
    const again = await open();
    expect((await contentOf(again, second.digest)).equals(Buffer.concat([b, c]))).toBe(true);
  });

  it('goes on giving out a blob whose chunks are moved meanwhile', async () => {
    const store = await open();
    const [a, b] = [randomBytes(12 * MiB), randomBytes(6 * MiB)];
    const first = await store.put(chunks(a, b), { sizeBytesMax });
    const second = await store.put(chunks(b), { sizeBytesMax });
    const reading = store.read(second.digest)[Symbol.asyncIterator]();
    const parts = [(await reading.next()).value as Uint8Array];
    await store.remove(first.digest);
    await store.sweep();
    for (let next = await reading.next(); !next.done; next = await reading.next()) parts.push(next.value);
    expect(Buffer.concat(parts).equals(b)).toBe(true);
  });

  it('takes a manifest that is damaged on disk for no blob', async () => {
    const store = await open();
    const { digest } = await store.put(chunks(randomBytes(MiB)), { sizeBytesMax });
    const path = join(dir, 'manifests', digest.slice('sha256:'.length));
    const bytes = readFileSync(path);
    bytes[60]! ^= 1;
    writeFileSync(path, bytes);
    await expect(contentOf(store, digest)).rejects.toMatchObject({ code: 'corrupt' });
  });
});
