// `npm run bench -- NAME [ARGS…]`: runs one benchmark and prints one JSON document on stdout; progress goes to stderr.
// Exits 1 when a bound is not held, 2 when there is no such benchmark.

import { execFileSync } from 'node:child_process';
import { availableParallelism, cpus, totalmem } from 'node:os';
import type { Bench } from './bench/figure.ts';
import { ROOT } from './local-cluster.ts';

const BENCHES: Record<string, () => Promise<{ default: Bench }>> = {
  blob: () => import('./bench/blob.ts'),
  failover: () => import('./bench/failover.ts'),
  'false-deaths': () => import('./bench/false-deaths.ts'),
  stage: () => import('./bench/stage.ts'),
  push: () => import('./bench/push.ts'),
  footprint: () => import('./bench/footprint.ts'),
  scale: () => import('./bench/scale.ts'),
  calm: () => import('./bench/calm.ts'),
  crowd: () => import('./bench/crowd.ts'),
  start: () => import('./bench/start.ts'),
  services: () => import('./bench/services.ts'),
  volumes: () => import('./bench/volumes.ts'),
  kills: () => import('./bench/kills.ts'),
};

const [name, ...args] = process.argv.slice(2);
const load = name === undefined ? undefined : BENCHES[name];
if (name === undefined || load === undefined) {
  process.stderr.write(`usage: npm run bench -- NAME, where NAME is one of: ${Object.keys(BENCHES).join(', ')}\n`);
  process.exit(2);
}

const { default: bench } = await load();
const measured = await bench(args, (text) => process.stderr.write(`${name}: ${text}\n`));
const { figures, leftOut } = Array.isArray(measured) ? { figures: measured, leftOut: [] } : measured;
const result = { bench: name, machine: machine(), figures, ...(leftOut.length === 0 ? {} : { leftOut }) };
process.stdout.write(`${JSON.stringify(result, undefined, 2)}\n`);
process.exit(figures.every((figure) => figure.held !== false) ? 0 : 1);

function machine(): object {
  return {
    cores: availableParallelism(),
    cpu: cpus()[0]?.model ?? 'unknown',
    memoryBytes: totalmem(),
    node: process.version,
    commit: commit(),
  };
}

function commit(): string | null {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: ROOT, encoding: 'utf8' }).trim();
  } catch {
    return null;
  }
}
