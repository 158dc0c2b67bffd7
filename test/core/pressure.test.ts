// What runs out on a node: when it says so, what goes elsewhere then, and what stays.

import { describe, expect, it } from 'vitest';
import { asDigest, asNodeId } from '../../crdt/ids.ts';
import { explainSlot } from '../../node/core/explain.ts';
import {
  coarseAmount,
  looked,
  type Measure,
  pressureText,
  type ResourceState,
  resourceBehind,
} from '../../node/core/pressure.ts';
import { buildReport } from '../../node/core/report.ts';
import type { Event } from '../../node/core/types.ts';
import { app, LittleCluster, MIB, release } from './little-cluster.ts';

const GIB = 1024 * MIB;
const errno = (code: string, message = code) => Object.assign(new Error(message), { code });
const disk = (free: number, total = 16 * GIB): Measure => ({ resource: 'disk', free, total });
const measured = (...measures: Measure[]): Event => ({ type: 'resourcesMeasured', load: 0, measures });

/** The level after each look in turn. */
function levels(measures: readonly Measure[]): (string | undefined)[] {
  let state: ResourceState | undefined;
  return measures.map((measure) => {
    state = looked(state, measure);
    return state.level;
  });
}

describe('the level of a resource', () => {
  it.each([
    ['a card of 16 GB, a fifth free', disk(3.2 * GIB), undefined],
    ['a card of 16 GB, below a tenth', disk(1.5 * GIB), 'low'],
    ['a card of 16 GB, below a twentieth', disk(0.7 * GIB), 'full'],
    ['a disk of 1 TB with 20 GiB free', disk(20 * GIB, 1024 * GIB), undefined],
    ['a disk of 1 TB with 3 GiB free', disk(3 * GIB, 1024 * GIB), 'low'],
    ['a disk of 1 TB with less than 1 GiB free', disk(0.9 * GIB, 1024 * GIB), 'full'],
    ['inodes of a small file system', { resource: 'inodes', free: 40, total: 1_000 }, 'full'],
    ['a board of 1 GiB with 80 MiB available', { resource: 'memory', free: 80 * MIB, total: GIB }, 'low'],
    ['a server of 64 GiB with 600 MiB available', { resource: 'memory', free: 600 * MIB, total: 64 * GIB }, undefined],
    ['a server of 64 GiB with 100 MiB available', { resource: 'memory', free: 100 * MIB, total: 64 * GIB }, 'full'],
    ['much waiting for what is scarce', { resource: 'memory', free: 200 * MIB, total: GIB, stalled: 0.5 }, 'full'],
    [
      'an app that thrashes within its own limit',
      { resource: 'memory', free: GIB, total: 2 * GIB, stalled: 0.5 },
      undefined,
    ],
    ['a limit of 1,024 descriptors, 900 open', { resource: 'descriptors', free: 124, total: 1_024 }, 'low'],
    ['a limit of 1,024 descriptors, all but 20 open', { resource: 'descriptors', free: 20, total: 1_024 }, 'full'],
  ] satisfies [string, Measure, string | undefined][])('of %s', (_, measure, level) => {
    expect(looked(undefined, measure).level).toBe(level);
  });

  it('is worse at once, and better only well beyond its bound: noise about it is no news', () => {
    const total = 10 * GIB;
    const full = 0.05 * total;
    const looks = [full * 1.1, full * 0.99, full * 1.01, full * 1.2, full * 0.9, full * 1.24, full * 1.26, total];
    expect(levels(looks.map((free) => disk(free, total)))).toEqual([
      ...['low', 'full', 'full', 'full', 'full', 'full', 'low', undefined],
    ]);
  });

  it('of memory is better only when several looks in a row say so', () => {
    const memory = (free: number): Measure => ({ resource: 'memory', free, total: GIB });
    const looks = [10, 900, 900, 900, 900, 900, 30, 900, 900, 900, 900, 900, 900].map((mib) => memory(mib * MIB));
    expect(levels(looks)).toEqual([...Array(12).fill('full'), undefined]);
  });

  it('is told with numbers of three binary digits', () => {
    expect([0, 7, 9, 1_000, 1_023, 1_024, 1_100].map(coarseAmount)).toEqual([0, 7, 8, 896, 896, 1_024, 1_024]);
    const text = pressureText({ resource: 'disk', level: 'full', free: 12 * MIB, total: 64 * MIB });
    expect(text).toBe('has no room left on its disk (12 MiB of 64 MiB free)');
  });
});

