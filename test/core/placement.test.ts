// Placement and its parts as properties: order of arrival never matters, memory budgets hold, what runs well stays.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { asNodeId, type InstanceId } from '../../crdt/ids.ts';
import type { AppView } from '../../crdt/view.ts';
import { restartDelayMs } from '../../node/core/backoff.ts';
import type { Candidate } from '../../node/core/candidates.ts';
import { defaultConfig, heartbeatMs } from '../../node/core/config.ts';
import { infeasibleReasons, isFeasible } from '../../node/core/feasibility.ts';
import { rendezvousWeight } from '../../node/core/hash.ts';
import { place } from '../../node/core/placement.ts';
import { compareText } from '../../node/core/text.ts';
import type { InstanceState, Report } from '../../node/core/types.ts';
import { app, desired, MIB, release, selfInfo } from './little-cluster.ts';

const NODES = ['a', 'b', 'c', 'd', 'e', 'f'].map(asNodeId);
const STATES: InstanceState[] = ['starting', 'ready', 'unhealthy', 'crashed', 'stopping'];

const arbitraryApps = fc
  .array(fc.record({ count: fc.integer({ min: 0, max: 5 }), memoryMib: fc.constantFrom(32, 64, 256) }), {
    maxLength: 4,
  })
  .map((list) => list.map((one, i) => app(`app${i}`, { scale: { web: one.count }, memoryBytes: one.memoryMib * MIB })));

/** Any mix of instances on any nodes, as a history of crashes, partitions and roll-outs could have left it. */
function arbitraryCandidates(apps: AppView[]): fc.Arbitrary<Candidate[]> {
  const instance = fc.record({
    app: fc.integer({ min: 0, max: Math.max(0, apps.length - 1) }),
    index: fc.integer({ min: 0, max: 6 }),
    version: fc.constantFrom(1, 2),
    state: fc.constantFrom(...STATES),
  });
  const node = fc.record({
    instances: fc.array(instance, { maxLength: 6 }),
    memoryMib: fc.constantFrom(64, 512, 2048),
    load: fc.integer({ min: 0, max: 8 }),
    suspect: fc.boolean(),
    draining: fc.boolean(),
    zone: fc.constantFrom('', 'x', 'y'),
  });
  return fc.tuple(...NODES.map(() => node)).map((nodes) =>
    nodes.map((one, i): Candidate => {
      const id = NODES[i]!;
      const report: Report = {
        ...selfInfo(id, { memoryBytes: one.memoryMib * MIB }),
        incarnation: 1,
        sequence: 1,
        status: 'alive',
        load: one.load / 4,
        droplets: [],
        heads: [],
        instances: one.instances.flatMap((holder, n) => {
          const owner = apps[holder.app];
          if (owner === undefined) return [];
          return {
            id: `${id}-${n}` as InstanceId,
            app: owner.id,
            process: 'web',
            index: holder.index,
            release: release(holder.version).id,
            restartCount: 0,
            state: holder.state,
            sinceMs: 0,
            crashes: 0,
            memoryBytes: owner.memoryBytes,
          };
        }),
      };
      return {
        node: id,
        status: one.suspect ? 'suspect' : 'alive',
        draining: one.draining,
        report,
        labels: one.zone === '' ? {} : { zone: one.zone },
        freeBytes: report.memoryBytes,
      };
    }),
  );
}

const arbitraryCluster = arbitraryApps.chain((apps) =>
  fc.tuple(fc.constant(apps), arbitraryCandidates(apps), fc.infiniteStream(fc.nat())),
);

function shuffled<T>(items: readonly T[], random: Iterator<number>): T[] {
  return items
    .map((item) => ({ item, key: random.next().value as number }))
    .sort((a, b) => a.key - b.key)
    .map(({ item }) => item);
}

