// An effect that throws costs no more than what it was for, is said, and is tried again.

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { asInstanceId, asNodeId, type NodeId } from '../../crdt/ids.ts';
import { initialState } from '../../node/core/state.ts';
import type { ClusterEvent, InstanceSpec } from '../../node/core/types.ts';
import { type Actors, Agent } from '../../node/daemon/agent.ts';
import { Effects, retryDelayMs } from '../../node/daemon/effects.ts';
import { app, desired, release, selfInfo } from '../core/little-cluster.ts';

const log = { debug: vi.fn(), info: vi.fn(), warn: vi.fn(), error: vi.fn() };
const self = asNodeId('a');

beforeEach(() => {
  vi.useFakeTimers();
  for (const say of Object.values(log)) say.mockClear();
});
afterEach(() => vi.useRealTimers());

/** An agent on a machine where some parts throw. */
function agentWith(broken: Partial<Actors>) {
  const events: ClusterEvent[] = [];
  const started: InstanceSpec[] = [];
  const actors = new Proxy({} as Actors, {
    get: (_, name: keyof Actors) => {
      if (broken[name] !== undefined) return broken[name];
      if (name === 'recordEvent') return (event: ClusterEvent) => events.push(event);
      if (name === 'startInstance') return (spec: InstanceSpec) => started.push(spec);
      return () => {};
    },
  });
  const state = initialState({
    self: selfInfo(self),
    incarnation: 1,
    nowMs: Date.now(),
    droplets: [release(1).droplet.digest],
  });
  const agent = new Agent({ state, log, nowMs: () => Date.now() });
  agent.begin({ actors, onStep: () => {} });
  return { agent, events, started };
}

const run = (agent: Agent, nodes: readonly NodeId[] = [self], apps = [app('good'), app('bad')]) => {
  agent.post({ type: 'instancesAdopted', instances: [] });
  agent.post({ type: 'desiredChanged', view: desired(nodes, apps), heads: [] });
};

describe('an instance that cannot even begin to start', () => {
  it('costs its own app alone, and is tried again with the pauses of an app that crashes', () => {
    const tries: number[] = [];
    const startedAtMs = Date.now();
    const good: string[] = [];
    const { agent, events } = agentWith({
      startInstance: (spec) => {
        if (spec.app.name !== 'bad') {
          good.push(spec.app.name);
          return;
        }
        tries.push(Date.now() - startedAtMs);
        throw new Error('not an app id: "x:y"');
      },
    });
    run(agent);
    vi.advanceTimersByTime(100_000);
    agent.stop();
    expect(good).toEqual(['good']);
    // Four times at once, as any app that crashes; then after 30 s, and 60 s later.
    expect(tries).toHaveLength(6);
    expect(tries[4]! - tries[3]!).toBeGreaterThanOrEqual(30_000);
    expect(tries[5]! - tries[4]!).toBeGreaterThanOrEqual(60_000);
    expect(events.filter(({ name }) => name === 'effect.failed')[0]).toMatchObject({
      slot: 'web/0',
      message: 'bad/web/0 could not be started: not an app id: "x:y"',
    });
    expect(log.error).toHaveBeenCalledWith('effect.failed', expect.objectContaining({ effect: 'startInstance' }));
    expect(agent.observed(undefined).members).toHaveLength(1);
  });
});

describe('an effect without an answer', () => {
  it('is tried again after a pause that grows, until a newer one takes its place', () => {
    const tables: string[] = [];
    let broken = true;
    const actors = {
      setRoutes: ({ admitted: [node] }: { admitted: string[] }) => {
        tables.push(node!);
        if (broken) throw new Error('the router is gone');
      },
      recordEvent: () => {},
    } as unknown as Actors;
    const effects = new Effects({ actors, log, nowMs: () => Date.now(), post: () => {} });
    const give = (name: string) =>
      effects.carryOut({ type: 'setRoutes', table: { routes: [], local: [], admitted: [asNodeId(name)] } });
    give('old');
    vi.advanceTimersByTime(3_500);
    expect(tables).toEqual(['old', 'old', 'old']);
    give('new');
    broken = false;
    vi.advanceTimersByTime(300_000);
    expect(tables).toEqual(['old', 'old', 'old', 'new', 'new']);
  });

  it('is said once a minute, not each time', () => {
    const actors = {
      stopInstance: () => {
        throw new Error('no');
      },
      recordEvent: () => {},
    } as unknown as Actors;
    const effects = new Effects({ actors, log, nowMs: () => Date.now(), post: () => {} });
    effects.carryOut({ type: 'stopInstance', id: asInstanceId('i'), reason: '' });
    vi.advanceTimersByTime(59_000);
    expect(log.error).toHaveBeenCalledTimes(1);
    effects.stop();
    vi.advanceTimersByTime(600_000);
    expect(log.error).toHaveBeenCalledTimes(1);
  });

  it('waits from a second to a minute', () => {
    expect([1, 2, 3, 6, 7, 1_000].map(retryDelayMs)).toEqual([1_000, 2_000, 4_000, 32_000, 60_000, 60_000]);
  });
});

describe('what stands around the effects', () => {
  it('does not take the node with it: the record of events, a look after each step, the core itself', () => {
    const { agent, started } = agentWith({
      recordEvent: () => {
        throw new Error('full');
      },
      publishReport: () => {
        throw new Error('too large');
      },
    });
    agent.post({ type: 'desiredChanged', view: null as never, heads: [] });
    expect(log.error).toHaveBeenCalledWith('agent.failed', expect.objectContaining({ what: 'step desiredChanged' }));
    run(agent);
    vi.advanceTimersByTime(5_000);
    agent.stop();
    expect(started.map((spec) => spec.app.name).sort()).toEqual(['bad', 'good']);
  });
});
