// What simulations taught: each case is the small form of a failure that a seed in test/sim/pinned.ts once showed.

import { describe, expect, it } from 'vitest';
import { asAppId, asNodeId } from '../../crdt/ids.ts';
import { isPromised, offer, promise, promisesOf, withdraw } from '../../node/core/handover.ts';
import type { Holder } from '../../node/core/holders.ts';
import { initialState, type LocalInstance } from '../../node/core/state.ts';
import { step } from '../../node/core/step.ts';
import type { Effect, Event, InstanceReport } from '../../node/core/types.ts';
import { app, desired, LittleCluster, MIB, release, selfInfo } from './little-cluster.ts';

const a = asNodeId('node-a');
const b = asNodeId('node-b');

/** One core that is told things, without a network. */
function lonelyCore(heads: string[]) {
  const state = initialState({ self: selfInfo(a), incarnation: 1, nowMs: 0 });
  const tell = (event: Event, nowMs: number): Effect[] => step(state, event, nowMs).effects;
  tell({ type: 'desiredChanged', view: desired([a, b], []), heads }, 0);
  return { state, tell };
}

const reportOf = (node: typeof a, sequence: number, heads: string[]): Event => {
  const state = initialState({ self: selfInfo(node), incarnation: 1, nowMs: 0 });
  const { status, load } = { status: 'alive' as const, load: 0 };
  const { self, incarnation } = state;
  const report = { ...self, incarnation, sequence, status, load, instances: [], droplets: [], heads };
  return { type: 'reportReceived', report };
};

describe('anti-entropy', () => {
  it('is asked for again while another node goes on having other heads: the first exchange may have failed', () => {
    const { tell } = lonelyCore(['mine']);
    const askedAtMs: number[] = [];
    for (let sequence = 1; sequence <= 20; sequence++) {
      const effects = tell(reportOf(b, sequence, ['theirs']), sequence * 1_000);
      if (effects.some((effect) => effect.type === 'syncDesired')) askedAtMs.push(sequence * 1_000);
    }
    expect(askedAtMs).toEqual([1_000, 6_000, 11_000, 16_000]);
  });
});

describe('a node that has refuted a suspicion and is started again', () => {
  it('reports with an incarnation beyond the one it refuted with, and reuses no instance id', () => {
    const cluster = new LittleCluster(['a', 'b', 'c'], [app('hello', { scale: { web: 3 } })]);
    cluster.run(5_000);
    const host = () => cluster.hosts.get(asNodeId('c'))!;
    cluster.post('a', { type: 'probeFailed', node: asNodeId('c'), reason: 'timeout' });
    cluster.run(5_000);
    const refutedWith = host().state.incarnation;
    cluster.kill('c');
    cluster.run(5_000);
    cluster.restart('c');
    cluster.run(10_000);
    expect(host().state.incarnation).toBeGreaterThan(refutedWith);
    const ids = cluster.starts.map((start) => start.spec.id);
    expect(new Set(ids).size).toBe(ids.length);
    expect(cluster.ready()).toHaveLength(3);
  });
});

const first = release(1);
const second = release(2);
const upgraded = (before: ReturnType<typeof app>) => ({ ...before, release: second, releases: [first, second] });

