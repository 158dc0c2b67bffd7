// Three daemons, one of them on a small disk that fills up: the others carry on without it, it says so itself, what
// runs there stays, and it is as before once there is room again.

import { randomBytes } from 'node:crypto';
import { cp, mkdir, open, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { LocalCluster, type LocalNode, ROOT, run, waitFor } from '../../scripts/local-cluster.ts';
import { appOf, lastWords, releasesOf } from './observe.ts';

/** Staging wants 256 MiB free. */
const DISK = 'size=384m,nr_inodes=4000';
/** A look is every ten seconds, on a machine that may be busy. */
const DEADLINE_MS = 60_000;

type Node = { name: string; pressure: { resource: string; level: string; warning: string }[] };

let cluster: LocalCluster;
let roomy: LocalNode;
let small: LocalNode;
let folder: string;

const filler = (): string => join(small.dataDir, 'filler');

beforeAll(async () => {
  cluster = await LocalCluster.create();
  folder = join(cluster.folder, 'steady');
  await cp(join(ROOT, 'test', 'apps', 'hello-node'), folder, { recursive: true });
  roomy = await cluster.startNode({ name: 'roomy-1' });
  const invite = await cluster.invite(2);
  await cluster.startNode({ name: 'roomy-2', join: invite });
  await mkdir(join(cluster.folder, 'small'), { mode: 0o700 });
  // Unmounted with whatever else is below the cluster's folder when that goes.
  const mounted = await run([
    'mount',
    '-t',
    'tmpfs',
    '-o',
    `${DISK},mode=700`,
    'peer-test',
    join(cluster.folder, 'small'),
  ]);
  if (mounted.code !== 0) throw new Error(mounted.stderr);
  small = await cluster.startNode({ name: 'small', join: invite });
  await cluster.waitForAlive(3);
  await cluster.json(roomy, ['push', folder, '--name', 'steady', '--instances', '3', '--memory', '64M']);
  await waitFor('an instance on the small node', DEADLINE_MS, async () => (await nodesOf('steady')).includes('small'));
}, 240_000);
beforeEach(({ onTestFailed }) => onTestFailed(async () => console.error(await lastWords(cluster))));
afterAll(() => cluster?.stop());

/** To the last byte. */
async function fill(): Promise<void> {
  const file = await open(filler(), 'a');
  try {
    for (const bytes of [1024 * 1024, 4096]) {
      const block = randomBytes(bytes);
      for (let full = false; !full; )
        full = await file.write(block).then(
          ({ bytesWritten }) => bytesWritten < bytes,
          () => true,
        );
    }
  } finally {
    await file.close();
  }
}

const pressureAt = async (asked: LocalNode): Promise<Node['pressure']> =>
  (await cluster.read<Node[]>(asked, '/v1/nodes')).find(({ name }) => name === 'small')!.pressure;

const waitForPressure = (expected: [string, string][]): Promise<void> =>
  waitFor(`the others to hear of ${JSON.stringify(expected)} on the small node`, DEADLINE_MS, async () => {
    const found = (await pressureAt(roomy)).map(({ resource, level }) => [resource, level]);
    return JSON.stringify(found) === JSON.stringify(expected);
  });

const nodesOf = async (app: string): Promise<string[]> =>
  (await appOf(cluster, roomy, app)).instances
    .filter(({ state }) => state === 'ready')
    .map(({ node }) => node)
    .sort();

describe('a node whose disk is full', () => {
  it('says so to everyone, and goes on with what it runs', async () => {
    const before = (await appOf(cluster, roomy, 'steady')).instances.find(({ node }) => node === 'small')!;
    await fill();
    await waitForPressure([['disk', 'full']]);
    const nodes = await cluster.peer(roomy, ['nodes']);
    expect(nodes.stdout).toMatch(
      /^small has no room left on its disk \(.* of 384 MiB free\), so it takes no new instances: free space on small, .*--blobs.*peer nodes drain small$/m,
    );
    const status = await cluster.peer(small, ['status']);
    expect(status.stdout).toMatch(/^warning +small has no room left on its disk/m);
    expect((await cluster.get(small, 'steady.localhost')).status).toBe(200);
    const after = (await appOf(cluster, small, 'steady')).instances.find(({ node }) => node === 'small')!;
    expect(after).toMatchObject({ id: before.id, state: 'ready' });
  });

  it('does not stop pushes to the others, which say that it has no copy', async () => {
    // Another droplet than the one that it holds.
    await writeFile(join(folder, 'note'), randomBytes(64 * 1024));
    const pushed = await cluster.peer(roomy, [
      'push',
      folder,
      '--name',
      'other',
      '--instances',
      '3',
      '--memory',
      '64M',
    ]);
    expect(pushed, pushed.stderr).toMatchObject({ code: 0 });
    expect(pushed.stderr).toMatch(/warning: only . nodes? holds? the droplet, small has no room for a copy: /);
    expect(await nodesOf('other')).not.toContain('small');
  });

  it('refuses a push with one clear line, and names who has room', async () => {
    // On a busy machine the others may seem to be dead for a moment.
    await waitFor('a refusal that names another node', DEADLINE_MS, async () => {
      const pushed = await cluster.peer(small, ['push', folder, '--name', 'third']);
      expect(pushed.code).toBe(1);
      const line = pushed.stderr.trim().split('\n').at(-1)!;
      expect(line).toMatch(/small has no room left on its disk .*so it takes no push: .*, or free space on small/);
      return /: push to roomy-[12].* \(--api URL\)/.test(line);
    });
  });

  it('refuses a write with one clear line, and nothing of it is anywhere', async () => {
    const value = randomBytes(12 * 1024).toString('hex');
    const set = await cluster.peer(small, ['env', 'set', 'steady', `LARGE=${value}`]);
    expect(set.code).toBe(1);
    expect(set.stderr).toMatch(/The disk of this node is full, so nothing was changed/);
    expect((await cluster.peer(roomy, ['env', 'steady'])).stdout).not.toContain('LARGE');
  });

  it('is not the fault of a release: its slot goes to a node with room', async () => {
    await writeFile(join(folder, 'note'), randomBytes(64 * 1024));
    const pushed = await cluster.peer(roomy, ['push', folder, '--name', 'steady']);
    expect(pushed, pushed.stderr).toMatchObject({ code: 0 });
    expect((await releasesOf(cluster, roomy, 'steady')).every(({ failed }) => failed === null)).toBe(true);
    expect(await nodesOf('steady')).not.toContain('small');
    expect((await cluster.get(small, 'steady.localhost')).status).toBe(200);
  });

  it('is as before when there is room again, without a restart', async () => {
    const value = randomBytes(12 * 1024).toString('hex');
    await cluster.json(roomy, ['env', 'set', 'other', `LARGE=${value}`]);
    await rm(filler());
    await waitForPressure([]);
    await waitFor('the small node to have what was written meanwhile', DEADLINE_MS, async () => {
      return (await cluster.peer(small, ['env', 'other', '--show'])).stdout.includes(value);
    });
    const pushed = await cluster.peer(small, ['push', folder, '--name', 'third', '--memory', '64M']);
    expect(pushed, pushed.stderr).toMatchObject({ code: 0 });
    await waitFor('the small node to run its share again', DEADLINE_MS, async () => {
      return (await cluster.read<{ name: string; instances: number }[]>(roomy, '/v1/nodes')).some(
        ({ name, instances }) => name === 'small' && instances > 0,
      );
    });
  });
});

describe('a node that runs out of', () => {
  it('inodes says so', async () => {
    await mkdir(filler());
    const fillUp = async (): Promise<void> => {
      for (let file = 0; ; file++) await writeFile(join(filler(), String(file)), '');
    };
    await expect(fillUp()).rejects.toThrow('ENOSPC');
    await waitForPressure([['inodes', 'full']]);
    expect((await cluster.get(small, 'steady.localhost')).status).toBe(200);
    await rm(filler(), { recursive: true });
    await waitForPressure([]);
  });

  it('descriptors warns of it', async () => {
    const inUse = (await readdir(`/proc/${small.pid}/fd`)).length;
    const limit = (most: string) => run(['prlimit', '--pid', String(small.pid), `--nofile=${most}`]);
    const { stdout } = await run([
      'prlimit',
      '--pid',
      String(small.pid),
      '--nofile',
      '--noheadings',
      '--raw',
      '-o',
      'SOFT',
    ]);
    expect(await limit(`${Math.ceil(inUse * 1.06)}:`)).toMatchObject({ code: 0 });
    await waitFor('the others to hear of it', DEADLINE_MS, async () => {
      return (await pressureAt(roomy)).some(({ resource }) => resource === 'descriptors');
    });
    expect(await limit(`${stdout.trim()}:`)).toMatchObject({ code: 0 });
  });
});