describe('a failure', () => {
  it.each([
    ['ENOSPC', errno('ENOSPC'), 'disk'],
    ['EDQUOT', errno('EDQUOT'), 'disk'],
    ['EMFILE', errno('EMFILE'), 'descriptors'],
    ['ENFILE', errno('ENFILE'), 'descriptors'],
    ['ENOMEM', errno('ENOMEM'), 'memory'],
    ['what is behind one that was put into words', new Error('no', { cause: errno('ENOSPC') }), 'disk'],
    ['what is behind one of a start', Object.assign(errno('spawn_failed'), { cause: errno('EMFILE') }), 'descriptors'],
    ['a start alone', errno('spawn_failed'), 'starts'],
    [
      'an engine in its own words',
      Object.assign(new Error('write: no space left on device'), { statusCode: 500 }),
      'disk',
    ],
    [
      'a droplet that is larger than its own disk',
      errno('droplet_unpack_failed', 'No space left on device'),
      undefined,
    ],
    ['anything else', new Error('no'), undefined],
  ])('tells the resource behind it: %s', (_, error, resource) => {
    expect(resourceBehind(error)).toBe(resource);
  });
});

function settled(names: string[], apps: Parameters<LittleCluster['changeApps']>[0]): LittleCluster {
  const cluster = new LittleCluster(names, apps);
  cluster.run(5_000);
  return cluster;
}
const nodesOf = (cluster: LittleCluster, name: string): string[] =>
  cluster
    .instances()
    .filter((one) => one.app === `app-${name}` && one.state === 'ready')
    .map(({ node }) => node)
    .sort();
const fullDisk = measured(disk(10 * MIB));

