// A thread that runs simulations, of the core as it is or with one deliberate fault in it. Posts each result.

import { parentPort, workerData } from 'node:worker_threads';
import { applyMutant, MUTANTS } from './mutants.ts';
import type { Result } from './run.ts';
import type { ShapeOptions } from './shape.ts';

export type Work = { seeds: number[]; options: ShapeOptions; mutant?: string; stopAtViolation: boolean };

const { seeds, options, mutant, stopAtViolation } = workerData as Work;
if (mutant !== undefined) applyMutant(MUTANTS.find((one) => one.name === mutant)!);
// Loaded only now: the fault goes in while the core is loaded.
const { run, scenarioOf } = await import('./run.ts');
for (const seed of seeds) {
  let result: Result | { seed: number; error: string };
  try {
    result = run(scenarioOf(seed, options));
  } catch (error) {
    result = { seed, error: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
  parentPort!.postMessage(result);
  if (stopAtViolation && ('error' in result || result.violation !== undefined)) break;
}