describe('two copies of one slot', () => {
  const small = { self: () => ({ memoryBytes: 64 * MIB }) };

  describe('of which each node takes the other for the one that stays', () => {
    const copy = (id: string): LocalInstance => ({ id, state: 'ready' }) as LocalInstance;
    const holderOf = (node: typeof a, instance: LocalInstance): Holder => ({
      candidate: { node } as Holder['candidate'],
      instance: {
        id: instance.id,
        state: instance.state,
        offered: instance.offered?.name,
        covers: promisesOf(instance),
      } as InstanceReport,
    });
    const twoNodes = () => {
      const [mine, theirs] = [copy('mine'), copy('theirs')];
      const states = [a, b].map((node) => initialState({ self: selfInfo(node), incarnation: 1, nowMs: 0 }));
      const holders = () => [holderOf(a, mine), holderOf(b, theirs)];
      const promiseOf = (local: LocalInstance, heard: boolean, nowMs: number) =>
        promise(states[local === mine ? 0 : 1]!, {
          local: [local],
          holders: heard ? holders() : [],
          vacating: [],
          isHeard: () => heard,
          nowMs,
        });
      return { mine, theirs, states, holders, promiseOf };
    };

    it('are never both given up', () => {
      const { mine, theirs, states, holders, promiseOf } = twoNodes();
      offer(states[0]!, mine, 0);
      offer(states[1]!, theirs, 0);
      promiseOf(mine, true, 0);
      promiseOf(theirs, true, 0);
      expect(isPromised(states[0]!, mine, holders(), 0)).toBe(false);
      expect(isPromised(states[1]!, theirs, holders(), 0)).toBe(false);
      withdraw(states[1]!, theirs);
      promiseOf(theirs, true, 0);
      expect(isPromised(states[0]!, mine, holders(), 0)).toBe(true);
      // An offer made anew is another one: the promise was not for it.
      withdraw(states[0]!, mine);
      states[0]!.sequence++;
      offer(states[0]!, mine, 0);
      expect(isPromised(states[0]!, mine, holders(), 0)).toBe(false);
    });

    it('are held to a promise for longer than the offer counts, also when its node is not heard of any more', () => {
      const { mine, theirs, states, holders, promiseOf } = twoNodes();
      const { offerValidMs, promiseHeldMs } = states[0]!.config;
      offer(states[0]!, mine, 0);
      promiseOf(theirs, true, 10);
      expect(isPromised(states[0]!, mine, holders(), offerValidMs)).toBe(true);
      expect(isPromised(states[0]!, mine, holders(), offerValidMs + 1)).toBe(false);
      promiseOf(theirs, false, promiseHeldMs);
      offer(states[1]!, theirs, promiseHeldMs);
      expect(theirs.offered).toBeUndefined();
      promiseOf(theirs, false, promiseHeldMs + 10);
      offer(states[1]!, theirs, promiseHeldMs + 10);
      expect(theirs.offered).toBeDefined();
    });
  });

  it('on full nodes become one, which then takes the new release', () => {
    const before = app('hello', { release: first, releases: [first] });
    const cluster = new LittleCluster(['a', 'b'], [before], small);
    cluster.run(5_000);
    cluster.cut('a', 'b');
    cluster.run(10_000);
    expect(cluster.ready()).toHaveLength(2);
    cluster.changeApps([upgraded(before)]);
    cluster.heal();
    cluster.run(10_000);
    expect(cluster.instances().map((one) => [one.state, one.release])).toEqual([['ready', second.id]]);
  });
});

describe('two copies of one slot on a node that starts again', () => {
  it('are the one that was told to stop before, and the one that stays', () => {
    const cluster = new LittleCluster(['a'], [app('hello')]);
    // Ids are told apart by their numbers, not as texts: the tenth is the newest.
    for (let copy = 1; copy < 10; copy++) {
      cluster.run(2_000);
      cluster.post('a', { type: 'restartSlot', slot: { app: asAppId('app-hello'), process: 'web', index: 0 } });
    }
    cluster.run(2_000);
    const [dying, newest] = cluster.starts.slice(-2).map(({ spec }) => spec);
    const { running } = cluster.hosts.get(asNodeId('a'))!;
    cluster.adoptionMs = 500;
    running.clear();
    running.set(dying!.id, dying!).set(newest!.id, newest!);
    cluster.restart('a');
    const stopsBefore = cluster.stops.length;
    cluster.run(5_000);
    expect(cluster.stops.slice(stopsBefore).map((stop) => stop.id)).toEqual([dying!.id]);
    expect(cluster.instances().map((one) => [one.id, one.state])).toEqual([[newest!.id, 'ready']]);
  });
});

