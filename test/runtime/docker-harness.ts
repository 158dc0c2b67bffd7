// What the tests of the docker runtime share: a node of its own on the engine of this machine, cleaned up with all
// that was made for it there.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import { createBlobStore, type LocalBlobStore } from '../../node/blobs/store.ts';
import { type Engine, findEngine } from '../../node/runtime/docker/engine.ts';
import { NODE_LABEL } from '../../node/runtime/docker/labels.ts';
import { createDockerRuntime, type DockerRuntimeOptions } from '../../node/runtime/docker/runtime.ts';
import { createLogStore, type PacedLogStore } from '../../node/runtime/logs/store.ts';
import type { Isolation } from '../../node/runtime/sandbox/confinement.ts';
import { prepareIsolation } from '../../node/runtime/sandbox/isolation.ts';
import { hostStack } from '../../node/staging/stack.ts';
import type { VolumeStore } from '../../node/volumes/store.ts';
import type { CommandsHarness } from './commands.contract.ts';
import { DropletShelf } from './droplet.ts';
import { checkNothingLeft, openVolumes, silent, testNode } from './harness.ts';
import type { VolumesHarness } from './volumes.contract.ts';

const DROPLET_BYTES_MAX = 64 * 1024 * 1024;

export type DockerHarness = Omit<CommandsHarness, 'open'> &
  VolumesHarness & {
    dataDir: string;
    engine: Engine;
    nodeId: string;
    blobs: LocalBlobStore;
  };

export async function dockerHarness(
  options: { engine?: Engine; ownDisks?: false; runtime?: Partial<DockerRuntimeOptions> } = {},
): Promise<DockerHarness> {
  // Without one the tests fail, and say what to start.
  const engine = options.engine ?? (await findEngine());
  const node = await testNode();
  const { dataDir, nodeId } = node;
  const shelf = new DropletShelf(join(dataDir, 'shelf'));
  const blobs = await createBlobStore({ dir: join(dataDir, 'blobs') });
  const stores: PacedLogStore[] = [];
  const volumesOpened: VolumeStore[] = [];
  const filters = JSON.stringify({ label: [`${NODE_LABEL}=${nodeId}`] });
  await writeFile(join(dataDir, 'secret'), 'the cluster key', { mode: 0o644 });
  return {
    dataDir,
    blobs,
    engine,
    nodeId,
    stack: hostStack(),
    tellsOutOfMemory: engine.tellsOutOfMemory,
    async open() {
      const found = await prepareIsolation({ dataDir, nodeId, log: silent });
      const isolation: Isolation = options.ownDisks === false ? { ...found, ownDisks: false } : found;
      const logs = createLogStore({ dataDir, nodeId, log: silent });
      stores.push(logs);
      const volumes = await openVolumes(node, isolation);
      volumesOpened.push(volumes);
      const runtime = await createDockerRuntime({
        engine,
        nodeId,
        isolation,
        volumes,
        blobs,
        policy: { allowed: [] },
        logs,
        log: silent,
        diskSampleMs: 200,
        readyProbeMs: 200,
        ...options.runtime,
      });
      return { runtime, logs, volumes };
    },
    async droplet(files) {
      const built = shelf.read(await shelf.add(files));
      return (await blobs.put(built, { sizeBytesMax: DROPLET_BYTES_MAX })).digest;
    },
    async checkNothingLeft() {
      await checkNothingLeft(node);
      expect(await engine.docker.listContainers({ all: true, filters })).toEqual([]);
      expect(await engine.docker.listNetworks({ filters: filters as never })).toEqual([]);
    },
    async dispose() {
      for (const store of stores) await store.close();
      for (const volumes of volumesOpened) await volumes.close();
      await blobs.close();
      await node.dispose();
    },
  };
}
