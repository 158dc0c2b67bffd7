// What only real daemons can show of healing: a roll-out that fails under load, a node that is drained and one that
// joins under load, and a fenced app in a partition.

import { cp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Load } from '../../scripts/bench/load.ts';
import { Lan } from '../../scripts/lan.ts';
import { LocalCluster, type LocalNode, ROOT, waitFor } from '../../scripts/local-cluster.ts';
import { appOf, lastWords, releasesOf, waitForFilledOnce } from './observe.ts';

const APP = 'steady';
const INSTANCES = 4;
const LOAD_PER_SECOND = 50;

const sample = (name: string): string => join(ROOT, 'test', 'apps', name);

describe('under fifty requests a second', () => {
  let cluster: LocalCluster;
  let folder: string;
  const first = (): LocalNode => cluster.nodes[0]!;

  async function withoutFailedRequests(work: () => Promise<unknown>): Promise<void> {
    const targets = cluster.nodes.map((node) => node.http);
    const load = new Load({ targets, host: `${APP}.localhost`, perSecond: LOAD_PER_SECOND });
    try {
      await work();
      // Work that is done in less than a second is looked at for a second.
      await waitFor('a second of requests', 30_000, async () => load.sent > LOAD_PER_SECOND);
    } finally {
      const result = await load.stop();
      expect(result.failures).toEqual([]);
      expect(result.sent).toBeGreaterThan(LOAD_PER_SECOND);
    }
  }

  beforeAll(async () => {
    cluster = await LocalCluster.start(3);
    folder = join(cluster.folder, APP);
    await cp(sample('hello-node'), folder, { recursive: true });
    const args = ['push', folder, '--name', APP, '--instances', String(INSTANCES), '--memory', '64M'];
    await cluster.json(first(), args);
    await waitForFilledOnce(cluster, cluster.nodes, APP, INSTANCES);
  }, 120_000);
  beforeEach(({ onTestFailed }) => onTestFailed(async () => console.error(await lastWords(cluster))));
  afterAll(() => cluster?.stop());

  it('a release that never becomes ready is called off, says why, and the old one is on every slot', async () => {
    const before = await appOf(cluster, first(), APP);
    await withoutFailedRequests(async () => {
      const args = ['push', sample('never-listens'), '--name', APP, '--timeout', '5s'];
      const pushed = await cluster.peer(first(), args);
      expect(pushed.code).toBe(1);
      expect(pushed.stderr).toMatch(/did not listen on PORT/);
    });
    await waitForFilledOnce(cluster, cluster.nodes, APP, INSTANCES);
    const after = await appOf(cluster, first(), APP);
    expect(after.instances.map((one) => one.id).sort()).toEqual(before.instances.map((one) => one.id).sort());
    const failed = (await releasesOf(cluster, first(), APP)).filter((release) => release.failed !== null);
    expect(failed).toHaveLength(1);
    expect(JSON.stringify(failed[0])).toMatch(/did not listen on PORT/);
    const told = await cluster.peer(first(), ['releases', APP]);
    expect(told.stdout).toMatch(/^v2 +failed .*did not listen on PORT/m);
  });

  it('a node that is drained keeps serving until others do', async () => {
    const drained = cluster.nodes.at(-1)!;
    await withoutFailedRequests(async () => {
      await cluster.peer(first(), ['nodes', 'drain', drained.name]);
      await waitFor('the drained node to be empty, and every slot filled', 30_000, async () => {
        const { instances } = await appOf(cluster, first(), APP);
        const ready = instances.filter((one) => one.state === 'ready');
        // Old copies go only when new ones serve.
        expect(new Set(ready.map((one) => one.index)).size).toBe(INSTANCES);
        return ready.length === INSTANCES && instances.every((one) => one.node !== drained.name);
      });
    });
    await cluster.peer(first(), ['nodes', 'undrain', drained.name]);
  });

  it('a node that joins takes its share, one move of an app at a time', async () => {
    for (const name of ['one', 'two', 'three', 'four']) {
      await cluster.json(first(), ['push', folder, '--name', name, '--memory', '64M']);
    }
    await cluster.json(first(), ['scale', APP, 'web=8']);
    const apps = [APP, 'one', 'two', 'three', 'four'];
    await withoutFailedRequests(async () => {
      const invite = await cluster.invite(1);
      const joined = await cluster.startNode({ name: 'node-4', join: invite });
      await waitFor('the new node to run a quarter of twelve instances', 30_000, async () => {
        const states = await Promise.all(apps.map((name) => appOf(cluster, joined, name)));
        for (const { instances } of states) {
          // While one slot moves, its new instance starts next to the old one.
          expect(instances.filter((one) => one.state === 'starting').length).toBeLessThanOrEqual(1);
        }
        const here = states.flatMap((state) => state.instances).filter((one) => one.node === 'node-4');
        return here.filter((one) => one.state === 'ready').length === 3;
      });
    });
    await waitForFilledOnce(cluster, cluster.nodes, APP, 8);
  });
});

describe('a fenced app in a partition of three and two', () => {
  const names = ['a', 'b', 'c', 'd', 'e'];
  let lan: Lan;
  let cluster: LocalCluster;
  const named = (name: string): LocalNode => cluster.nodes.find((node) => node.name === name)!;

  beforeAll(async () => {
    lan = await Lan.create(names);
    cluster = await LocalCluster.create();
    await cluster.startOn(lan, names);
    const folder = join(cluster.folder, 'fenced');
    await cp(sample('hello-node'), folder, { recursive: true });
    await writeFile(join(folder, 'note'), 'fenced');
    await cluster.json(named('a'), ['push', folder, '--name', 'fenced', '--instances', '5', '--partition', 'fence']);
    await waitForFilledOnce(cluster, cluster.nodes, 'fenced', 5);
  }, 120_000);
  beforeEach(({ onTestFailed }) => onTestFailed(async () => console.error(await lastWords(cluster))));
  afterAll(async () => {
    await cluster?.stop();
    await lan?.remove();
  });

  it('stops on the two before it starts on the three, and is whole again afterwards', async () => {
    await lan.separate(['d', 'e']);
    const runsOn = async (asked: string, hosts: string[]): Promise<number> => {
      const { instances } = await appOf(cluster, named(asked), 'fenced');
      const isThere = (node: string) => hosts.includes(node);
      return instances.filter((one) => isThere(one.node) && (one.state === 'ready' || one.state === 'starting')).length;
    };
    let startedBeforeStopped = false;
    await waitFor('the two to have stopped, as each says of itself', 30_000, async () => {
      const [onD, onE] = [await runsOn('d', ['d']), await runsOn('e', ['e'])];
      if (onD + onE > 0 && (await runsOn('a', ['a', 'b', 'c'])) > 3) startedBeforeStopped = true;
      return onD + onE === 0;
    });
    expect(startedBeforeStopped).toBe(false);
    await waitFor('the three to run all five', 40_000, async () => (await runsOn('a', ['a', 'b', 'c'])) === 5);
    expect((await cluster.get(named('d'), 'fenced.localhost')).status).toBe(503);
    expect((await cluster.get(named('a'), 'fenced.localhost')).status).toBe(200);
    for (const name of ['d', 'e']) await lan.heal(name);
    await waitForFilledOnce(cluster, cluster.nodes, 'fenced', 5);
  }, 120_000);
});
