// Two commits' runs side by side.

import { describe, expect, it } from 'vitest';
import { type BenchRun, compared, type Side } from '../../scripts/bench/comparison.ts';
import { figure } from '../../scripts/bench/figure.ts';

const runOf = (side: Side, value: number, name = 'time'): BenchRun => {
  return { bench: 'push', side, figures: [figure(name, value, 'ms', { atMost: 100 })] };
};

describe('comparison', () => {
  it('has the median of each commit, and how many times as large the newer one is', () => {
    const runs = [runOf('base', 20), runOf('head', 10), runOf('head', 30), runOf('base', 40), runOf('base', 900)];
    expect(compared(runs)).toEqual([
      {
        bench: 'push',
        name: 'time',
        unit: 'ms',
        bound: 100,
        base: { median: 40, samples: [20, 40, 900] },
        head: { median: 20, samples: [10, 30] },
        ratio: 0.5,
      },
    ]);
  });

  it.each([
    ['that only one of them has', [runOf('head', 5, 'new')], { median: null, samples: [] }],
    ['without a sample', [runOf('head', 5), runOf('base', Number.NaN)], { median: null, samples: [] }],
    ['that was 0', [runOf('head', 5), runOf('base', 0)], { median: 0, samples: [0] }],
  ])('has no ratio of a figure %s', (_what, runs, base) => {
    expect(compared(runs)[0]).toMatchObject({ base, ratio: null });
  });

  it('keeps figures of one name of two benchmarks apart', () => {
    const other: BenchRun = { ...runOf('base', 1), bench: 'start' };
    expect(compared([runOf('base', 2), other]).map(({ bench, base }) => [bench, base.median])).toEqual([
      ['push', 2],
      ['start', 1],
    ]);
  });
});
