// A node that is itself late changes nothing: what it missed meanwhile may wait for it unread.

import { describe, expect, it } from 'vitest';
import { asNodeId, type NodeId } from '../../crdt/ids.ts';
import { defaultConfig, silenceMs } from '../../node/core/config.ts';
import { initialState } from '../../node/core/state.ts';
import { step } from '../../node/core/step.ts';
import type { Effect, Event, Report } from '../../node/core/types.ts';
import { desired, selfInfo } from './little-cluster.ts';

const [A, B, C, D] = ['a', 'b', 'c', 'd'].map(asNodeId) as [NodeId, NodeId, NodeId, NodeId];
const OTHERS = [B, C, D];
const SILENCE_MS = silenceMs(defaultConfig, OTHERS.length);

const reportOf = (node: NodeId, sequence: number): Report => ({
  ...selfInfo(node),
  incarnation: 1,
  sequence,
  status: 'alive',
  load: 0,
  instances: [],
  droplets: [],
  heads: ['h'],
});

/** Node a, which has just heard of all others. Nothing happens but what it is told. */
function core(config = { probeIntervalMs: 3_600_000 }) {
  const state = initialState({ self: selfInfo(A), incarnation: 1, nowMs: 0, config });
  const tell = (event: Event, nowMs: number): Effect[] => step(state, event, nowMs).effects;
  tell({ type: 'desiredChanged', view: desired([A, ...OTHERS], []), heads: ['h'] }, 0);
  for (const node of OTHERS) tell({ type: 'reportReceived', report: reportOf(node, 1) }, 0);
  const tick = (nowMs: number, lateMs = 0): Effect[] => tell({ type: 'tick', lateMs }, nowMs);
  return { tell, tick, statusOf: (node: NodeId) => state.members.get(node)?.status };
}

const probesIn = (effects: readonly Effect[]): NodeId[] =>
  effects.flatMap((effect) => (effect.type === 'probe' ? [effect.node] : []));
const claimsIn = (effects: readonly Effect[]): string[] =>
  effects.flatMap((effect) => (effect.type === 'publishMembership' ? [effect.message.kind] : []));

describe('nodes that went on at the same moment', () => {
  it('speak at different moments after a while: each has a pace of its own', () => {
    const heartbeatsMs = ['a', 'b', 'c'].map((name) => {
      const state = initialState({ self: selfInfo(asNodeId(name)), incarnation: 1, nowMs: 0 });
      step(state, { type: 'desiredChanged', view: desired([A, B, C], []), heads: ['h'] }, 0);
      return step(state, { type: 'tick', lateMs: 0 }, 100).state.pace * defaultConfig.heartbeatMinMs;
    });
    expect(new Set(heartbeatsMs).size).toBe(3);
    for (const ms of heartbeatsMs) {
      expect(ms).toBeLessThanOrEqual(defaultConfig.heartbeatMinMs);
      expect(ms).toBeGreaterThanOrEqual(0.9 * defaultConfig.heartbeatMinMs);
    }
  });
});

describe('a node that was not late', () => {
  it('misses whoever is silent for too long, and suspects it when its probe is not answered', () => {
    const { tell, tick, statusOf } = core();
    expect(probesIn(tick(SILENCE_MS))).toEqual(OTHERS);
    expect(claimsIn(tell({ type: 'probeFailed', node: B, reason: 'timeout' }, SILENCE_MS + 500))).toEqual(['suspect']);
    expect(statusOf(B)).toBe('suspect');
  });
});

