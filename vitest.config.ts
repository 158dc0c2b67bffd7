import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

// Tests start real daemons, sandboxes and namespaces on small machines: few at a time, with generous deadlines. The
// groups follow one another, so that a simulation, which keeps every core busy, does not slow down the daemons of
// another test.
const group = (name: string, groupOrder: number, include: string[], exclude: string[] = []) => ({
  extends: true as const,
  test: { name, include, exclude: ['test/apps/**', 'node_modules/**', ...exclude], sequence: { groupOrder } },
});

const all = [
  group('parts', 0, ['test/**/*.test.ts'], ['test/e2e/**', 'test/sim/**']),
  group('e2e', 1, ['test/e2e/**/*.test.ts']),
  group('sim', 2, ['test/sim/**/*.test.ts']),
];

// `npm run test:quick`, for every change: rooms whose tests want no daemon, sandbox or root, but for files that wait for
// real time-outs of real sockets.
const quick = group(
  'quick',
  0,
  [
    ...['core', 'crdt', 'secrets', 'api', 'router', 'gossip', 'fuzz'].map((room) => `test/${room}/*.test.ts`),
    'test/sim/sim.test.ts',
  ],
  [
    ...['connections', 'discovery', 'probe', 'rpc'].map((file) => `test/gossip/${file}.test.ts`),
    ...['process', 'retry', 'streaming', 'unreachable'].map((file) => `test/router/${file}.test.ts`),
  ],
);
// Starting a process for each of so many small files would take as long as what they test.
const inFewProcesses = { ...quick, test: { ...quick.test, isolate: false } };

export default defineConfig(({ mode }) => ({
  test: {
    testTimeout: 120_000,
    hookTimeout: 120_000,
    maxWorkers: Math.max(2, availableParallelism()),
    pool: 'forks',
    projects: mode === 'quick' ? [inFewProcesses] : all,
  },
}));