describe('a node with a full disk', () => {
  it('takes no new slot, and says why', () => {
    const cluster = settled(['a', 'b', 'c'], []);
    cluster.post('b', fullDisk);
    cluster.run(100);
    cluster.changeApps([app('hello', { scale: { web: 6 } })]);
    cluster.run(3_000);
    expect(nodesOf(cluster, 'hello')).toEqual(['a', 'a', 'a', 'c', 'c', 'c']);
    const { state } = cluster.hosts.get(asNodeId('a'))!;
    const pressure = state.members.get(asNodeId('b'))!.report!.pressure!;
    expect(pressure).toEqual([{ resource: 'disk', level: 'full', free: 10 * MIB, total: 16 * GIB }]);
  });

  it('keeps what runs there, for as long as it is full', () => {
    const cluster = settled(['a', 'b', 'c'], [app('hello', { scale: { web: 3 } })]);
    const { length } = cluster.starts;
    cluster.post('b', fullDisk);
    cluster.run(600_000);
    expect(nodesOf(cluster, 'hello')).toEqual(['a', 'b', 'c']);
    expect(cluster.starts).toHaveLength(length);
    expect(cluster.stops).toEqual([]);
  });

  it('hands a slot on when its copy ends there', () => {
    const cluster = settled(['a', 'b', 'c'], [app('hello', { scale: { web: 3 } })]);
    cluster.post('b', fullDisk);
    cluster.run(100);
    const here = cluster.instances().find(({ node }) => node === 'b')!;
    cluster.crash('b', here.id);
    cluster.run(3_000);
    expect(cluster.ready()).toHaveLength(3);
    expect(nodesOf(cluster, 'hello')).not.toContain('b');
  });

  it('hands its slots on to nodes with room when there is a new release, without a gap', () => {
    const before = app('hello', { scale: { web: 3 } });
    const cluster = settled(['a', 'b', 'c'], [before]);
    cluster.post('b', fullDisk);
    cluster.run(100);
    let fewest = 3;
    cluster.afterStep = () => {
      fewest = Math.min(fewest, new Set(cluster.ready().map((one) => one.split('@')[0])).size);
    };
    const [first, second] = [before.release!, release(2)];
    cluster.changeApps([{ ...before, release: second, releases: [first, second] }]);
    cluster.run(10_000);
    expect(new Set(cluster.instances().map((one) => one.release))).toEqual(new Set([second.id]));
    expect(cluster.ready()).toHaveLength(3);
    expect(nodesOf(cluster, 'hello')).not.toContain('b');
    expect(fewest).toBe(3);
  });

  it('takes its share again when there is room again', () => {
    const cluster = settled(['a', 'b', 'c'], []);
    cluster.post('b', fullDisk);
    cluster.run(100);
    cluster.changeApps([app('hello', { scale: { web: 6 } })]);
    cluster.run(3_000);
    cluster.post('b', measured(disk(8 * GIB)));
    cluster.run(20_000);
    expect(nodesOf(cluster, 'hello')).toEqual(['a', 'a', 'b', 'b', 'c', 'c']);
  });

  it('has others give the reason when nobody can take a slot', () => {
    const cluster = settled(['a', 'b'], []);
    for (const node of ['a', 'b']) cluster.post(node, fullDisk);
    cluster.run(100);
    cluster.changeApps([app('hello')]);
    cluster.run(1_000);
    expect(cluster.starts).toEqual([]);
    const { state } = cluster.hosts.get(asNodeId('a'))!;
    const candidates = ['a', 'b'].map((node) => {
      const report = buildReport(cluster.hosts.get(asNodeId(node))!.state, cluster.nowMs);
      const { memoryBytes: freeBytes, labels } = report;
      return { node: asNodeId(node), status: 'alive' as const, draining: false, report, labels, freeBytes };
    });
    const slot = { app: app('hello').id, process: 'web', index: 0 };
    const explained = explainSlot(state.desired!, candidates, slot);
    expect(explained.decision.why).toBe('unplaceable');
    expect(explained.considered).toMatchObject([
      { node: 'a', reasons: [{ kind: 'exhausted', pressure: { resource: 'disk' } }] },
      { node: 'b', reasons: [{ kind: 'exhausted', text: 'has no room left on its disk (10 MiB of 16 GiB free)' }] },
    ]);
  });
});

describe('noise', () => {
  it('about a bound moves nothing and is no news, on all nodes at once, for an hour', () => {
    const cluster = settled(['a', 'b', 'c'], [app('one', { scale: { web: 4 } }), app('two', { scale: { web: 2 } })]);
    const { length } = cluster.starts;
    let news = 0;
    cluster.afterStep = () => {
      for (const { state } of cluster.hosts.values()) if (state.reportDirty) news++;
    };
    for (let look = 0; look < 360; look++) {
      for (const [index, node] of ['a', 'b', 'c'].entries()) {
        const wave = ((look * 7 + index * 5) % 9) / 9;
        cluster.post(
          node,
          measured({ resource: 'memory', free: (35 + 12 * wave) * MIB, total: GIB }, disk((0.78 + 0.05 * wave) * GIB), {
            resource: 'descriptors',
            free: 180 + 50 * wave,
            total: 1_024,
          }),
        );
      }
      cluster.run(10_000);
    }
    expect(cluster.starts).toHaveLength(length);
    expect(cluster.stops).toEqual([]);
    // Each node says once or twice what it runs out of.
    expect(news).toBeLessThan(20);
  });
});