describe('a node that was late', () => {
  it('makes a probe that was under way again before it counts as failed', () => {
    const { tell, tick, statusOf } = core();
    tick(SILENCE_MS);
    const nowMs = SILENCE_MS + 2_000;
    tick(nowMs, 1_900);
    const effects = tell({ type: 'probeFailed', node: B, reason: 'timeout' }, nowMs);
    expect(probesIn(effects)).toEqual([B]);
    expect(claimsIn(effects)).toEqual([]);
    expect(statusOf(B)).toBe('alive');
    tell({ type: 'probeFailed', node: B, reason: 'timeout' }, nowMs + 1_500);
    expect(statusOf(B)).toBe('suspect');
  });

  it('believes a refused connection at once: nobody is there to be read late', () => {
    const { tell, tick, statusOf } = core();
    tick(SILENCE_MS);
    tick(SILENCE_MS + 2_000, 1_900);
    expect(claimsIn(tell({ type: 'probeFailed', node: B, reason: 'refused' }, SILENCE_MS + 2_000))).toEqual([
      'suspect',
    ]);
    expect(statusOf(B)).toBe('suspect');
  });

  it('misses nobody for what it did not hear meanwhile', () => {
    const { tick } = core();
    const nowMs = SILENCE_MS + 1_000;
    expect(probesIn(tick(nowMs, 2_000))).toEqual([]);
    expect(probesIn(tick(nowMs + 1_000))).toEqual(OTHERS);
  });

  it('declares nobody dead before the suspect had the time that was left to refute', () => {
    const { tell, tick, statusOf } = core();
    for (const from of [C, D]) {
      const message = { kind: 'suspect', node: B, incarnation: 1, from, evidence: 'silence' } as const;
      tell({ type: 'membershipReceived', message }, 1_000);
    }
    tick(11_000, 9_900);
    expect(statusOf(B)).toBe('suspect');
    const refuted = { kind: 'alive', node: B, incarnation: 2, from: B } as const;
    tell({ type: 'membershipReceived', message: refuted }, 11_001);
    expect(statusOf(B)).toBe('alive');
  });

  it('time and again misses a silent member all the same, a bounded time later', () => {
    const { tell, tick, statusOf } = core();
    let nowMs = 0;
    for (; statusOf(B) !== 'suspect' && nowMs < 60_000; nowMs += 1_000) {
      for (const node of probesIn(tick(nowMs, 900)))
        if (node === B) tell({ type: 'probeFailed', node, reason: 'timeout' }, nowMs);
    }
    expect(statusOf(B)).toBe('suspect');
    expect(nowMs).toBeLessThan(SILENCE_MS + defaultConfig.latenessExcusedMaxMs + 5_000);
  });

  it('waits longer for answers while its machine is busy, and as long as ever when it is not any more', () => {
    const { tell, tick } = core();
    const timeoutsOf = (effects: readonly Effect[]): number[] =>
      effects.flatMap((effect) => (effect.type === 'probe' ? [effect.timeoutMs] : []));
    tick(1_000, 100);
    expect(timeoutsOf(tick(SILENCE_MS))[0]).toBeGreaterThan(defaultConfig.probeTimeoutMs + 4 * 100);
    let nowMs = SILENCE_MS;
    for (let round = 0; round < 3; round++, nowMs += SILENCE_MS) {
      for (const node of OTHERS) tell({ type: 'probeSucceeded', node }, nowMs);
    }
    expect(timeoutsOf(tick(nowMs))[0]).toBe(defaultConfig.probeTimeoutMs);
  });
});

