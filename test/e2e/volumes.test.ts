// Volumes on three real daemons: what an app wrote stays over restarts, roll-outs and scaling, goes to another node
// when it is moved, and comes back from a snapshot when its node is lost for good.

import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { LifeResultShape, OrphansShape, SnapshotShape, VolumeShape } from '../../node/api/data-shapes.ts';
import type { StatusShape, WhyShape } from '../../node/api/shapes.ts';
import { LocalCluster, type LocalNode, waitFor } from '../../scripts/local-cluster.ts';
import { appOf, lastWords } from './observe.ts';
import { postToApp } from './requests.ts';

const TIMEOUT_MS = 300_000;
const READY_WITHIN_MS = 60_000;
/** A node is lost when it has been dead for a minute. */
const RESTORED_WITHIN_MS = 180_000;
const HOST = 'notes.localhost';
/** Keeps a line for each POST in its volume, and answers them all. */
const SERVER = `
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
const file = '/data/notes';
createServer((request, response) => {
  if (request.method === 'POST') appendFileSync(file, request.url.slice(1) + '\\n');
  response.end(existsSync(file) ? readFileSync(file) : '');
}).listen(process.env.PORT);
`;
const PACKAGE = { name: 'notes', version: '1.0.0', type: 'module', scripts: { start: 'node server.js' } };

let cluster: LocalCluster;
let source: string;

beforeAll(async () => {
  cluster = await LocalCluster.start(3);
  source = await mkdtemp(join(tmpdir(), 'peer-notes-'));
  await writeFile(join(source, 'server.js'), SERVER);
  await writeFile(join(source, 'package.json'), JSON.stringify(PACKAGE));
  await cluster.json(alive(), [
    ...['push', source, '--name', 'notes', '--memory', '128M', '--route', HOST],
    ...['--volume', '/data:64M'],
  ]);
}, TIMEOUT_MS);
beforeEach(({ onTestFailed }) => onTestFailed(async () => console.error(await lastWords(cluster))));
afterAll(async () => {
  await cluster?.stop();
  await rm(source, { recursive: true, force: true });
});

/** Nodes whose daemon was ended for good. */
const lost = new Set<string>();
const alive = (but?: string): LocalNode => cluster.nodes.find(({ name }) => name !== but && !lost.has(name))!;
const nodeNamed = (name: string): LocalNode => cluster.nodes.find((one) => one.name === name)!;
const peer = <T>(...args: string[]): Promise<T> => cluster.json<T>(alive(), args, { timeoutMs: 120_000 });

const volume = async (): Promise<VolumeShape> =>
  (await cluster.read<VolumeShape[]>(alive(), '/v1/volumes')).find(
    ({ owner, index }) => owner === 'notes' && index === 0,
  )!;

/** Through any node's router, once the slot answers. */
async function notes(): Promise<string[]> {
  let body = '';
  await waitFor('the notes to answer', READY_WITHIN_MS, async () => {
    const response = await cluster.get(alive(), HOST).catch(() => undefined);
    body = response?.body ?? '';
    return response?.status === 200;
  });
  return body.split('\n').filter((line) => line !== '');
}

async function note(text: string): Promise<void> {
  await waitFor(`a note to be taken`, READY_WITHIN_MS, async () => {
    return (await postToApp(alive(), HOST, `/${text}`).catch(() => undefined))?.status === 200;
  });
}

/** Folders of lineages that a node has of the volume. */
const lineagesAt = async (name: string, { id }: VolumeShape): Promise<string[]> =>
  readdir(join(nodeNamed(name).dataDir, 'volumes', id)).catch(() => []);

const isReadyOn = async (name: string): Promise<boolean> =>
  (await appOf(cluster, alive(), 'notes')).instances.some((one) => one.node === name && one.state === 'ready');

