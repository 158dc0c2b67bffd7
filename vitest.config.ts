import { availableParallelism, totalmem } from 'node:os';
import { join, relative } from 'node:path';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

// Tests start real daemons, sandboxes and namespaces on small machines: few at a time, with generous deadlines.

// For the tests' own processes, and for commands with a home of their own, which would compile all anew.
process.env.NODE_COMPILE_CACHE ??= join(import.meta.dirname, 'node_modules', '.cache', 'peer-tests');

/**
 * The longest first, of which each takes most of a minute or more, so that none of them ends alone; then what the
 * sequencer of Vitest knows to take long.
 */
const LONGEST = [
  'e2e/samples',
  'e2e/services',
  'e2e/volumes',
  'e2e/programs',
  'e2e/strangers',
  'e2e/chaos',
  'staging/builtin/languages',
  'e2e/bad-input',
  'staging/builtin/nodejs',
  'e2e/cluster',
  'e2e/healing',
  'e2e/restored',
  'e2e/docker',
  'e2e/full-disk',
  'runtime/docker',
  'services/rabbitmq',
  'staging/buildpacks',
  'e2e/partition',
  'e2e/hostile',
  'e2e/service-life',
].map((file) => `test/${file}.test.ts`);

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const orderOf = ({ project }: TestSpecification): number => project.config.sequence.groupOrder;
    const rankOf = ({ moduleId, project }: TestSpecification): number => {
      const rank = LONGEST.indexOf(relative(project.config.root, moduleId));
      return rank === -1 ? LONGEST.length : rank;
    };
    return (await super.sort(files)).sort((a, b) => orderOf(a) - orderOf(b) || rankOf(a) - rankOf(b));
  }
}

type Group = { order: number; include: string[]; exclude?: string[]; isolate?: boolean; maxWorkers?: number };

const group = (name: string, { order, include, exclude = [], ...options }: Group) => ({
  extends: true as const,
  test: {
    name,
    include,
    exclude: ['test/apps/**', 'node_modules/**', ...exclude],
    sequence: { groupOrder: order },
    ...options,
  },
});

const inRooms = (rooms: readonly string[]): string[] => rooms.map((room) => `test/${room}/**/*.test.ts`);

/** Rooms whose tests share processes: to start one for each file takes as long as what they test. */
const LIGHT = [
  'core',
  'crdt',
  'secrets',
  'api',
  'router',
  'gossip',
  'fuzz',
  'cli',
  'node',
  'blobs',
  'volumes',
  'chaos',
];

// Daemons and engines wait for one another most of the time, so there are more of these tests at once than cores, as
// far as there is memory for a few nodes and engines each. A simulation keeps every core busy, and comes when no
// daemon is slowed down by it.
const cores = availableParallelism();
const MEMORY_EACH_BYTES = 2 * 1024 ** 3;
const waiting = {
  order: 0,
  maxWorkers: Math.max(2, Math.min(cores * 2, Math.floor(totalmem() / MEMORY_EACH_BYTES))),
};
const all = [
  group('e2e', { ...waiting, include: ['test/e2e/**/*.test.ts'] }),
  group('parts', {
    ...waiting,
    include: ['test/**/*.test.ts'],
    exclude: ['test/e2e/**', 'test/sim/**', ...inRooms(LIGHT)],
  }),
  group('rooms', { ...waiting, include: inRooms(LIGHT), isolate: false }),
  group('sim', { order: 1, maxWorkers: Math.max(2, cores), include: ['test/sim/**/*.test.ts'] }),
];

// `npm run test:quick`, for every change: rooms whose tests want no daemon, sandbox or root, but for files that wait
// for real time-outs of real sockets.
const quick = group('quick', {
  order: 0,
  isolate: false,
  include: [...inRooms(['core', 'crdt', 'secrets', 'api', 'router', 'gossip', 'fuzz']), 'test/sim/sim.test.ts'],
  exclude: [
    ...['connections', 'discovery', 'probe', 'rpc'].map((file) => `test/gossip/${file}.test.ts`),
    ...['process', 'retry', 'streaming', 'unreachable'].map((file) => `test/router/${file}.test.ts`),
  ],
});

export default defineConfig(({ mode }) => ({
  test: {
    testTimeout: 120_000,
    hookTimeout: 120_000,
    maxWorkers: Math.max(2, cores),
    pool: 'forks',
    sequence: { sequencer: LongestFirst },
    projects: mode === 'quick' ? [quick] : all,
  },
}));
