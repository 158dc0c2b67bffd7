// What simulations taught: each case is the small form of a failure that a seed in test/sim/pinned.ts once showed.

import { describe, expect, it } from 'vitest';
import { asNodeId } from '../../crdt/ids.ts';
import { initialState } from '../../node/core/state.ts';
import { step } from '../../node/core/step.ts';
import type { Effect, Event } from '../../node/core/types.ts';
import { app, desired, LittleCluster, selfInfo } from './little-cluster.ts';

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
