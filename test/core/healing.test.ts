// What a cluster of cores does about deaths, returns, partitions, crashes and roll-outs, on a fake clock.

import { describe, expect, it } from 'vitest';
import type { AppView } from '../../crdt/view.ts';
import { buildReport } from '../../node/core/report.ts';
import { app, LittleCluster, MIB, release } from './little-cluster.ts';

const spread = (cluster: LittleCluster): string[] =>
  cluster
    .instances()
    .map((one) => one.node)
    .sort();

const idsOf = (cluster: LittleCluster): string[] =>
  cluster
    .instances()
    .map(({ id }) => id)
    .sort();

function settled(names: string[], apps: AppView[]): LittleCluster {
  const cluster = new LittleCluster(names, apps);
  cluster.run(5_000);
  return cluster;
}

describe('a settled cluster', () => {
  it('fills every slot exactly once and spreads an app over its nodes', () => {
    const cluster = settled(['a', 'b', 'c'], [app('hello', { scale: { web: 3 } })]);
    expect(cluster.ready()).toHaveLength(3);
    expect(spread(cluster)).toEqual(['a', 'b', 'c']);
  });

  it('starts and stops nothing for an hour while nothing changes but the load', () => {
    const cluster = settled(['a', 'b', 'c'], [app('one', { scale: { web: 4 } }), app('two', { scale: { web: 2 } })]);
    const before = { starts: cluster.starts.length, stops: cluster.stops.length };
    for (let minute = 0; minute < 60; minute++) {
      for (const [index, node] of ['a', 'b', 'c'].entries()) {
        cluster.post(node, { type: 'resourcesMeasured', load: ((minute * 7 + index * 3) % 11) / 2 });
      }
      cluster.run(60_000);
    }
    expect({ starts: cluster.starts.length, stops: cluster.stops.length }).toEqual(before);
  });

  it('runs every slot on a single node', () => {
    expect(settled(['a'], [app('hello', { scale: { web: 2 } })]).ready()).toHaveLength(2);
  });
});

describe('a node that dies', () => {
  it('is replaced in well under a second when its host refuses connections', () => {
    const cluster = settled(['a', 'b', 'c', 'd', 'e'], [app('hello', { scale: { web: 3 } })]);
    const victim = cluster.instances()[0]!.node;
    const atMs = cluster.nowMs;
    cluster.kill(victim);
    cluster.run(1_000);
    expect(cluster.ready()).toHaveLength(3);
    expect(cluster.starts.at(-1)!.atMs - atMs).toBeLessThan(500);
  });

  it('is replaced within five seconds when it falls silent', () => {
    const cluster = settled(['a', 'b', 'c', 'd', 'e'], [app('hello', { scale: { web: 5 } })]);
    cluster.kill('c', 'silent');
    cluster.run(5_000);
    expect(cluster.ready()).toHaveLength(5);
  });

  it.each(['a', 'b', 'd', 'e'])(
    'is replaced as soon when %s, which had been late itself, doubts what it sees',
    (late) => {
      const cluster = settled(['a', 'b', 'c', 'd', 'e'], [app('hello', { scale: { web: 5 } })]);
      cluster.post(late, { type: 'tick', lateMs: 8_000 });
      cluster.kill('c', 'silent');
      cluster.run(4_500);
      expect(cluster.ready()).toHaveLength(5);
    },
  );

  it('is replaced by the other one in a cluster of two', () => {
    const cluster = settled(['a', 'b'], [app('hello', { scale: { web: 2 } })]);
    cluster.kill('a');
    cluster.run(3_000);
    expect(cluster.ready()).toHaveLength(2);
  });

  it('takes back nothing but its share when it returns, and no slot is filled twice', () => {
    const cluster = settled(['a', 'b', 'c'], [app('hello', { scale: { web: 3 } })]);
    cluster.kill('b');
    cluster.run(5_000);
    cluster.restart('b');
    cluster.run(5_000);
    expect(cluster.ready()).toHaveLength(3);
    expect(spread(cluster)).toEqual(['a', 'b', 'c']);
  });
});

