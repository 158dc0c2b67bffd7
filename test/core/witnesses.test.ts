// Who looks at a member whose connection went, in a cluster too large for everyone to look: a few at once, others only
// where those are too few.

import { describe, expect, it } from 'vitest';
import { asNodeId, type NodeId } from '../../crdt/ids.ts';
import { defaultConfig } from '../../node/core/config.ts';
import { buildReport } from '../../node/core/report.ts';
import { initialState } from '../../node/core/state.ts';
import { step } from '../../node/core/step.ts';
import type { Effect, Event } from '../../node/core/types.ts';
import { desired, selfInfo } from './little-cluster.ts';

const { looksAfterClaimMs, looksAfterLossMs, witnessesMax, witnessesWanted } = defaultConfig;
const NODES = 100;
const ids = Array.from({ length: NODES }, (_, index) => asNodeId(`node-${index}`));
const [self, ...others] = ids as [NodeId, ...NodeId[]];
const NEIGHBOURS = others.slice(0, 30);

/** A node that has a connection to some of the others and has heard all of them. */
class Watcher {
  nowMs = 0;
  probed: NodeId[] = [];
  #incarnation = 0;
  #state = initialState({ self: selfInfo(self), incarnation: 1, nowMs: 0, droplets: new Set() });

  constructor() {
    this.post({ type: 'desiredChanged', view: desired(ids, []), heads: ['h'] });
    for (const node of others) {
      const other = initialState({ self: selfInfo(node), incarnation: 1, nowMs: 0, droplets: new Set() });
      const report = buildReport(other, 0);
      this.#incarnation = report.incarnation;
      this.post({ type: 'reportReceived', report });
    }
    for (const node of NEIGHBOURS) this.post({ type: 'connected', node });
    // The first in its round of probes.
    for (const node of this.probed) this.post({ type: 'probeSucceeded', node });
    this.probed = [];
  }

  post(event: Event): void {
    const { effects } = step(this.#state, event, this.nowMs);
    this.probed.push(
      ...effects.filter((one): one is Effect & { type: 'probe' } => one.type === 'probe').map((one) => one.node),
    );
  }

  wait(ms: number): void {
    this.nowMs += ms;
    this.post({ type: 'tick', lateMs: 0 });
  }

  claim(node: NodeId, from: readonly NodeId[]): void {
    for (const witness of from) {
      const claim = { kind: 'suspect', node, from: witness, evidence: 'refused' } as const;
      this.post({ type: 'membershipReceived', message: { ...claim, incarnation: this.#incarnation } });
    }
  }
}

/** The neighbours that this node looks at as soon as their connection goes, and the rest. */
function neighboursBySpeed(): { first: NodeId[]; rest: NodeId[] } {
  const first = NEIGHBOURS.filter((node) => {
    const watcher = new Watcher();
    watcher.post({ type: 'disconnected', node });
    return watcher.probed.includes(node);
  });
  return { first, rest: NEIGHBOURS.filter((node) => !first.includes(node)) };
}

describe('of a large cluster, a node that loses its connection to a member', () => {
  const { first, rest } = neighboursBySpeed();

  it('looks at once at a few of its neighbours only', () => {
    expect(first.length).toBeGreaterThan(0);
    expect(first.length).toBeLessThan(witnessesMax);
  });

  it('looks at any other a little later when nobody has said anything of it', () => {
    for (const node of rest) {
      const watcher = new Watcher();
      watcher.post({ type: 'disconnected', node });
      watcher.wait(looksAfterLossMs - 1);
      expect(watcher.probed).not.toContain(node);
      watcher.wait(1);
      expect(watcher.probed).toContain(node);
    }
  });

  it('leaves it to others when there are enough of them', () => {
    const watcher = new Watcher();
    const node = rest[0]!;
    watcher.post({ type: 'disconnected', node });
    watcher.claim(node, others.slice(-witnessesWanted));
    watcher.wait(looksAfterLossMs);
    expect(watcher.probed).not.toContain(node);
  });

  it('does not look when the connection is back', () => {
    const watcher = new Watcher();
    const node = rest[0]!;
    watcher.post({ type: 'disconnected', node });
    watcher.post({ type: 'connected', node });
    watcher.wait(looksAfterLossMs);
    expect(watcher.probed).not.toContain(node);
  });
});

describe('of a large cluster, a node that hears of a suspicion', () => {
  const looksAt = (claims: number): NodeId[] =>
    others.slice(0, -witnessesWanted).filter((node) => {
      const watcher = new Watcher();
      watcher.claim(node, others.slice(-claims));
      expect(watcher.probed).toEqual([]);
      watcher.wait(looksAfterClaimMs);
      return watcher.probed.includes(node);
    });

  it('joins those that look, if it is one of the few who may, when they are still too few', () => {
    const looked = looksAt(witnessesWanted - 1);
    expect(looked.length).toBeGreaterThan(0);
    expect(looked.length).toBeLessThan(3 * witnessesMax);
  });

  it('adds nothing when they are enough', () => {
    expect(looksAt(witnessesWanted)).toEqual([]);
  });
});
