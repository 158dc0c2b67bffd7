// Differences of volumes: files that were laid out of a snapshot become what the volume is now, whatever has become of
// its files since, by no more than what differs.

import { execFile } from 'node:child_process';
import { randomInt, randomUUID } from 'node:crypto';
import * as fs from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { asLineageId, asNodeId } from '../../crdt/ids.ts';
import { createBlobStore, type LocalBlobStore } from '../../node/blobs/store.ts';
import type { VolumeMount } from '../../node/core/types.ts';
import { closeIsolation, prepareIsolation } from '../../node/runtime/sandbox/isolation.ts';
import { createVolumeTools } from '../../node/runtime/sandbox/volume-tools.ts';
import { type Difference, Differences } from '../../node/volumes/difference.ts';
import { Snapshots } from '../../node/volumes/snapshot.ts';
import type { VolumeStore } from '../../node/volumes/store.ts';
import { silent } from '../runtime/harness.ts';
import { MIB, never, VolumesNode } from './harness.ts';
import { treeOf } from './tree.ts';

const run = promisify(execFile);
const SEED = Number(process.env.PEER_SEED ?? randomInt(2 ** 31));
/** Numbers from 0 to below 1, the same for the same seed. */
function numbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Changes a tree, one thing after the other. */
class Hand {
  readonly #root: string;
  readonly #next: () => number;

  constructor(root: string, seed: number) {
    this.#root = root;
    this.#next = numbers(seed);
  }

