// Figures: what a benchmark reports, and the statistics of its samples. Measures nothing.

export type Figure = {
  name: string;
  value: number;
  unit: string;
  /** What it may be at most, or at least when its name says so; null when there is no bound. */
  bound: number | null;
  /** Null when there is no bound. */
  held: boolean | null;
  samples?: number[];
};

/** A figure that could not be measured on this machine, and why. */
export type LeftOut = { name: string; reason: string };
export type Measured = { figures: Figure[]; leftOut: LeftOut[] };

export type Bench = (args: string[], say: (text: string) => void) => Promise<Figure[] | Measured>;

export function figure(
  name: string,
  value: number,
  unit: string,
  options: { atMost?: number; atLeast?: number; samples?: readonly number[] } = {},
): Figure {
  const { atMost, atLeast } = options;
  const bound = atMost ?? atLeast ?? null;
  const rounded = Math.round(value * 100) / 100;
  const held = bound === null ? null : atMost === undefined ? rounded >= bound : rounded <= bound;
  const result: Figure = { name, value: rounded, unit, bound, held };
  if (options.samples !== undefined) result.samples = options.samples.map((sample) => Math.round(sample * 100) / 100);
  return result;
}

/** The middle sample, or the mean of the middle two; NaN for none. */
export function median(samples: readonly number[]): number {
  const sorted = samples.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export const worst = (samples: readonly number[]): number =>
  samples.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
