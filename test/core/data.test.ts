// Slots with data: where they run, that one instance at a time uses a volume, and what becomes of them when their node
// drains, dies, or their data is moved or recovered.

import { describe, expect, it } from 'vitest';
import { asAppId, asLineageId, asNodeId, asServiceId, asVolumeId } from '../../crdt/ids.ts';
import type { AppView, ServiceView, VolumeView } from '../../crdt/view.ts';
import { candidatesOf } from '../../node/core/candidates.ts';
import { explainSlot } from '../../node/core/explain.ts';
import type { SelfInfo } from '../../node/core/state.ts';
import { app, LittleCluster, MIB, release } from './little-cluster.ts';

const NAMES = ['a', 'b', 'c'];

const volume = (name: string, owner: string, more: Partial<VolumeView> = {}): VolumeView => ({
  id: asVolumeId(name),
  owner: asAppId(owner),
  process: 'web',
  index: 0,
  path: '/data',
  sizeBytes: MIB,
  node: asNodeId('a'),
  lineage: asLineageId(`${name}-1`),
  snapshotEveryMs: 0,
  snapshotsKept: 0,
  onLoss: 'wait',
  createdAtMs: 0,
  mounted: true,
  ...more,
});

const service = (node: string, more: Partial<ServiceView> = {}): ServiceView => ({
  id: asServiceId('db'),
  name: 'db',
  ownsName: true,
  kind: 'postgres',
  version: '15',
  plan: 'small',
  memoryBytes: 128 * MIB,
  storageBytes: MIB,
  address: '198.18.0.1',
  stopped: false,
  restartCount: 0,
  createdAtMs: 0,
  createdBy: 'ada',
  secret: 'sealed:x',
  backupEveryMs: 0,
  backupsKept: 0,
  volume: volume('v-db', 'db', { process: 'service', node: asNodeId(node) }),
  ...more,
});

/**
 * An app whose slots each have a volume, on the nodes given; checked at every step: one user of a volume at a time.
 */
function withData(pins: string[], more: Partial<AppView> = {}, self?: (node: string) => Partial<SelfInfo>) {
  const shop = app('shop', { scale: { web: pins.length }, ...more });
  const options = self === undefined ? {} : { self: (node: string) => self(node) };
  const cluster = new LittleCluster(NAMES, [shop], options);
  cluster.changeVolumes(pins.map((pin, index) => volume(`v${index}`, shop.id, { index, node: asNodeId(pin) })));
  cluster.afterStep = () => expectOneUserEach(cluster);
  cluster.run(10_000);
  return cluster;
}

function expectOneUserEach(cluster: LittleCluster): void {
  const used = new Set<string>();
  for (const { running } of cluster.hosts.values()) {
    for (const { volumes = [] } of running.values()) {
      for (const { id, lineage } of volumes) {
        expect(used.has(`${id} ${lineage}`), `${id} is used twice`).toBe(false);
        used.add(`${id} ${lineage}`);
      }
    }
  }
}

const placed = (cluster: LittleCluster) =>
  cluster
    .instances()
    .filter((one) => one.state === 'ready')
    .map((one) => `${one.app.replace('app-', '')}/${one.index} on ${one.node}`)
    .sort();
const shopOf = (cluster: LittleCluster) => cluster.view.apps.get(asAppId('app-shop'))!;
const change = (cluster: LittleCluster, more: Partial<AppView>) =>
  cluster.changeApps([{ ...shopOf(cluster), ...more }]);
const move = (cluster: LittleCluster, name: string, to: string) => {
  const { node, ...one } = cluster.view.volumes.get(asVolumeId(name))!;
  cluster.changeVolumes([{ ...one, node: asNodeId(to), movedFrom: node }]);
};
const recover = (cluster: LittleCluster, name: string, to: string, by?: string[]) => {
  const { movedFrom: _, ...one } = cluster.view.volumes.get(asVolumeId(name))!;
  cluster.changeVolumes([{ ...one, node: asNodeId(to), lineage: asLineageId(`${name}-2`) }], by);
};
const upgraded = (cluster: LittleCluster): Partial<AppView> => {
  const second = release(2);
  return { release: second, releases: [...shopOf(cluster).releases, second] };
};
const why = (cluster: LittleCluster, index: number, appId = 'app-shop', process = 'web') => {
  const { state } = cluster.hosts.get(asNodeId('a'))!;
  return explainSlot(cluster.view, candidatesOf(state, cluster.nowMs), { app: asAppId(appId), process, index });
};

