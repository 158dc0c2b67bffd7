// A node that comes back with an older copy of its data directory, which counts fewer starts than others have seen of
// it: it lives on as if it had counted, and what it left behind is neither doubled nor mistaken.

import { describe, expect, it } from 'vitest';
import { asNodeId } from '../../crdt/ids.ts';
import { newestFirst, nextInstanceId } from '../../node/core/lives.ts';
import { INCARNATIONS_PER_START, initialState, SALTS, START_MAX } from '../../node/core/state.ts';
import { step } from '../../node/core/step.ts';
import type { Event } from '../../node/core/types.ts';
import { app, desired, LittleCluster, release, selfInfo } from './little-cluster.ts';

const [a, b, c] = [asNodeId('a'), asNodeId('b'), asNodeId('c')];

/** Three nodes, of which c has been started `starts` times. */
function withStarts(starts: number): LittleCluster {
  const cluster = new LittleCluster(['a', 'b', 'c'], [app('hello', { scale: { web: 3 } })]);
  cluster.run(5_000);
  for (let start = 1; start < starts; start++) {
    cluster.kill('c');
    cluster.run(3_000);
    cluster.restart('c');
    cluster.run(6_000);
  }
  return cluster;
}

describe('instances of one node', () => {
  it('are told apart by age in whichever of its lives they were started', () => {
    const ids = Array.from({ length: 200 }, (_, life) => {
      const start = 1 + life;
      const state = initialState({ self: selfInfo(c), incarnation: start, salt: (life * 7_919) % SALTS, nowMs: 0 });
      return [nextInstanceId(state), nextInstanceId(state)];
    }).flat();
    expect(ids.toReversed().toSorted(newestFirst)).toEqual(ids.toReversed());
    expect(ids.toSorted(newestFirst)).toEqual(ids.toReversed());
  });
});

const statusesOf = (cluster: LittleCluster) =>
  [a, b].map((other) => {
    const member = cluster.hosts.get(other)!.state.members.get(c)!;
    const { state } = cluster.hosts.get(c)!;
    return [member.status, member.report?.incarnation === state.incarnation];
  });

const expectAllWell = (cluster: LittleCluster): void => {
  expect(statusesOf(cluster)).toEqual([
    ['alive', true],
    ['alive', true],
  ]);
  const slots = cluster.ready().map((one) => one.split('@')[0]);
  expect(slots.sort()).toEqual(['app-hello/0', 'app-hello/1', 'app-hello/2']);
  const ids = cluster.starts.map(({ spec }) => spec.id);
  expect(new Set(ids).size).toBe(ids.length);
};

describe('a node restored from an older copy of its data directory', () => {
  it.each(['stopped', 'killed'])('is alive within two seconds when it had been %s', (how) => {
    const cluster = withStarts(4);
    if (how === 'stopped') cluster.post('c', { type: 'leave', keepInstances: false });
    cluster.run(200);
    cluster.kill('c');
    cluster.run(6_000);
    cluster.restart('c', { incarnation: 1 });
    cluster.run(2_000);
    expect(statusesOf(cluster)).toEqual([
      ['alive', true],
      ['alive', true],
    ]);
    cluster.run(20_000);
    expectAllWell(cluster);
  });

  it.each([
    ['less', 0],
    ['more', 0],
    ['less', 3_000],
    ['more', 3_000],
  ])(
    'is alive when its next start counts as the one that left, with a salt that is %s, %i ms later',
    (salt, afterMs) => {
      const cluster = withStarts(1);
      cluster.nextSalt = 100;
      cluster.kill('c');
      cluster.run(3_000);
      cluster.restart('c');
      cluster.run(6_000);
      cluster.post('c', { type: 'leave', keepInstances: false });
      cluster.run(200);
      cluster.kill('c');
      cluster.run(6_000);
      cluster.cut('a', 'c');
      cluster.cut('b', 'c');
      cluster.nextSalt = salt === 'less' ? 50 : 150;
      cluster.restart('c', { incarnation: 1 });
      // Alone it may report more often than the life that left had done.
      for (let sent = 0; sent < afterMs / 30; sent++) {
        cluster.post('c', { type: 'dropletsHeld', digests: [] });
        cluster.run(30);
      }
      cluster.heal();
      cluster.run(20_000);
      expectAllWell(cluster);
    },
  );

  it('starts beyond what it has learnt the next time', () => {
    const cluster = withStarts(4);
    cluster.kill('c');
    cluster.run(6_000);
    cluster.restart('c', { incarnation: 0 });
    cluster.run(6_000);
    const learnt = cluster.hosts.get(c)!.state.incarnation;
    cluster.kill('c');
    cluster.run(6_000);
    cluster.restart('c');
    expect(cluster.hosts.get(c)!.state.incarnation).toBeGreaterThan(learnt);
    cluster.run(20_000);
    expectAllWell(cluster);
  });

  it('says so in an event', () => {
    const cluster = withStarts(3);
    cluster.kill('c');
    cluster.run(6_000);
    cluster.restart('c', { incarnation: 0 });
    cluster.run(6_000);
    const said = cluster.events.filter(({ event }) => event.name === 'node.restored');
    expect(said.map(({ by }) => by)).toEqual([c]);
    expect(said[0]!.event.message).toMatch(/older copy of itself/);
  });

  it('runs every slot once when instances of the lives it has lost still run on its machine', () => {
    const cluster = withStarts(4);
    // What the last life started runs on, under ids that the copy knows nothing of.
    cluster.killDaemon('c');
    cluster.run(6_000);
    cluster.restart('c', { incarnation: 3 });
    cluster.run(20_000);
    expectAllWell(cluster);
  });

  it('gives no id twice while it is alone with an instance of the life that it has lost', () => {
    const cluster = new LittleCluster(['c'], [app('hello', { scale: { web: 1 } })]);
    cluster.run(5_000);
    cluster.killDaemon('c');
    cluster.restart('c', { incarnation: 0 });
    cluster.changeApps([app('hello', { scale: { web: 3 } })]);
    cluster.run(10_000);
    const ids = cluster.starts.map(({ spec }) => spec.id);
    expect(ids).toHaveLength(3);
    expect(new Set(ids).size).toBe(3);
    expect(cluster.ready()).toHaveLength(3);
  });

  it('starts nothing of what it believes to be asked for until it has what others have', () => {
    const state = initialState({ self: selfInfo(a), incarnation: 1, nowMs: 0 });
    const tell = (event: Event, nowMs: number) => step(state, event, nowMs).effects;
    const old = desired([a, b], [app('deleted')]);
    tell({ type: 'desiredChanged', view: old, heads: ['old'] }, 0);
    tell({ type: 'instancesAdopted', instances: [] }, 0);
    tell({ type: 'dropletsHeld', digests: [release(1).droplet.digest] }, 0);
    const other = initialState({ self: selfInfo(b, { memoryBytes: 1 }), incarnation: 1, nowMs: 0 });
    const report = {
      ...other.self,
      incarnation: other.incarnation,
      sequence: 1,
      status: 'alive' as const,
      load: 0,
      instances: [],
      droplets: [],
      heads: ['new'],
    };
    const heard = tell({ type: 'reportReceived', report }, 500);
    expect(heard.map(({ type }) => type)).toContain('syncDesired');
    const started = [
      ...heard,
      ...tell({ type: 'tick', lateMs: 0 }, 600),
      ...tell({ type: 'desiredChanged', view: desired([a, b], []), heads: ['new'] }, 700),
      ...tell({ type: 'tick', lateMs: 0 }, 4_000),
    ].filter(({ type }) => type === 'startInstance');
    expect(started).toEqual([]);
  });
});

