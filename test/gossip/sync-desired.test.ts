// Anti-entropy with the real desired state: what was written apart comes together, on disk, over a real connection.

import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { DesiredStore } from '../../crdt/store.ts';
import { allConnected, TestCluster, type TestNode } from './cluster.ts';
import { CLUSTER } from './fixtures.ts';

const cluster = new TestCluster();
const stores: DesiredStore[] = [];
afterEach(async () => {
  await cluster.close();
  await Promise.all(stores.splice(0).map((store) => store.close()));
});
const author = { by: 'alice', atMs: 1 };
const within = { timeout: 10_000, interval: 10 };

async function founder(): Promise<DesiredStore> {
  const store = await DesiredStore.create(join(cluster.folder(), 'desired'), {
    clusterId: CLUSTER,
    name: 'test',
    domain: 'localhost',
    author,
  });
  stores.push(store);
  return store;
}
async function joiner(of: DesiredStore): Promise<DesiredStore> {
  const store = await DesiredStore.join(join(cluster.folder(), 'desired'), of.snapshot(), CLUSTER);
  stores.push(store);
  return store;
}
const addUser = (name: string) => ({ change: 'addUser', name, role: 'developer', tokenHash: 'ab'.repeat(32) }) as const;
const users = (store: DesiredStore): string[] => [...store.view().users.keys()].sort();

describe('anti-entropy of the desired state', () => {
  test('merges what two nodes wrote apart as soon as they connect, then on request', async () => {
    const one = await founder();
    const two = await joiner(one);
    for (let index = 0; index < 30; index += 1)
      await (index % 2 === 0 ? one : two).write([addUser(`user${index}`)], author);
    const [a, b] = [await cluster.node({ desired: one }), await cluster.node({ desired: two })];
    a.admit(b);
    b.admit(a);
    await allConnected([a, b]);
    await expect.poll(() => [users(one).length, users(two).length], within).toEqual([30, 30]);
    expect(two.heads()).toEqual(one.heads());
    await one.write([addUser('late')], author);
    await b.gossip.syncDesired(a.id);
    expect(users(two)).toContain('late');
    expect(two.heads()).toEqual(one.heads());
  });

  test('gossip carries single changes, and what it missed follows', async () => {
    const one = await founder();
    const two = await joiner(one);
    const [a, b] = (await Promise.all([cluster.node({ desired: one }), cluster.node({ desired: two })])) as [
      TestNode,
      TestNode,
    ];
    b.gossip.on({
      connected: () => undefined,
      disconnected: () => undefined,
      report: () => undefined,
      membership: () => undefined,
      changes: async (changes, from) => {
        const { missing } = await two.receive(changes);
        if (missing) await b.gossip.syncDesired(from).catch(() => undefined);
      },
    });
    a.admit(b);
    b.admit(a);
    await allConnected([a, b]);
    await one.write([addUser('unheard')], author);
    a.gossip.publishChanges(await one.write([addUser('heard')], author));
    await expect.poll(() => users(two), within).toEqual(['heard', 'unheard']);
    await expect.poll(() => two.heads(), within).toEqual(one.heads());
  });
});
