import { defineConfig } from 'vitest/config';

// Tests start real daemons, sandboxes and namespaces on small machines: few at a time, with generous deadlines.
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['test/apps/**', 'node_modules/**'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    maxWorkers: 2,
    pool: 'forks',
  },
});
