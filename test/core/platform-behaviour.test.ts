// What users of such platforms expect of healing and roll-outs, shown on cores alone.
// test/e2e/platform-behaviour.test.ts lists all of these rules and where each is shown.

import { describe, expect, it } from 'vitest';
import { asNodeId } from '../../crdt/ids.ts';
import type { AppView } from '../../crdt/view.ts';
import { routeTable } from '../../node/core/routes.ts';
import { app, type Behaviour, LittleCluster, release } from './little-cluster.ts';

const first = release(1);
const second = release(2);

function settled(names: string[], apps: AppView[]): LittleCluster {
  const cluster = new LittleCluster(names, apps);
  cluster.run(5_000);
  return cluster;
}

/** The fewest different slots that were ready at any moment from now on. */
function watchReady(cluster: LittleCluster): { fewest: number } {
  const watch = { fewest: Number.POSITIVE_INFINITY };
  cluster.afterStep = () => {
    const slots = new Set(cluster.ready().map((one) => one.split('@')[0]));
    watch.fewest = Math.min(watch.fewest, slots.size);
  };
  return watch;
}

const upstreamsOn = (cluster: LittleCluster, node: string): number =>
  routeTable(cluster.hosts.get(asNodeId(node))!.state).routes.flatMap((route) => route.upstreams).length;

describe('an instance', () => {
  it('that fails its check gets no requests and is not restarted, and serves again when it passes', () => {
    const cluster = settled(['a', 'b'], [app('hello', { scale: { web: 2 } })]);
    const sick = cluster.instances()[0]!;
    cluster.post(sick.node, { type: 'instanceUnhealthy', id: sick.id, reason: 'GET /health answered 500' });
    cluster.run(20_000);
    for (const node of ['a', 'b']) expect(upstreamsOn(cluster, node)).toBe(1);
    cluster.post(sick.node, { type: 'instanceReady', id: sick.id });
    cluster.run(1_000);
    for (const node of ['a', 'b']) expect(upstreamsOn(cluster, node)).toBe(2);
    expect(cluster.stops).toEqual([]);
    expect(cluster.starts).toHaveLength(2);
  });

  it('is the only one whose id changes when its slot is restarted', () => {
    const cluster = settled(['a', 'b', 'c'], [app('hello', { scale: { web: 3 } })]);
    const [before, one] = [cluster.instances(), cluster.instances()[1]!];
    const slot = { app: one.app, process: 'web', index: 1 };
    cluster.post(one.node, { type: 'restartSlot', slot });
    cluster.run(2_000);
    const changed = cluster.instances().filter(({ id }) => !before.some((old) => old.id === id));
    expect(changed.map(({ index, state }) => [index, state])).toEqual([[1, 'ready']]);
  });
});

describe('an app', () => {
  it('scaled from one to two and back keeps its first instance', () => {
    const hello = app('hello');
    const cluster = settled(['a', 'b'], [hello]);
    const [only] = cluster.instances();
    cluster.changeApps([{ ...hello, scale: { web: 2 } }]);
    cluster.run(2_000);
    expect(cluster.ready()).toHaveLength(2);
    cluster.changeApps([hello]);
    cluster.run(2_000);
    expect(cluster.instances().map(({ id, state }) => [id, state])).toEqual([[only!.id, 'ready']]);
  });

  it('serves with the rest while some of its indices crash', () => {
    const cluster = new LittleCluster(['a', 'b', 'c'], [app('hello', { scale: { web: 4 } })]);
    cluster.behaviour = (spec) => (spec.index % 2 === 1 ? 'crash' : 'ready');
    cluster.run(120_000);
    expect(cluster.ready().map((one) => one.split('@')[0])).toEqual(['app-hello/0', 'app-hello/2']);
    for (const node of ['a', 'b', 'c']) expect(upstreamsOn(cluster, node)).toBe(2);
  });

  describe('of which every instance has crashed', () => {
    /** All wait out the first delay; then the app behaves as given. */
    function crashedAndThen(behaviour: Behaviour): LittleCluster {
      const cluster = new LittleCluster(['a', 'b', 'c'], [app('hello', { scale: { web: 3 } })]);
      cluster.behaviour = () => 'crash';
      cluster.run(20_000);
      expect(cluster.instances().map(({ state }) => state)).toEqual(['crashed', 'crashed', 'crashed']);
      cluster.behaviour = behaviour;
      cluster.startMs = 2_000;
      return cluster;
    }
    const indicesFrom = (cluster: LittleCluster, from: number) =>
      cluster.starts.slice(from).map(({ spec }) => spec.index);

    it('is tried with its first index; the others follow when that is ready', () => {
      const cluster = crashedAndThen(() => 'ready');
      const from = cluster.starts.length;
      while (cluster.starts.length === from) cluster.run(10);
      cluster.run(1_500);
      expect(indicesFrom(cluster, from)).toEqual([0]);
      cluster.run(5_000);
      expect(indicesFrom(cluster, from).sort()).toEqual([0, 1, 2]);
      expect(cluster.ready()).toHaveLength(3);
    });

    it('is tried with the others when the first index has crashed again', () => {
      const cluster = crashedAndThen((spec) => (spec.index === 0 ? 'crash' : 'ready'));
      const from = cluster.starts.length;
      while (cluster.starts.length === from) cluster.run(10);
      expect(indicesFrom(cluster, from)).toEqual([0]);
      cluster.run(3_000);
      expect(cluster.ready()).toHaveLength(2);
    });

    it('is tried with the others when nothing is known of the first index for a while', () => {
      const cluster = crashedAndThen((spec) => (spec.index === 0 ? 'hang' : 'ready'));
      const from = cluster.starts.length;
      while (cluster.starts.length === from) cluster.run(10);
      cluster.run(9_000);
      expect(indicesFrom(cluster, from)).toEqual([0]);
      cluster.run(5_000);
      expect(cluster.ready()).toHaveLength(2);
    });
  });

  it('whose slots wait out a backoff is started at once by an update', () => {
    const before = app('hello', { release: first, releases: [first] });
    const cluster = new LittleCluster(['a', 'b'], [before]);
    cluster.behaviour = (spec) => (spec.release.id === first.id ? 'crash' : 'ready');
    cluster.run(200_000);
    const from = cluster.starts.length;
    expect(from).toBeGreaterThan(4);
    cluster.changeApps([{ ...before, release: second, releases: [first, second] }]);
    cluster.run(1_000);
    expect(cluster.starts).toHaveLength(from + 1);
    expect(cluster.ready()).toHaveLength(1);
  });
});

