// Blobs on their way between nodes, over real links: from several holders, only what is missing, and never something
// else.

import { randomBytes } from 'node:crypto';
import { closeSync, openSync, readdirSync, readSync, renameSync, rmSync, statSync, writeSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { asDigest, type Digest } from '../../crdt/ids.ts';
import { makeIdentity } from '../router/cluster.ts';
import { BlobCluster, type BlobNode } from './nodes.ts';

const MiB = 1024 * 1024;
const sizeBytesMax = 64 * MiB;
const within = { timeout: 20_000, interval: 10 };

let cluster = new BlobCluster();
afterEach(async () => {
  await cluster.close();
  cluster = new BlobCluster();
});

const ids = (...nodes: BlobNode[]) => nodes.map(({ id }) => id);

/** Changes one byte in the middle of everything that the node holds. */
function damage(node: BlobNode): void {
  for (const name of readdirSync(join(node.dir, 'packs'))) {
    const path = join(node.dir, 'packs', name);
    const file = openSync(path, 'r+');
    const byte = Buffer.alloc(1);
    const at = Math.floor(statSync(path).size / 2);
    readSync(file, byte, 0, 1, at);
    byte[0]! ^= 1;
    writeSync(file, byte, 0, 1, at);
    closeSync(file);
  }
}

describe('fetching a blob', () => {
  test.each<[string, Buffer]>([
    ['of several megabytes', randomBytes(5 * MiB + 123)],
    ['of nothing', Buffer.alloc(0)],
    ['that can be compressed', Buffer.alloc(5 * MiB, 'to be compressed ')],
  ])('brings one %s, whole', async (_name, content) => {
    const [a, b] = await cluster.fetcherAnd(1);
    const digest = await b!.put(content);
    await a.exchange.fetch(digest, { sizeBytesMax, holders: ids(b!) });
    expect(a.store.list()).toEqual([digest]);
    expect((await a.content(digest)).equals(content)).toBe(true);
  });

  test('does nothing when the blob is there', async () => {
    const a = await cluster.node();
    const digest = await a.put(randomBytes(1000));
    await a.exchange.fetch(digest, { sizeBytesMax, holders: [] });
    expect(a.fetches).toEqual([]);
  });

  test('takes parts of it from each of several holders at once', async () => {
    const [a, b, c] = await cluster.fetcherAnd(2);
    const content = randomBytes(40 * MiB);
    const digest = await b!.put(content);
    await c!.put(content);
    await a.exchange.fetch(digest, { sizeBytesMax, holders: ids(b!, c!) });
    expect(a.fetches[0]!.holders.toSorted()).toEqual(ids(b!, c!).sort());
    expect((await a.content(digest)).equals(content)).toBe(true);
  });

  test('moves only what the node does not have from another blob', async () => {
    const [a, b] = await cluster.fetcherAnd(1);
    const before = randomBytes(8 * MiB);
    await a.put(before);
    const after = Buffer.concat([
      before.subarray(0, 5 * MiB),
      Buffer.from('a changed line\n'),
      before.subarray(5 * MiB),
    ]);
    const digest = await b!.put(after);
    await a.exchange.fetch(digest, { sizeBytesMax, holders: ids(b!) });
    expect(a.fetches[0]!.receivedBytes).toBeLessThan(0.1 * after.length);
    expect((await a.content(digest)).equals(after)).toBe(true);
  });

  test('leaves out a holder that sends a damaged chunk, says so, and gets the blob from another', async () => {
    const [a, bad, good] = await cluster.fetcherAnd(2);
    const content = randomBytes(10 * MiB);
    const digest = await bad!.put(content);
    await good!.put(content);
    damage(bad!);
    // Alone first: a good answer could come sooner than the damaged one.
    await expect(a.exchange.fetch(digest, { sizeBytesMax, holders: ids(bad!) })).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('is not what its hash promises'),
    });
    expect(a.corrupt).toMatchObject([{ digest, holder: bad!.id }]);
    expect(a.store.list()).toEqual([]);
    await a.exchange.fetch(digest, { sizeBytesMax, holders: ids(bad!, good!) });
    expect((await a.content(digest)).equals(content)).toBe(true);
  });

  test('leaves out a holder whose manifest is of something else', async () => {
    const [a, liar, good] = await cluster.fetcherAnd(2);
    const content = randomBytes(2 * MiB);
    const digest = await good!.put(content);
    const other = await liar!.put(randomBytes(2 * MiB));
    const folder = join(liar!.dir, 'manifests');
    renameSync(join(folder, other.slice(7)), join(folder, digest.slice(7)));
    await expect(a.exchange.fetch(digest, { sizeBytesMax, holders: ids(liar!) })).rejects.toThrow(/of something else/);
    expect(a.corrupt).toMatchObject([{ digest, holder: liar!.id }]);
    await a.exchange.fetch(digest, { sizeBytesMax, holders: ids(liar!, good!) });
    expect(a.store.has(digest)).toBe(true);
  });

  test('passes over holders that lost it, are down, are unknown or do not admit this node', async () => {
    const [a, lost, down, strict, good] = await cluster.fetcherAnd(4);
    const digest = await good!.put(randomBytes(MiB));
    await down!.router!.handle.close();
    down!.router = undefined;
    await strict!.router!.handle.close();
    await cluster.serve(strict!, []);
    a.links.set(strict!.id, strict!.router!.handle.link);
    const unknown = makeIdentity().nodeId;
    const holders = [...ids(lost!, down!, strict!), unknown];
    await expect(a.exchange.fetch(digest, { sizeBytesMax, holders })).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringMatching(/does not have it any more/),
    });
    expect(a.corrupt).toEqual([]);
    await a.exchange.fetch(digest, { sizeBytesMax, holders: [...holders, good!.id] });
    expect(a.store.has(digest)).toBe(true);
  });

  test('takes nothing from another node than the one that is expected', async () => {
    const [a, b, c] = await cluster.fetcherAnd(2);
    const digest = await b!.put(randomBytes(MiB));
    a.links.set(c!.id, a.links.get(b!.id)!);
    await expect(a.exchange.fetch(digest, { sizeBytesMax, holders: ids(c!) })).rejects.toThrow(/another node answers/);
  });

  test('refuses a blob that is larger than was said', async () => {
    const [a, b] = await cluster.fetcherAnd(1);
    const digest = await b!.put(randomBytes(2 * MiB));
    await expect(a.exchange.fetch(digest, { sizeBytesMax: MiB, holders: ids(b!) })).rejects.toThrow(
      /has 2097152 bytes, at most 1048576 were expected/,
    );
    expect(a.store.list()).toEqual([]);
  });

  test('goes on where it was cut, also after the node was started again', async () => {
    const [a, b] = await cluster.fetcherAnd(1);
    const content = randomBytes(24 * MiB);
    const digest = await b!.put(content);
    const cut = await cuttingRelay(b!, 12 * MiB);
    a.links.set(b!.id, cut.link);
    await expect(a.exchange.fetch(digest, { sizeBytesMax, holders: ids(b!) })).rejects.toMatchObject({
      code: 'unavailable',
    });
    cut.close();
    await a.store.close();
    const again = await cluster.node(a.identity, a.dir);
    again.links.set(b!.id, b!.router!.handle.link);
    await again.exchange.fetch(digest, { sizeBytesMax, holders: ids(b!) });
    expect(again.fetches[0]!.receivedBytes).toBeGreaterThan(8 * MiB);
    expect(again.fetches[0]!.receivedBytes).toBeLessThan(16 * MiB);
    expect((await again.content(digest)).equals(content)).toBe(true);
    expect(readdirSync(join(a.dir, 'incoming'))).toEqual([]);
  });

  test('is shared by all who ask, and cancelled only when the last gives up', async () => {
    const [a, b] = await cluster.fetcherAnd(1);
    const digest = await b!.put(randomBytes(8 * MiB));
    const impatient = new AbortController();
    const first = a.exchange.fetch(digest, { sizeBytesMax, holders: ids(b!), signal: impatient.signal });
    const others = Array.from({ length: 10 }, () => a.exchange.fetch(digest, { sizeBytesMax, holders: ids(b!) }));
    impatient.abort();
    await expect(first).rejects.toMatchObject({ code: 'aborted' });
    await Promise.all(others);
    expect(a.fetches).toHaveLength(1);
  });

  test('given up by everyone, it ends, and can be asked for again', async () => {
    const [a, b] = await cluster.fetcherAnd(1);
    const digest = await b!.put(randomBytes(8 * MiB));
    const silent = await cuttingRelay(b!, 0, { hold: true });
    a.links.set(b!.id, silent.link);
    const giveUp = new AbortController();
    const fetching = a.exchange.fetch(digest, { sizeBytesMax, holders: ids(b!), signal: giveUp.signal });
    await expect.poll(() => silent.connections(), within).toBe(1);
    giveUp.abort();
    await expect(fetching).rejects.toMatchObject({ code: 'aborted' });
    await expect.poll(() => silent.connections(), within).toBe(0);
    silent.close();
    a.links.set(b!.id, b!.router!.handle.link);
    await a.exchange.fetch(digest, { sizeBytesMax, holders: ids(b!) });
    expect(a.store.has(digest)).toBe(true);
  });

  test('many at once all arrive, although a holder serves only some at a time', async () => {
    const [a, b] = await cluster.fetcherAnd(1);
    const others = await Promise.all([1, 2, 3].map(() => cluster.node()));
    await b!.router!.handle.close();
    await cluster.serve(b!, [a, ...others]);
    const digests: Digest[] = [];
    for (let i = 0; i < 8; i++) digests.push(await b!.put(randomBytes(MiB)));
    const all = [a, ...others];
    await Promise.all(
      all.flatMap((node) => digests.map((digest) => node.exchange.fetch(digest, { sizeBytesMax, holders: ids(b!) }))),
    );
    for (const node of all) expect(node.store.list()).toEqual(digests.toSorted());
  });

  test('goes on with another holder when one loses its packs meanwhile', async () => {
    const [a, b, c] = await cluster.fetcherAnd(2);
    const content = randomBytes(4 * MiB);
    const digest = await b!.put(content);
    await c!.put(content);
    for (const name of readdirSync(join(b!.dir, 'packs'))) rmSync(join(b!.dir, 'packs', name));
    await a.exchange.fetch(digest, { sizeBytesMax, holders: ids(b!, c!) });
    expect((await a.content(digest)).equals(content)).toBe(true);
  });

  test('refuses a digest that is none', async () => {
    const a = await cluster.node();
    await expect(a.exchange.fetch(asDigest('sha256:../x'), { sizeBytesMax, holders: [] })).rejects.toMatchObject({
      code: 'bad_digest',
    });
  });
});

/** A way to the node's link that is cut after so many bytes of answers; with `hold` it falls silent instead. */
async function cuttingRelay(
  node: BlobNode,
  bytesMax: number,
  { hold = false } = {},
): Promise<{ link: string; connections(): number; close(): void }> {
  const [host, port] = node.router!.handle.link.split(':') as [string, string];
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connect(Number(port), host);
    let bytes = 0;
    sockets.add(client);
    client.on('close', () => sockets.delete(client));
    for (const socket of [client, upstream]) socket.on('error', () => {});
    client.on('close', () => upstream.destroy());
    upstream.on('close', () => client.destroy());
    client.pipe(upstream);
    upstream.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes <= bytesMax) client.write(chunk);
      else if (!hold) client.destroy();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address() as { port: number };
  return {
    link: `127.0.0.1:${address.port}`,
    connections: () => sockets.size,
    close: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
