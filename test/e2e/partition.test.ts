// Three real daemons on a network of their own that falls apart, heals, and gives everyone another address.

import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { LifeResultShape, OrphansShape, VolumeShape } from '../../node/api/data-shapes.ts';
import { Lan } from '../../scripts/lan.ts';
import { LocalCluster, type LocalNode, type Ran, ROOT, waitFor } from '../../scripts/local-cluster.ts';
import { appOf, envOf, lastWords, nodesOf, open, SETTLE_DEADLINE_MS, waitForFilledOnce } from './observe.ts';

const APP = 'hello';
const HOST = `${APP}.localhost`;
const INSTANCES = 3;
/** A silent node is found by probes within a few seconds. */
const SILENCE_DEADLINE_MS = 20_000;
/** From the end of a partition until everyone knows everything and runs what they should. */
const HEAL_DEADLINE_MS = 15_000;

let lan: Lan;
let cluster: LocalCluster;
let a: LocalNode;
let b: LocalNode;
let c: LocalNode;

async function peer(on: LocalNode, ...args: string[]): Promise<Ran> {
  const ran = await cluster.peer(on, args);
  expect(ran, `peer ${args.join(' ')} on ${on.name}`).toMatchObject({ code: 0 });
  return ran;
}

const aliveAsSeenBy = async (node: LocalNode): Promise<string[]> => {
  const nodes = await nodesOf(cluster, node);
  return nodes.filter((one) => one.status === 'alive').map((one) => one.name);
};

const waitUntilDead = (seenBy: LocalNode, ...lost: LocalNode[]): Promise<void> =>
  waitFor(`${seenBy.name} to hold ${lost.map((one) => one.name)} dead`, SILENCE_DEADLINE_MS, async () => {
    const dead = (await nodesOf(cluster, seenBy)).filter((one) => one.status === 'dead').map((one) => one.name);
    return dead.join() === lost.map((one) => one.name).join();
  });

beforeAll(async () => {
  lan = await Lan.create(['a', 'b', 'c']);
  cluster = await LocalCluster.create();
  const at = (name: string) => ({ name, namespace: lan.namespaceOf(name), host: '0.0.0.0' });
  await cluster.startNode(at('a'));
  const invite = await cluster.invite(2);
  await cluster.startNode({ ...at('b'), join: invite });
  await cluster.startNode({ ...at('c'), join: invite });
  refresh();
  await cluster.waitForAlive(3);
  const folder = join(cluster.folder, 'app');
  await cp(join(ROOT, 'test', 'apps', 'hello-node'), folder, { recursive: true });
  await peer(a, 'push', folder, '--name', APP, '--instances', String(INSTANCES));
  await waitForFilledOnce(cluster, cluster.nodes, APP, INSTANCES);
}, 120_000);

/** After a restart of daemons their pids and ports are others. */
function refresh(): void {
  [a, b, c] = cluster.nodes as [LocalNode, LocalNode, LocalNode];
}

beforeEach(({ onTestFailed }) => onTestFailed(async () => console.error(await lastWords(cluster))));

afterAll(async () => {
  await cluster?.stop();
  await lan?.remove();
});

