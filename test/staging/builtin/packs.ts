// What the tests of the built-in buildpacks share: a stager whose registries are on loopback, and droplets started on
// a bare stack, so that whatever a droplet does not carry itself is missing there.

import { afterAll, afterEach, beforeAll } from 'vitest';
import type { StagedDroplet, StageRequest } from '../../../node/ports/staging.ts';
import { type BareStack, createBareStack } from '../bare-stack.ts';
import { createHarness, type Droplet, type Files, failureOf, type Harness, request, sampleApp } from '../harness.ts';
import { createRegistry, type Registry } from '../registry.ts';
import { type RunningApp, startApp } from '../running.ts';

export type Staged = { droplet: StagedDroplet; output: string; content: Droplet };

export type Packs = {
  harness: Harness;
  registry: Registry;
  /** A sample app by its name, files, or a folder. */
  stage(source: string | Files, options?: Partial<StageRequest>): Promise<Staged>;
  /** The same while no registry answers. */
  offline(source: string | Files, options?: Partial<StageRequest>): Promise<Staged>;
  failing(source: string | Files, options?: Partial<StageRequest>): ReturnType<typeof failureOf>;
  /** Started with its web process; stopped after the test. */
  start(staged: Staged, env?: Record<string, string>): Promise<RunningApp>;
  get(url: string): Promise<string>;
};

/** The discard port, where nobody listens. */
const NO_REGISTRY = {
  npm_config_registry: 'http://127.0.0.1:9',
  PIP_INDEX_URL: 'http://127.0.0.1:9/simple',
  npm_config_fetch_retries: '0',
};

export const createPacks = (): Packs => {
  const running: RunningApp[] = [];
  let stack: BareStack;

  const staging = async (source: string | Files, options: Partial<StageRequest>, env = shared.registry.env) => {
    const folder =
      typeof source !== 'string' ? shared.harness.folder(source) : source.startsWith('/') ? source : sampleApp(source);
    const asked = request(folder, options);
    const stager = await shared.harness.stager({ daemonEnv: { ...process.env, ...env } });
    return { asked, staged: stager.stage(asked) };
  };

  const finished = async ({ asked, staged }: Awaited<ReturnType<typeof staging>>): Promise<Staged> => {
    const droplet = await staged.catch((error: unknown) => {
      throw new Error(`${(error as Error).message}\n${asked.lines.join('\n')}`, { cause: error });
    });
    return { droplet, output: asked.lines.join('\n'), content: await shared.harness.unpack(droplet.digest) };
  };

  const shared = {
    stage: async (source, options = {}) => finished(await staging(source, options)),
    offline: async (source, options = {}) => finished(await staging(source, options, NO_REGISTRY)),
    async failing(source, options = {}) {
      return failureOf((await staging(source, options)).staged);
    },
    async start(staged, env = {}) {
      const command = staged.droplet.processes.web!;
      const app = await startApp({ stack, droplet: staged.content.path, command, env });
      running.push(app);
      return app;
    },
    get: async (url) => (await fetch(url)).text(),
  } as Packs;

  beforeAll(async () => {
    shared.harness = await createHarness();
    shared.registry = await createRegistry();
    stack = createBareStack();
  });
  afterEach(async () => {
    for (const app of running.splice(0)) await app.stop();
  });
  afterAll(async () => {
    await shared.registry.close();
    await shared.harness.close();
    stack.remove();
  });
  return shared;
};

export const json = (value: object): string => JSON.stringify(value);
