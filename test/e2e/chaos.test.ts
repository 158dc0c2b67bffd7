// A short chaos run, as `npm run chaos` does it: real daemons under the simulator's faults, judged by the simulator's
// checkers.

import { afterAll, describe, expect, it } from 'vitest';
import { type ChaosResult, runChaos } from '../chaos/run.ts';
import { CHAOS_FAULTS, chaosSchedule } from '../chaos/schedule.ts';

/** The same in every run; PEER_CHAOS_SEED tries another. */
const seed = Number(process.env.PEER_CHAOS_SEED ?? 7);
const options = { seed, minutes: 0.25, nodes: 4, apps: 2, instances: 3, faults: [...CHAOS_FAULTS] };

describe('a cluster of real daemons', () => {
  let running: Promise<ChaosResult> | undefined;

  // A run whose time is over ends soon, and leaves nothing behind.
  afterAll(async () => void (await running?.catch(() => {})), 120_000);

  it('violates no invariant under faults that strike at random', { timeout: 240_000 }, async ({ signal }) => {
    const lines: string[] = [];
    running = runChaos({ ...options, signal, say: (text) => lines.push(text) });
    const result = await running;
    expect(result.violation, lines.join('\n')).toBeUndefined();
    expect(result.faults).toBe(chaosSchedule(options).length);
    expect(result.requests.during.sent).toBeGreaterThan(0);
  });
});
