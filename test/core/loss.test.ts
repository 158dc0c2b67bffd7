// Data whose node is lost: who says so, when, and which node restores it; and who never does.

import { describe, expect, it } from 'vitest';
import { asAppId, asLineageId, asNodeId, asVolumeId } from '../../crdt/ids.ts';
import type { AppView, VolumeView } from '../../crdt/view.ts';
import { candidatesOf } from '../../node/core/candidates.ts';
import { defaultConfig } from '../../node/core/config.ts';
import { mayRestore } from '../../node/core/loss.ts';
import { newestSnapshot, restorePlan } from '../../node/core/newest-snapshot.ts';
import { app, LittleCluster, MIB } from './little-cluster.ts';

const NAMES = ['a', 'b', 'c', 'd', 'e'];
const { lossDelayMs, lossRetryMs } = defaultConfig;
/** Well beyond what it takes to find out that a node is dead. */
const FOUND_OUT_MS = 20_000;

const volume = (index: number, node: string, more: Partial<VolumeView> = {}): VolumeView => ({
  id: asVolumeId(`v${index}`),
  owner: asAppId('app-shop'),
  process: 'web',
  index,
  path: '/data',
  sizeBytes: MIB,
  node: asNodeId(node),
  lineage: asLineageId(`v${index}-1`),
  snapshotEveryMs: 0,
  snapshotsKept: 0,
  onLoss: 'restore',
  createdAtMs: 0,
  mounted: true,
  ...more,
});

function withData(pins: string[], more: { app?: Partial<AppView>; volume?: Partial<VolumeView> } = {}, names = NAMES) {
  const shop = app('shop', { scale: { web: pins.length }, ...more.app });
  const cluster = new LittleCluster(names, [shop]);
  cluster.changeVolumes(pins.map((pin, index) => volume(index, pin, more.volume)));
  cluster.run(10_000);
  return cluster;
}

const restoring = (cluster: LittleCluster) =>
  cluster.restores.map(({ node, effect }) => `${effect.volumes.map(({ id }) => id)} on ${node}`);
const isolate = (cluster: LittleCluster, ...names: string[]) => {
  for (const one of names) {
    for (const other of NAMES) if (!names.includes(other)) cluster.cut(one, other);
  }
};
/** What whoever was told to restore writes. */
function restore(cluster: LittleCluster, by?: string[]): string {
  const { node, effect } = cluster.restores.at(-1)!;
  const { id } = effect.volumes[0]!;
  cluster.changeVolumes([{ ...cluster.view.volumes.get(id)!, node, lineage: asLineageId(`${id}-2`) }], by);
  return node;
}
const placed = (cluster: LittleCluster) => cluster.ready().map((one) => one.replace('app-', ''));

