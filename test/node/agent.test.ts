// What the agent tells others of the core's beliefs, and the core of its own lateness.

import { expect, it, vi } from 'vitest';
import { asNodeId } from '../../crdt/ids.ts';
import { defaultConfig } from '../../node/core/config.ts';
import { initialState } from '../../node/core/state.ts';
import { type Actors, Agent } from '../../node/daemon/agent.ts';
import { desired } from '../core/little-cluster.ts';
import { reportOf } from '../gossip/fixtures.ts';

const [self, b] = [asNodeId('a'), asNodeId('b')];
const log = { debug: vi.fn(), info: vi.fn(), warn: vi.fn(), error: vi.fn() };
const actors = new Proxy({} as Actors, { get: () => () => {} });

it('agent › after a start holds no member dead before it was heard or some time has passed', () => {
  let nowMs = 0;
  const { node: _, ...rest } = reportOf(self, 1);
  const state = initialState({ self: { node: self, ...rest }, incarnation: 1, nowMs });
  const agent = new Agent({ state, log, nowMs: () => nowMs });
  agent.begin({ actors, onStep: () => {} });
  agent.post({ type: 'desiredChanged', view: desired([self, b], []), heads: [] });
  expect(agent.mayBeAlive()).toEqual([b]);
  nowMs = defaultConfig.settleMs;
  agent.post({ type: 'tick', lateMs: 0 });
  expect(agent.mayBeAlive()).toEqual([]);
  agent.post({ type: 'reportReceived', report: reportOf(b, 1) });
  expect(agent.mayBeAlive()).toEqual([b]);
  agent.stop();
});

it('agent › tells the core that it was late before anything that waited meanwhile, also when events never cease', () => {
  let nowMs = 0;
  const { node: _, ...rest } = reportOf(self, 1);
  const state = initialState({
    self: { node: self, ...rest },
    incarnation: 1,
    nowMs,
  });
  const timeoutsMs: number[] = [];
  const probing = new Proxy({} as Actors, {
    get: (_target, name) =>
      name === 'probe' ? (_node: unknown, timeoutMs: number) => timeoutsMs.push(timeoutMs) : () => {},
  });
  const agent = new Agent({ state, log, nowMs: () => nowMs });
  agent.begin({ actors: probing, onStep: () => {} });
  agent.post({ type: 'desiredChanged', view: desired([self, b], []), heads: [] });
  agent.post({ type: 'reportReceived', report: reportOf(b, 1) });
  // One event follows another, and each sets the timer for the next tick anew: no timer has its turn.
  for (; nowMs < 6_000; nowMs += 5) agent.post({ type: 'resourcesMeasured', load: 0 });
  expect(timeoutsMs.at(-1)).toBeGreaterThan(defaultConfig.probeTimeoutMs);
  agent.stop();
});