describe('a node that joins a loaded cluster', () => {
  it('takes its share of many small apps, one move at a time, and then nothing moves', () => {
    const apps = Array.from({ length: 16 }, (_, index) => app(`app-${String(index).padStart(2, '0')}`));
    const cluster = new LittleCluster(['a', 'b', 'c', 'd'], apps);
    cluster.kill('d');
    cluster.run(10_000);
    expect(cluster.ready()).toHaveLength(16);
    cluster.restart('d');
    let fewest = Number.POSITIVE_INFINITY;
    cluster.afterStep = () => {
      fewest = Math.min(fewest, new Set(cluster.ready().map((one) => one.split('@')[0])).size);
    };
    cluster.run(30_000);
    const perNode = ['a', 'b', 'c', 'd'].map((node) => spread(cluster).filter((one) => one === node).length);
    expect(perNode).toEqual([4, 4, 4, 4]);
    expect(fewest).toBe(16);
    const { length } = cluster.starts;
    cluster.run(600_000);
    expect(cluster.starts).toHaveLength(length);
  });
});

describe('a restart of all daemons', () => {
  it('adopts what runs and starts nothing', () => {
    const cluster = settled(['a', 'b', 'c'], [app('hello', { scale: { web: 3 } })]);
    const starts = cluster.starts.length;
    for (const node of ['a', 'b', 'c']) cluster.restart(node);
    cluster.run(10_000);
    expect(cluster.starts).toHaveLength(starts);
    expect(cluster.stops).toHaveLength(0);
    expect(cluster.ready()).toHaveLength(3);
  });
});

describe('a daemon that is back later than the others waited for it', () => {
  it.each([
    [2, 2],
    [2, 5],
    [3, 3],
    [3, 2],
  ])('gets back what ran on there, of %i nodes and %i slots: only what was started instead goes', (nodes, slots) => {
    const cluster = settled(['a', 'b', 'c'].slice(0, nodes), [app('hello', { scale: { web: slots } })]);
    const before = idsOf(cluster);
    cluster.killDaemon('a');
    cluster.run(4_000);
    const instead = cluster.starts.slice(slots).map(({ spec }) => spec.id);
    expect(instead.length).toBeGreaterThan(0);
    cluster.adoptionMs = 1_500;
    cluster.restart('a');
    cluster.run(20_000);
    expect(cluster.starts).toHaveLength(slots + instead.length);
    expect(cluster.stops.map(({ id }) => id).sort()).toEqual(instead.sort());
    expect(idsOf(cluster)).toEqual(before);
  });

  it('waits a few seconds and no longer for what does not answer', () => {
    const cluster = settled(['a', 'b', 'c'], [app('hello', { scale: { web: 2 } })]);
    const [away] = cluster.starts;
    cluster.killDaemon(away!.node);
    cluster.run(4_000);
    cluster.hangsAfterAdoption.add(away!.spec.id);
    cluster.restart(away!.node);
    cluster.run(2_000);
    expect(cluster.stops).toEqual([]);
    cluster.run(2_000);
    expect(cluster.stops.map(({ id }) => id)).toEqual([away!.spec.id]);
  });

  it('waits for nothing of an app that must not run twice', () => {
    const cluster = settled(['a', 'b', 'c'], [app('hello', { partition: 'fence' })]);
    cluster.run(15_000);
    const [away] = cluster.starts;
    cluster.killDaemon(away!.node);
    cluster.run(30_000);
    expect(cluster.ready()).toHaveLength(1);
    cluster.adoptionMs = 1_500;
    cluster.restart(away!.node);
    cluster.run(1_000);
    expect(cluster.stops.map(({ id }) => id)).toEqual([away!.spec.id]);
  });
});