describe('placement', () => {
  it('is the same for any order of apps, nodes and instances', () => {
    fc.assert(
      fc.property(arbitraryCluster, ([apps, candidates, random]) => {
        const expected = place(desired(NODES, apps), candidates);
        const reordered = shuffled(candidates, random).map((candidate) => ({
          ...candidate,
          report: { ...candidate.report, instances: shuffled(candidate.report.instances, random) },
        }));
        const actual = place(desired(NODES, shuffled(apps, random)), reordered);
        expect([...actual.assigned].sort()).toEqual([...expected.assigned].sort());
        for (const { id } of apps) {
          const successors = expected.successorsOf(id);
          expect(actual.successorsOf(id)).toEqual(successors);
          for (const node of NODES) expect(actual.isSuccessor(id, node)).toBe(successors.includes(node));
        }
      }),
      { numRuns: 300 },
    );
  });

  it('gives a node nothing new beyond its memory', () => {
    fc.assert(
      fc.property(arbitraryCluster, ([apps, candidates]) => {
        const { assigned } = place(desired(NODES, apps), candidates);
        for (const candidate of candidates) {
          const held = new Set(candidate.report.instances.map((one) => `${one.app}/web/${one.index}`));
          let keptBytes = 0;
          let newBytes = 0;
          for (const [key, node] of assigned) {
            if (node !== candidate.node) continue;
            const owner = apps.find((one) => key.startsWith(`${one.id}/`))!;
            if (held.has(key)) keptBytes += owner.memoryBytes;
            else newBytes += owner.memoryBytes;
          }
          if (newBytes > 0) expect(keptBytes + newBytes).toBeLessThanOrEqual(candidate.report.memoryBytes);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('assigns every slot or says of every node why not', () => {
    fc.assert(
      fc.property(arbitraryCluster, ([apps, candidates]) => {
        const { assigned, unplaceable } = place(desired(NODES, apps), candidates);
        for (const one of apps) {
          for (let index = 0; index < one.scale.web!; index++) {
            const key = `${one.id}/web/${index}`;
            expect(assigned.has(key)).toBe(!unplaceable.has(key));
            for (const { reasons } of unplaceable.get(key) ?? []) expect(reasons.length).toBeGreaterThan(0);
          }
        }
      }),
    );
  });

  it('never changes with the load alone when every slot has an incumbent', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 40 }), { minLength: 6, maxLength: 6 }), (loads) => {
        const one = app('one', { scale: { web: 6 } });
        const candidates = NODES.map((node, i): Candidate => {
          const instance = {
            id: `${node}-1` as InstanceId,
            app: one.id,
            process: 'web',
            index: i,
            release: release(1).id,
          };
          const rest = {
            restartCount: 0,
            state: 'ready' as const,
            sinceMs: 0,
            crashes: 0,
            memoryBytes: one.memoryBytes,
          };
          const report = {
            ...selfInfo(node),
            incarnation: 1,
            sequence: 1,
            status: 'alive' as const,
            droplets: [],
            heads: [],
          };
          const instances = [{ ...instance, ...rest }];
          return {
            node,
            status: 'alive',
            draining: false,
            labels: {},
            freeBytes: 1024 * MIB,
            report: { ...report, load: loads[i]! / 4, instances },
          };
        });
        const { assigned } = place(desired(NODES, [one]), candidates);
        expect([...assigned.values()].sort(compareText)).toEqual(NODES);
      }),
    );
  });
});

type Copy = { app: AppView; index: number; crashes?: number; version?: number; state?: InstanceState };
const holding = (name: string, copies: Copy[], memoryBytes = 1024 * MIB): Candidate => {
  const node = asNodeId(name);
  const instances = copies.map(({ app, index, crashes = 0, version = 1, state = 'ready' }, n) => ({
    id: `${name}-1-${n + 1}` as InstanceId,
    app: app.id,
    process: 'web',
    index,
    release: release(version).id,
    restartCount: 0,
    state,
    sinceMs: 0,
    crashes,
    memoryBytes: app.memoryBytes,
  }));
  const self = selfInfo(node, { memoryBytes });
  const report: Report = {
    ...self,
    incarnation: 1,
    sequence: 1,
    status: 'alive',
    load: 0,
    instances,
    droplets: [],
    heads: [],
  };
  return { node, status: 'alive', draining: false, report, labels: {}, freeBytes: self.memoryBytes };
};

describe('apps of one instance each', () => {
  const sizes = fc.record({
    /** Of each of the two nodes: any number of bytes, for ratios that have no exact number. */
    nodeBytes: fc.integer({ min: 2 ** 33, max: 2 ** 40 }),
    appBytes: fc.constantFrom(64, 128, 100, 333).map((mib) => mib * MIB),
    here: fc.integer({ min: 1, max: 12 }),
    fewer: fc.integer({ min: 1, max: 2 }),
  });

  it('are evened out over two nodes of one size to the last one, and moved no further', () => {
    fc.assert(
      fc.property(sizes, ({ nodeBytes, appBytes, here, fewer }) => {
        const there = Math.max(0, here - fewer);
        const apps = Array.from({ length: here + there }, (_, i) => app(`app${i}`, { memoryBytes: appBytes }));
        const copies = apps.map((one): Copy => ({ app: one, index: 0 }));
        const candidates = [
          holding('a', copies.slice(0, here), nodeBytes),
          holding('b', copies.slice(here), nodeBytes),
        ];
        const { assigned } = place(desired([asNodeId('a'), asNodeId('b')], apps), candidates);
        const onA = [...assigned.values()].filter((node) => node === 'a').length;
        expect(onA).toBe(here - there === 2 ? here - 1 : here);
      }),
    );
  });
});

