import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

// Tests start real daemons, sandboxes and namespaces on small machines: few at a time, with generous deadlines. The
// groups follow one another, so that a simulation, which keeps every core busy, does not slow down the daemons of
// another test.
const group = (name: string, groupOrder: number, include: string[], exclude: string[] = []) => ({
  extends: true as const,
  test: { name, include, exclude: ['test/apps/**', 'node_modules/**', ...exclude], sequence: { groupOrder } },
});

export default defineConfig({
  test: {
    testTimeout: 120_000,
    hookTimeout: 120_000,
    maxWorkers: Math.max(2, availableParallelism()),
    pool: 'forks',
    projects: [
      group('parts', 0, ['test/**/*.test.ts'], ['test/e2e/**', 'test/sim/**']),
      group('e2e', 1, ['test/e2e/**/*.test.ts']),
      group('sim', 2, ['test/sim/**/*.test.ts']),
    ],
  },
});