describe('a partition', () => {
  it('leaves each side serving, and one instance a slot after it heals', () => {
    const cluster = settled(['a', 'b', 'c'], [app('hello', { scale: { web: 3 } })]);
    cluster.cut('a', 'c');
    cluster.cut('b', 'c');
    cluster.run(10_000);
    expect(cluster.ready().length).toBeGreaterThanOrEqual(6);
    cluster.heal();
    cluster.run(10_000);
    expect(cluster.ready()).toHaveLength(3);
  });
});

describe('a fenced app in a partition', () => {
  it('stops on the minority before the majority starts it, and runs once a slot after it heals', () => {
    const fenced = app('fenced', { scale: { web: 5 }, partition: 'fence' });
    const cluster = settled(['a', 'b', 'c', 'd', 'e'], [fenced]);
    for (const one of ['a', 'b', 'c']) for (const other of ['d', 'e']) cluster.cut(one, other);
    let most = 0;
    cluster.afterStep = () => {
      most = Math.max(most, cluster.ready().length);
    };
    cluster.run(30_000);
    expect(most).toBe(5);
    expect(cluster.ready().every((one) => /@[abc]$/.test(one))).toBe(true);
    expect(cluster.ready()).toHaveLength(5);
    const lastStop = Math.max(...cluster.stops.map((stop) => stop.atMs));
    const firstStart = Math.min(...cluster.starts.filter((start) => start.atMs > 5_000).map((start) => start.atMs));
    expect(lastStop).toBeLessThan(firstStart);
    cluster.heal();
    cluster.run(15_000);
    expect(cluster.ready()).toHaveLength(5);
    expect(spread(cluster)).toEqual(['a', 'b', 'c', 'd', 'e']);
  });

  it('is moved without waiting for a dead member where it serves', () => {
    const cluster = settled(['a', 'b', 'c', 'd', 'e'], [app('fenced', { scale: { web: 5 }, partition: 'fence' })]);
    cluster.kill('d');
    cluster.kill('e');
    cluster.run(30_000);
    expect(spread(cluster).filter((node) => 'abc'.includes(node))).toHaveLength(5);
    cluster.restart('d');
    cluster.run(6_000);
    expect(spread(cluster)).toContain('d');
    expect(cluster.ready()).toHaveLength(5);
  });

  it('stops at once on a node of the minority that stood still for long', () => {
    const cluster = settled(['a', 'b', 'c'], [app('fenced', { scale: { web: 3 }, partition: 'fence' })]);
    for (const other of ['a', 'b']) cluster.cut(other, 'c');
    cluster.post('c', { type: 'tick', lateMs: 15_000 });
    cluster.run(100);
    expect(spread(cluster)).toEqual(['a', 'b']);
    cluster.run(1_000);
    expect(spread(cluster)).toEqual(['a', 'b']);
  });

  it('stops on a node that stood still for long until that has heard a majority again', () => {
    const cluster = settled(['a', 'b', 'c'], [app('fenced', { scale: { web: 3 }, partition: 'fence' })]);
    cluster.post('c', { type: 'tick', lateMs: 15_000 });
    expect(cluster.stops).toMatchObject([{ node: 'c' }]);
    cluster.run(8_000);
    expect(spread(cluster)).toEqual(['a', 'b', 'c']);
    expect(cluster.ready()).toHaveLength(3);
  });

  it('does not stop for a short pause', () => {
    const cluster = settled(['a', 'b', 'c'], [app('fenced', { scale: { web: 3 }, partition: 'fence' })]);
    cluster.post('c', { type: 'tick', lateMs: 3_000 });
    cluster.run(8_000);
    expect(cluster.stops).toEqual([]);
  });

  it('runs nowhere when no side has a majority', () => {
    const cluster = settled(['a', 'b', 'c', 'd'], [app('fenced', { scale: { web: 4 }, partition: 'fence' })]);
    for (const one of ['a', 'b']) for (const other of ['c', 'd']) cluster.cut(one, other);
    cluster.run(30_000);
    expect(cluster.ready()).toEqual([]);
  });
});

