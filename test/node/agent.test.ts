// What the agent tells others of the core's beliefs.

import { expect, it, vi } from 'vitest';
import { asNodeId } from '../../crdt/ids.ts';
import { type Actors, Agent } from '../../node/agent.ts';
import { defaultConfig } from '../../node/core/config.ts';
import { initialState } from '../../node/core/state.ts';
import { desired } from '../core/little-cluster.ts';
import { reportOf } from '../gossip/fixtures.ts';

const [self, b] = [asNodeId('a'), asNodeId('b')];
const log = { debug: vi.fn(), info: vi.fn(), warn: vi.fn(), error: vi.fn() };
const actors = new Proxy({} as Actors, { get: () => () => {} });

it('agent › after a start holds no member dead before it was heard or some time has passed', () => {
  let nowMs = 0;
  const { node: _, ...rest } = reportOf(self, 1);
  const state = initialState({ self: { node: self, ...rest }, incarnation: 1, nowMs });
  const agent = new Agent({ state, actors, log, nowMs: () => nowMs, onStep: () => {} });
  agent.post({ type: 'desiredChanged', view: desired([self, b], []), heads: [] });
  expect(agent.mayBeAlive()).toEqual([b]);
  nowMs = defaultConfig.settleMs;
  agent.post({ type: 'tick', lateMs: 0 });
  expect(agent.mayBeAlive()).toEqual([]);
  agent.post({ type: 'reportReceived', report: reportOf(b, 1) });
  expect(agent.mayBeAlive()).toEqual([b]);
  agent.stop();
});