describe('a node', () => {
  it('that returns leads to no duplicate, and the last copy of a slot never goes', () => {
    const cluster = settled(['a', 'b', 'c'], [app('hello', { scale: { web: 3 } })]);
    cluster.cut('a', 'c');
    cluster.cut('b', 'c');
    cluster.run(15_000);
    expect(cluster.ready().length).toBeGreaterThan(3);
    const watch = watchReady(cluster);
    cluster.heal();
    cluster.run(15_000);
    expect(watch.fewest).toBe(3);
    expect(cluster.ready()).toHaveLength(3);
  });

  it('with a stale view stops nothing', () => {
    const hello = app('hello', { scale: { web: 3 } });
    const cluster = settled(['a', 'b', 'c'], [hello]);
    const mine = cluster.instances().filter(({ node }) => node === 'c');
    // It knows nothing but what it had on disk: no member, no news of what was changed meanwhile.
    for (const other of ['a', 'b']) cluster.cut(other, 'c');
    cluster.restart('c');
    cluster.run(60_000);
    expect(cluster.stops.filter(({ node }) => node === 'c')).toEqual([]);
    const running = cluster.instances().filter(({ node }) => node === 'c');
    expect(running.map(({ id }) => id)).toEqual(expect.arrayContaining(mine.map(({ id }) => id)));
  });
});

describe('a roll-out', () => {
  const before = app('hello', { scale: { web: 4 }, release: first, releases: [first] });
  const after = { ...before, release: second, releases: [first, second] };

  it.each(['a', 'b', 'c', 'd'])('that loses node %s after three of four slots goes on', (lost) => {
    const cluster = settled(['a', 'b', 'c', 'd'], [before]);
    cluster.changeApps([after]);
    const upgraded = () =>
      cluster.instances().filter((one) => one.release === second.id && one.state === 'ready').length;
    while (upgraded() < 3) cluster.run(10);
    const watch = watchReady(cluster);
    cluster.kill(lost, 'silent');
    cluster.run(15_000);
    expect(watch.fewest).toBeGreaterThanOrEqual(2);
    expect(cluster.instances().map(({ release, state }) => [release, state])).toEqual(
      Array.from({ length: 4 }, () => [second.id, 'ready']),
    );
  });

  it('that is called off half way leaves the old release on every slot', () => {
    const cluster = settled(['a', 'b', 'c', 'd'], [before]);
    cluster.startMs = 1_000;
    const watch = watchReady(cluster);
    cluster.changeApps([after]);
    cluster.run(2_500);
    expect(new Set(cluster.instances().map((one) => one.release))).toEqual(new Set([first.id, second.id]));
    // As `peer rollback` does: the old droplet as a release of its own.
    const third = release(3, { droplet: first.droplet });
    cluster.changeApps([{ ...after, release: third, releases: [first, second, third] }]);
    cluster.run(15_000);
    expect(watch.fewest).toBe(4);
    expect(cluster.instances().map(({ release, state }) => [release, state])).toEqual(
      Array.from({ length: 4 }, () => [third.id, 'ready']),
    );
  });
});
