// A node with little disk for blobs among others with more: it stays within its budget, and nothing that anyone may
// want back is lost.

import { randomBytes } from 'node:crypto';
import { mkdir, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LocalCluster, type LocalNode, waitFor } from '../../scripts/local-cluster.ts';

const MiB = 1024 * 1024;
const BUDGET_BYTES = 7 * MiB;
const CONTENT_BYTES = 2 * MiB;
const VERSIONS = 5;
const DEADLINE_MS = 30_000;

let cluster: LocalCluster;
let small: LocalNode;
let folder: string;
beforeAll(async () => {
  cluster = await LocalCluster.create();
  small = await cluster.startNode({ name: 'small', args: ['--blobs', '7M'] });
  const invite = await cluster.invite(2);
  for (const name of ['large-1', 'large-2']) {
    await cluster.startNode({ name, join: invite, args: ['--blobs', '500M'] });
  }
  await cluster.waitForAlive(3);
  folder = join(cluster.folder, 'app');
  await mkdir(folder);
});
afterAll(() => cluster.stop());

async function bytesOf(folder: string): Promise<number> {
  let bytes = 0;
  for (const name of await readdir(folder, { recursive: true })) {
    const found = await stat(join(folder, name)).catch(() => undefined);
    if (found?.isFile() === true) bytes += found.size;
  }
  return bytes;
}

/** Of each droplet, how many nodes hold it. */
async function holders(): Promise<Map<string, number>> {
  const counts = new Map<string, number>();
  for (const { dataDir } of cluster.nodes) {
    for (const name of await readdir(join(dataDir, 'blobs', 'manifests'))) {
      counts.set(`sha256:${name}`, (counts.get(`sha256:${name}`) ?? 0) + 1);
    }
  }
  return counts;
}

describe('a node with a small --blobs', () => {
  it('gives up its copies of old releases, which two others keep', async () => {
    for (let version = 1; version <= VERSIONS; version++) {
      await writeFile(join(folder, 'index.html'), `version ${version}`);
      await writeFile(join(folder, 'large.bin'), randomBytes(CONTENT_BYTES));
      const pushed = await cluster.peer(small, ['push', folder, '--name', 'site']);
      expect(pushed, pushed.stderr).toMatchObject({ code: 0 });
    }
    await waitFor('the node to be within its budget', DEADLINE_MS, async () => {
      return (await bytesOf(join(small.dataDir, 'blobs'))) <= BUDGET_BYTES;
    });
    const { blobs } = await cluster.json<{ blobs: { usedBytes: number; budgetBytes: number } }>(small, ['status']);
    expect(blobs.budgetBytes).toBe(BUDGET_BYTES);
    expect(blobs.usedBytes).toBeGreaterThan(CONTENT_BYTES);
    const releases = await cluster.json<{ droplet: string }[]>(small, ['releases', 'site']);
    expect(releases).toHaveLength(VERSIONS);
    const held = await holders();
    const copies = releases.map(({ droplet }) => held.get(droplet) ?? 0);
    expect(Math.min(...copies)).toBe(2);
    expect(Math.max(...copies)).toBe(3);
  });

  it('rolls back to a release that it no longer holds', async () => {
    const back = await cluster.peer(small, ['rollback', 'site', 'v1']);
    expect(back, back.stderr).toMatchObject({ code: 0 });
    await waitFor('the first version', DEADLINE_MS, async () => {
      return (await cluster.get(small, 'site.localhost')).body === 'version 1';
    });
  });

  it('refuses what can never fit, with what to do', async () => {
    await writeFile(join(folder, 'large.bin'), randomBytes(12 * MiB));
    const pushed = await cluster.peer(small, ['push', folder, '--name', 'other']);
    expect(pushed.code).toBe(1);
    expect(pushed.stderr).toMatch(
      /it does not fit: this node may use 7\.0 MiB .* start the node with a larger --blobs, delete apps, or push to another node/,
    );
    expect(await bytesOf(join(small.dataDir, 'blobs'))).toBeLessThanOrEqual(BUDGET_BYTES);
  });
});
