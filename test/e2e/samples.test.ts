// Every sample app of every built-in buildpack, once on each runtime: run by the node that has the runtime, and
// answered through the router of the other. One node stages it; the other runtime is given the same droplet.

import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { RolloutShape } from '../../node/api/shapes.ts';
import { DETECT_ORDER } from '../../node/staging/stager.ts';
import { LocalCluster, type LocalNode, waitFor } from '../../scripts/local-cluster.ts';
import { SAMPLES, type Sample, sampleFolder } from '../staging/builtin/samples.ts';
import { createRegistry, type Registry } from '../staging/registry.ts';
import { appOf, lastWords, nodesOf, SETTLE_DEADLINE_MS } from './observe.ts';

/** A node of each; it has the runtime's name. */
const RUNTIMES = ['process', 'docker'] as const;
type RuntimeName = (typeof RUNTIMES)[number];
/**
 * Each node stages samples of half of the buildpacks, one after the other, while the other does the other half, which
 * takes as long.
 */
const HALVES = [
  ['java', 'ruby', 'nodejs', 'binary', 'static'],
  ['python', 'go', 'deno', 'bun', 'php', 'procfile'],
];
/** A first push may unpack a language's runtime and compile for a while, next to another push. */
const PUSH_TIMEOUT_MS = 110_000;

const samplesOf = (packs: readonly string[]): Sample[] => SAMPLES.filter(({ pack }) => packs.includes(pack));
/**
 * Samples of one buildpack are releases of one app: what the first staging has downloaded and made is there for the
 * next.
 */
const appName = (pack: string): string => `sample-${pack}`;

/** By sample: the release that was staged. */
const staged = new Map<Sample, string>();
let registry: Registry;
let cluster: LocalCluster;
const named = (name: string): LocalNode => cluster.nodes.find((node) => node.name === name)!;
const otherThan = (name: string): LocalNode => cluster.nodes.find((node) => node.name !== name)!;

beforeAll(async () => {
  registry = await createRegistry();
  for (const { publish } of SAMPLES) publish?.(registry);
  cluster = await LocalCluster.create(registry.env);
  for (const name of RUNTIMES) {
    const invite = cluster.nodes.length === 0 ? {} : { join: await cluster.invite(1) };
    await cluster.startNode({ name, args: ['--runtime', name], ...invite });
  }
  await cluster.waitForAlive(RUNTIMES.length);
});
afterAll(async () => {
  await cluster?.stop();
  await registry?.close();
});

describe.each(RUNTIMES)('the %s runtime', (runtime) => {
  beforeAll(() => leaveTo(runtime));

  // What the next runtime has to run starts there.
  afterAll(async () => {
    for (const pack of HALVES.flat()) await cluster.peer(named(runtime), ['stop-app', appName(pack)]);
  });

  describe.concurrent.each(HALVES.map((packs, which) => ({ packs, which })))(
    'half $which of the buildpacks',
    ({ packs, which }) => {
      const by = () => cluster.nodes[which]!;
      beforeEach(({ onTestFailed }) => onTestFailed(async () => console.error(await lastWords(cluster))));

      it.sequential.each(samplesOf(packs))('runs $app of $pack, which another node serves', async (sample) => {
        const running = await run(sample, by());
        expect(running.buildpack).toBe(sample.pack);
        const router = otherThan(runtime);
        await waitFor(`${router.name} to serve ${sample.app}`, SETTLE_DEADLINE_MS, async () => {
          const { instances } = await appOf(cluster, router, running.app);
          expect(instances).toMatchObject([{ node: runtime, release: running.release, state: 'ready' }]);
          const { status, body } = await cluster.get(router, `${running.app}.localhost`);
          expect([status, body]).toEqual([200, expect.stringMatching(sample.says)]);
          return true;
        });
      });
    },
  );
});

it('two samples or more of each buildpack are there', () => {
  expect(DETECT_ORDER.filter((pack) => samplesOf([pack]).length < 2)).toEqual([]);
  expect(HALVES.flat().sort()).toEqual([...DETECT_ORDER].sort());
});

/** The sample as the current release of its app: staged by a node the first time, what that has made from then on. */
async function run(sample: Sample, by: LocalNode): Promise<RolloutShape> {
  const app = appName(sample.pack);
  const before = staged.get(sample);
  if (before !== undefined) {
    const rolledBack = await cluster.json<RolloutShape>(by, ['rollback', app, before]);
    await cluster.json(by, ['start-app', app]);
    return rolledBack;
  }
  const folder = await sampleFolder(sample, join(cluster.folder, `${SAMPLES.indexOf(sample)}`));
  const timeoutMs = PUSH_TIMEOUT_MS;
  const pushed = await cluster.json<RolloutShape>(by, ['push', folder, '--name', app], { timeoutMs });
  staged.set(sample, pushed.release!);
  return pushed;
}

/** Lets only the node with this runtime take instances. */
async function leaveTo(runtime: RuntimeName): Promise<void> {
  const by = named(runtime);
  await cluster.json(by, ['nodes', 'undrain', runtime]);
  await cluster.json(by, ['nodes', 'drain', otherThan(runtime).name]);
  const wanted = RUNTIMES.map((name) => [name, [name], name !== runtime, 0]);
  for (const node of cluster.nodes) {
    await waitFor(`${node.name} to see who takes instances`, SETTLE_DEADLINE_MS, async () => {
      const seen = await nodesOf(cluster, node);
      const facts = seen.map((one) => [one.name, one.runtimes, one.draining, one.instances]);
      expect(new Set(facts)).toEqual(new Set(wanted));
      return true;
    });
  }
}
