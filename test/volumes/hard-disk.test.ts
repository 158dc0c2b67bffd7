// Volumes with a hard quota: a disk of their own, which ends at its size, outlives daemons and starts of the machine,
// and leaves nothing behind. Root alone can make them.

import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, readFile, stat, statfs, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { asLineageId } from '../../crdt/ids.ts';
import type { VolumeMount } from '../../node/core/types.ts';
import { imageBytes } from '../../node/volumes/hard-disk.ts';
import type { VolumeStore } from '../../node/volumes/store.ts';
import { instanceId, MIB, never, VolumesNode } from './harness.ts';

const one = instanceId('one');
const IS_ROOT = process.getuid?.() === 0;

let node: VolumesNode;
let store: VolumeStore;
beforeEach(async () => {
  node = await VolumesNode.make();
  store = await node.open();
});
afterEach(async () => {
  store.release(one);
  await node.dispose();
});

const mounts = (): string[] =>
  execFileSync('findmnt', ['--list', '--noheadings', '--output', 'TARGET'], { encoding: 'utf8' })
    .split('\n')
    .filter((path) => path.startsWith(node.dataDir));
const devices = (): string[] =>
  execFileSync('losetup', ['--list', '--noheadings', '--output', 'BACK-FILE'], { encoding: 'utf8' })
    .split('\n')
    .filter((path) => path.startsWith(node.dataDir));
const acquired = async (mount: VolumeMount) => {
  const held = await store.acquire({ instance: one, owner: 'shop', mounts: [mount], signal: never() });
  return held.folders[0]!.from;
};
const write = (path: string, mib: number) =>
  writeFile(path, Buffer.alloc(mib * MIB, 7)).then(
    () => 'written',
    (error: NodeJS.ErrnoException) => error.code,
  );