describe('a slot with a volume', () => {
  it('runs where its data is, and mounts it', () => {
    const cluster = withData(['b', 'b', 'a']);
    expect(placed(cluster)).toEqual(['shop/0 on b', 'shop/1 on b', 'shop/2 on a']);
    expect(cluster.starts.flatMap(({ spec }) => spec.volumes?.map(({ id, lineage }) => `${id} ${lineage}`))).toEqual(
      expect.arrayContaining(['v0 v0-1', 'v1 v1-1', 'v2 v2-1']),
    );
  });

  it('is not moved to even out, and waits while its node is gone', () => {
    const cluster = withData(['b', 'b']);
    const { length } = cluster.starts;
    cluster.run(60_000);
    cluster.kill('b');
    cluster.run(60_000);
    expect(cluster.starts).toHaveLength(length);
    expect(why(cluster, 0).decision.why).toBe('unplaceable');
    expect(why(cluster, 0).considered[0]).toMatchObject({ reasons: [{ kind: 'pinned', node: 'b', nodeName: 'b' }] });
    cluster.restart('b');
    cluster.run(20_000);
    expect(placed(cluster)).toEqual(['shop/0 on b', 'shop/1 on b']);
  });

  it('stays on a node that drains, and is started there again', () => {
    const cluster = withData(['b']);
    const nodes = new Map([...cluster.view.nodes].map(([id, node]) => [id, { ...node, draining: node.name === 'b' }]));
    cluster.change({ ...cluster.view, nodes });
    cluster.run(20_000);
    change(cluster, { restartCount: 1 });
    cluster.run(20_000);
    expect(placed(cluster)).toEqual(['shop/0 on b']);
    expect(why(cluster, 0)).toMatchObject({ decision: { why: 'kept' }, holders: [{ mayStay: true }], successors: [] });
  });

  it('keeps running on both sides of a partition, also of an app that is fenced', () => {
    const cluster = withData(['a', 'b'], { partition: 'fence' });
    cluster.cut('a', 'b');
    cluster.cut('a', 'c');
    cluster.run(60_000);
    expect(placed(cluster)).toEqual(['shop/0 on a', 'shop/1 on b']);
  });

  it('is stopped before its new release starts, where it is the only one', () => {
    const cluster = withData(['b']);
    change(cluster, upgraded(cluster));
    cluster.run(20_000);
    expect(cluster.instances().map((one) => [one.release, one.state])).toEqual([['release-2', 'ready']]);
    expect(cluster.stops.map((one) => one.reason)).toEqual(['makes way for its replacement']);
  });

  it('takes a new release in its turn, while the others serve', () => {
    const cluster = withData(['a', 'b', 'c']);
    let least = 3;
    cluster.afterStep = () => {
      expectOneUserEach(cluster);
      least = Math.min(least, cluster.instances().filter((one) => one.state === 'ready').length);
    };
    change(cluster, upgraded(cluster));
    cluster.run(60_000);
    expect(cluster.instances().map((one) => one.release)).toEqual(['release-2', 'release-2', 'release-2']);
    const order = cluster.starts.slice(3).map(({ spec }) => spec.index);
    expect([order, least]).toEqual([[0, 1, 2], 2]);
  });

  it('of strategy recreate is replaced when all old ones have gone', () => {
    const cluster = withData(['a', 'b'], { strategy: 'recreate' });
    change(cluster, upgraded(cluster));
    cluster.run(20_000);
    expect(cluster.instances().map((one) => one.release)).toEqual(['release-2', 'release-2']);
  });

  it('that takes long to stop is waited for', () => {
    const cluster = withData(['b']);
    cluster.stopMs = 30_000;
    change(cluster, { restartCount: 1 });
    cluster.run(20_000);
    expect(cluster.starts).toHaveLength(1);
    cluster.run(20_000);
    expect(placed(cluster)).toEqual(['shop/0 on b']);
  });

  it('is taken up again by the next daemon, and started anew after a power loss', () => {
    const cluster = withData(['b']);
    cluster.killDaemon('b');
    cluster.run(20_000);
    cluster.restart('b');
    cluster.run(20_000);
    expect([placed(cluster), cluster.starts.length]).toEqual([['shop/0 on b'], 1]);
    cluster.kill('b');
    cluster.run(20_000);
    cluster.restart('b');
    cluster.run(20_000);
    expect([placed(cluster), cluster.starts.length]).toEqual([['shop/0 on b'], 2]);
  });

  it('whose process type has volumes, and that has none, runs nowhere', () => {
    const cluster = withData(['b']);
    change(cluster, { scale: { web: 2 } });
    cluster.run(20_000);
    expect(placed(cluster)).toEqual(['shop/0 on b']);
    expect(why(cluster, 1).considered.every((one) => 'reasons' in one && one.reasons[0]?.kind === 'noVolume')).toBe(
      true,
    );
  });

  it('whose volumes are on two nodes runs on neither', () => {
    const cluster = withData(['b']);
    cluster.changeVolumes([volume('more', 'app-shop', { path: '/more', node: asNodeId('c') })]);
    cluster.run(20_000);
    expect(placed(cluster)).toEqual([]);
    expect(why(cluster, 0).considered[0]).toMatchObject({ reasons: [{ kind: 'split', nodeNames: ['b', 'c'] }] });
  });

  it('leaves slots of another process type free to go anywhere', () => {
    const both = release(1, { processes: { web: 'a', worker: 'b' } });
    const cluster = withData(['b'], { scale: { web: 1, worker: 2 }, release: both, releases: [both] });
    const workers = cluster.instances().filter((one) => one.process === 'worker');
    expect(new Set(workers.map((one) => one.node))).toEqual(new Set(['a', 'c']));
  });
});

