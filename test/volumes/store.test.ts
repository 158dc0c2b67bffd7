// The volumes of a node: made at their first use, mounted by one instance at a time, kept until a person removes them.

import { randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { asLineageId } from '../../crdt/ids.ts';
import { fullnessMessage, fullnessOf } from '../../node/volumes/meter.ts';
import { instanceId, MIB, never, USERS, VolumesNode } from './harness.ts';

const WAIT = { timeout: 20_000, interval: 20 };
const one = instanceId('one');
const two = instanceId('two');

let node: VolumesNode;

beforeEach(async () => {
  node = await VolumesNode.make();
});
afterEach(() => node.dispose());

describe('a volume', () => {
  it('is made at its first use, closed to other users, and is there again after a restart', async () => {
    const store = await node.open();
    const mount = node.mount();
    const held = await store.acquire({ instance: one, owner: 'shop', mounts: [mount], signal: never() });
    expect(held.folders).toEqual([{ from: expect.any(String), to: '/data', sizeBytes: 64 * MIB }]);
    const { from } = held.folders[0]!;
    await writeFile(join(from, 'kept'), 'yes');
    const found = await stat(from);
    expect(found.mode & 0o777).toBe(0o700);
    if (held.uid !== undefined) expect([found.uid, found.gid]).toEqual([USERS.first, USERS.first]);

    const later = await node.open();
    const again = await later.acquire({ instance: two, owner: 'shop', mounts: [mount], signal: never() });
    expect(again).toEqual(held);
    expect(await readFile(join(from, 'kept'), 'utf8')).toBe('yes');
  });

  it('belongs to a user that no other volume has, but those that one instance mounts with it', async () => {
    const store = await node.open();
    const [a, b, c] = [node.mount(), node.mount({ path: '/more' }), node.mount()];
    const pair = await store.acquire({ instance: one, owner: 'shop', mounts: [a, b], signal: never() });
    const other = await store.acquire({ instance: two, owner: 'blog', mounts: [c], signal: never() });
    if (pair.uid === undefined) return;
    expect([pair.uid, other.uid]).toEqual([USERS.first, USERS.first + 1]);
    expect((await stat(pair.folders[1]!.from)).uid).toBe(pair.uid);
  });

  it('is given, with its files, to the user that an image runs as', async () => {
    const store = await node.open();
    const mount = node.mount();
    const held = await store.acquire({ instance: one, owner: 'shop', mounts: [mount], signal: never() });
    if (held.uid === undefined) return;
    await writeFile(join(held.folders[0]!.from, 'file'), '');
    store.release(one);
    const own = await store.acquire({ instance: two, owner: 'shop', mounts: [mount], uid: 999, signal: never() });
    expect(own.uid).toBe(999);
    expect((await stat(join(held.folders[0]!.from, 'file'))).uid).toBe(999);
  });

  it('is refused when no user is left for it, and nothing of it is made', async () => {
    const store = await node.open({ users: { first: USERS.first, count: 1 } });
    if (process.getuid?.() !== 0) return;
    await store.acquire({ instance: one, owner: 'shop', mounts: [node.mount()], signal: never() });
    const refused = store.acquire({ instance: two, owner: 'blog', mounts: [node.mount()], signal: never() });
    await expect(refused).rejects.toMatchObject({ code: 'no_free_user' });
    expect(store.list()).toHaveLength(1);
  });

  it.each(['../../etc', '', 'a/b', '.making-x'])('is never made of the name %j', async (name) => {
    const store = await node.open();
    const mount = node.mount({ lineage: asLineageId(name) });
    const refused = store.acquire({ instance: one, owner: 'shop', mounts: [mount], signal: never() });
    await expect(refused).rejects.toMatchObject({ code: 'invalid_name' });
  });
});

describe('a lineage', () => {
  it('is mounted by one instance at a time: another one waits for it', async () => {
    const store = await node.open({ waitMaxMs: 20_000 });
    const mount = node.mount();
    await store.acquire({ instance: one, owner: 'shop', mounts: [mount], signal: never() });
    let has = false;
    const waiting = store.acquire({ instance: two, owner: 'shop', mounts: [mount], signal: never() }).then(() => {
      has = true;
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect(has).toBe(false);
    expect(store.list()[0]!.heldBy).toBe(one);
    store.release(one);
    await waiting;
    expect(store.list()[0]!.heldBy).toBe(two);
  });

  it('is not waited for longer than an ending instance takes, nor by one that is stopped meanwhile', async () => {
    const store = await node.open();
    const [mount, other] = [node.mount(), node.mount({ path: '/more' })];
    await store.acquire({ instance: one, owner: 'shop', mounts: [mount], signal: never() });
    const request = { instance: two, owner: 'shop', mounts: [other, mount] };
    await expect(store.acquire({ ...request, signal: never() })).rejects.toMatchObject({
      code: 'volume_busy',
      message: 'the volume /data is mounted by the instance i-one',
    });
    const stopped = AbortSignal.abort();
    await expect(store.acquire({ ...request, signal: stopped })).rejects.toMatchObject({ code: 'aborted' });
    // All or nothing: the other one is free.
    await store.acquire({ instance: instanceId('three'), owner: 'shop', mounts: [other], signal: never() });
  });

  it('is held again by an instance that outlived the daemon', async () => {
    const first = await node.open();
    const mount = node.mount();
    await first.acquire({ instance: one, owner: 'shop', mounts: [mount], signal: never() });
    const second = await node.open();
    second.adopt(one, [mount]);
    const refused = second.acquire({ instance: two, owner: 'shop', mounts: [mount], signal: never() });
    await expect(refused).rejects.toMatchObject({ code: 'volume_busy' });
  });

  it('that is not the one asked for is kept as an orphan, and no empty one takes its place', async () => {
    const store = await node.open();
    const mount = node.mount();
    const { folders } = await store.acquire({ instance: one, owner: 'shop', mounts: [mount], signal: never() });
    await writeFile(join(folders[0]!.from, 'kept'), 'old');
    store.release(one);
    const recovered = node.mount({ ...mount, lineage: asLineageId(randomUUID()) });
    const asked = { instance: two, owner: 'shop', mounts: [recovered], signal: never() };
    await expect(store.acquire(asked)).rejects.toMatchObject({ code: 'other_lineage' });
    await store.receive(recovered, { owner: 'shop', path: '/data', sizeBytes: MIB }, (data) =>
      writeFile(join(data, 'kept'), 'new'),
    );
    const held = await store.acquire(asked);
    expect(await readFile(join(held.folders[0]!.from, 'kept'), 'utf8')).toBe('new');
    expect(await readFile(join(folders[0]!.from, 'kept'), 'utf8')).toBe('old');
    const orphans = new Map(store.list().map(({ lineage, orphan }) => [lineage, orphan]));
    expect(orphans).toEqual(
      new Map([
        [mount.lineage, true],
        [recovered.lineage, false],
      ]),
    );
  });

  it('is another once it is renamed, also when that was cut off before it was written down', async () => {
    const store = await node.open();
    const mount = node.mount();
    const to = { id: mount.id, lineage: asLineageId('renamed') };
    await store.acquire({ instance: one, owner: 'shop', mounts: [mount], signal: never() });
    await expect(store.rename(mount, to)).rejects.toMatchObject({ code: 'volume_busy' });
    store.release(one);
    await store.rename(mount, to);
    expect(store.list()).toMatchObject([{ ...to, path: '/data' }]);
    await expect(store.rename(mount, to)).rejects.toMatchObject({ code: 'volume_missing' });
    await rename(join(store.root, to.id, to.lineage), join(store.root, to.id, 'cut-off'));
    expect((await node.open()).list()).toMatchObject([{ id: to.id, lineage: 'cut-off' }]);
    expect((await node.open()).list()).toMatchObject([{ id: to.id, lineage: 'cut-off' }]);
  });

  it('that could not be received whole is not there', async () => {
    const store = await node.open();
    const mount = node.mount();
    const failing = store.receive(mount, { owner: 'shop', path: '/data', sizeBytes: MIB }, async (data) => {
      await writeFile(join(data, 'half'), '');
      throw new Error('cut off');
    });
    await expect(failing).rejects.toThrow('cut off');
    expect(store.list()).toEqual([]);
    expect(await readdir(join(node.dataDir, 'volumes'))).toEqual([]);
  });

  it('that an earlier daemon left half made or half removed is cleared away', async () => {
    for (const name of ['.making-1', '.removing-2']) {
      await mkdir(join(node.dataDir, 'volumes', name, 'data'), { recursive: true });
    }
    await node.open();
    await expect.poll(() => readdir(join(node.dataDir, 'volumes')), WAIT).toEqual([]);
  });
});

describe('a volume that is removed', () => {
  it('is gone with all its files, and only when nothing has it mounted', async () => {
    const store = await node.open();
    const mount = node.mount();
    const { folders } = await store.acquire({ instance: one, owner: 'shop', mounts: [mount], signal: never() });
    await writeFile(join(folders[0]!.from, 'file'), '');
    await expect(store.remove(mount)).rejects.toMatchObject({ code: 'volume_busy' });
    store.release(one);
    await store.remove(mount);
    expect(store.list()).toEqual([]);
    expect(await readdir(join(node.dataDir, 'volumes'))).toEqual([]);
    await expect(store.remove(mount)).rejects.toMatchObject({ code: 'volume_missing' });
  });
});

describe('how full a volume is', () => {
  it.each([
    [89, 'room'],
    [90, 'filling'],
    [100, 'full'],
    [110, 'full'],
    [111, 'overfull'],
  ])('at %i of 100 is %s', (used, fullness) => {
    expect(fullnessOf(used, 100)).toBe(fullness);
  });

  it('is said with its path, its use and its size', () => {
    expect(fullnessMessage('/data', { usedBytes: 2 * MIB, sizeBytes: MIB })).toBe(
      'its volume /data is full: 2 MiB of 1 MiB',
    );
    expect(fullnessMessage('/data', { usedBytes: MIB - 1024, sizeBytes: MIB })).toBe(
      'its volume /data is nearly full: 1023 KiB of 1 MiB',
    );
  });

  it('is measured while it is mounted, and said once for each step', async () => {
    const store = await node.open();
    const mount = node.mount({ sizeBytes: 4 * MIB });
    const { folders } = await store.acquire({ instance: one, owner: 'shop', mounts: [mount], signal: never() });
    const used = () => store.list()[0]!.usedBytes;
    const types = () => [...new Set(node.events.map((event) => event.type))];
    const grow = (name: string, mib: number) => writeFile(join(folders[0]!.from, name), Buffer.alloc(mib * MIB, 1));
    await grow('one', 2);
    await vi.waitFor(() => expect(used()).toBeGreaterThan(MIB), WAIT);
    expect(types()).toEqual([]);
    await grow('two', 1.8);
    await vi.waitFor(() => expect(types()).toEqual(['filling']), WAIT);
    await grow('three', 0.3);
    await vi.waitFor(() => expect(types()).toEqual(['filling', 'full']), WAIT);
    await grow('four', 1);
    await vi.waitFor(() => expect(types()).toEqual(['filling', 'full', 'overfull']), WAIT);
    expect(node.events.filter((event) => event.type === 'full')).toHaveLength(1);
    expect(node.events[0]).toMatchObject({ id: mount.id, instance: one, message: expect.stringContaining('of 4 MiB') });
  });
});