  async change(times: number): Promise<void> {
    const ways = [
      this.#make,
      this.#make,
      this.#make,
      this.#write,
      this.#write,
      this.#cut,
      this.#remove,
      this.#rename,
      this.#link,
    ];
    const all = [...ways, this.#dress, this.#hollow, this.#replace, this.#write];
    // Much of what it tries cannot be: a folder becomes one of its own, a name is taken.
    for (let at = 0; at < times; at++)
      await this.#pick(all)!
        .call(this)
        .catch(() => {});
  }

  #pick<T>(of: readonly T[]): T | undefined {
    return of[Math.floor(this.#next() * of.length)];
  }
  #bytes(sizeMax: number): Buffer {
    return Buffer.alloc(1 + Math.floor(this.#next() * sizeMax), String(this.#next()));
  }
  async #some(kinds: string): Promise<string> {
    const entries = await fs.readdir(this.#root, { recursive: true, withFileTypes: true });
    const kindOf = (entry: (typeof entries)[number]): string =>
      entry.isDirectory() ? 'd' : entry.isSymbolicLink() ? 'l' : 'f';
    const found = entries.filter((entry) => kinds.includes(kindOf(entry))).map((one) => join(one.parentPath, one.name));
    return this.#pick(kinds.includes('d') ? [this.#root, ...found.sort()] : found.sort()) ?? '';
  }
  async #new(): Promise<string> {
    const odd = this.#pick(['', '', ' \n"odd" *', '-rf', 'ü', '\t'])!;
    return join(await this.#some('d'), `n${Math.floor(this.#next() * 30)}${odd}`);
  }

  async #make(): Promise<void> {
    const path = await this.#new();
    if (this.#next() < 0.3) return fs.mkdir(path);
    await fs.writeFile(path, this.#bytes(this.#next() < 0.3 ? 3 * MIB : 5_000), { flag: 'wx' });
  }
  async #write(): Promise<void> {
    const file = await fs.open(await this.#some('f'), 'r+');
    const { size } = await file.stat();
    for (let at = 0; at < 3; at++) {
      const bytes = this.#bytes(50_000);
      await file.write(bytes, 0, bytes.length, Math.floor(this.#next() * (size + 1)));
    }
    await file.close();
  }
  async #cut(): Promise<void> {
    const path = await this.#some('f');
    await fs.truncate(path, Math.floor((await fs.stat(path)).size * this.#next()));
  }
  async #remove(): Promise<void> {
    await fs.rm(await this.#some('fl'));
    const folder = await this.#some('d');
    if (folder !== this.#root && this.#next() < 0.05) await fs.rm(folder, { recursive: true });
  }
  async #rename(): Promise<void> {
    await fs.rename(await this.#some('fld'), await this.#new());
  }
  async #link(): Promise<void> {
    if (this.#next() < 0.5)
      return fs.symlink(this.#pick(['/etc/passwd', '..', await this.#some('fd')])!, await this.#new());
    await fs.link(await this.#some('f'), await this.#new());
  }
  async #dress(): Promise<void> {
    if (this.#next() < 0.3) return fs.chmod(await this.#some('d'), this.#pick([0o500, 0o755, 0o700])!);
    const path = await this.#some('f');
    await fs.chmod(path, this.#pick([0o400, 0o644, 0o755, 0o4750])!);
    if (this.#next() < 0.5) await fs.utimes(path, 1_000_000, Math.floor(this.#next() * 1e9));
  }
  async #hollow(): Promise<void> {
    const path = await this.#some('f');
    await fs.truncate(path, (await fs.stat(path)).size + Math.floor(this.#next() * 5 * MIB));
  }
  /** One kind by another. */
  async #replace(): Promise<void> {
    const path = await this.#some(this.#next() < 0.2 ? 'd' : 'fl');
    if (path === this.#root) return;
    await fs.rm(path, { recursive: true });
    const as = this.#next();
    if (as < 0.3) await fs.mkdir(path);
    else if (as < 0.5) await fs.symlink('/etc', path);
    else await fs.writeFile(path, this.#bytes(2 * MIB));
  }
}

describe('differences', () => {
  let node: VolumesNode;
  let store: VolumeStore;
  let blobs: LocalBlobStore;
  let snapshots: Snapshots;
  let differences: Differences;
  let closeSandbox: () => Promise<void>;
  let mount: VolumeMount;
  let data: string;
  let uid: number | undefined;
  let lists: string;

  beforeEach(async () => {
    node = await VolumesNode.make();
    store = await node.open();
    const place = { dataDir: join(node.dataDir, 'node'), nodeId: asNodeId(`test${randomUUID().slice(-12)}`) };
    await fs.mkdir(place.dataDir);
    const isolation = await prepareIsolation({ ...place, log: silent });
    closeSandbox = () => closeIsolation(isolation, { keepInstances: false });
    blobs = await createBlobStore({ dir: join(node.dataDir, 'blobs') });
    const packing = { store, tools: createVolumeTools(isolation), put: blobs.put.bind(blobs) };
    snapshots = new Snapshots({ ...packing, freeze: () => Promise.reject(new Error('nothing runs')) });
    differences = new Differences(packing);
    mount = node.mount();
    const held = await store.prepare({ owner: 'shop', mounts: [mount] });
    [data, uid] = [held.folders[0]!.from, held.uid];
    lists = join(node.dataDir, 'lists');
  });
  afterEach(async () => {
    await blobs.close();
    await closeSandbox();
    await node.dispose();
  });

  /** Gives what is new, and that alone, to the user of the volume. */
  const own = async (): Promise<void> => {
    if (uid === undefined) return;
    await run('find', [data, '!', '-user', String(uid), '-exec', 'chown', '-h', `${uid}:${uid}`, '{}', '+']);
  };
  /** As on the other node, before the slot is stopped. */
  const laidOut = async (): Promise<{ data: string; uid: number | undefined; sizeBytes: number }> => {
    const { digest } = await snapshots.take(mount, { lists });
    const copy = node.mount({ lineage: asLineageId(randomUUID()) });
    await snapshots.restore(blobs.read(digest), copy, { owner: 'shop', path: '/data', sizeBytes: 64 * MIB });
    return { data: store.placeOf(copy).data, uid: store.ownerOf(copy), sizeBytes: 64 * MIB };
  };
  const take = (round: number | 'last'): Promise<Difference> => differences.take(mount, lists, round, never());

  it(`make of one tree another, however it was changed between them (PEER_SEED=${SEED})`, async () => {
    const hand = new Hand(data, SEED);
    await hand.change(120);
    await own();
    const to = await laidOut();
    for (const round of [1, 2]) {
      await hand.change(40);
      await own();
      // And while it is taken, by a hand that owns nothing else.
      const [{ digest }] = await Promise.all([take(round), hand.change(20).then(own)]);
      await differences.apply(blobs.read(digest), to);
      await differences.taken(lists);
    }
    // A folder that is removed may have held most of it.
    do await hand.change(40);
    while ((await treeOf(data)).length <= 10);
    await own();
    const { digest } = await take('last');
    await differences.apply(blobs.read(digest), to);
    const tree = await treeOf(data);
    expect(await treeOf(to.data)).toEqual(tree);
    expect(tree.length).toBeGreaterThan(10);
    if (uid === undefined) return;
    const { stdout } = await run('find', [to.data, '!', '-user', String(to.uid)]);
    expect(stdout).toBe('');
  }, 300_000);

  it('hold the blocks of a large file that differ, not all of it, also once it was brought', async () => {
    const make =
      'head -c 8000000 /dev/urandom >large; head -c 2000000 /dev/zero >tail; cp large closed; chmod 400 closed';
    await run('bash', ['-c', make], { cwd: data });
    await own();
    const to = await laidOut();
    for (const round of [1, 'last'] as const) {
      const write = (path: string, at: number) =>
        run('bash', ['-c', `head -c 9 /dev/urandom | dd of=${path} bs=1 seek=${at} conv=notrunc`], { cwd: data });
      await write('large', 5_000_000);
      await write('tail', 2_100_000);
      await write('closed', 5_000_000);
      const { digest, sizeBytes } = await take(round);
      expect(sizeBytes).toBeLessThan(MIB);
      await differences.apply(blobs.read(digest), to);
      if (round !== 'last') await differences.taken(lists);
    }
    expect(await treeOf(to.data)).toEqual(await treeOf(data));
  }, 300_000);

  it('put a file in the place of a folder that was not known to have gone, as they change while they are used', async () => {
    await fs.writeFile(join(data, 'file'), 'content');
    await own();
    const to = await laidOut();
    await fs.writeFile(join(data, 'kind'), 'a file by now');
    await fs.writeFile(join(data, 'other'), 'content');
    await own();
    const first = await take(1);
    await fs.mkdir(join(to.data, 'kind'));
    await fs.writeFile(join(to.data, 'kind/child'), '');
    if (to.uid !== undefined) await run('chown', ['-R', `${to.uid}:${to.uid}`, join(to.data, 'kind')]);
    await differences.apply(blobs.read(first.digest), to);
    expect(await treeOf(to.data)).toEqual(await treeOf(data));
    await differences.taken(lists);
    await fs.rm(join(data, 'kind'));
    const last = await take('last');
    await differences.apply(blobs.read(last.digest), to);
    expect(await treeOf(to.data)).toEqual(await treeOf(data));
  }, 300_000);

  it('are refused where what they are applied to is something else', async () => {
    await fs.writeFile(join(data, 'file'), 'content');
    await own();
    const to = await laidOut();
    await fs.writeFile(join(to.data, 'more'), 'content');
    const { digest } = await take('last');
    await expect(differences.apply(blobs.read(digest), to)).rejects.toMatchObject({ code: 'bad_snapshot' });
    await expect(differences.apply([Buffer.alloc(1024)] as never, to)).rejects.toMatchObject({ code: 'bad_snapshot' });
    expect((await fs.readdir(store.root)).filter((name) => name.startsWith('.'))).toEqual([]);
  });
});