describe('a slot whose volumes say so, when their node is dead', () => {
  it('is restored by one node, which is told once the others have held it for lost for long enough', () => {
    const cluster = withData(['b']);
    const killedMs = cluster.nowMs;
    cluster.kill('b', 'silent');
    cluster.run(lossDelayMs);
    expect(restoring(cluster)).toEqual([]);
    cluster.run(FOUND_OUT_MS);
    expect(restoring(cluster)).toHaveLength(1);
    const [told] = cluster.restores;
    expect(told!.atMs - killedMs).toBeGreaterThan(lossDelayMs);
    expect(told).toMatchObject({ effect: { lost: 'b', volumes: [{ id: 'v0', lineage: 'v0-1' }] } });
    const node = restore(cluster);
    cluster.run(10_000);
    expect(placed(cluster)).toEqual([`shop/0@${node}`]);
  });

  it('is restored again and again until it is written, and then no more', () => {
    const cluster = withData(['b']);
    cluster.kill('b');
    cluster.run(lossDelayMs + FOUND_OUT_MS + 2 * lossRetryMs);
    expect(new Set(restoring(cluster)).size).toBe(1);
    expect(restoring(cluster).length).toBeGreaterThanOrEqual(3);
    restore(cluster);
    const { length } = cluster.restores;
    cluster.run(3 * lossRetryMs);
    expect(cluster.restores).toHaveLength(length);
  });

  it('waits for a node that comes back within that time, and is started there with what it has', () => {
    const cluster = withData(['b']);
    cluster.kill('b');
    cluster.run(lossDelayMs - 5_000);
    cluster.restart('b');
    cluster.run(2 * lossDelayMs);
    expect([restoring(cluster), placed(cluster)]).toEqual([[], ['shop/0@b']]);
    cluster.kill('b');
    cluster.run(lossDelayMs - 5_000);
    expect(restoring(cluster)).toEqual([]);
  });

  it('is not started again by the node that comes back later', () => {
    const cluster = withData(['b']);
    cluster.kill('b');
    cluster.run(lossDelayMs + FOUND_OUT_MS);
    const node = restore(cluster);
    const before = cluster.starts.length;
    cluster.restart('b');
    cluster.run(60_000);
    expect(placed(cluster)).toEqual([`shop/0@${node}`]);
    expect(cluster.starts.slice(before).every((one) => one.node === node)).toBe(true);
  });

  it('goes, slot by slot, to the nodes with the fewest volumes of the app', () => {
    const cluster = withData(['b', 'b', 'b', 'a']);
    cluster.kill('b');
    cluster.run(lossDelayMs + FOUND_OUT_MS);
    const nodes = cluster.restores.map(({ node }) => node);
    expect([...new Set(nodes)].sort()).toEqual(['c', 'd', 'e']);
  });

  it('is restored nowhere where no node has room for it', () => {
    const cluster = withData(['b'], { app: { memoryBytes: 700 * MIB } });
    cluster.changeApps([
      cluster.view.apps.get(asAppId('app-shop'))!,
      app('big', { memoryBytes: 700 * MIB, scale: { web: 4 } }),
    ]);
    cluster.run(10_000);
    cluster.kill('b');
    cluster.run(lossDelayMs + FOUND_OUT_MS);
    expect(restoring(cluster)).toEqual([]);
  });

  it('is restored when a person has removed its node', () => {
    const cluster = withData(['b']);
    cluster.kill('b');
    const nodes = new Map([...cluster.view.nodes].filter(([id]) => id !== asNodeId('b')));
    cluster.change({ ...cluster.view, nodes });
    cluster.run(lossDelayMs - 5_000);
    expect(restoring(cluster)).toEqual([]);
    cluster.run(FOUND_OUT_MS);
    expect(restoring(cluster)).toHaveLength(1);
  });
});

describe('a slot waits', () => {
  const afterLoss = (cluster: LittleCluster) => {
    cluster.run(2 * lossDelayMs);
    return restoring(cluster);
  };

  it('whose volume says so, and one with another volume that does', () => {
    const waits = withData(['b'], { volume: { onLoss: 'wait' } });
    waits.kill('b');
    expect(afterLoss(waits)).toEqual([]);
    const both = withData(['b']);
    both.changeVolumes([volume(1, 'b', { index: 0, path: '/more', onLoss: 'wait' })]);
    both.run(10_000);
    both.kill('b');
    expect(afterLoss(both)).toEqual([]);
  });

  it('that nobody asks for', () => {
    const cluster = withData(['b'], { app: { stopped: true } });
    cluster.kill('b');
    expect(afterLoss(cluster)).toEqual([]);
  });

  it('for a node that was stopped', () => {
    const cluster = withData(['b']);
    cluster.post('b', { type: 'leave', keepInstances: false });
    cluster.run(1_000);
    cluster.kill('b', 'silent');
    expect(afterLoss(cluster)).toEqual([]);
  });

  it('in a minority, and is restored by the majority of a partition', () => {
    const cluster = withData(['a']);
    isolate(cluster, 'd', 'e');
    cluster.cut('a', 'b');
    cluster.cut('a', 'c');
    expect(afterLoss(cluster)).toEqual([]);
    cluster.heal();
    cluster.run(20_000);
    isolate(cluster, 'a', 'e');
    expect(new Set(afterLoss(cluster)).size).toBe(1);
    expect(['b', 'c', 'd']).toContain(cluster.restores[0]!.node);
  });

  it('in a cluster of two, where one is no majority', () => {
    const cluster = withData(['b'], {}, ['a', 'b']);
    cluster.kill('b');
    expect(afterLoss(cluster)).toEqual([]);
  });

  it('while fewer than a majority say that its node is lost', () => {
    const cluster = withData(['b']);
    cluster.kill('b');
    // Those that have started since have to hold it for lost for as long.
    cluster.run(lossDelayMs / 2);
    for (const name of ['c', 'd']) cluster.killDaemon(name);
    cluster.run(2_000);
    for (const name of ['c', 'd']) cluster.restart(name);
    cluster.run(lossDelayMs / 2 + FOUND_OUT_MS - 2_000);
    expect(restoring(cluster)).toEqual([]);
    cluster.run(lossDelayMs / 2);
    expect(restoring(cluster)).toHaveLength(1);
  });
});

