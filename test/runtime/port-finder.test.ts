// Which port of an app is taken for its own, when it does not listen on the one that it was told.

import { describe, expect, it } from 'vitest';
import type { ProbeTarget } from '../../node/runtime/health.ts';
import { PortFinder } from '../../node/runtime/port-finder.ts';
import type { Listener } from '../../node/runtime/process-tree.ts';

const TOLD = 8080;
const REFUSED = 'refused';

/** An app whose listeners a test changes, and what became of its probes. */
function app(options: { isOld?: boolean; reachesLoopback?: boolean } = {}) {
  const state = { nowMs: 0, listeners: [] as Listener[], asked: [] as number[], moved: [] as number[] };
  const finder = new PortFinder({
    told: TOLD,
    isOld: false,
    reachesLoopback: false,
    ...options,
    probe: async ({ port }) => {
      state.asked.push(port);
      return state.listeners.some((one) => one.port === port) ? undefined : REFUSED;
    },
    look: async () => state.listeners,
    onMoved: (port) => state.moved.push(port),
    nowMs: () => state.nowMs,
  });
  const target: ProbeTarget = { health: { kind: 'port', path: '/', timeoutMs: 60_000 }, host: '10.0.0.2', port: TOLD };
  /** Probes every half second, as a start is watched; answers what the last one met. */
  const probeFor = async (ms: number): Promise<string | undefined> => {
    let problem: string | undefined;
    const untilMs = state.nowMs + ms;
    for (; state.nowMs <= untilMs; state.nowMs += 500) problem = await finder.probe(target);
    return problem;
  };
  return { state, probeFor };
}

const at = (port: number, onLoopback = false): Listener => ({ port, onLoopback, isIpv6: false });

describe('the port of an app', () => {
  it('is the one that it was told, whatever else it opens', async () => {
    const { state, probeFor } = app();
    state.listeners = [at(3000), at(TOLD)];
    expect(await probeFor(20_000)).toBeUndefined();
    expect(state.moved).toEqual([]);
  });

  it('is another one that it alone listens on for five seconds', async () => {
    const { state, probeFor } = app();
    state.listeners = [at(3000)];
    expect(await probeFor(4_500)).toBe(REFUSED);
    expect(await probeFor(1_500)).toBeUndefined();
    expect(state.moved).toEqual([3000]);
  });

  it('is the told one again once it listens there', async () => {
    const { state, probeFor } = app();
    state.listeners = [at(9090)];
    await probeFor(6_000);
    state.listeners = [at(9090), at(TOLD)];
    expect(await probeFor(500)).toBeUndefined();
    expect(state.moved).toEqual([9090, TOLD]);
  });

  it('is not known while it listens on several, or on its loopback alone', async () => {
    const { state, probeFor } = app();
    state.listeners = [at(3000), at(9090)];
    expect(await probeFor(20_000)).toBe(REFUSED);
    state.listeners = [at(3000, true)];
    expect(await probeFor(20_000)).toBe(REFUSED);
    expect(state.moved).toEqual([]);
  });

  it('begins to be waited for anew when another one is opened', async () => {
    const { state, probeFor } = app();
    state.listeners = [at(9090)];
    await probeFor(3_000);
    state.listeners = [at(3000)];
    expect(await probeFor(4_500)).toBe(REFUSED);
    expect(await probeFor(1_500)).toBeUndefined();
    expect(state.moved).toEqual([3000]);
  });

  it('may be on loopback where that is shared, and is found at once in an app that has run for a while', async () => {
    const { state, probeFor } = app({ isOld: true, reachesLoopback: true });
    state.listeners = [at(3000, true)];
    expect(await probeFor(0)).toBeUndefined();
    expect(state.moved).toEqual([3000]);
  });

  it('stays what it was found to be while it does not answer', async () => {
    const { state, probeFor } = app();
    state.listeners = [at(3000)];
    await probeFor(6_000);
    state.listeners = [at(4000)];
    expect(await probeFor(10_000)).toBe(REFUSED);
    expect(state.moved).toEqual([3000]);
    expect(state.asked.at(-1)).toBe(3000);
  });
});
