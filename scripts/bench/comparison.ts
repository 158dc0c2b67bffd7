// What two commits' runs of the same benchmarks say of each other: medians of each figure, and their ratio. Runs
// nothing.

import { type Figure, median } from './figure.ts';

export const SIDES = ['base', 'head'] as const;
export type Side = (typeof SIDES)[number];

/** One run of one benchmark, as `npm run bench` prints it. */
export type BenchRun = { bench: string; side: Side; figures: Figure[] };

/** A side without the figure, which one of two commits may not have, has no samples and no median. */
type Measured = { median: number | null; samples: number[] };
export type Compared = {
  bench: string;
  name: string;
  unit: string;
  /** Of the newer commit where it has the figure. */
  bound: number | null;
  base: Measured;
  head: Measured;
  /** Head's median over base's; null without both, or when base's is 0. */
  ratio: number | null;
};

export function compared(runs: readonly BenchRun[]): Compared[] {
  const keys = new Map<string, { bench: string; name: string }>();
  for (const { bench, figures } of runs) for (const { name } of figures) keys.set(`${bench} ${name}`, { bench, name });
  return [...keys.values()].map(({ bench, name }) => {
    const of = (side: Side): Figure[] =>
      runs.flatMap((run) => {
        return run.bench === bench && run.side === side ? run.figures.filter((one) => one.name === name) : [];
      });
    const [base, head] = [measured(of('base')), measured(of('head'))];
    const { unit, bound } = (of('head')[0] ?? of('base')[0])!;
    const isRatio = base.median !== null && head.median !== null && base.median !== 0;
    return { bench, name, unit, bound, base, head, ratio: isRatio ? rounded(head.median! / base.median!) : null };
  });
}

function measured(figures: readonly Figure[]): Measured {
  // A figure without a sample is NaN, which JSON has no word for but null.
  const samples = figures.map(({ value }) => value).filter((value) => Number.isFinite(value));
  return { median: samples.length === 0 ? null : rounded(median(samples)), samples };
}

const rounded = (value: number): number => Math.round(value * 1_000) / 1_000;