describe('two copies of a slot, of different releases, on a node that starts again', () => {
  it('are both kept until one is known to serve: the newer was perhaps still starting', () => {
    const before = app('hello', { release: first, releases: [first] });
    const cluster = new LittleCluster(['a'], [before]);
    cluster.run(5_000);
    cluster.behaviour = () => 'hang';
    cluster.changeApps([upgraded(before)]);
    cluster.run(1_000);
    expect(cluster.instances().map((one) => one.state)).toEqual(['ready', 'starting']);
    const [serves, hangs] = cluster.starts.map(({ spec }) => spec);
    const third = release(3);
    const now = { ...before, release: third, releases: [first, second, third] };
    cluster.hosts.get(asNodeId('a'))!.up = false;
    cluster.changeApps([now]);
    cluster.hangsAfterAdoption.add(hangs!.id);
    cluster.adoptionMs = 500;
    cluster.restart('a');
    cluster.run(2_000);
    expect(cluster.stops.map((stop) => stop.id)).toEqual([hangs!.id]);
    expect(cluster.ready()).toHaveLength(1);
    expect(cluster.instances().find((one) => one.id === serves!.id)?.state).toBe('ready');
  });
});

describe('a slot whose instance crashed', () => {
  it('goes elsewhere when its node no longer has room to start it again', () => {
    const cluster = new LittleCluster(['a', 'b'], [app('hello', { memoryBytes: 600 * MIB })]);
    cluster.run(5_000);
    cluster.behaviour = (_spec, node) => (node === holder ? 'crash' : 'ready');
    const holder = asNodeId(cluster.instances()[0]!.node);
    cluster.crash(holder, cluster.instances()[0]!.id);
    cluster.run(5_000);
    expect(cluster.instances().map((one) => one.state)).toEqual(['crashed']);
    cluster.hosts.get(holder)!.state.self.memoryBytes = 512 * MIB;
    cluster.run(5_000);
    expect(cluster.instances().map((one) => [one.state, one.node === holder])).toEqual([['ready', false]]);
  });

  it('leaves no record beside a copy that runs', () => {
    const before = app('hello', { release: release(1), releases: [release(1)] });
    const cluster = new LittleCluster(['a'], [before]);
    cluster.run(5_000);
    cluster.startMs = 2_000;
    cluster.changeApps([{ ...before, release: release(2), releases: [release(1), release(2)] }]);
    cluster.run(500);
    cluster.crash('a', cluster.starts[0]!.spec.id);
    cluster.run(10_000);
    expect(cluster.instances().map((one) => one.state)).toEqual(['ready']);
  });

  it('says that it waits out its crashes, also when another release ran there in between', () => {
    const [good, bad] = [release(1), release(2)];
    const before = app('hello', { release: good, releases: [good] });
    const cluster = new LittleCluster(['a', 'b'], [before]);
    cluster.behaviour = (spec) => (spec.release.version === 1 ? 'crash' : 'hang');
    cluster.run(10_000);
    const crashed = cluster.instances().map((one) => [one.node, one.state, one.release]);
    expect(crashed).toEqual([[expect.anything(), 'crashed', good.id]]);
    cluster.changeApps([{ ...before, release: bad, releases: [good, bad] }]);
    cluster.run(1_000);
    expect(cluster.instances().map((one) => [one.state, one.release])).toEqual([['starting', bad.id]]);
    cluster.changeApps([before]);
    cluster.run(1_000);
    expect(cluster.instances().map((one) => [one.node, one.state, one.release])).toEqual(crashed);
  });

  it('and waits out its crashes holds up no move of another app', () => {
    const [one, two] = ['one', 'two'].map((name) => app(name, { memoryBytes: 300 * MIB }));
    const cluster = new LittleCluster(['a', 'b'], [one!, two!, app('flaps')]);
    cluster.behaviour = (spec) => (spec.app.name === 'flaps' ? 'crash' : 'ready');
    cluster.kill('b');
    cluster.run(20_000);
    expect(cluster.instances().map((copy) => copy.state)).toContain('crashed');
    cluster.restart('b');
    cluster.run(15_000);
    expect(new Set(cluster.ready().map((copy) => copy.split('@').at(-1))).size).toBe(2);
  });
});

