// Snapshots of volumes: what is in the store is the volume as it was at one moment, and a volume is made of it again.

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { chmod, link, lutimes, mkdir, readdir, readFile, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { asLineageId, asNodeId, type Digest } from '../../crdt/ids.ts';
import { createBlobStore, type LocalBlobStore } from '../../node/blobs/store.ts';
import type { VolumeMount } from '../../node/core/types.ts';
import type { Frozen } from '../../node/ports/runtime.ts';
import { closeIsolation, prepareIsolation } from '../../node/runtime/sandbox/isolation.ts';
import { createVolumeTools } from '../../node/runtime/sandbox/volume-tools.ts';
import { Snapshots } from '../../node/volumes/snapshot.ts';
import type { VolumeStore } from '../../node/volumes/store.ts';
import { silent } from '../runtime/harness.ts';
import { instanceId, MIB, never, VolumesNode } from './harness.ts';
import { treeOf } from './tree.ts';

const run = promisify(execFile);
const WAIT = { timeout: 60_000, interval: 20 };
const one = instanceId('one');

describe('snapshots', () => {
  let node: VolumesNode;
  let store: VolumeStore;
  let blobs: LocalBlobStore;
  let snapshots: Snapshots;
  let closeSandbox: () => Promise<void>;
  let mount: VolumeMount;
  let data: string;
  let uid: number | undefined;
  let freeze: () => Promise<Frozen>;
  let writer: ChildProcess | undefined;

  beforeEach(async () => {
    node = await VolumesNode.make();
    store = await node.open();
    const place = { dataDir: join(node.dataDir, 'node'), nodeId: asNodeId(`test${randomUUID().slice(-12)}`) };
    await mkdir(place.dataDir);
    const isolation = await prepareIsolation({ ...place, log: silent });
    closeSandbox = () => closeIsolation(isolation, { keepInstances: false });
    blobs = await createBlobStore({ dir: join(node.dataDir, 'blobs') });
    const tools = createVolumeTools(isolation);
    snapshots = new Snapshots({ store, tools, put: (...asks) => blobs.put(...asks), freeze: () => freeze() });
    mount = node.mount();
    const held = await store.prepare({ owner: 'shop', mounts: [mount] });
    data = held.folders[0]!.from;
    uid = held.uid;
    writer = undefined;
  });
  afterEach(async () => {
    writer?.kill('SIGKILL');
    await blobs.close();
    await closeSandbox();
    await node.dispose();
  });

  it.runIf(process.getuid?.() === 0).each([
    ['in use', false],
    ['that nothing uses any more, as at the end of a move', true],
  ])('are of a volume with a disk of its own, and become one, too: one %s', async (_, idle) => {
    const hard = node.mount({ sizeBytes: 16 * MIB, hardQuota: true });
    const held = await store.prepare({ owner: 'shop', mounts: [hard] });
    const from = held.folders[0]!.from;
    await writeFile(join(from, 'file'), 'kept');
    await run('chown', ['-R', `${held.uid}:${held.uid}`, from]);
    // As after a start of the machine on which that did not succeed at first.
    await run('umount', [from]);
    const { digest } = await snapshots.take(hard, { idle });
    const copy = node.mount({ lineage: asLineageId(randomUUID()) });
    const meta = { owner: 'shop', path: '/data', sizeBytes: 16 * MIB, hardQuota: true as const };
    await snapshots.restore(blobs.read(digest), copy, meta);
    const { data: restoredTo } = store.placeOf(copy);
    expect(await treeOf(restoredTo)).toEqual(await treeOf(from));
    expect((await stat(restoredTo)).dev).not.toBe((await stat(store.root)).dev);
  });

  /** As a program of the instance would. */
  const own = async (): Promise<void> => {
    if (uid !== undefined) await run('chown', ['-Rh', `${uid}:${uid}`, data]);
  };
  const restored = async (digest: Digest): Promise<string> => {
    const copy = node.mount({ lineage: asLineageId(randomUUID()) });
    await snapshots.restore(blobs.read(digest), copy, { owner: 'shop', path: '/data', sizeBytes: 64 * MIB });
    const place = store.placeOf(copy);
    if (uid !== undefined) expect((await stat(place.data)).uid).toBe(place.record.uid);
    return place.data;
  };

  async function makeFiles(): Promise<void> {
    await mkdir(join(data, 'deep/er'), { recursive: true });
    await mkdir(join(data, 'empty'));
    await writeFile(join(data, 'deep/er/file'), 'content');
    await writeFile(join(data, 'deep/-rf * \n"odd" ü'), 'odd');
    await writeFile(join(data, 'program'), '#!/bin/sh\n', { mode: 0o755 });
    await writeFile(join(data, 'closed'), 'secret', { mode: 0o400 });
    await link(join(data, 'program'), join(data, 'deep/same'));
    await symlink('/etc/shadow', join(data, 'outside'));
    await symlink('deep/er/file', join(data, 'inside'));
    await writeFile(join(data, 'sparse'), 'start');
    await truncate(join(data, 'sparse'), 32 * MIB);
    await mkdir(join(data, 'shut'));
    await writeFile(join(data, 'shut/file'), 'within');
    await chmod(join(data, 'shut'), 0o500);
    await lutimes(join(data, 'closed'), 1_000_000, 1_000_000);
    await own();
  }

  it('hold all files with their modes, times, links and holes, and give them back to the owner of the volume', async () => {
    await makeFiles();
    await run('mkfifo', [join(data, 'pipe')]);
    // By a name that is short enough for one.
    const listen = "require('net').createServer().listen('socket', () => process.exit())";
    await run(process.execPath, ['-e', listen], { cwd: data });
    await own();
    const tree = await treeOf(data);
    const { digest, frozenMs } = await snapshots.take(mount);
    expect(frozenMs).toBe(0);
    const copy = await restored(digest);
    expect(await treeOf(copy)).toEqual(tree);
    expect((await stat(join(copy, 'sparse'))).blocks * 512).toBeLessThan(MIB);
    expect(await readdir(data)).toEqual(expect.arrayContaining(['pipe', 'socket']));
    expect(await readdir(copy)).not.toEqual(expect.arrayContaining(['pipe', 'socket']));
    // Nothing of the copy is left beside the volumes.
    expect((await readdir(store.root)).filter((name) => name.startsWith('.'))).toEqual([]);
  });

  it('of the same files are the same content, whenever and of whichever lineage they are taken', async () => {
    await makeFiles();
    const first = await snapshots.take(mount);
    expect(await snapshots.take(mount)).toEqual(first);
    const copy = node.mount({ lineage: asLineageId(randomUUID()) });
    await snapshots.restore(blobs.read(first.digest), copy, { owner: 'shop', path: '/data', sizeBytes: 64 * MIB });
    expect((await snapshots.take(copy)).digest).toBe(first.digest);
    await writeFile(join(data, 'deep/er/file'), 'Content');
    expect((await snapshots.take(mount)).digest).not.toBe(first.digest);
  });

  it('are the volume at the moment for which its instance was held still, whatever it writes before and after', async () => {
    await own();
    await store.acquire({ instance: one, owner: 'shop', mounts: [mount], signal: never() });
    // Makes, changes, renames and removes files, folders and links, some within one tick of the clock.
    const busy = `
      cd "$1"; i=0
      while :; do
        i=$((i + 1)); n=$((i % 40))
        echo $i >counter; echo $i >>log; mkdir -p dir$n; echo $i >dir$n/file; ln -f counter dir$n/link
        [ $((i % 3)) = 0 ] && { rm -rf dir$(((n + 20) % 40)); echo $i >dir$(((n + 20) % 40)); }
        [ $((i % 3)) = 1 ] && rm -rf dir$(((n + 20) % 40))
        mv -f log log.new; mv -f log.new log
      done 2>/dev/null`;
    const as = uid === undefined ? [] : [`--reuid=${uid}`, `--regid=${uid}`, '--clear-groups'];
    // Its folder is closed to its user from above: it is entered before.
    const started = spawn('setpriv', [...as, 'bash', '-c', busy, '_', '.'], { cwd: data, detached: true });
    writer = started;
    const state = async () => /\) (\w)/.exec(await readFile(`/proc/${started.pid}/stat`, 'utf8'))?.[1];
    const signal = (name: NodeJS.Signals) => process.kill(-started.pid!, name);
    let tree: string[] = [];
    freeze = async () => {
      signal('SIGSTOP');
      await expect.poll(state, WAIT).toBe('T');
      tree = await treeOf(data);
      return {
        async thaw() {
          signal('SIGCONT');
          return true;
        },
      };
    };
    try {
      await vi.waitFor(async () => expect((await readdir(data)).length).toBeGreaterThan(20), WAIT);
      for (let round = 0; round < 2; round++) {
        const { digest, frozenMs } = await snapshots.take(mount);
        expect(frozenMs).toBeGreaterThan(0);
        expect(await treeOf(await restored(digest))).toEqual(tree);
      }
    } finally {
      signal('SIGKILL');
    }
    // A machine that is busy with the writer copies slowly.
  }, 300_000);

  it('of large files that are written to all the time have each block as it was at that moment', async () => {
    // Of 24 MB: one in place, one that grows and shrinks, one that becomes another file, one that nothing writes to.
    const make = 'for name in base turns grows still; do head -c 24000000 /dev/urandom >$name; done';
    await run('bash', ['-c', make], { cwd: data });
    await own();
    await store.acquire({ instance: one, owner: 'shop', mounts: [mount], signal: never() });
    const busy = `
      i=0
      while :; do
        i=$((i + 1))
        for at in {1..5}; do echo $i | dd of=base bs=1 seek=$((RANDOM * 700)) conv=notrunc status=none; done
        [ $((i % 5)) != 0 ] || truncate -s $((20000000 + RANDOM)) grows
        head -c 100000 /dev/urandom >>grows
        [ $((i % 7)) != 0 ] || { cp turns new; echo $i >>new; mv new turns; }
      done`;
    const as = uid === undefined ? [] : [`--reuid=${uid}`, `--regid=${uid}`, '--clear-groups'];
    const started = spawn('setpriv', [...as, 'bash', '-c', busy], { cwd: data, detached: true });
    writer = started;
    const state = async () => /\) (\w)/.exec(await readFile(`/proc/${started.pid}/stat`, 'utf8'))?.[1];
    const signal = (name: NodeJS.Signals) => process.kill(-started.pid!, name);
    let tree: string[] = [];
    freeze = async () => {
      // The last moment before it is held still.
      await run(
        'setpriv',
        [...as, 'dd', 'if=/dev/urandom', 'of=base', 'bs=1', 'seek=9000000', 'count=9', 'conv=notrunc'],
        {
          cwd: data,
        },
      );
      signal('SIGSTOP');
      await expect.poll(state, WAIT).toBe('T');
      tree = await treeOf(data);
      return {
        async thaw() {
          signal('SIGCONT');
          return true;
        },
      };
    };
    try {
      const { digest } = await snapshots.take(mount);
      expect(await treeOf(await restored(digest))).toEqual(tree);
    } finally {
      signal('SIGKILL');
    }
  }, 300_000);

  it('are not kept when the instance could not be held still for as long as it took', async () => {
    await makeFiles();
    await store.acquire({ instance: one, owner: 'shop', mounts: [mount], signal: never() });
    freeze = async () => ({ thaw: async () => false });
    await expect(snapshots.take(mount)).rejects.toMatchObject({ code: 'not_frozen' });
    freeze = async () => {
      throw new Error('no');
    };
    await expect(snapshots.take(mount)).rejects.toThrow('no');
    expect(blobs.list()).toEqual([]);
  });

  it('that hold what cannot be read say which file it is', async () => {
    if (uid === undefined) return;
    await writeFile(join(data, 'shut'), '', { mode: 0o000 });
    await own();
    await expect(snapshots.take(mount)).rejects.toMatchObject({
      code: 'snapshot_failed',
      message: expect.stringMatching(/shut: .*Permission denied/),
    });
  });

  it.each([
    ['is cut off', async (tar: Buffer) => tar.subarray(0, 1500)],
    // The folder's own entry comes first.
    ['is cut off between two files', async (tar: Buffer) => tar.subarray(0, 1024)],
    ['is empty', async () => Buffer.alloc(0)],
    ['is something else', async () => Buffer.from('no tar at all\n'.repeat(500))],
  ])('whose content %s make no volume', async (_, damage) => {
    await makeFiles();
    const { digest } = await snapshots.take(mount);
    const whole = Buffer.concat(await Readable.from(blobs.read(digest)).toArray());
    const copy = node.mount();
    const content = Readable.from([await damage(whole)]);
    const failing = snapshots.restore(content, copy, { owner: 'shop', path: '/data', sizeBytes: 64 * MIB });
    await expect(failing).rejects.toMatchObject({ code: 'bad_snapshot' });
    expect(store.list().map(({ id }) => id)).toEqual([mount.id]);
  });

  it('that a hostile hand has packed reach nothing but the new volume', async () => {
    const outside = join(node.dataDir, 'outside');
    await mkdir(outside, { mode: 0o777 });
    await chmod(outside, 0o777);
    const evil = join(node.dataDir, 'evil');
    await mkdir(evil);
    await symlink(outside, join(evil, 'link'));
    await run('bash', [
      '-c',
      `cd "$1" && tar -cf ../evil.tar link && rm link && mkdir link && echo planted >link/file && tar -rf ../evil.tar link/file &&
       tar -rf ../evil.tar --transform='s,^,../../../../../../..${outside}/,' -P link/file && tar -rf ../evil.tar --transform='s,^,${outside}/,' -P link/file &&
       tar -rf ../evil.tar -P /dev/null`,
      '_',
      evil,
    ]);
    const copy = node.mount();
    const content = Readable.from([await readFile(join(node.dataDir, 'evil.tar'))]);
    await snapshots
      .restore(content, copy, { owner: 'shop', path: '/data', sizeBytes: 64 * MIB })
      .catch((error: { code: string }) => expect(error.code).toBe('bad_snapshot'));
    expect(await readdir(outside)).toEqual([]);
    for (const { id, lineage } of store.list()) {
      const { stdout } = await run('find', [store.placeOf({ id, lineage }).data, '-type', 'c']);
      expect(stdout).toBe('');
    }
  });
});
