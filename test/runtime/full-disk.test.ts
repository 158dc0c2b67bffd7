// Starts on a node whose disk is full: the node is said to be to blame, and only then.

import { rm, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { InstanceSpec } from '../../node/core/types.ts';
import { run } from '../../scripts/local-cluster.ts';
import { type ProcessHarness, processHarness } from './harness.ts';
import { Opened, SERVER, specOf } from './runtime.contract.ts';

const MIB = 1024 * 1024;
const DISK_MIB = 64;
/** Unpacked. */
const DROPLET_MIB = 12;
/** Enough to begin with. */
const LEFT_BYTES = 4 * MIB;

let harness: ProcessHarness;
let node: Opened;
let small: string;
let droplet: Awaited<ReturnType<ProcessHarness['droplet']>>;
const filler = (): string => join(small, 'filler');

beforeAll(async () => {
  harness = await processHarness();
  small = harness.dataDir;
  const mounted = await run(['mount', '-t', 'tmpfs', '-o', `size=${DISK_MIB}m,mode=700`, 'peer-test', small]);
  expect(mounted, mounted.stderr).toMatchObject({ code: 0 });
  node = new Opened(await harness.open());
  droplet = await harness.droplet({ 'app/server.js': SERVER, 'app/large': 'x'.repeat(DROPLET_MIB * MIB) });
});
afterAll(async () => {
  await rm(filler(), { force: true });
  await node?.runtime.close({ keepInstances: false });
  await run(['umount', '-l', small]);
  await harness?.dispose();
});

const specFor = (changes: Partial<InstanceSpec>): InstanceSpec =>
  specOf(droplet, { droplet: { digest: droplet, sizeBytes: DROPLET_MIB * MIB, stack: 'test' }, ...changes });

async function exitOf(spec: InstanceSpec): Promise<{ reason: string; lacks?: string }> {
  node.runtime.start(spec);
  await vi.waitFor(() => expect(node.of(spec.id).at(-1)?.type).toBe('instanceExited'), 30_000);
  return node.of(spec.id).at(-1) as { type: 'instanceExited'; reason: string; lacks?: string };
}

describe('an instance that cannot be unpacked', () => {
  it('is the fault of the node when its disk is full from the start', async () => {
    await expect(writeFile(filler(), Buffer.alloc(DISK_MIB * MIB))).rejects.toThrow('ENOSPC');
    const { reason, lacks } = await exitOf(specFor({ diskBytes: 256 * MIB }));
    expect(lacks).toBe('disk');
    expect(reason).toMatch(/disk is full|space left/);
    await rm(filler());
  });

  it('is the fault of the node when its disk has too little room, which its own disk cannot tell', async () => {
    const { bavail, bsize } = await statfs(small);
    await writeFile(filler(), Buffer.alloc(bavail * bsize - LEFT_BYTES));
    expect((await exitOf(specFor({ diskBytes: 256 * MIB }))).lacks).toBe('disk');
    await rm(filler());
  });

  it('is the fault of the release when it is larger than its own limit, on a node with room', async () => {
    const { reason, lacks } = await exitOf(specFor({ diskBytes: 4 * MIB }));
    expect(lacks).toBeUndefined();
    expect(reason).toMatch(/larger than the disk limit/);
  });

  it('starts when there is room again', async () => {
    const spec = specFor({ diskBytes: 256 * MIB });
    node.runtime.start(spec);
    await node.ready(spec.id);
  });
});