describe('a member that is late as a rule', () => {
  const timeoutOf = (effects: readonly Effect[], node: NodeId): number | undefined =>
    effects.flatMap((effect) => (effect.type === 'probe' && effect.node === node ? [effect.timeoutMs] : []))[0];
  const { overdueMaxMs, probeTimeoutMs, latenessScoreMax, suspicionMinMs, fenceDelayMs, majorityStaleMs } =
    defaultConfig;

  /** B answers its probe so long after it was missed; the others speak in time. Node a at that time. */
  function late(byMs: number) {
    const made = core();
    made.tick(SILENCE_MS - 1);
    for (const node of [C, D]) made.tell({ type: 'reportReceived', report: reportOf(node, 2) }, SILENCE_MS - 1);
    expect(probesIn(made.tick(SILENCE_MS))).toEqual([B]);
    made.tell({ type: 'probeSucceeded', node: B }, SILENCE_MS + byMs);
    return { ...made, heardAtMs: SILENCE_MS + byMs };
  }

  it('is missed that much later, twice over, and given as much longer for its answer; others are not', () => {
    const { tick, tell, heardAtMs } = late(300);
    for (const node of [C, D]) tell({ type: 'reportReceived', report: reportOf(node, 3) }, heardAtMs);
    const overdueAtMs = heardAtMs + SILENCE_MS;
    expect(probesIn(tick(overdueAtMs))).toEqual([C, D]);
    expect(probesIn(tick(overdueAtMs + 599))).toEqual([]);
    expect(timeoutOf(tick(overdueAtMs + 600), B)).toBe(probeTimeoutMs + 600);
  });

  it('is given longer to refute', () => {
    const { tell, tick, statusOf, heardAtMs } = late(300);
    for (const from of [C, D]) {
      const message = { kind: 'suspect', node: B, incarnation: 1, from, evidence: 'silence' } as const;
      tell({ type: 'membershipReceived', message }, heardAtMs);
    }
    tell({ type: 'probeFailed', node: B, reason: 'timeout' }, heardAtMs);
    tick(heardAtMs + suspicionMinMs + 599);
    expect(statusOf(B)).toBe('suspect');
    tick(heardAtMs + suspicionMinMs + 600);
    expect(statusOf(B)).toBe('dead');
  });

  it('is missed in a bounded time however late it was, soon enough for a fence', () => {
    const { tick, heardAtMs } = late(60_000);
    expect(probesIn(tick(heardAtMs + SILENCE_MS + overdueMaxMs - 1))).not.toContain(B);
    const timeoutMs = timeoutOf(tick(heardAtMs + SILENCE_MS + overdueMaxMs), B)!;
    expect(overdueMaxMs + timeoutMs).toBe(probeTimeoutMs * (1 + latenessScoreMax));
    expect(majorityStaleMs + SILENCE_MS + overdueMaxMs + timeoutMs).toBeLessThanOrEqual(fenceDelayMs);
  });

  it('is missed as soon as ever after it was in time for long', () => {
    const { tell, tick, heardAtMs } = late(1_000);
    for (let beat = 1; beat <= 1_600; beat++) {
      for (const node of OTHERS) {
        tell({ type: 'reportReceived', report: reportOf(node, 2 + beat) }, heardAtMs + beat * 2_000);
      }
    }
    const overdueAtMs = heardAtMs + 1_600 * 2_000 + SILENCE_MS;
    expect(probesIn(tick(overdueAtMs + 1))).toContain(B);
  });

  it('may say so itself, and is believed up to a bound', () => {
    for (const [lateMs, extraMs] of [
      [300, 600],
      [1e12, overdueMaxMs],
    ] as const) {
      const { tell, tick } = core();
      tell({ type: 'reportReceived', report: { ...reportOf(B, 2), lateMs } }, 0);
      expect(probesIn(tick(SILENCE_MS + extraMs - 1))).toEqual([C, D]);
      expect(timeoutOf(tick(SILENCE_MS + extraMs), B)).toBe(
        Math.min(
          probeTimeoutMs + 2 * Math.min(lateMs, overdueMaxMs),
          probeTimeoutMs * (1 + latenessScoreMax) - extraMs,
        ),
      );
    }
  });

  it('tells others by how much its loop was late, beyond what nobody minds, and less and less of it', () => {
    const { tick } = core();
    const toldMs = (effects: readonly Effect[]): number | undefined =>
      effects.flatMap((effect) => (effect.type === 'publishReport' ? [effect.report.lateMs] : []))[0];
    expect(toldMs(tick(2_000, defaultConfig.latenessMs))).toBe(0);
    expect(toldMs(tick(4_000, defaultConfig.latenessMs + 600))).toBe(600);
    let nowMs = 4_000;
    for (; nowMs < 284_000; nowMs += 2_000) tick(nowMs);
    expect(toldMs(tick(nowMs))).toBe(300);
  });

  it('that was away, or held for dead, has taught nothing', () => {
    for (const wasDead of [false, true]) {
      const { tell, tick, statusOf } = core();
      if (wasDead) {
        for (const from of [C, D]) {
          const message = { kind: 'suspect', node: B, incarnation: 1, from, evidence: 'refused' } as const;
          tell({ type: 'membershipReceived', message }, 0);
        }
        tell({ type: 'probeFailed', node: B, reason: 'refused' }, 0);
        tick(100);
        expect(statusOf(B)).toBe('dead');
      }
      tell({ type: 'reportReceived', report: { ...reportOf(B, 1), incarnation: 2 } }, 20_000);
      expect(probesIn(tick(20_000 + SILENCE_MS))).toContain(B);
    }
  });
});

