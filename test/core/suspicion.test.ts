// How long a member that was missed has to refute, in exact milliseconds.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { defaultConfig } from '../../node/core/config.ts';
import { suspicionTimeoutMs } from '../../node/core/suspicion.ts';

type Options = Parameters<typeof suspicionTimeoutMs>[1];

const nobodyDoubts = { latenessScore: 0, falseAlarms: 0 };
const timeoutMs = (options: Options): number => Math.round(suspicionTimeoutMs(defaultConfig, options));

describe('a suspicion', () => {
  it.each([
    // witnesses possible, then with 1, 2, 3 and 4 witnesses → ms
    [1, [4_000, 4_000, 4_000, 4_000]],
    [2, [4_000, 1_000, 1_000, 1_000]],
    [3, [4_000, 2_107, 1_000, 1_000]],
    [4, [4_000, 2_107, 1_000, 1_000]],
    [1_000, [4_000, 2_107, 1_000, 1_000]],
  ])('by silence, of %i possible witnesses, falls with each one of them: %j ms', (witnessesPossible, ms) => {
    for (const [at, expected] of ms.entries()) {
      const options = { witnessesPossible, refused: false, ...nobodyDoubts };
      // Whether this node is one of them makes no difference while it has no reason to doubt itself.
      expect(timeoutMs({ ...options, witnesses: at + 1, others: at })).toBe(expected);
      expect(timeoutMs({ ...options, witnesses: at + 1, others: at + 1 })).toBe(expected);
    }
  });

  it.each([
    [1, [1_500, 1_500, 1_500, 1_500]],
    [2, [1_500, 50, 50, 50]],
    [3, [1_500, 585, 50, 50]],
    [4, [1_500, 585, 50, 50]],
    [1_000, [1_500, 585, 50, 50]],
  ])('by a refused connection, of %i possible witnesses, is shorter: %j ms', (witnessesPossible, ms) => {
    for (const [at, expected] of ms.entries()) {
      const options = { witnesses: at + 1, others: at, witnessesPossible, refused: true };
      expect(timeoutMs({ ...options, ...nobodyDoubts })).toBe(expected);
      // A slow machine refuses nothing.
      expect(timeoutMs({ ...options, latenessScore: 8, falseAlarms: 8 })).toBe(expected);
    }
  });

  it.each([
    // lateness, then with 1, 2, 3 and 4 witnesses, this node one of them → ms
    [0, [4_000, 2_107, 1_000, 1_000]],
    [1, [8_000, 4_000, 2_000, 1_000]],
    [2, [12_000, 4_000, 2_107, 1_000]],
    [8, [36_000, 4_000, 2_107, 1_000]],
  ])(
    'of a node of lateness %i is longer by what it saw itself, and no longer than by what others saw: %j ms',
    (latenessScore, ms) => {
      for (const [at, expected] of ms.entries()) {
        const options = { witnesses: at + 1, others: at, witnessesPossible: 4, refused: false };
        expect(timeoutMs({ ...options, latenessScore, falseAlarms: 0 })).toBe(expected);
      }
    },
  );

  it.each([
    // lateness, witnesses, all of them others → ms
    [1, 1, 4_000],
    [8, 1, 4_000],
    [8, 2, 2_107],
    [8, 3, 1_000],
  ])('of a node of lateness %i is as long as ever by what %i others saw: %i ms', (latenessScore, witnesses, ms) => {
    const options = { witnesses, others: witnesses, witnessesPossible: 4, refused: false };
    expect(timeoutMs({ ...options, latenessScore, falseAlarms: 0 })).toBe(ms);
  });

  it.each([
    // false alarms, then with 1, 2, 3 and 4 witnesses → ms
    [1, [8_000, 4_214, 2_000, 2_000]],
    [3, [16_000, 8_429, 4_000, 4_000]],
    [8, [36_000, 18_965, 9_000, 9_000]],
  ])('after %i false alarms is as many times longer, whoever saw it: %j ms', (falseAlarms, ms) => {
    for (const [at, expected] of ms.entries()) {
      const options = { witnesses: at + 1, witnessesPossible: 4, refused: false, falseAlarms };
      expect(timeoutMs({ ...options, others: at, latenessScore: 0 })).toBe(expected);
      expect(timeoutMs({ ...options, others: at + 1, latenessScore: 0 })).toBe(expected);
    }
  });

  it.each([
    // lateness, false alarms, others among two witnesses → ms
    [1, 3, 1, 8_429],
    [8, 3, 1, 16_000],
    [8, 3, 0, 18_965],
  ])(
    'counts the worse of lateness (%i) and false alarms (%i), and of others (%i) the alarms alone: %i ms',
    (...row) => {
      const [latenessScore, falseAlarms, others, ms] = row;
      const options = { witnesses: 2, others, witnessesPossible: 4, refused: false, latenessScore, falseAlarms };
      expect(timeoutMs(options)).toBe(ms);
    },
  );

  it('is never shorter than its minimum, never longer with another witness, and never longer when refused', () => {
    const { latenessScoreMax, falseAlarmsMax, suspicionMinMs, suspicionRefusedMinMs } = defaultConfig;
    const cases = fc.record({
      others: fc.nat({ max: 20 }),
      witnessesPossible: fc.integer({ min: 1, max: 1_000 }),
      latenessScore: fc.nat({ max: latenessScoreMax }),
      falseAlarms: fc.nat({ max: falseAlarmsMax }),
    });
    fc.assert(
      fc.property(cases, ({ others, ...rest }) => {
        const exactMs = (more: Pick<Options, 'witnesses' | 'others' | 'refused'>): number =>
          suspicionTimeoutMs(defaultConfig, { ...rest, ...more });
        const silent = exactMs({ witnesses: others + 1, others, refused: false });
        const refused = exactMs({ witnesses: others + 1, others, refused: true });
        expect(silent).toBeGreaterThanOrEqual(suspicionMinMs);
        expect(refused).toBeGreaterThanOrEqual(suspicionRefusedMinMs);
        expect(refused).toBeLessThanOrEqual(silent);
        expect(exactMs({ witnesses: others + 2, others: others + 1, refused: false })).toBeLessThanOrEqual(silent);
        expect(exactMs({ witnesses: others + 2, others: others + 1, refused: true })).toBeLessThanOrEqual(refused);
      }),
    );
  });
});
