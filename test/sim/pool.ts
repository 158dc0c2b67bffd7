// Runs many seeds on several threads. Results come in any order; each is the same whatever thread it ran on.

import { Worker } from 'node:worker_threads';
import type { Result } from './run.ts';
import type { ShapeOptions } from './shape.ts';
import type { Work } from './worker.ts';

/** `error`: the simulation itself broke. */
export type SeedResult = Result | { seed: number; error: string };

/** Seeds that one thread takes before it makes room for a fresh one: the documents' memory is returned with it. */
const SEEDS_PER_THREAD = 250;

export async function runSeeds(work: {
  seeds: readonly number[];
  jobs: number;
  options?: ShapeOptions;
  mutant?: string;
  /** No further seeds once one has failed. */
  stopAtViolation?: boolean;
  onResult: (result: SeedResult) => void;
}): Promise<void> {
  const { seeds, jobs, options = {}, mutant, stopAtViolation = false, onResult } = work;
  const size = Math.max(1, Math.min(SEEDS_PER_THREAD, Math.ceil(seeds.length / jobs)));
  const batches: number[][] = [];
  for (let from = 0; from < seeds.length; from += size) batches.push(seeds.slice(from, from + size));
  let over = false;
  const lane = async (): Promise<void> => {
    for (let batch = batches.shift(); batch !== undefined && !over; batch = batches.shift()) {
      await runBatch(
        { seeds: batch, options, stopAtViolation, ...(mutant === undefined ? {} : { mutant }) },
        (result) => {
          onResult(result);
          if (stopAtViolation && isBad(result)) over = true;
        },
      );
    }
  };
  await Promise.all(Array.from({ length: jobs }, lane));
}

export const isBad = (result: SeedResult): boolean => 'error' in result || result.violation !== undefined;

function runBatch(work: Work, onResult: (result: SeedResult) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL('./worker.ts', import.meta.url), { workerData: work });
    worker.on('message', onResult);
    worker.on('error', reject);
    worker.on('exit', () => resolve());
  });
}