describe('an app that is fenced', () => {
  it('has such slots stopped where no majority is seen, before the majority restores them', () => {
    const cluster = withData(['a'], { app: { partition: 'fence' } });
    isolate(cluster, 'a');
    cluster.run(FOUND_OUT_MS);
    expect(placed(cluster)).toEqual([]);
    expect(cluster.stops.map(({ reason }) => reason)).toEqual([expect.stringContaining('fenced')]);
    cluster.run(lossDelayMs);
    const node = restore(cluster, ['b', 'c', 'd', 'e']);
    cluster.run(10_000);
    expect(placed(cluster)).toEqual([`shop/0@${node}`]);
    cluster.heal();
    cluster.change(cluster.view);
    cluster.run(20_000);
    expect(placed(cluster)).toEqual([`shop/0@${node}`]);
  });

  it('keeps slots that wait for their node where they are', () => {
    const cluster = withData(['a'], { app: { partition: 'fence' }, volume: { onLoss: 'wait' } });
    isolate(cluster, 'a');
    cluster.run(2 * lossDelayMs);
    expect(placed(cluster)).toEqual(['shop/0@a']);
  });
});

describe('whoever restores', () => {
  it('may no more once the node is back, or somebody has written something else', () => {
    const cluster = withData(['b']);
    cluster.kill('b');
    cluster.run(lossDelayMs + FOUND_OUT_MS);
    const { node, effect } = cluster.restores[0]!;
    const may = () => {
      const { state } = cluster.hosts.get(node)!;
      return mayRestore(state, candidatesOf(state, cluster.nowMs), effect);
    };
    expect(may()).toBe(true);
    cluster.restart('b');
    cluster.run(5_000);
    expect(may()).toBe(false);
    cluster.kill('b');
    cluster.run(lossDelayMs + FOUND_OUT_MS);
    expect(may()).toBe(true);
    cluster.changeVolumes([volume(0, 'b', { onLoss: 'wait' })]);
    expect(may()).toBe(false);
    cluster.changeVolumes([volume(0, 'b', { lineage: asLineageId('other') })]);
    expect(may()).toBe(false);
  });
});

describe('the snapshot that is restored', () => {
  const snapshot = (id: string, takenAtMs: number, lineage = 'v0-1') => ({
    ...{ id, takenAtMs, lineage: asLineageId(lineage), volume: asVolumeId('v0') },
  });
  const ofLineage = (lineage: string, base?: VolumeView['base']) =>
    volume(0, 'b', { lineage: asLineageId(lineage), ...(base === undefined ? {} : { base }) });

  it('is the newest of the lineage, and before that of what it was made of, never of what was given up', () => {
    const held = [snapshot('old', 10), snapshot('spoilt', 30), snapshot('good', 20)];
    const base = { id: 'good', takenAtMs: 20 };
    expect(newestSnapshot(ofLineage('v0-1'), held)?.id).toBe('spoilt');
    expect(newestSnapshot(ofLineage('v0-2', base), held)?.id).toBe('good');
    expect(newestSnapshot(ofLineage('v0-2', base), [...held, snapshot('own', 25, 'v0-2')])?.id).toBe('own');
    expect(newestSnapshot(ofLineage('v0-2', base), [snapshot('old', 10), snapshot('spoilt', 30)])?.id).toBe('old');
    expect(newestSnapshot(ofLineage('v0-2', base), [snapshot('spoilt', 30)])).toBeUndefined();
    expect(newestSnapshot(ofLineage('v0-2'), held)?.id).toBe('spoilt');
    expect(newestSnapshot(ofLineage('v0-1'), [{ ...snapshot('other', 1), volume: asVolumeId('v1') }])).toBeUndefined();
  });

  it('is known once a majority has answered, and all who live or there is no more time', () => {
    const asked = { answered: 3, living: 4, admitted: 5, patient: true };
    const plan = (change: Partial<typeof asked>, held = [snapshot('s', 1)]) =>
      restorePlan([ofLineage('v0-1')], held, { ...asked, ...change });
    expect(plan({ answered: 2 })).toEqual({ wait: 'minority' });
    expect(plan({})).toEqual({ wait: 'silent' });
    expect(plan({ patient: false })).toMatchObject([{ id: 's' }]);
    expect(plan({ answered: 4 })).toMatchObject([{ id: 's' }]);
    expect(plan({ answered: 4 }, [])).toEqual({ wait: 'none' });
    expect(restorePlan([volume(0, 'b'), volume(1, 'b')], [snapshot('s', 1)], { ...asked, answered: 4 })).toEqual({
      wait: 'none',
    });
  });
});
