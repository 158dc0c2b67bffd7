// Whole clusters from fresh seeds and from every pinned one: no invariant is violated, and the same seed gives the
// same trace. PEER_SIM_SEED sets where the range begins; the failure of a seed prints the command that replays it.

import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { MUTANTS, mutatedSources } from './mutants.ts';
import { PINNED } from './pinned.ts';
import { isBad, runSeeds, type SeedResult } from './pool.ts';

/** Fewer where somebody waits for the answer (`npm run test:quick`). */
const SEEDS = Number(process.env.PEER_SIM_SEEDS ?? 300);
const THREADS = 2;
const TIMEOUT_MS = 180_000;
const SIM = fileURLToPath(new URL('../../scripts/sim.ts', import.meta.url));

/** Fresh in every run; PEER_SIM_SEED says where to begin instead. */
const seedBase = Number(process.env.PEER_SIM_SEED ?? Math.floor(Date.now() / 1000));

const textOf = (result: SeedResult): string =>
  `${'error' in result ? result.error : `${result.violation?.checker}: ${result.violation?.message}`}\n` +
  `  replay: npm run sim -- --seed ${result.seed}`;

async function failuresOf(seeds: readonly number[]): Promise<string[]> {
  const failures: string[] = [];
  await runSeeds({
    seeds,
    jobs: THREADS,
    onResult: (result) => {
      if (isBad(result)) failures.push(textOf(result));
    },
  });
  return failures;
}

describe('a simulated cluster', () => {
  it(`violates no invariant in ${SEEDS} seeds`, { timeout: TIMEOUT_MS }, async () => {
    process.stderr.write(`simulation: seeds from ${seedBase} (PEER_SIM_SEED=${seedBase} runs them again)\n`);
    expect(await failuresOf(Array.from({ length: SEEDS }, (_, index) => seedBase + index))).toEqual([]);
  });

  it('violates no invariant in any pinned seed', { timeout: TIMEOUT_MS }, async () => {
    expect(await failuresOf(PINNED.map(({ seed }) => seed))).toEqual([]);
  });

  it('leaves the same trace in two processes, byte for byte', { timeout: TIMEOUT_MS }, async () => {
    const traceOf = async (): Promise<string> => {
      const args = [SIM, '--seed', String(seedBase), '--trace', '--no-shrink'];
      const { stdout } = await promisify(execFile)(process.execPath, args, { maxBuffer: 256 * 1024 * 1024 });
      return createHash('sha256').update(stdout).digest('hex');
    };
    const [first, second] = await Promise.all([traceOf(), traceOf()]);
    expect(second).toBe(first);
  });
});

describe('mutants', () => {
  it.each(MUTANTS)('$name still fits the core', (mutant) => {
    expect(mutatedSources(mutant).size).toBeGreaterThan(0);
  });
});
