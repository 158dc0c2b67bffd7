import { afterEach, describe, expect, test } from 'vitest';
import { allConnected, TestCluster, type TestNode } from './cluster.ts';
import { CLUSTER } from './fixtures.ts';
import { rawPeer } from './raw-peer.ts';

const cluster = new TestCluster();
afterEach(() => cluster.close());
const within = { timeout: 10_000, interval: 10 };
const items = (node: TestNode): string[] => [...node.desired.items].sort();
/** Which side dials must not matter for who starts the exchange on connect. */
async function twoApart(): Promise<[TestNode, TestNode]> {
  return [await cluster.node(), await cluster.node()];
}

describe('anti-entropy', () => {
  test('runs on every new connection, whichever side has more', async () => {
    const [a, b] = await twoApart();
    for (let index = 0; index < 200; index += 1) (index % 2 === 0 ? a : b).desired.items.add(`item ${index}`);
    a.admit(a, b);
    b.admit(a, b);
    await allConnected([a, b]);
    await expect.poll(() => [items(a).length, items(b).length], within).toEqual([200, 200]);
  });

  test('runs when asked, from either side, and has converged when it resolves', async () => {
    const [a, b] = (await cluster.connected(2)) as [TestNode, TestNode];
    a.desired.items.add('from a');
    await a.gossip.syncDesired(b.id);
    expect(items(b)).toEqual(['from a']);
    b.desired.items.add('from b');
    a.desired.items.add('more');
    await a.gossip.syncDesired(b.id);
    expect(items(a)).toEqual(['from a', 'from b', 'more']);
    expect(items(b)).toEqual(items(a));
    b.desired.items.add('last');
    await b.gossip.syncDesired(a.id);
    expect(items(a)).toEqual(items(b));
  });

  test('moves nothing when the heads agree', async () => {
    const [a, b] = (await cluster.connected(2)) as [TestNode, TestNode];
    a.desired.items.add('x');
    b.desired.items.add('x');
    const before = a.desired.sessions + b.desired.sessions;
    await a.gossip.syncDesired(b.id);
    expect(a.desired.sessions + b.desired.sessions).toBe(before);
  });

  test('carries several MB', async () => {
    const [a, b] = (await cluster.connected(2)) as [TestNode, TestNode];
    for (let index = 0; index < 8; index += 1) a.desired.items.add(String(index).repeat(1024 * 1024));
    await a.gossip.syncDesired(b.id);
    expect(items(b)).toEqual(items(a));
  });

  test('runs once at a time per node, and once more for all who asked meanwhile', async () => {
    const [a, b] = (await cluster.connected(2)) as [TestNode, TestNode];
    await a.gossip.syncDesired(b.id);
    const before = a.desired.sessions;
    a.desired.items.add('1');
    const first = a.gossip.syncDesired(b.id);
    a.desired.items.add('2');
    await Promise.all([first, ...Array.from({ length: 20 }, () => a.gossip.syncDesired(b.id))]);
    expect(items(b)).toEqual(['1', '2']);
    expect(a.desired.sessions - before).toBeLessThanOrEqual(2);
  });

  test('fails when the other side cannot take what it is sent, and works again afterwards', async () => {
    const [a, b] = (await cluster.connected(2)) as [TestNode, TestNode];
    const beginSync = b.desired.beginSync.bind(b.desired);
    b.desired.beginSync = () => ({ ...beginSync(), receive: () => Promise.reject(new Error('the disk is full')) });
    a.desired.items.add('x');
    await expect(a.gossip.syncDesired(b.id)).rejects.toMatchObject({ code: 'closed' });
    b.desired.beginSync = beginSync;
    await a.gossip.syncDesired(b.id);
    expect(items(b)).toEqual(['x']);
  });

  test('with a node that never comes to an end is given up', async () => {
    const [a, b] = (await cluster.connected(2)) as [TestNode, TestNode];
    b.desired.beginSync = () => ({ generate: () => Uint8Array.of(1), receive: async () => ({ applied: false }) });
    a.desired.beginSync = () => ({ generate: () => null, receive: async () => ({ applied: false }) });
    a.desired.items.add('x');
    await expect(a.gossip.syncDesired(b.id)).rejects.toMatchObject({ code: expect.stringMatching(/protocol|closed/) });
  });

  test('survives nonsense from an admitted node', async () => {
    const node = await cluster.node();
    const raw = await rawPeer();
    try {
      node.gossip.setAdmitted(new Map([[raw.id, { addresses: [] }]]));
      node.desired.items.add('mine');
      await raw.connect(node);
      for (const bytes of [
        Uint8Array.of(0xff, 0xff, 0xff, 0xff),
        Uint8Array.of(0, 0, 0, 2, 0x7b, 0x7d),
        new TextEncoder().encode('\0\0\0\x0c{"heads":[]}\0\0\0\x02{]'),
      ]) {
        const stream = await raw.host.getConnections()[0]!.newStream(`/peer/${CLUSTER}/sync/1`);
        const ended = new Promise((resolve) => stream.addEventListener('close', resolve));
        stream.send(bytes);
        await ended;
      }
      expect(items(node)).toEqual(['mine']);
      expect(node.gossip.connected()).toEqual([raw.id]);
    } finally {
      await raw.stop();
    }
  });
});