describe('what an app wrote to its volume', { timeout: TIMEOUT_MS }, () => {
  it('stays over a restart, a new release and scaling down and up', async () => {
    await note('first');
    const before = await volume();
    await peer('restart', 'notes');
    expect(await notes()).toEqual(['first']);
    await peer('push', source, '--name', 'notes', '--env', 'RELEASE=2');
    expect(await notes()).toEqual(['first']);
    await peer('scale', 'notes', '0');
    await peer('scale', 'notes', '1');
    expect(await notes()).toEqual(['first']);
    // Where the data is, whichever node is asked.
    const asked = cluster.nodes.find(({ name }) => name !== before.node)!;
    const ran = await cluster.peer(asked, ['run', 'notes', '--json', '--', 'grep', '-x', 'first', '/data/notes']);
    expect([ran.code, JSON.parse(ran.stdout)]).toMatchObject([0, { node: before.node, exitStatus: 0 }]);
    expect(await volume()).toMatchObject({ id: before.id, node: before.node });
  });

  it('comes back from a snapshot, which other nodes hold', async () => {
    const taken = await peer<SnapshotShape>('volume', 'snapshot', 'notes/0');
    expect(taken.holders).toHaveLength(3);
    await note('spoilt');
    const restored = await peer<LifeResultShape>('volume', 'restore', 'notes/0', taken.id, '--yes');
    expect(restored).toMatchObject({ ready: true, snapshot: taken.id });
    expect(await notes()).toEqual(['first']);
  });

  it('moves to another node with all that was written, and back again', async () => {
    const from = (await volume()).node;
    const to = alive(from).name;
    await note('before-the-move');
    const moved = await peer<LifeResultShape>('volume', 'move', 'notes/0', '--to', to);
    expect(moved).toMatchObject({ node: to, ready: true });
    expect(await notes()).toEqual(['first', 'before-the-move']);
    await note('after-the-move');
    // At once: the older copy may still be there, and is not what is mounted.
    await peer('volume', 'move', 'notes/0', '--to', from);
    expect(await notes()).toEqual(['first', 'before-the-move', 'after-the-move']);
    expect((await volume()).node).toBe(from);
    await waitFor('the copy that was moved away to be removed', READY_WITHIN_MS, async () => {
      return (await lineagesAt(to, await volume())).length === 0;
    });
  });

  it('is recovered elsewhere when its node is lost, whose own copy is kept when it comes back', async () => {
    const before = await volume();
    const kept = await lineagesAt(before.node, before);
    const refused = await cluster.peer(alive(), ['volume', 'recover', 'notes/0', '--yes']);
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('is alive') });
    const taken = await peer<SnapshotShape>('volume', 'snapshot', 'notes/0');
    await note('lost-with-the-node');
    lost.add(before.node);
    await cluster.killNode(nodeNamed(before.node));
    await waitFor(`${before.node} to be dead`, READY_WITHIN_MS, async () => (await volume()).nodeStatus === 'dead');

    const recovered = await peer<LifeResultShape>('volume', 'recover', 'notes/0', '--yes');
    expect(recovered).toMatchObject({ ready: true, snapshot: taken.id });
    expect(recovered.node).not.toBe(before.node);
    expect(recovered.ageMs).toBeGreaterThan(0);
    expect(await notes()).toEqual(['first', 'before-the-move', 'after-the-move']);

    await cluster.restartNode(nodeNamed(before.node));
    lost.delete(before.node);
    await cluster.waitForAlive(3);
    expect(await isReadyOn(recovered.node)).toBe(true);
    expect(await isReadyOn(before.node)).toBe(false);
    expect(await lineagesAt(before.node, before)).toEqual(kept);
    const files = await Promise.all(
      kept.map((lineage) =>
        readFile(join(nodeNamed(before.node).dataDir, 'volumes', before.id, lineage, 'data', 'notes'), 'utf8'),
      ),
    );
    expect(files.some((text) => text.endsWith('lost-with-the-node\n'))).toBe(true);

    // Until an admin, from any node, says that it is of no use.
    const { orphans } = await peer<OrphansShape>('volumes', '--orphans');
    expect(orphans.filter(({ node }) => node === before.node)).toHaveLength(kept.length);
    const left = orphans.find(({ node, why }) => node === before.node && why === 'replaced')!;
    expect(left).toMatchObject({
      owner: 'notes',
      process: 'web',
      index: 0,
      path: '/data',
      sinceMs: expect.any(Number),
    });
    await peer('volume', 'remove-orphan', left.lineage, '--yes');
    expect(await lineagesAt(before.node, before)).not.toContain(left.lineage);
  });

  it('is restored elsewhere by itself where it says so, and says how old it is then', async () => {
    await peer('volume', 'configure', 'notes/0', '--on-loss', 'restore');
    await note('kept');
    const taken = await peer<SnapshotShape>('volume', 'snapshot', 'notes/0');
    await note('written-after-the-snapshot');
    const before = await volume();
    const kept = await lineagesAt(before.node, before);
    lost.add(before.node);
    await cluster.killNode(nodeNamed(before.node));
    await waitFor('the slot to be restored', RESTORED_WITHIN_MS, async () => (await volume()).node !== before.node);
    const after = await volume();
    expect(after).toMatchObject({ onLoss: 'restore', restored: { lost: before.node, snapshot: taken.id } });
    expect(after.restored!.snapshotAgeMs).toBeGreaterThan(60_000);
    expect((await notes()).at(-1)).toBe('kept');
    const why = await peer<WhyShape>('why', 'notes/0');
    expect(why.data).toMatchObject({ volumes: [{ node: after.node, restored: { lost: before.node } }] });
    const { warnings } = await peer<StatusShape>('status');
    expect(warnings.some((line) => line.includes(`was restored`) && line.includes(before.node))).toBe(true);
    const events = await peer<{ name: string; message: string }[]>('events', '--lines', '200');
    expect(events.find(({ name }) => name === 'volume.restored')?.message).toMatch(/1 min old, as .* is lost/);

    await cluster.restartNode(nodeNamed(before.node));
    lost.delete(before.node);
    await cluster.waitForAlive(3);
    expect([await isReadyOn(after.node), await isReadyOn(before.node)]).toEqual([true, false]);
    expect(await lineagesAt(before.node, before)).toEqual(kept);
  });

  it('has a snapshot taken of it by itself', async () => {
    const { id } = await volume();
    const newest = async () => (await cluster.read<SnapshotShape[]>(alive(), `/v1/volumes/${id}/snapshots`))[0]!.id;
    const before = await newest();
    await peer('volume', 'configure', 'notes/0', '--snapshot', '60s', '--keep', '1');
    await waitFor('a snapshot that is due', 120_000, async () => (await newest()) !== before);
    await waitFor('the older ones to be forgotten', READY_WITHIN_MS, async () => {
      const snapshots = await cluster.read<SnapshotShape[]>(alive(), `/v1/volumes/${id}/snapshots`);
      return snapshots.every(({ id }) => id !== before);
    });
  });

  it('is not given up with its node before that is said, and comes back from a snapshot after it was', async () => {
    await peer('volume', 'configure', 'notes/0', '--on-loss', 'wait', '--snapshot', 'never');
    await note('in-the-last-snapshot');
    const taken = await peer<SnapshotShape>('volume', 'snapshot', 'notes/0');
    const before = await volume();
    lost.add(before.node);
    await cluster.killNode(nodeNamed(before.node));
    await waitFor(`${before.node} to be dead`, READY_WITHIN_MS, async () => (await volume()).nodeStatus === 'dead');
    const remove = ['nodes', 'remove', before.node];
    const refused = await cluster.peer(alive(), remove);
    expect(refused).toMatchObject({ code: 1, stdout: '' });
    expect(refused.stderr).toMatch(
      /has the data of notes\/0:\/data \(newest snapshot \d+ \w+ old\): .*peer volume recover .*--strand removes the node/,
    );
    expect(await volume()).toMatchObject({ node: before.node, nodeStatus: 'dead' });
    await peer(...remove, '--strand');
    expect(await volume()).toMatchObject({ id: before.id, nodeStatus: 'removed' });
    const move = await cluster.peer(alive(), ['volume', 'move', 'notes/0', '--to', alive().name]);
    expect([move.code, move.stderr.trim().split('\n').length]).toEqual([1, 1]);
    expect(await peer('volume', 'recover', 'notes/0', '--yes')).toMatchObject({ ready: true, snapshot: taken.id });
    expect((await notes()).at(-1)).toBe('in-the-last-snapshot');
  });
});