describe('a suspect that lives', () => {
  it('refutes with a higher incarnation and loses nothing', () => {
    const cluster = settled(['a', 'b', 'c'], [app('hello', { scale: { web: 3 } })]);
    const incarnation = cluster.hosts.get('c' as never)!.state.incarnation;
    cluster.post('a', { type: 'probeFailed', node: 'c' as never, reason: 'timeout' });
    cluster.run(10_000);
    expect(cluster.hosts.get('c' as never)!.state.incarnation).toBe(incarnation + 1);
    expect(cluster.events.filter(({ event }) => event.name === 'member.dead')).toEqual([]);
    expect(cluster.stops).toEqual([]);
  });
});

describe('a crash', () => {
  it('is answered by a restart at once three times, then after 30 s doubling to 16 min', () => {
    const cluster = new LittleCluster(['a'], [app('hello')]);
    cluster.behaviour = () => 'crash';
    cluster.run(3_600_000);
    const gaps = cluster.starts.slice(1).map((start, index) => start.atMs - cluster.starts[index]!.atMs);
    const seconds = gaps.map((gapMs) => Math.round(gapMs / 1_000));
    expect(seconds.slice(0, 10)).toEqual([0, 0, 0, 30, 60, 120, 240, 480, 960, 960]);
  });

  it('is told by the instance that follows at once, until that is ready', () => {
    const cluster = settled(['a'], [app('hello')]);
    cluster.crash('a', cluster.instances()[0]!.id, 'exited with status 3');
    expect(cluster.instances()).toMatchObject([{ state: 'starting', reason: 'exited with status 3' }]);
    cluster.run(1_000);
    expect(cluster.instances()).toMatchObject([{ state: 'ready' }]);
    expect(cluster.instances()[0]!.reason).toBeUndefined();
  });

  it('is forgotten when the user restarts the app, which is then started at once', () => {
    const hello = app('hello');
    const cluster = new LittleCluster(['a'], [hello]);
    cluster.behaviour = () => 'crash';
    cluster.run(600_000);
    const before = cluster.starts.length;
    cluster.changeApps([{ ...hello, restartCount: 1 }]);
    cluster.run(1_000);
    expect(cluster.starts.slice(before)).toHaveLength(4);
  });

  it('is forgotten after five minutes of health', () => {
    const cluster = settled(['a'], [app('hello')]);
    for (let crash = 0; crash < 3; crash++) {
      cluster.crash('a', cluster.instances()[0]!.id);
      cluster.run(1_000);
    }
    cluster.run(300_000);
    cluster.crash('a', cluster.instances()[0]!.id);
    cluster.run(1_000);
    expect(cluster.ready()).toHaveLength(1);
  });
});

