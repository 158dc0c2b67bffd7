// What a node says of whom it cannot reach, when, and when it stops.

import { describe, expect, it } from 'vitest';
import { asNodeId } from '../../crdt/ids.ts';
import { Trouble, UNREACHABLE_TOLD_MAX } from '../../node/cluster/trouble.ts';
import type { ClusterEvent, Event } from '../../node/core/types.ts';
import type { Unreached } from '../../node/ports/gossip.ts';
import type { RouterHandle } from '../../node/ports/router.ts';
import { silentLog } from '../router/cluster.ts';

const two = asNodeId('two');
const SECOND_MS = 1_000;

function node() {
  const state = { nowMs: 0, neighbours: [] as Unreached[], warnings: [] as string[], dead: new Set<string>() };
  const told: Extract<Event, { type: 'troubleSeen' }>[] = [];
  const events: ClusterEvent[] = [];
  let links: Parameters<RouterHandle['onUnreachable']>[0] = () => {};
  const trouble = new Trouble({
    self: 'one',
    gossip: { unreachable: () => state.neighbours },
    router: {
      onUnreachable: (listener) => {
        links = listener;
      },
    },
    warnings: () => state.warnings,
    isAlive: (id) => !state.dead.has(id),
    nameOf: (id) => id,
    post: (event) => told.push(event),
    record: (event) => events.push(event),
    nowMs: () => state.nowMs,
    log: silentLog,
  });
  trouble.start();
  trouble.stop();
  const at = (nowMs: number) => {
    state.nowMs = nowMs;
    trouble.look();
  };
  const down = { node: two, link: '10.0.0.7:7602', why: 'timed out', sinceMs: 3 * SECOND_MS };
  return { state, told, events, at, linksDown: () => links([down]), linksUp: () => links([]) };
}

describe('trouble with another node', () => {
  it('is told when it begins, in steps as it lasts, and when it ends', () => {
    const { told, events, at, linksDown, linksUp } = node();
    linksDown();
    const said = { node: two, by: 'link', why: '10.0.0.7:7602: timed out' };
    expect(told).toEqual([{ type: 'troubleSeen', unreachable: [{ ...said, sinceMs: 0 }], warnings: [] }]);
    for (let nowMs = 0; nowMs < 25 * SECOND_MS; nowMs += SECOND_MS) at(nowMs);
    expect(told.slice(1)).toEqual([
      { type: 'troubleSeen', unreachable: [{ ...said, sinceMs: 10 * SECOND_MS }], warnings: [] },
    ]);
    linksUp();
    expect(told.at(-1)).toEqual({ type: 'troubleSeen', unreachable: [], warnings: [] });
    expect(events.map(({ name, message }) => `${name}: ${message}`)).toEqual([
      'node.unreachable: one cannot reach two (link 10.0.0.7:7602: timed out)',
      'node.reachable: one can reach two again (link)',
    ]);
  });

  it('is none when that node is dead, or was dialled only a moment ago', () => {
    const { state, told, at, linksDown } = node();
    state.dead.add(two);
    linksDown();
    state.neighbours = [{ node: asNodeId('three'), why: 'refused', sinceMs: 2 * SECOND_MS }];
    at(0);
    expect(told).toEqual([]);
  });

  it('is told of so many nodes at most', () => {
    const { state, told, at } = node();
    const ids = Array.from({ length: 3 * UNREACHABLE_TOLD_MAX }, (_, index) => asNodeId(`node-${index}`));
    state.neighbours = ids.map((id) => ({ node: id, why: 'timed out', sinceMs: 60 * SECOND_MS }));
    at(0);
    expect(told[0]?.unreachable).toHaveLength(UNREACHABLE_TOLD_MAX);
  });
});

describe('a warning', () => {
  it('is told while it holds', () => {
    const { state, told, at } = node();
    state.warnings = ['it listens where nobody comes'];
    at(0);
    at(1);
    state.warnings = [];
    at(2);
    expect(told.map(({ warnings }) => warnings)).toEqual([['it listens where nobody comes'], []]);
  });
});
