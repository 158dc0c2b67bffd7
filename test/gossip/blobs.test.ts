import { randomBytes } from 'node:crypto';
import { afterEach, describe, expect, test } from 'vitest';
import type { Digest } from '../../crdt/ids.ts';
import { allConnected, TestCluster, type TestNode } from './cluster.ts';
import { CLUSTER } from './fixtures.ts';
import { type RawPeer, rawPeer } from './raw-peer.ts';
import { digestOf } from './twins.ts';

const cluster = new TestCluster();
const raws: RawPeer[] = [];
afterEach(async () => {
  await Promise.all(raws.splice(0).map((raw) => raw.stop()));
  await cluster.close();
});
const MiB = 1024 * 1024;
const sizeBytesMax = 64 * MiB;
const within = { timeout: 10_000, interval: 10 };

describe('fetchBlob', () => {
  test('brings a blob from its holder, whole', async () => {
    const [a, b] = await cluster.connected(2);
    const bytes = randomBytes(5 * MiB + 123);
    const digest = b!.blobs.plant(bytes);
    await a!.gossip.fetchBlob(digest, { sizeBytesMax, holders: [b!.id] });
    expect(a!.blobs.list()).toEqual([digest]);
    expect(a!.blobs.sizeBytes(digest)).toBe(bytes.byteLength);
    const empty = b!.blobs.plant(new Uint8Array(0));
    await a!.gossip.fetchBlob(empty, { sizeBytesMax, holders: [b!.id] });
    expect(a!.blobs.sizeBytes(empty)).toBe(0);
  });

  test('does nothing when the blob is there', async () => {
    const [a] = await cluster.connected(2);
    const digest = a!.blobs.plant(randomBytes(10));
    await a!.gossip.fetchBlob(digest, { sizeBytesMax, holders: [] });
    expect(a!.blobs.puts).toBe(0);
  });

  test('passes over a holder that lost it, one that sends something else and one that is down', async () => {
    const [a, lost, corrupt, down, good] = await cluster.connected(5);
    const bytes = randomBytes(MiB);
    const digest = digestOf(bytes);
    corrupt!.blobs.plant(randomBytes(MiB), digest);
    await down!.gossip.stop();
    const holders = [lost!.id, corrupt!.id, down!.id];
    await expect(a!.gossip.fetchBlob(digest, { sizeBytesMax, holders })).rejects.toMatchObject({
      code: 'blob_unavailable',
      message: expect.stringContaining('does not have it'),
    });
    expect([a!.blobs.list(), a!.blobs.leftovers()]).toEqual([[], []]);
    good!.blobs.plant(bytes);
    await a!.gossip.fetchBlob(digest, { sizeBytesMax, holders: [...holders, good!.id] });
    expect(a!.blobs.has(digest)).toBe(true);
  });

  test('goes on to the next holder when one is cut off half-way', async () => {
    const [a, good] = await cluster.connected(2);
    const bytes = randomBytes(3 * MiB);
    const digest = good!.blobs.plant(bytes);
    const half = await blobServerThat(async (stream) => {
      stream.send(frame({ sizeBytes: bytes.byteLength }));
      stream.send(bytes.subarray(0, 100_000));
      await stream.close();
    });
    await admitAlso(a!, [good!], half);
    // Only the bad one first: a good answer would hide it.
    await expect(a!.gossip.fetchBlob(digest, { sizeBytesMax, holders: [half.id] })).rejects.toMatchObject({
      code: 'blob_unavailable',
    });
    expect(a!.blobs.leftovers()).toEqual([]);
    await a!.gossip.fetchBlob(digest, { sizeBytesMax, holders: [half.id, good!.id] });
    expect(a!.blobs.has(digest)).toBe(true);
  });

  test.each([
    ['a size beyond what was asked for', (): Uint8Array => frame({ sizeBytes: sizeBytesMax + 1 })],
    ['a negative size', (): Uint8Array => frame({ sizeBytes: -1 })],
    ['no JSON', (): Uint8Array => Uint8Array.of(0, 0, 0, 1, 0x7b)],
    ['an endless header', (): Uint8Array => Uint8Array.of(0x7f, 0xff, 0xff, 0xff)],
  ])('refuses a holder that answers with %s', async (_, answer) => {
    const [a, good] = await cluster.connected(2);
    const bad = await blobServerThat(async (stream) => {
      stream.send(answer());
    });
    await admitAlso(a!, [good!], bad);
    await expect(
      a!.gossip.fetchBlob(digestOf(randomBytes(8)), { sizeBytesMax, holders: [bad.id] }),
    ).rejects.toMatchObject({ code: 'blob_unavailable' });
    expect(a!.blobs.leftovers()).toEqual([]);
  });

  test('shares one download among all who ask, and cancels it only when the last gives up', async () => {
    const [a, b] = await cluster.connected(2);
    const bytes = randomBytes(8 * MiB);
    const digest = b!.blobs.plant(bytes);
    const impatient = new AbortController();
    const first = a!.gossip.fetchBlob(digest, { sizeBytesMax, holders: [b!.id], signal: impatient.signal });
    const others = Array.from({ length: 10 }, () => a!.gossip.fetchBlob(digest, { sizeBytesMax, holders: [b!.id] }));
    impatient.abort();
    await expect(first).rejects.toMatchObject({ code: 'aborted' });
    await Promise.all(others);
    expect(a!.blobs.puts).toBe(1);
    expect(a!.blobs.has(digest)).toBe(true);
  });

  test('given up by everyone, it leaves nothing behind and tells the holder to stop', async () => {
    const [a, good] = await cluster.connected(2);
    const bytes = randomBytes(1000);
    let stopped = false;
    const slow = await blobServerThat(async (stream) => {
      stream.addEventListener('close', () => {
        stopped = true;
      });
      stream.send(frame({ sizeBytes: MiB }));
      stream.send(bytes);
    });
    await admitAlso(a!, [good!], slow);
    const giveUp = new AbortController();
    const fetching = a!.gossip.fetchBlob(digestOf(bytes), { sizeBytesMax, holders: [slow.id], signal: giveUp.signal });
    await expect.poll(() => a!.blobs.leftovers().length, within).toBe(1);
    giveUp.abort();
    await expect(fetching).rejects.toMatchObject({ code: 'aborted' });
    await expect.poll(() => [a!.blobs.leftovers().length, stopped], within).toEqual([0, true]);
  });

  test('many at once all arrive, although a holder serves only some at a time', async () => {
    const nodes = await cluster.connected(4);
    const [holder, ...others] = nodes;
    const digests: Digest[] = Array.from({ length: 12 }, () => holder!.blobs.plant(randomBytes(256 * 1024)));
    await Promise.all(
      others.flatMap((node) =>
        digests.map((digest) => node.gossip.fetchBlob(digest, { sizeBytesMax, holders: [holder!.id] })),
      ),
    );
    for (const node of others) expect(node.blobs.list().sort()).toEqual([...digests].sort());
  });

  test('costs little: both ends together move at least 12 MB per second of CPU, and probes get through meanwhile', async () => {
    const [a, b] = await cluster.connected(2);
    const bytes = randomBytes(48 * MiB);
    const digest = b!.blobs.plant(bytes);
    const before = process.cpuUsage();
    const fetching = a!.gossip.fetchBlob(digest, { sizeBytesMax, holders: [b!.id] });
    expect(await a!.gossip.probe(b!.id, 5_000)).toBe('ok');
    await fetching;
    const { user, system } = process.cpuUsage(before);
    expect(bytes.byteLength / (user + system)).toBeGreaterThan(12);
  });
});

type RawStream = Parameters<Parameters<RawPeer['host']['handle']>[1]>[0];

async function blobServerThat(answer: (stream: RawStream) => Promise<void>): Promise<RawPeer> {
  const raw = await rawPeer();
  raws.push(raw);
  await raw.host.handle(`/peer/${CLUSTER}/blob/1`, (stream) => void answer(stream).catch(() => undefined));
  return raw;
}

async function admitAlso(node: TestNode, others: TestNode[], raw: RawPeer): Promise<void> {
  node.gossip.setAdmitted(new Map([...others.map((other) => other.id), raw.id].map((id) => [id, { addresses: [] }])));
  await raw.connect(node);
  await expect.poll(() => node.gossip.connected(), within).toContain(raw.id);
  await allConnected([]);
}

function frame(value: object): Uint8Array {
  const body = Buffer.from(JSON.stringify(value));
  const header = Buffer.alloc(4);
  header.writeUInt32BE(body.byteLength);
  return Buffer.concat([header, body]);
}
