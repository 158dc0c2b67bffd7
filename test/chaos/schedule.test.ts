// What strikes real daemons: the simulator's faults of the seed at the simulator's times, and others beside them.

import { describe, expect, it } from 'vitest';
import { CHAOS_FAULTS, type ChaosAction, type ChaosFault, chaosSchedule, SIMULATED_FAULTS } from './schedule.ts';

const scheduleOf = (seed: number, faults: readonly ChaosFault[]): ChaosAction[] =>
  chaosSchedule({ seed, minutes: 3, nodes: 15, apps: 2, instances: 3, faults });

const SEEDS = Array.from({ length: 50 }, (_, seed) => seed);

describe('a chaos schedule', () => {
  it('is the same for the same seed', () => {
    expect(scheduleOf(7, CHAOS_FAULTS)).toEqual(scheduleOf(7, CHAOS_FAULTS));
    expect(scheduleOf(7, CHAOS_FAULTS)).not.toEqual(scheduleOf(8, CHAOS_FAULTS));
  });

  it("has the simulator's faults at their times, whatever else strikes", () => {
    for (const seed of SEEDS) {
      const simulated = scheduleOf(seed, CHAOS_FAULTS).filter(({ by }) => by === 'fault');
      expect(simulated).toEqual(scheduleOf(seed, SIMULATED_FAULTS));
    }
  });

  it.each([
    ['full-disk', ['fullDisk']],
    ['restore', ['copy', 'restore']],
    ['stop', ['stop']],
    ['stop-all', ['stopAll']],
  ] as const)('has %s alone when that is asked for', (fault, kinds) => {
    const actions = SEEDS.flatMap((seed) => scheduleOf(seed, [fault]));
    expect([...new Set(actions.map((action) => action.do))].sort()).toEqual(kinds);
  });

  it('puts back what was copied before, and never the disk of a second node', () => {
    for (const seed of SEEDS) {
      const actions = scheduleOf(seed, CHAOS_FAULTS).filter(
        (action) => action.do === 'copy' || action.do === 'restore',
      );
      expect(actions[0]?.do).toBe('copy');
      expect(new Set(actions.map(({ node }) => node)).size).toBe(1);
    }
  });

  it('stops everything at once for 20 s', () => {
    const all = SEEDS.flatMap((seed) => scheduleOf(seed, ['stop-all']));
    expect(new Set(all.map(({ forMs }) => forMs))).toEqual(new Set([20_000]));
  });
});