describe('data that is moved', () => {
  it('is left where it was before it is used where it is', () => {
    const cluster = withData(['b']);
    cluster.stopMs = 5_000;
    move(cluster, 'v0', 'c');
    cluster.run(4_000);
    expect([placed(cluster), cluster.left]).toEqual([[], []]);
    cluster.run(20_000);
    expect([placed(cluster), cluster.left.map((one) => one.node)]).toEqual([['shop/0 on c'], ['b']]);
    expect(cluster.stops.map((one) => one.reason)).toEqual(['its data is on another node']);
  });

  it('is not used while the node before is silent, until it is recovered', () => {
    const cluster = withData(['b']);
    cluster.cut('b', 'a');
    cluster.cut('b', 'c');
    cluster.run(20_000);
    // As only those that are not b's side heard of it: b runs on.
    const { node, ...one } = cluster.view.volumes.get(asVolumeId('v0'))!;
    const moved = { ...one, node: asNodeId('c'), movedFrom: node };
    cluster.changeVolumes([moved], ['a', 'c']);
    cluster.run(60_000);
    expect(placed(cluster)).toEqual(['shop/0 on b']);
    expect(why(cluster, 0).considered.find((one) => one.node === 'c')).toMatchObject({
      reasons: [{ kind: 'moving', node: 'b', nodeName: 'b' }],
    });
    recover(cluster, 'v0', 'c', ['a', 'c']);
    cluster.run(20_000);
    expect(placed(cluster)).toEqual(['shop/0 on b', 'shop/0 on c']);
    cluster.heal();
    cluster.change(cluster.view);
    cluster.run(20_000);
    expect(placed(cluster)).toEqual(['shop/0 on c']);
  });

  it('is left also when nothing ran on it', () => {
    const cluster = withData(['b'], { stopped: true });
    move(cluster, 'v0', 'c');
    cluster.run(1_000);
    expect(cluster.left.map((one) => [one.node, one.volume])).toEqual([['b', 'v0']]);
  });

  it('with a new lineage in its place is used once the instance on the old one has gone', () => {
    const cluster = withData(['b']);
    recover(cluster, 'v0', 'b');
    cluster.run(20_000);
    expect(cluster.stops.map((one) => one.reason)).toEqual(['its data is another now']);
    expect(cluster.starts.at(-1)!.spec.volumes).toMatchObject([{ lineage: 'v0-2' }]);
    expect(placed(cluster)).toEqual(['shop/0 on b']);
  });
});

describe('a service', () => {
  const engines = (node: string): Partial<SelfInfo> => ({ services: node === 'c' ? [] : ['postgres 15', 'redis 7.0'] });

  it('runs where its data is, without a droplet', () => {
    const cluster = withData([], {}, engines);
    cluster.addService(service('b'));
    cluster.run(10_000);
    expect(placed(cluster)).toContain('db/0 on b');
    const { spec } = cluster.starts.at(-1)!;
    expect(spec).toMatchObject({ command: '', env: {}, service: { kind: 'postgres' }, volumes: [{ id: 'v-db' }] });
  });

  it('does not run on a node without its engine', () => {
    const cluster = withData([], {}, engines);
    cluster.addService(service('c'));
    cluster.run(10_000);
    expect(placed(cluster).filter((one) => one.startsWith('db'))).toEqual([]);
    expect(why(cluster, 0, 'db', 'service').considered.find((one) => one.node === 'c')).toMatchObject({
      reasons: [{ kind: 'noEngine', wanted: 'postgres 15', has: [] }],
    });
  });

  it('is stopped before another version of it starts, stops when told to, and is never called off', () => {
    const cluster = withData([], {}, () => ({ services: ['postgres 15', 'postgres 16'] }));
    cluster.addService(service('b'));
    cluster.run(10_000);
    cluster.addService(service('b', { version: '16' }));
    cluster.run(10_000);
    expect(cluster.starts.map(({ spec }) => spec.service?.version).filter(Boolean)).toEqual(['15', '16']);
    cluster.behaviour = () => 'crash';
    cluster.addService(service('b', { version: '15' }));
    cluster.run(600_000);
    expect(cluster.failed).toEqual([]);
    cluster.addService(service('b', { stopped: true }));
    cluster.run(10_000);
    expect(cluster.instances().filter((one) => one.app === 'db')).toEqual([]);
  });

  it('that waits for its node keeps nobody else from being evened out', () => {
    const cluster = withData([], {}, engines);
    cluster.addService(service('b'));
    cluster.run(10_000);
    cluster.kill('b');
    cluster.changeApps(['one', 'two', 'three', 'four'].map((name) => app(name)));
    cluster.run(20_000);
    cluster.kill('c');
    cluster.run(20_000);
    cluster.restart('c');
    cluster.run(60_000);
    expect(placed(cluster).filter((one) => one.endsWith('on a')).length).toBe(2);
  });
});
