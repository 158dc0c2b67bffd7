// What the tests of node/runtime share: a data directory with a node of its own, cleaned up with all that was made for
// it.

import { mkdtemp, readdir, readFile, rm, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, vi } from 'vitest';
import { asNodeId, type NodeId } from '../../crdt/ids.ts';
import type { Log } from '../../node/lib/log.ts';
import { createLogStore, type PacedLogStore } from '../../node/runtime/logs/store.ts';
import { createProcessRuntime, type ProcessRuntimeOptions } from '../../node/runtime/process/runtime.ts';
import { findControlGroups } from '../../node/runtime/sandbox/cgroup.ts';
import type { Isolation } from '../../node/runtime/sandbox/confinement.ts';
import { closeIsolation, prepareIsolation } from '../../node/runtime/sandbox/isolation.ts';
import { volumeUids } from '../../node/runtime/sandbox/users.ts';
import { VolumeStore } from '../../node/volumes/store.ts';
import { DropletShelf } from './droplet.ts';
import type { VolumesHarness } from './volumes.contract.ts';

export const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };

export type TestNode = { dataDir: string; nodeId: NodeId; dispose(): Promise<void> };

export async function testNode(): Promise<TestNode> {
  const dataDir = await mkdtemp(join(tmpdir(), 'peer-runtime-'));
  const nodeId = asNodeId(`test${Math.random().toString(36).slice(2, 14).padEnd(12, '0')}`);
  return {
    dataDir,
    nodeId,
    async dispose() {
      await rm(dataDir, { recursive: true, force: true });
      for (const controller of ['memory/', 'freezer/', 'pids/', 'cpu/', 'cpuacct/', '']) {
        await rmdir(`/sys/fs/cgroup/${controller}peer/${nodeId.slice(-12)}`).catch(() => {});
      }
    },
  };
}

/** Waits until no process, control group, folder or mount of the node's sandboxes is there. */
export async function checkNothingLeft({ dataDir, nodeId }: TestNode): Promise<void> {
  await vi.waitFor(async () => expect(await processesNaming(dataDir)).toEqual([]), { timeout: 5_000 });
  expect(await readdir(join(dataDir, 'instances')).catch(() => [])).toEqual([]);
  expect(await readdir(join(dataDir, 'sandbox'))).toEqual([]);
  expect((await readFile('/proc/self/mounts', 'utf8')).split('\n').filter((line) => line.includes(dataDir))).toEqual(
    [],
  );
  const { groups } = await findControlGroups(nodeId.slice(-12));
  expect((await groups?.list()) ?? []).toEqual([]);
}

/** Command lines of processes of the machine that hold the text. */
export async function processesNaming(text: string): Promise<string[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const lines = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')));
  return lines.filter((line) => line.includes(text));
}

/** The volumes of a test's node, as each of its daemons opens them anew. */
export async function openVolumes(
  { dataDir, nodeId }: Pick<TestNode, 'dataDir' | 'nodeId'>,
  { ownUsers }: Pick<Isolation, 'ownUsers'>,
): Promise<VolumeStore> {
  const users = ownUsers ? volumeUids(nodeId) : undefined;
  return VolumeStore.open({
    dataDir,
    users,
    wanted: () => undefined,
    hardQuotas: users !== undefined,
    log: silent,
    sampleMs: 50,
    waitMaxMs: 20_000,
  });
}

export type ProcessHarness = VolumesHarness & { dataDir: string };

export async function processHarness(
  options: { insecure?: boolean; groups?: false; runtime?: Partial<ProcessRuntimeOptions> } = {},
): Promise<ProcessHarness> {
  const node = await testNode();
  const { dataDir, nodeId } = node;
  const shelf = new DropletShelf(join(dataDir, 'blobs'));
  const stores: PacedLogStore[] = [];
  const isolations: Isolation[] = [];
  const volumesOpened: VolumeStore[] = [];
  return {
    dataDir,
    stack: 'test',
    async open() {
      // A daemon that has ended makes no more networks: one in the making would have the number of the next daemon's.
      await isolations.at(-1)?.networks?.detach();
      const found = await prepareIsolation({ dataDir, nodeId, log: silent, insecure: options.insecure });
      const isolation: Isolation = options.groups === false ? { ...found, groups: undefined } : found;
      isolations.push(isolation);
      const logs = createLogStore({ dataDir, nodeId, log: silent });
      stores.push(logs);
      const volumes = await openVolumes(node, isolation);
      volumesOpened.push(volumes);
      const runtime = await createProcessRuntime({
        isolation,
        volumes,
        stack: 'test',
        pourBlob: (...asks) => shelf.pour(...asks),
        logs,
        log: silent,
        diskSampleMs: 200,
        readyProbeMs: 200,
        ...options.runtime,
      });
      return { runtime, logs, volumes };
    },
    droplet: (files) => shelf.add(files),
    checkNothingLeft: () => checkNothingLeft(node),
    async dispose() {
      for (const store of stores) await store.close();
      for (const volumes of volumesOpened) await volumes.close();
      for (const isolation of isolations) await closeIsolation(isolation, { keepInstances: false });
      await node.dispose();
    },
  };
}