describe('a roll-out', () => {
  it('is not held up by a slot that no node has room for', () => {
    const before = app('hello', { scale: { web: 3 }, maxUnavailable: 2, release: first, releases: [first] });
    const cluster = new LittleCluster(['a'], [before], { self: () => ({ memoryBytes: 128 * MIB }) });
    cluster.run(5_000);
    expect(cluster.ready()).toHaveLength(2);
    // The first slot has lost its place to the two others.
    cluster.crash('a', cluster.instances()[0]!.id);
    cluster.changeApps([upgraded(before)]);
    cluster.run(20_000);
    expect(cluster.instances().map((one) => one.release)).toEqual([second.id, second.id]);
  });

  it('counts what the old copies were started with, not what the app is set to now', () => {
    const before = app('hello', { memoryBytes: 600 * MIB, release: first, releases: [first] });
    const cluster = new LittleCluster(['a', 'b'], [before]);
    cluster.run(5_000);
    cluster.changeApps([{ ...upgraded(before), memoryBytes: 500 * MIB }]);
    cluster.run(10_000);
    expect(cluster.instances().map((one) => one.release)).toEqual([second.id]);
  });

  it('upgrades as many slots at once as maxSurge allows', () => {
    const most = (maxSurge: number): number => {
      const before = app('hello', { scale: { web: 4 }, maxSurge, release: first, releases: [first] });
      const cluster = new LittleCluster(['a', 'b'], [before]);
      cluster.run(5_000);
      let twice = 0;
      cluster.afterStep = () => {
        const keys = cluster
          .instances()
          .filter((one) => one.state !== 'stopping')
          .map((one) => one.index);
        twice = Math.max(twice, keys.length - new Set(keys).size);
      };
      cluster.changeApps([upgraded(before)]);
      cluster.run(20_000);
      expect(cluster.instances().every((one) => one.release === second.id && one.state === 'ready')).toBe(true);
      return twice;
    };
    expect([most(0), most(1), most(3)]).toEqual([0, 1, 3]);
  });

  it('without surge never takes down more than maxUnavailable, nor an only instance', () => {
    for (const count of [1, 4]) {
      const before = app('hello', { scale: { web: count }, maxSurge: 0, release: first, releases: [first] });
      const cluster = new LittleCluster(['a', 'b'], [before]);
      cluster.run(5_000);
      let least = count;
      cluster.afterStep = () => {
        least = Math.min(least, cluster.ready().length);
      };
      cluster.changeApps([upgraded(before)]);
      cluster.run(20_000);
      expect(cluster.instances().map((one) => one.release)).toEqual(Array.from({ length: count }, () => second.id));
      expect(least).toBe(Math.max(1, count - 1));
    }
  });

  it('of strategy recreate is not held up by an old copy on a node that drains', () => {
    const before = app('hello', { strategy: 'recreate', release: first, releases: [first] });
    const cluster = new LittleCluster(['a', 'b'], [before]);
    cluster.run(5_000);
    const holder = asNodeId(cluster.instances()[0]!.node);
    const nodes = new Map(cluster.view.nodes);
    nodes.set(holder, { ...nodes.get(holder)!, draining: true });
    const apps = new Map([[before.id, upgraded(before)]]);
    cluster.change({ ...cluster.view, nodes, apps, workloads: apps });
    cluster.run(10_000);
    expect(cluster.instances().map((one) => [one.release, one.node === holder])).toEqual([[second.id, false]]);
  });

  it('of a slot whose old copy does not serve waits for nobody', () => {
    const before = app('hello', { scale: { web: 2 }, release: first, releases: [first] });
    const cluster = new LittleCluster(['a'], [before]);
    cluster.run(5_000);
    // The first slot's new copy never gets ready; the second slot's old one is being started again.
    cluster.behaviour = (spec) => (spec.release.id === second.id && spec.index === 0 ? 'hang' : 'ready');
    cluster.startMs = 3_000;
    cluster.crash('a', cluster.instances()[1]!.id);
    cluster.changeApps([upgraded(before)]);
    cluster.run(5_000);
    const one = cluster.instances().filter((instance) => instance.index === 1);
    expect(one.map((instance) => [instance.state, instance.release])).toEqual([['ready', second.id]]);
  });

  it('keeps an old copy that does not answer until the new one is ready: it may answer again', () => {
    const before = app('hello', { release: first, releases: [first] });
    const cluster = new LittleCluster(['a'], [before]);
    cluster.run(5_000);
    const old = cluster.starts[0]!.spec.id;
    cluster.post('a', { type: 'instanceUnhealthy', id: old, reason: 'does not answer' });
    cluster.startMs = 3_000;
    cluster.changeApps([upgraded(before)]);
    cluster.run(2_000);
    expect(cluster.stops).toEqual([]);
    cluster.post('a', { type: 'instanceReady', id: old });
    expect(cluster.ready()).toHaveLength(1);
    cluster.run(5_000);
    expect(cluster.instances().map((one) => [one.state, one.release])).toEqual([['ready', second.id]]);
  });

  it('keeps one old copy of a slot at most, whatever was tried in between', () => {
    const before = app('hello', { release: first, releases: [first] });
    const cluster = new LittleCluster(['a'], [before], { self: () => ({ memoryBytes: 128 * MIB }) });
    cluster.run(5_000);
    cluster.behaviour = () => 'hang';
    cluster.changeApps([upgraded(before)]);
    cluster.run(1_000);
    cluster.behaviour = () => 'ready';
    const third = release(3);
    cluster.changeApps([{ ...before, release: third, releases: [first, second, third] }]);
    cluster.run(10_000);
    expect(cluster.instances().map((one) => [one.state, one.release])).toEqual([['ready', third.id]]);
  });

  it('takes an instance that was just adopted for one that serves', () => {
    const before = app('hello', { release: first, releases: [first] });
    const cluster = new LittleCluster(['a'], [before]);
    cluster.run(5_000);
    cluster.startMs = 1_000;
    cluster.restart('a');
    cluster.changeApps([upgraded(before)]);
    cluster.run(800);
    expect(cluster.stops.filter((stop) => stop.id === cluster.starts[0]!.spec.id)).toEqual([]);
    cluster.run(10_000);
    expect(cluster.instances().map((one) => [one.state, one.release])).toEqual([['ready', second.id]]);
  });

  it('of an app that has lost the room for one of its slots goes on with those that are left', () => {
    const before = app('hello', { scale: { web: 3 }, release: first, releases: [first] });
    const cluster = new LittleCluster(['a'], [before], { self: () => ({ memoryBytes: 128 * MIB }) });
    cluster.run(5_000);
    cluster.changeApps([upgraded(before)]);
    let least = 2;
    cluster.afterStep = () => {
      least = Math.min(least, cluster.ready().length);
    };
    cluster.run(20_000);
    expect(cluster.instances().map((one) => [one.state, one.release])).toEqual([
      ['ready', second.id],
      ['ready', second.id],
    ]);
    expect(least).toBe(1);
  });
});