describe('an app that keeps crashing', () => {
  const ownersOf = (apps: AppView[], candidates: Candidate[], of: AppView): string[] => {
    const { assigned } = place(desired([asNodeId('a'), asNodeId('b')], apps), candidates);
    return [...assigned].filter(([key]) => key.includes(of.id)).map(([, node]) => node);
  };
  const flaps = app('flaps', { scale: { web: 2 } });

  it('is not spread when it runs for a moment, and is when it has run for long enough', () => {
    const copies = (crashes: number): Copy[] => [0, 1].map((index) => ({ app: flaps, index, crashes }));
    expect(ownersOf([flaps], [holding('a', copies(4)), holding('b', [])], flaps)).toEqual(['a', 'a']);
    expect(ownersOf([flaps], [holding('a', copies(0)), holding('b', [])], flaps).sort()).toEqual(['a', 'b']);
  });

  it.each<[string, Copy[]]>([
    ['waits', [0, 1].map((index) => ({ app: flaps, index, crashes: 4, state: 'crashed' as const }))],
    ['starts', [0, 1].map((index) => ({ app: flaps, index, crashes: 4, state: 'starting' as const }))],
    ['runs', [0, 1].map((index) => ({ app: flaps, index, crashes: 4 }))],
    [
      'holds up its own roll-out',
      [
        { app: flaps, index: 0, crashes: 4, state: 'crashed' },
        { app: flaps, index: 1, version: 0 },
      ],
    ],
  ])('while it %s, leaves the moves of others as they are', (_, copies) => {
    const [one, two] = ['one', 'two'].map((name) => app(name, { memoryBytes: 300 * MIB }));
    const full = holding('a', [...copies, { app: one!, index: 0 }, { app: two!, index: 0 }]);
    const apps = [one!, two!, flaps];
    const owners = [one!, two!].flatMap((of) => ownersOf(apps, [full, holding('b', [])], of));
    expect(owners.sort()).toEqual(['a', 'b']);
  });
});

describe('feasibility', () => {
  it('lists every reason, not only the first', () => {
    const report: Report = {
      ...selfInfo(asNodeId('a'), { stacks: ['other-x64'], runtimes: [] }),
      incarnation: 1,
      sequence: 1,
      status: 'leaving',
      load: 0,
      instances: [],
      droplets: [],
      heads: [],
    };
    const candidate: Candidate = {
      node: asNodeId('a'),
      status: 'suspect',
      draining: true,
      report,
      labels: {},
      freeBytes: 0,
    };
    const kinds = infeasibleReasons(candidate, app('one'), release(1)).map((reason) => reason.kind);
    expect(kinds).toEqual(['notAlive', 'draining', 'leaving', 'noRuntime', 'stack', 'memory']);
  });

  it.each([
    ['no engine', ['process'], ['debian-x64', 'oci-amd64'], ['noContainers']],
    ['an engine on another processor', ['docker'], ['debian-x64', 'oci-arm64'], ['stack']],
    ['an engine', ['docker'], ['debian-x64', 'oci-amd64'], []],
  ])('of an image, on a node with %s', (_, runtimes, stacks, kinds) => {
    const info = selfInfo(asNodeId('a'), { stacks, runtimes });
    const report: Report = {
      ...info,
      incarnation: 1,
      sequence: 1,
      status: 'alive',
      load: 0,
      instances: [],
      droplets: [],
      heads: [],
    };
    const candidate: Candidate = {
      node: asNodeId('a'),
      status: 'alive',
      draining: false,
      report,
      labels: {},
      freeBytes: 2 ** 40,
    };
    const image = {
      ...release(1),
      droplet: { ...release(1).droplet, stack: 'oci-amd64' },
      image: { id: `sha256:${'1'.repeat(64)}`, ref: 'shop:1', ownCommand: true },
    };
    expect(infeasibleReasons(candidate, app('one'), image).map((reason) => reason.kind)).toEqual(kinds);
    expect(isFeasible(candidate, app('one'), image)).toBe(kinds.length === 0);
  });
});

describe('the rendezvous weight', () => {
  it('spreads slots evenly over nodes', () => {
    const wins = new Map<string, number>();
    for (let slot = 0; slot < 6_000; slot++) {
      const best = NODES.reduce((a, b) =>
        rendezvousWeight(`slot-${slot}`, a) > rendezvousWeight(`slot-${slot}`, b) ? a : b,
      );
      wins.set(best, (wins.get(best) ?? 0) + 1);
    }
    for (const count of wins.values()) expect(Math.abs(count - 1_000)).toBeLessThan(150);
  });

  it('moves only the slots of a node that goes', () => {
    const winner = (slot: string, nodes: string[]) =>
      nodes.reduce((a, b) => (rendezvousWeight(slot, a) > rendezvousWeight(slot, b) ? a : b));
    for (let slot = 0; slot < 500; slot++) {
      const before = winner(`s${slot}`, NODES);
      if (before !== 'f') expect(winner(`s${slot}`, NODES.slice(0, 5))).toBe(before);
    }
  });
});

describe('arithmetic', () => {
  it.each([
    [1, 0],
    [3, 0],
    [4, 30_000],
    [5, 60_000],
    [8, 480_000],
    [9, 960_000],
    [10_000, 960_000],
  ])('after %i crashes a slot waits %i ms', (crashes, delayMs) => {
    expect(restartDelayMs(defaultConfig, crashes)).toBe(delayMs);
  });

  it.each([
    [3, 2_000],
    [50, 2_000],
    [200, 8_000],
    [1_000, 40_000],
  ])('in a cluster of %i a node reports every %i ms', (members, ms) => {
    expect(heartbeatMs(defaultConfig, members)).toBe(ms);
  });
});