describe('a roll-out', () => {
  const first = release(1);
  const second = release(2);
  const before = app('hello', { scale: { web: 4 }, release: first, releases: [first] });
  const after = { ...before, release: second, releases: [first, second] };

  it('replaces slots in index order and never has fewer ready than before', () => {
    const cluster = settled(['a', 'b', 'c'], [before]);
    let fewest = Number.POSITIVE_INFINITY;
    cluster.afterStep = () => {
      fewest = Math.min(fewest, cluster.ready().length);
    };
    const from = cluster.starts.length;
    cluster.changeApps([after]);
    cluster.run(10_000);
    expect(fewest).toBe(4);
    expect(cluster.starts.slice(from).map((start) => start.spec.index)).toEqual([0, 1, 2, 3]);
    expect(new Set(cluster.instances().map((one) => one.release))).toEqual(new Set([second.id]));
    expect(cluster.ready()).toHaveLength(4);
  });

  it('of a release that crashes is called off once, and the old release stays on every slot', () => {
    const cluster = settled(['a', 'b', 'c'], [before]);
    cluster.behaviour = (spec) => (spec.release.id === second.id ? 'crash' : 'ready');
    let fewest = Number.POSITIVE_INFINITY;
    cluster.afterStep = () => {
      fewest = Math.min(fewest, cluster.ready().length);
    };
    cluster.changeApps([after]);
    cluster.run(20_000);
    expect(cluster.failed).toHaveLength(1);
    expect(fewest).toBe(4);
    expect(new Set(cluster.instances().map((one) => one.release))).toEqual(new Set([first.id]));
    for (const { state } of cluster.hosts.values()) {
      // Its crashes are not held against those that never crashed.
      for (const { crashes } of buildReport(state, cluster.nowMs).instances) expect(crashes).toBe(0);
    }
  });

  it('of a release that never listens is called off after one health time-out', () => {
    const cluster = settled(['a', 'b', 'c'], [before]);
    cluster.behaviour = (spec) => (spec.release.id === second.id ? 'hang' : 'ready');
    cluster.changeApps([after]);
    cluster.run(before.health.timeoutMs + 2_000);
    expect(cluster.failed).toHaveLength(1);
    expect(cluster.ready()).toHaveLength(4);
  });

  it('finds another node when a single instance has no room for its successor', () => {
    const big = app('big', { memoryBytes: 600 * MIB, release: first, releases: [first] });
    const cluster = settled(['a', 'b'], [big]);
    let fewest = Number.POSITIVE_INFINITY;
    cluster.afterStep = () => {
      fewest = Math.min(fewest, cluster.ready().length);
    };
    cluster.changeApps([{ ...big, release: second, releases: [first, second] }]);
    cluster.run(10_000);
    expect(fewest).toBe(1);
    expect(cluster.instances().map((one) => one.release)).toEqual([second.id]);
  });

  it('makes room by stopping the old one first where others carry the app', () => {
    const big = app('big', { memoryBytes: 600 * MIB, scale: { web: 2 }, release: first, releases: [first] });
    const cluster = settled(['a', 'b'], [big]);
    let fewest = Number.POSITIVE_INFINITY;
    cluster.afterStep = () => {
      fewest = Math.min(fewest, cluster.ready().length);
    };
    cluster.changeApps([{ ...big, release: second, releases: [first, second] }]);
    cluster.run(20_000);
    expect(fewest).toBe(1);
    expect(cluster.instances().map((one) => one.release)).toEqual([second.id, second.id]);
  });
});

describe("the user's word", () => {
  it('stops what is scaled away at once and starts what is added', () => {
    const hello = app('hello', { scale: { web: 2 } });
    const cluster = settled(['a', 'b', 'c'], [hello]);
    cluster.changeApps([{ ...hello, scale: { web: 5 } }]);
    cluster.run(1_000);
    expect(cluster.ready()).toHaveLength(5);
    cluster.changeApps([{ ...hello, scale: { web: 1 } }]);
    cluster.run(1_000);
    expect(cluster.instances().map((one) => one.index)).toEqual([0]);
    cluster.changeApps([]);
    cluster.run(1_000);
    expect(cluster.instances()).toEqual([]);
  });

  it('drains a node only as its replacements become ready', () => {
    const cluster = settled(['a', 'b', 'c'], [app('hello', { scale: { web: 3 } })]);
    let fewest = Number.POSITIVE_INFINITY;
    cluster.afterStep = () => {
      fewest = Math.min(fewest, cluster.ready().length);
    };
    const nodes = new Map(cluster.view.nodes);
    nodes.set('b' as never, { ...nodes.get('b' as never)!, draining: true });
    cluster.change({ ...cluster.view, nodes });
    cluster.run(5_000);
    expect(fewest).toBe(3);
    expect(spread(cluster)).not.toContain('b');
  });

  it('says why a slot cannot be placed and leaves the rest alone', () => {
    const hello = app('hello', { scale: { web: 2 } });
    const huge = app('huge', { memoryBytes: 4096 * MIB });
    const cluster = settled(['a', 'b'], [hello, huge]);
    expect(cluster.ready()).toHaveLength(2);
    expect(cluster.starts.every((start) => start.spec.app.name === 'hello')).toBe(true);
  });
});