describe.runIf(IS_ROOT)('a volume with a hard quota', () => {
  it('takes what it may hold at once, and ends there', async () => {
    const mount = node.mount({ sizeBytes: 32 * MIB, hardQuota: true });
    const data = await acquired(mount);
    expect((await stat(join(dirname(data), 'disk.img'))).blocks * 512).toBeGreaterThanOrEqual(32 * MIB);
    const { mode, uid } = await stat(data);
    expect([mode & 0o777, uid]).toEqual([0o700, store.ownerOf(mount)]);
    expect(await readdir(data)).toEqual([]);
    expect(await write(join(data, 'first'), 31)).toBe('written');
    expect(await write(join(data, 'second'), 4)).toBe('ENOSPC');
    expect(devices()).toEqual([join(dirname(data), 'disk.img')]);
  });

  it.each([16, 64, 300, 1024, 9000].map((mib) => [mib]))('of %d MiB holds as much, and little more', (mib) => {
    const file = imageBytes(mib * MIB);
    expect(file).toBeGreaterThan(mib * MIB);
    expect(file - mib * MIB).toBeLessThan(Math.max(10 * MIB, mib * MIB * 0.06));
  });

  it('is there again after a restart of the daemon, and after one of the machine', async () => {
    const mount = node.mount({ sizeBytes: 16 * MIB, hardQuota: true });
    const data = await acquired(mount);
    await writeFile(join(data, 'file'), 'kept');
    // Killed: nothing was closed, and its instance has it mounted still.
    const before = devices();
    store = await node.open();
    store.adopt(one, [mount]);
    expect([mounts(), devices()]).toEqual([[data], before]);
    // A machine that starts has mounted nothing.
    store.release(one);
    execFileSync('umount', [data]);
    await expect.poll(devices).toEqual([]);
    store = await node.open();
    expect(mounts()).toEqual([data]);
    expect(await readFile(join(await acquired(mount), 'file'), 'utf8')).toBe('kept');
  });

  it('is mounted from one device, also where another one sees it still', async () => {
    const mount = node.mount({ sizeBytes: 16 * MIB, hardQuota: true });
    const data = await acquired(mount);
    // As a container that has its own view of the machine.
    const other = join(node.dataDir, 'other');
    execFileSync('mkdir', [other]);
    execFileSync('mount', ['--bind', data, other]);
    try {
      execFileSync('umount', [data]);
      await store.attach(mount);
      await writeFile(join(data, 'file'), 'seen by both');
      expect(await readFile(join(other, 'file'), 'utf8')).toBe('seen by both');
      expect(devices()).toHaveLength(1);
    } finally {
      execFileSync('umount', [other]);
    }
  });

  it('leaves no mount and no device when its store is closed unused, or it is removed', async () => {
    const [kept, gone] = [16, 20].map((mib) => node.mount({ sizeBytes: mib * MIB, hardQuota: true }));
    const data = await acquired(kept!);
    const removed = await acquired(gone!);
    store.release(one);
    await store.remove(gone!);
    expect(existsSync(dirname(removed))).toBe(false);
    expect(mounts()).toEqual([data]);
    await store.close();
    expect(mounts()).toEqual([]);
    await expect.poll(devices).toEqual([]);
    expect(await readdir(data)).toEqual([]);
  });

  it('grows at a start of what mounts it, and never gets smaller', async () => {
    const mount = node.mount({ sizeBytes: 16 * MIB, hardQuota: true });
    const data = await acquired(mount);
    await writeFile(join(data, 'file'), 'kept');
    // Not below a task.
    const task = instanceId('task');
    await store.acquire({ instance: task, owner: 'shop', mounts: [mount], shared: true, signal: never() });
    await acquired({ ...mount, sizeBytes: 64 * MIB });
    expect(store.list()).toMatchObject([{ sizeBytes: 16 * MIB }]);
    store.release(task);
    // Nor where it is mounted by something else: a snapshot, in a namespace of its own.
    const other = join(node.dataDir, 'other');
    execFileSync('mkdir', [other]);
    execFileSync('mount', ['--bind', data, other]);
    await acquired({ ...mount, sizeBytes: 64 * MIB });
    execFileSync('umount', [other]);
    expect(store.list()).toMatchObject([{ sizeBytes: 16 * MIB }]);
    expect(await readFile(join(data, 'file'), 'utf8')).toBe('kept');
    await acquired({ ...mount, sizeBytes: 64 * MIB });
    const { bavail, bsize } = await statfs(data);
    expect(bavail * bsize).toBeGreaterThan(60 * MIB);
    expect(await write(join(data, 'large'), 50)).toBe('written');
    await acquired({ ...mount, sizeBytes: 16 * MIB });
    expect(store.list()).toMatchObject([{ sizeBytes: 64 * MIB, hardQuota: true }]);
    expect(await readFile(join(data, 'file'), 'utf8')).toBe('kept');
  });

  it('is received whole or not at all', async () => {
    const ref = { id: node.mount().id, lineage: asLineageId(randomUUID()) };
    const meta = { owner: 'shop', path: '/data', sizeBytes: 16 * MIB, hardQuota: true as const };
    const failing = store.receive(ref, meta, async (data) => {
      await writeFile(join(data, 'file'), 'half');
      throw new Error('cut off');
    });
    await expect(failing).rejects.toThrow('cut off');
    const full = store.receive(ref, meta, async (data) => writeFile(join(data, 'file'), Buffer.alloc(20 * MIB)));
    await expect(full).rejects.toMatchObject({ code: 'ENOSPC' });
    expect(mounts()).toEqual([]);
    await expect.poll(devices).toEqual([]);
    await store.receive(ref, meta, async (data) => writeFile(join(data, 'file'), 'whole'));
    expect(await readFile(join(store.placeOf(ref).data, 'file'), 'utf8')).toBe('whole');
  });

  it.each([
    ['larger than the disk has room', 2 ** 44 - MIB, {}, 'no_hard_quota', /needs as much free disk on this node/],
    ['on a node that cannot make one', 16 * MIB, { hardQuotas: false }, 'no_hard_quota', /needs root, loop devices/],
  ])('%s is refused, and nothing of it is made', async (_, sizeBytes, options, code, message) => {
    store = await node.open(options);
    const refused = acquired(node.mount({ sizeBytes, hardQuota: true }));
    await expect(refused).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
    expect([store.list(), mounts(), devices()]).toEqual([[], [], []]);
    expect(await readdir(store.root)).toEqual([]);
  });

  it('whose disk is damaged is refused, and never taken for an empty one', async () => {
    const mount = node.mount({ sizeBytes: 16 * MIB, hardQuota: true });
    const data = await acquired(mount);
    store.release(one);
    await store.close();
    await expect.poll(devices).toEqual([]);
    const image = join(dirname(data), 'disk.img');
    execFileSync('dd', ['if=/dev/zero', `of=${image}`, 'bs=1M', 'count=4', 'conv=notrunc', 'status=none']);
    store = await node.open();
    await expect(acquired(mount)).rejects.toMatchObject({
      code: 'no_hard_quota',
      message: expect.stringContaining('e2fsck'),
    });
    await expect(store.attach(mount)).rejects.toMatchObject({ code: 'no_hard_quota' });
    expect([store.list().length, mounts(), devices()]).toEqual([1, [], []]);
  });

  it('left half made by a daemon that was killed is cleared away at the next start', async () => {
    const mount = node.mount({ sizeBytes: 16 * MIB, hardQuota: true });
    const data = await acquired(mount);
    store.release(one);
    execFileSync('mv', [dirname(data), join(store.root, '.making-0123')]);
    store = await node.open();
    await expect.poll(() => readdir(store.root), { timeout: 10_000 }).toEqual([mount.id]);
    expect(mounts()).toEqual([]);
    await expect.poll(devices).toEqual([]);
  });
});