describe('after a false alarm', () => {
  const suspectB = (from: NodeId, incarnation: number) =>
    ({
      type: 'membershipReceived',
      message: { kind: 'suspect', node: B, incarnation, from, evidence: 'silence' },
    }) as const;
  const refuted = (incarnation: number) =>
    ({ type: 'membershipReceived', message: { kind: 'alive', node: B, incarnation, from: B } }) as const;
  const { suspicionMinMs, probeTimeoutMs } = defaultConfig;
  const timeoutsOf = (effects: readonly Effect[]): number[] =>
    effects.flatMap((effect) => (effect.type === 'probe' ? [effect.timeoutMs] : []));

  /** So many times, at once. */
  function alarmed(times: number, options?: { probeIntervalMs: number }) {
    const made = core(options);
    for (let incarnation = 1; incarnation <= times; incarnation++) {
      made.tell(suspectB(C, incarnation), 0);
      made.tell(refuted(incarnation + 1), 0);
    }
    const dies = (atMs: number): number => {
      for (const from of [C, D]) made.tell(suspectB(from, times + 1), atMs);
      made.tell({ type: 'probeFailed', node: B, reason: 'timeout' }, atMs);
      let nowMs = atMs;
      while (made.statusOf(B) !== 'dead') made.tick(++nowMs);
      return nowMs - atMs;
    };
    return { ...made, dies };
  }

  it('waits longer for answers, and before it holds anyone dead, whoever says so', () => {
    for (const [times, factor] of [
      [0, 1],
      [1, 2],
      [3, 4],
      [20, 9],
    ] as const) {
      expect(timeoutsOf(alarmed(times).tick(SILENCE_MS))[0]).toBe(factor * probeTimeoutMs);
      expect(alarmed(times).dies(100)).toBe(factor * suspicionMinMs);
    }
  });

  it('waits as long as ever where nothing listens any more', () => {
    const { tell, tick, statusOf } = alarmed(5);
    const message = { kind: 'suspect', node: B, incarnation: 6, from: C, evidence: 'refused' } as const;
    tell({ type: 'membershipReceived', message }, 0);
    tell({ type: 'membershipReceived', message: { ...message, from: D } }, 0);
    tell({ type: 'probeFailed', node: B, reason: 'refused' }, 0);
    tick(defaultConfig.suspicionRefusedMinMs);
    expect(statusOf(B)).toBe('dead');
  });

  it('forgets one in every second', () => {
    const { tick, dies } = alarmed(3, { probeIntervalMs: 1_000 });
    for (let nowMs = 0; nowMs <= 3_000; nowMs += 100) tick(nowMs);
    expect(dies(3_000)).toBe(suspicionMinMs);
  });

  it('takes the return of one that was held dead for none', () => {
    const { tell, tick, dies } = alarmed(0);
    dies(0);
    tell({ type: 'connected', node: B }, 2_000);
    expect(timeoutsOf(tick(2_000 + SILENCE_MS))[0]).toBe(probeTimeoutMs);
  });
});
