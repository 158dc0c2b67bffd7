// A node that starts with another runtime than before: what it left running in the other is taken away, not forgotten.

import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createBlobStore, type LocalBlobStore } from '../../node/blobs/store.ts';
import { runCommand } from '../../node/lib/program.ts';
import { chooseRuntime, type RuntimeChoice } from '../../node/runtime/choose.ts';
import { type Engine, findEngine } from '../../node/runtime/docker/engine.ts';
import { NODE_LABEL } from '../../node/runtime/docker/labels.ts';
import { policyTable } from '../../node/runtime/docker/policy.ts';
import { listInstanceFolders } from '../../node/runtime/instance-folder.ts';
import { createLogStore, type PacedLogStore } from '../../node/runtime/logs/store.ts';
import type { Isolation } from '../../node/runtime/sandbox/confinement.ts';
import { closeIsolation, prepareIsolation } from '../../node/runtime/sandbox/isolation.ts';
import { hostStack } from '../../node/staging/stack.ts';
import { DropletShelf } from './droplet.ts';
import { checkNothingLeft, silent, type TestNode, testNode } from './harness.ts';
import { get, Opened, SERVER, specOf } from './runtime.contract.ts';

let node: TestNode;
let engine: Engine;
let blobs: LocalBlobStore;
let stores: PacedLogStore[];
let isolation: Isolation;

beforeEach(async () => {
  node = await testNode();
  engine = await findEngine();
  blobs = await createBlobStore({ dir: join(node.dataDir, 'blobs') });
  stores = [];
});
afterEach(async () => {
  await closeIsolation(isolation, { keepInstances: false });
  for (const store of stores) await store.close();
  await blobs.close();
  await node.dispose();
});

async function open(wanted: RuntimeChoice): Promise<Opened> {
  const { dataDir, nodeId } = node;
  isolation = await prepareIsolation({ dataDir, nodeId, log: silent });
  const logs = createLogStore({ dataDir, nodeId, log: silent });
  stores.push(logs);
  const policy = { allowed: [], openPorts: [], closedPorts: [] };
  const runtime = await chooseRuntime({
    wanted,
    nodeId,
    isolation,
    stack: hostStack(),
    blobs,
    policy,
    logs,
    log: silent,
    readyProbeMs: 200,
  });
  return new Opened({ runtime, logs });
}

/** An instance that a daemon with this runtime left running. */
async function leave(wanted: RuntimeChoice): Promise<void> {
  const shelf = new DropletShelf(join(node.dataDir, 'shelf'));
  const built = shelf.read(await shelf.add({ 'app/server.js': SERVER }));
  const { digest } = await blobs.put(built, { sizeBytesMax: 64 * 1024 * 1024 });
  const daemon = await open(wanted);
  const spec = specOf(digest, { droplet: { digest, sizeBytes: 0, stack: hostStack() } });
  daemon.runtime.start(spec);
  const at = await daemon.ready(spec.id);
  await daemon.runtime.close({ keepInstances: true });
  await closeIsolation(isolation, { keepInstances: true });
  expect(await get(at, '/')).toBe('hello');
}

const filters = (): string => JSON.stringify({ label: [`${NODE_LABEL}=${node.nodeId}`] });

describe('a node that changes its runtime', () => {
  it('from containers to the sandbox leaves no container, network or rule behind', async () => {
    await leave('docker');
    const next = await open('process');
    expect(await next.runtime.adopt()).toEqual([]);
    expect(await engine.docker.listContainers({ all: true, filters: filters() })).toEqual([]);
    expect(await engine.docker.listNetworks({ filters: filters() as never })).toEqual([]);
    expect(await runCommand(['nft', 'list', 'tables'])).not.toContain(policyTable(node.nodeId));
    await next.runtime.close({ keepInstances: false });
    await checkNothingLeft(node);
    await expect(readFile(join(node.dataDir, 'engines.json'))).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('from the sandbox to containers leaves no process and no network behind', async () => {
    await leave('process');
    const namespace = await namespaceLeft();
    expect(await readdir('/run/netns')).toContain(namespace);
    const next = await open('docker');
    expect(await next.runtime.adopt()).toEqual([]);
    expect(await readdir('/run/netns')).not.toContain(namespace);
    await next.runtime.close({ keepInstances: false });
    await checkNothingLeft(node);
  });

  it('and back runs what it is asked to', async () => {
    await leave('docker');
    await leave('process');
    const last = await open('docker');
    expect(await last.runtime.adopt()).toEqual([]);
    await last.runtime.close({ keepInstances: false });
    await checkNothingLeft(node);
  });
});

/** Of the one instance that a daemon of the sandbox left. */
async function namespaceLeft(): Promise<string> {
  const [folder] = await listInstanceFolders(node.dataDir);
  return (await folder!.readRecord())!.network!.namespace;
}