describe('what others believe of a node', () => {
  const alone = () => {
    const state = initialState({ self: selfInfo(a), incarnation: 5, nowMs: 0 });
    const tell = (event: Event) => step(state, event, 1_000).effects;
    tell({ type: 'desiredChanged', view: desired([a, b], []), heads: [] });
    tell({ type: 'connected', node: b });
    return { state, tell };
  };
  const ofThisLife = 5 * INCARNATIONS_PER_START;

  it('changes nothing when it is what the node said', () => {
    const { state, tell } = alone();
    tell({ type: 'beliefHeard', belief: { status: 'alive', incarnation: ofThisLife, sequence: 1 } });
    tell({ type: 'beliefHeard', belief: { status: 'left', incarnation: 4 * INCARNATIONS_PER_START, sequence: 900 } });
    expect([state.start, state.incarnation]).toEqual([5, ofThisLife]);
  });

  it('is refuted when it says that this life has ended', () => {
    const { state, tell } = alone();
    tell({ type: 'membershipReceived', message: { kind: 'left', node: a, incarnation: ofThisLife, from: b } });
    expect(state.incarnation).toBe(ofThisLife + 1);
    tell({ type: 'beliefHeard', belief: { status: 'left', incarnation: ofThisLife + 1, sequence: 0 } });
    expect([state.start, state.incarnation]).toEqual([5, ofThisLife + 2]);
  });

  it.each(['suspect', 'dead', 'left'] as const)('ends this life for a later one when it is %s in one', (kind) => {
    const { state, tell } = alone();
    const incarnation = 9 * INCARNATIONS_PER_START + 7;
    const message = { kind, node: a, incarnation, from: b, evidence: 'silence' as const };
    const effects = tell({ type: 'membershipReceived', message });
    expect([state.start, state.incarnation]).toEqual([10, 10 * INCARNATIONS_PER_START]);
    expect(effects).toContainEqual({ type: 'persistStart', start: 10 });
  });

  it('is not refuted by a node that leaves', () => {
    const { state, tell } = alone();
    tell({ type: 'leave', keepInstances: false });
    tell({ type: 'membershipReceived', message: { kind: 'left', node: a, incarnation: ofThisLife, from: b } });
    tell({ type: 'beliefHeard', belief: { status: 'left', incarnation: ofThisLife, sequence: 9_999 } });
    expect(state.incarnation).toBe(ofThisLife);
  });

  it('is not believed when no node could have started so often', () => {
    const { state, tell } = alone();
    const incarnation = START_MAX * INCARNATIONS_PER_START;
    tell({ type: 'beliefHeard', belief: { status: 'alive', incarnation, sequence: 0 } });
    expect(state.start).toBe(5);
  });

  it('is told to one that goes on reporting from a life before, a few times a minute', () => {
    const { state } = alone();
    const self = selfInfo(b);
    let told = 0;
    const report = (incarnation: number, sequence: number, nowMs: number): void => {
      const one = { ...self, incarnation, sequence, status: 'alive' as const, load: 0 };
      const event = { ...one, instances: [], droplets: [], heads: [] };
      const { effects } = step(state, { type: 'reportReceived', report: event }, nowMs);
      told += effects.filter(({ type }) => type === 'askReport').length;
    };
    report(8 * INCARNATIONS_PER_START, 1, 2_000);
    for (let second = 10; second < 70; second++) report(2 * INCARNATIONS_PER_START, second, second * 1_000);
    expect(told).toBe(12);
  });
});