describe('a partition', () => {
  it('leaves each side with the whole app, started there without being told', async () => {
    await lan.cut('c');
    await Promise.all([waitUntilDead(c, a, b), waitUntilDead(a, c), waitUntilDead(b, c)]);
    await waitForFilledOnce(cluster, [a, b, c], APP, INSTANCES);
    const nodesOfApp = async (seenBy: LocalNode) =>
      new Set((await appOf(cluster, seenBy, APP)).instances.map((one) => one.node));
    expect(await nodesOfApp(a)).toEqual(new Set(['a', 'b']));
    expect(await nodesOfApp(c)).toEqual(new Set(['c']));
    for (const node of [a, b, c]) {
      for (let i = 0; i < 2 * INSTANCES; i++) await open(cluster, node, HOST);
    }
  });

  it('takes writes on both sides', async () => {
    await Promise.all([
      peer(a, 'env', 'set', APP, 'FROM=majority'),
      peer(c, 'scale', APP, '4'),
      peer(b, 'map', APP, 'majority.example.test'),
      peer(c, 'map', APP, 'minority.example.test'),
      peer(c, 'users', 'add', 'ada', '--role', 'viewer'),
    ]);
    expect(await envOf(cluster, b, APP)).toEqual({ FROM: 'majority' });
    expect(await envOf(cluster, c, APP)).toEqual({});
    expect((await appOf(cluster, a, APP)).desired).toEqual({ web: INSTANCES });
    for (const node of [a, b]) await open(cluster, node, 'majority.example.test');
    await open(cluster, c, 'minority.example.test');
    await waitForFilledOnce(cluster, [a, b], APP, INSTANCES);
    await waitForFilledOnce(cluster, [c], APP, 4);
  });

  it('ends with both writes everywhere, and one instance a slot', async () => {
    const healedAtMs = performance.now();
    const leftMs = () => Math.max(1, HEAL_DEADLINE_MS - (performance.now() - healedAtMs));
    await lan.heal('c');
    for (const node of [a, b, c]) {
      await waitFor(`${node.name} to know what both sides wrote`, leftMs(), async () => {
        const app = await appOf(cluster, node, APP);
        const users = await cluster.read<{ name: string }[]>(node, '/v1/users');
        return (
          app.desired.web === 4 &&
          app.routes.includes('majority.example.test') &&
          app.routes.includes('minority.example.test') &&
          (await envOf(cluster, node, APP)).FROM === 'majority' &&
          users.some((user) => user.name === 'ada')
        );
      });
    }
    await waitForFilledOnce(cluster, [a, b, c], APP, 4, leftMs());
    expect(performance.now() - healedAtMs).toBeLessThan(HEAL_DEADLINE_MS);
    const { release, instances } = await appOf(cluster, a, APP);
    expect(new Set(instances.map((one) => one.release))).toEqual(new Set([release]));
    for (const node of [a, b, c]) {
      for (const host of [HOST, 'majority.example.test', 'minority.example.test']) await open(cluster, node, host);
      expect(JSON.parse(await open(cluster, node, HOST, '/env?name=FROM'))).toBe('majority');
    }
    await cluster.waitForAlive(3);
  });
});

describe('data whose node is lost to two sides of a partition', () => {
  const KEPT = 'kept';
  const volumeAt = async (seenBy: LocalNode): Promise<VolumeShape> =>
    (await cluster.read<VolumeShape[]>(seenBy, '/v1/volumes')).find(({ owner }) => owner === KEPT)!;
  const inside = async (on: LocalNode, line: string): Promise<string> =>
    (await peer(on, 'exec', KEPT, '--', 'sh', '-c', line)).stdout.trim();
  const recover = (on: LocalNode) => cluster.json<LifeResultShape>(on, ['volume', 'recover', `${KEPT}/0`, '--yes']);

  it('may be recovered on both: one of them wins, and the data of the other is kept and shown', async () => {
    await peer(a, 'push', join(cluster.folder, 'app'), '--name', KEPT, '--volume', '/data:16M');
    await inside(a, 'echo first >>/data/notes');
    await peer(a, 'volume', 'snapshot', `${KEPT}/0`);
    const before = await volumeAt(a);
    const holder = [a, b, c].find(({ name }) => name === before.node)!;
    const sides = [a, b, c].filter((one) => one !== holder) as [LocalNode, LocalNode];
    for (const { name } of sides) await lan.cut(name);
    await Promise.all(sides.map((side) => waitUntilDead(side, ...[a, b, c].filter((one) => one !== side))));
    const recovered = await Promise.all(sides.map(recover));
    expect(recovered.map(({ node, ready }) => [node, ready])).toEqual(sides.map(({ name }) => [name, true]));
    for (const side of sides) await inside(side, `echo ${side.name} >>/data/notes`);

    for (const { name } of sides) await lan.heal(name);
    await waitFor('all to agree on who has it, and one instance', SETTLE_DEADLINE_MS, async () => {
      const nodes = new Set((await Promise.all([a, b, c].map(volumeAt))).map(({ node }) => node));
      const { instances } = await appOf(cluster, a, KEPT);
      const [only] = instances;
      return nodes.size === 1 && instances.length === 1 && only?.state === 'ready' && nodes.has(only.node);
    });
    const { node: has } = await volumeAt(a);
    expect(sides.map(({ name }) => name)).toContain(has);
    expect((await inside(b, 'cat /data/notes')).split('\n')).toEqual(['first', has]);
    // What the other side and the lost node have is nobody's any more, and all there.
    const { orphans } = await cluster.json<OrphansShape>(a, ['volumes', '--orphans']);
    const others = [a, b, c].map(({ name }) => name).filter((name) => name !== has);
    expect(orphans.map(({ node, owner, why }) => [node, owner, why]).sort()).toEqual(
      others.map((name) => [name, KEPT, 'replaced']).sort(),
    );
    await peer(a, 'delete', KEPT, '--yes', '--volumes');
  }, 180_000);
});

