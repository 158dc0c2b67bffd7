// A short chaos run, as `npm run chaos` does it: real daemons under the simulator's faults, judged by the simulator's checkers.

import { describe, expect, it } from 'vitest';
import { runChaos } from '../chaos/run.ts';
import { CHAOS_FAULTS, chaosSchedule } from '../chaos/schedule.ts';

/** The same in every run; PEER_CHAOS_SEED tries another. */
const seed = Number(process.env.PEER_CHAOS_SEED ?? 7);
const options = { seed, minutes: 0.25, nodes: 4, apps: 2, instances: 3, faults: [...CHAOS_FAULTS] };

describe('a cluster of real daemons', () => {
  it('violates no invariant under faults that strike at random', { timeout: 240_000 }, async () => {
    const lines: string[] = [];
    const result = await runChaos({ ...options, say: (text) => lines.push(text) });
    expect(result.violation, lines.join('\n')).toBeUndefined();
    expect(result.faults).toBe(chaosSchedule(options).length);
    expect(result.requests.during.sent).toBeGreaterThan(0);
  });
});