describe('a start that fails for the sake of its node', () => {
  const before = app('hello', { scale: { web: 3 } });
  const second = release(2);
  const after = { ...before, release: second, releases: [before.release!, second] };

  it('is not held against the release: the slot goes elsewhere, and the event names node and cause', () => {
    const cluster = settled(['a', 'b', 'c'], [before]);
    cluster.behaviour = (_, node) => (node === 'b' ? 'noDisk' : 'ready');
    cluster.changeApps([after]);
    cluster.run(20_000);
    expect(cluster.failed).toEqual([]);
    expect(cluster.ready()).toHaveLength(3);
    expect(new Set(cluster.instances().map((one) => one.release))).toEqual(new Set([second.id]));
    const told = cluster.events.filter(({ event }) => event.name === 'instance.not_started');
    expect(told[0]!.event).toMatchObject({
      node: 'b',
      message: expect.stringMatching(/could not be started on b: no space left on device; the slot goes to another/),
    });
    expect(cluster.events.filter(({ event }) => event.name === 'instance.crashed')).toEqual([]);
  });

  it('is tried less and less often where nobody else can take the slot', () => {
    const cluster = settled(['a'], []);
    cluster.behaviour = () => 'noDisk';
    cluster.changeApps([app('hello')]);
    cluster.run(3_600_000);
    const gaps = cluster.starts.slice(1).map(({ atMs }, at) => atMs - cluster.starts[at]!.atMs);
    expect(gaps[0]).toBeGreaterThanOrEqual(15_000);
    expect(gaps.length).toBeLessThan(14);
    expect(gaps.at(-1)).toBeGreaterThanOrEqual(480_000);
  });

  it('is tried at once when a look says that there is room again', () => {
    const cluster = settled(['a'], []);
    cluster.behaviour = () => 'noDisk';
    cluster.changeApps([app('hello')]);
    cluster.run(100);
    cluster.post('a', fullDisk);
    cluster.run(60_000);
    cluster.behaviour = () => 'ready';
    cluster.post('a', measured(disk(8 * GIB)));
    cluster.run(1_000);
    expect(cluster.ready()).toHaveLength(1);
  });

  it('keeps the old release where it is when nobody can start the new one', () => {
    const cluster = settled(['a', 'b', 'c'], [before]);
    cluster.behaviour = () => 'noDisk';
    cluster.changeApps([after]);
    cluster.run(120_000);
    expect(cluster.failed).toEqual([]);
    expect(nodesOf(cluster, 'hello')).toEqual(['a', 'b', 'c']);
    expect(cluster.stops).toEqual([]);
  });

  it('that never comes to it, for want of room for the droplet, sends the slot elsewhere too', () => {
    const cluster = settled(['a', 'b'], []);
    const digest = asDigest('sha256:9');
    for (const node of ['a', 'b']) cluster.post(node, { type: 'dropletsHeld', digests: [] });
    const fetched = release(9);
    cluster.changeApps([app('hello', { release: fetched, releases: [fetched] })]);
    cluster.run(200);
    const chosen = cluster.instances()[0]!.node;
    const other = chosen === 'a' ? 'b' : 'a';
    cluster.post(chosen, { type: 'dropletFetchFailed', digest, reason: 'no space left', lacks: 'disk' });
    cluster.run(200);
    expect(cluster.instances().map(({ node }) => node)).toEqual([other]);
  });
});

describe('a release that is called off', () => {
  it('says where and why', () => {
    const before = app('hello');
    const second = release(2);
    const cluster = settled(['a'], [before]);
    cluster.behaviour = (spec) => (spec.release.id === second.id ? 'crash' : 'ready');
    cluster.changeApps([{ ...before, release: second, releases: [before.release!, second] }]);
    cluster.run(20_000);
    expect(cluster.failed).toMatchObject([{ reason: 'web/0 on a: exited with status 1' }]);
  });
});