describe('a machine that gets another address while its daemon runs', () => {
  /** Looking, telling, and routers that take it up; nobody is waited for that is gone. */
  const MOVED_DEADLINE_MS = 15_000;

  /** Asks for the instance of that node, and for no other. */
  const askInstanceOn = async (node: LocalNode, from: LocalNode): Promise<number> => {
    const { id, instances } = await appOf(cluster, from, APP);
    const index = instances.find((one) => one.node === node.name)?.index;
    const headers = { 'x-cf-app-instance': `${id}:${index}` };
    return (await cluster.get(from, HOST, '/', 2_000, headers)).status;
  };

  it('is served from within seconds, and nobody restarts anything', async () => {
    await waitForFilledOnce(cluster, [a, b, c], APP, 4);
    for (const from of [a, c]) expect(await askInstanceOn(b, from)).toBe(200);
    await lan.readdress('b', 50);
    for (const from of [a, c]) {
      await waitFor(`${from.name} to serve from b's instance`, MOVED_DEADLINE_MS, async () => {
        const node = (await nodesOf(cluster, from)).find((one) => one.name === 'b');
        return node?.address === lan.addressOf('b') && (await askInstanceOn(b, from)) === 200;
      });
    }
    for (const to of [a, c]) {
      await waitFor(`b to serve from ${to.name}'s instance`, MOVED_DEADLINE_MS, async () => {
        return (await askInstanceOn(to, b)) === 200;
      });
    }
  });

  it('is where peer nodes and invites say', async () => {
    // It may have been missed at its old address for a moment, and is suspect until it has said no.
    await waitFor('a to have b for alive at its new address', MOVED_DEADLINE_MS, async () =>
      new RegExp(`^b +alive .*${lan.addressOf('b')}`, 'm').test((await peer(a, 'nodes')).stdout),
    );
    const { invite } = await cluster.json<{ invite: string }>(c, ['invite']);
    const { nodes } = JSON.parse(Buffer.from(invite.split('.')[1]!, 'base64url').toString()) as {
      nodes: { link: string }[];
    };
    expect(nodes.map(({ link }) => link.split(':')[0]).sort()).toEqual(
      ['a', 'b', 'c'].map((name) => lan.addressOf(name)).sort(),
    );
  });

  it('ends with one instance a slot', () => waitForFilledOnce(cluster, [a, b, c], APP, 4));
});

describe('two machines that only a third can reach', () => {
  /** A connection is found dead, another dialled in vain, and that told: 22 s where nothing waits for its turn. */
  const TOLD_DEADLINE_MS = 45_000;
  const bothWays = [
    ['a', 'c'],
    ['c', 'a'],
  ] as const;

  it('are named by peer nodes on every node, and by no one once they reach each other again', async () => {
    await lan.setLinks(bothWays, { lossShare: 1 });
    const troubleSeenBy = async (node: LocalNode): Promise<string[]> =>
      (await nodesOf(cluster, node)).flatMap(({ name, unreachable }) =>
        unreachable.map(({ node: other, by }) => `${name}-${other} ${by}`),
      );
    await waitFor('b to hear who cannot reach whom', TOLD_DEADLINE_MS, async () => {
      // Requests are what the links are for.
      for (const node of [a, c]) await cluster.get(node, HOST, '/', 500).catch(() => {});
      const trouble = await troubleSeenBy(b);
      return trouble.includes('a-c gossip') && trouble.includes('c-a gossip');
    });
    const { stdout } = await peer(b, 'nodes');
    expect(stdout).toMatch(/^a cannot reach c \(gossip (timed out|no way to the host)\)/m);
    await lan.setLinks(bothWays, { lossShare: 0 });
    await waitFor('b to hear of no trouble', TOLD_DEADLINE_MS, async () => (await troubleSeenBy(b)).length === 0);
    await waitForFilledOnce(cluster, [a, b, c], APP, 4);
  });
});

describe('a power cut after which every host has another address', () => {
  it('ends with a cluster whose members have found one another on the local network', async () => {
    await cluster.killNode(a, b, c);
    for (const [index, host] of ['a', 'b', 'c'].entries()) await lan.readdress(host, 100 + index);
    await Promise.all([a, b, c].map((node) => cluster.restartNode(node)));
    refresh();
    await waitFor('everyone to see everyone', SETTLE_DEADLINE_MS, async () => {
      for (const node of [a, b, c]) if ((await aliveAsSeenBy(node)).length !== 3) return false;
      return true;
    });
    await waitForFilledOnce(cluster, [a, b, c], APP, 4);
    for (const node of [a, b, c]) await open(cluster, node, HOST);
  });
});