describe('a node that drains while nobody else can take its slots', () => {
  const draining = (cluster: LittleCluster) => {
    const nodes = [...cluster.view.nodes.values()].map((node) => [node.id, { ...node, draining: true }] as const);
    cluster.change({ ...cluster.view, nodes: new Map(nodes) });
  };

  it('ends the old copy of a slot once the new one beside it, begun before, is ready', () => {
    const before = app('hello', { release: first, releases: [first] });
    const cluster = new LittleCluster(['a'], [before]);
    cluster.run(5_000);
    cluster.startMs = 3_000;
    cluster.changeApps([upgraded(before)]);
    cluster.run(1_000);
    draining(cluster);
    cluster.run(20_000);
    expect(cluster.instances().map((one) => [one.state, one.release])).toEqual([['ready', second.id]]);
  });

  it('hands its slot to a node where an old copy of it fills the room for the new one', () => {
    const [before, filler] = [app('hello', { release: first, releases: [first] }), app('filler')];
    const cluster = new LittleCluster(['a', 'b'], [before, filler], {
      self: (node) => ({ memoryBytes: (node === asNodeId('a') ? 128 : 512) * MIB }),
    });
    cluster.run(5_000);
    cluster.cut('a', 'b');
    cluster.run(10_000);
    cluster.changeApps([upgraded(before), filler]);
    cluster.run(10_000);
    const hello = () =>
      cluster
        .instances()
        .filter((one) => one.app === before.id)
        .map((one) => [one.node, one.state, one.release]);
    expect(hello().sort()).toEqual([
      ['a', 'ready', first.id],
      ['b', 'ready', second.id],
    ]);
    let least = 2;
    cluster.afterStep = () => {
      least = Math.min(least, hello().filter(([, state]) => state === 'ready').length);
    };
    const { nodes } = cluster.view;
    const [b] = [...nodes.values()].filter((node) => node.name === 'b');
    cluster.change({ ...cluster.view, nodes: new Map([...nodes, [b!.id, { ...b!, draining: true }]]) });
    cluster.heal();
    cluster.run(20_000);
    expect(hello()).toEqual([['a', 'ready', second.id]]);
    expect(least).toBe(1);
  });

  it.each([10, 30, 50])('keeps one copy of a slot of which it adopts two, both outdated %i ms later', (waitMs) => {
    const before = app('hello', { release: first, releases: [first] });
    const cluster = new LittleCluster(['a'], [before]);
    cluster.run(5_000);
    cluster.startMs = 1_000;
    cluster.changeApps([upgraded(before)]);
    cluster.run(500);
    cluster.killDaemon('a');
    draining(cluster);
    cluster.restart('a');
    cluster.run(waitMs);
    const third = release(3);
    cluster.changeApps([{ ...before, release: third, releases: [first, second, third] }]);
    cluster.run(20_000);
    expect(cluster.instances().map((one) => one.state)).toEqual(['ready']);
  });

  it('keeps one copy of a slot that two such nodes run', () => {
    const cluster = new LittleCluster(['a', 'b'], [app('hello')]);
    cluster.run(5_000);
    cluster.cut('a', 'b');
    cluster.run(10_000);
    expect(cluster.ready()).toHaveLength(2);
    draining(cluster);
    cluster.heal();
    cluster.run(20_000);
    expect(cluster.ready()).toHaveLength(1);
  });
});

describe('a copy that offered to go', () => {
  it('and takes long to stop is decided on once, not over and over until it has gone', () => {
    const cluster = new LittleCluster(['a', 'b'], [app('hello')]);
    cluster.run(5_000);
    cluster.cut('a', 'b');
    cluster.run(10_000);
    cluster.stopMs = 30_000;
    cluster.heal();
    // The offer has ended since.
    cluster.run(10_000);
    expect(
      cluster
        .instances()
        .map((one) => one.state)
        .sort(),
    ).toEqual(['ready', 'stopping']);
    let steps = 0;
    cluster.afterStep = () => {
      steps++;
    };
    cluster.run(1_000);
    expect(steps).toBeLessThan(20);
  });
});
