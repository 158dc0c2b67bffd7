// Snapshots of volumes: a volume as it is at one point in time, as a tar in the blob store, and a volume made of one
// again. Decides neither when nor where.

import { randomBytes } from 'node:crypto';
import { chown, mkdir, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import type { Digest, InstanceId } from '../../crdt/ids.ts';
import { formatBytes } from '../lib/format-bytes.ts';
import type { BlobStore } from '../ports/blobs.ts';
import type { Frozen } from '../ports/runtime.ts';
import type { VolumeTools } from '../ports/volumes.ts';
import { VolumeError } from './errors.ts';
import { removeTree } from './folder.ts';
import { COPY, DONE, FROM, GO, LISTS, PACK, READY, TO, UNPACK } from './scripts.ts';
import type { VolumeMeta, VolumeRef, VolumeStore } from './store.ts';

export type SnapshotsOptions = {
  store: VolumeStore;
  tools: VolumeTools;
  put: BlobStore['put'];
  /** Holds an instance, or a task, that has it mounted still. */
  freeze: (instance: InstanceId) => Promise<Frozen>;
};

export type Snapshot = {
  digest: Digest;
  /** Of the tar. */
  sizeBytes: number;
  /** For how long the instance was held still; 0 when none had it mounted. */
  frozenMs: number;
};

const TIMEOUT_MS = 6 * 60 * 60_000;
/** Of the tar: a volume may be larger than its size by a little, and headers come on top. */
const OVERHEAD_FACTOR = 2;
const OVERHEAD_BYTES = 256 * 1024 * 1024;
/** Two blocks of zeros. */
const TAR_BLOCK_BYTES = 512;
const TAR_END_BYTES = 2 * TAR_BLOCK_BYTES;
const MESSAGES_BYTES_MAX = 64 * 1024;
const PROBLEM_CHARACTERS_MAX = 300;

export class Snapshots {
  readonly #options: SnapshotsOptions;
  /** One at a time: each reads a whole volume, and may need as much disk again while it lasts. */
  #working: Promise<unknown> = Promise.resolve();

  constructor(options: SnapshotsOptions) {
    this.#options = options;
  }

  /**
   * Its instance, if it has one, is held still while the last difference is copied. Fails with VolumeError
   * `volume_missing`, `disk_full`, `not_frozen`, `snapshot_failed`, or as the blob store does; nothing is left behind.
   * `idle`: nothing has it mounted, nor will, so that it is packed as it lies there, without a copy.
   */
  take(ref: VolumeRef, { signal, idle = false }: { signal?: AbortSignal; idle?: boolean } = {}): Promise<Snapshot> {
    const taken = this.#working.then(async () => {
      // Without its disk the folder is there, and empty.
      await this.#options.store.attach(ref);
      return idle ? this.#takeIdle(ref, signal) : this.#take(ref, signal);
    });
    this.#working = taken.catch(() => {});
    return taken;
  }

  /**
   * Makes a lineage of what a snapshot holds, whole or not at all; the content is not trusted. Fails with VolumeError
   * `volume_in_use` when the lineage is here already, `bad_snapshot`.
   */
  async restore(content: AsyncIterable<Uint8Array>, ref: VolumeRef, meta: VolumeMeta): Promise<void> {
    const { store, tools } = this.#options;
    await store.receive(ref, meta, async (data, uid) => {
      const bytesMax = tarBytesMax(meta.sizeBytes);
      const source = Readable.from(bounded(content, bytesMax));
      let lost: unknown;
      source.once('error', (error) => {
        lost = error;
      });
      const said = new Said();
      const result = await tools.run({
        name: `restore-${suffix()}`,
        uid,
        argv: ['/bin/bash', '-c', UNPACK],
        binds: [{ from: data, to: TO, writable: true }],
        stdin: source,
        onOutput: (chunk) => said.take(chunk),
        outputBytesMax: MESSAGES_BYTES_MAX,
        timeoutMs: TIMEOUT_MS,
      });
      source.destroy();
      if (lost !== undefined) throw lost;
      if (result.code === 0) return;
      throw diskFull(said.text) ?? new VolumeError('bad_snapshot', `the snapshot cannot be unpacked: ${said.line}`);
    });
  }

  async #takeIdle(ref: VolumeRef, signal: AbortSignal | undefined): Promise<Snapshot> {
    const { store } = this.#options;
    const { record, data } = store.placeOf(ref);
    const uid = store.ownerOf(ref);
    const packed = await this.#pack({ uid, copy: data, bytesMax: tarBytesMax(record.sizeBytes), signal });
    if (store.usersOf(ref).length === 0) return { ...packed, frozenMs: 0 };
    throw new VolumeError('not_frozen', 'an instance started meanwhile: take the snapshot again');
  }

  async #take(ref: VolumeRef, signal: AbortSignal | undefined): Promise<Snapshot> {
    const { store } = this.#options;
    const { record, data } = store.placeOf(ref);
    const uid = store.ownerOf(ref);
    const scratch = join(store.root, `.making-${randomBytes(8).toString('hex')}`);
    const [copy, lists] = [join(scratch, 'copy'), join(scratch, 'lists')];
    await expectRoom(store, ref);
    try {
      for (const folder of [copy, lists]) {
        await mkdir(folder, { recursive: true, mode: 0o700 });
        if (uid !== undefined) await chown(folder, uid, uid);
      }
      const isApart = record.hardQuota === true;
      const frozenMs = await this.#copy({ ref, uid, data, copy, lists, isApart, signal });
      const packed = await this.#pack({ uid, copy, bytesMax: tarBytesMax(record.sizeBytes), signal });
      return { ...packed, frozenMs };
    } finally {
      await removeTree(scratch).catch(() => {});
    }
  }

  /** Resolves with for how long the instance was held still. */
  async #copy(options: {
    ref: VolumeRef;
    uid: number | undefined;
    data: string;
    copy: string;
    lists: string;
    /** The volume is on a file system of its own, which shares no blocks with that of the copy. */
    isApart: boolean;
    signal: AbortSignal | undefined;
  }): Promise<number> {
    const { ref, uid, data, copy, lists, isApart, signal } = options;
    const { tools } = this.#options;
    const stdin = new PassThrough();
    const said = new Said();
    const hold = new Hold();
    const told = { ready: false, done: false };
    const result = await tools
      .run({
        name: `copy-${suffix()}`,
        uid,
        argv: ['/bin/bash', '-c', COPY, 'peer', isApart ? 'no' : 'yes'],
        binds: [
          { from: data, to: FROM, writable: false },
          { from: copy, to: TO, writable: true },
          { from: lists, to: LISTS, writable: true },
        ],
        stdin,
        onOutput: async (chunk, stream) => {
          if (stream === 'err') return said.take(chunk);
          const text = chunk.toString();
          if (text.includes(READY) && !told.ready) {
            told.ready = true;
            await hold.begin(this.#options.store.usersOf(ref), this.#options.freeze);
            stdin.write(GO);
          }
          if (text.includes(DONE)) {
            told.done = true;
            await hold.end();
          }
        },
        outputBytesMax: MESSAGES_BYTES_MAX,
        timeoutMs: TIMEOUT_MS,
        ...(signal === undefined ? {} : { signal }),
      })
      .finally(() => hold.end());
    stdin.destroy();
    if (result.aborted) throw new VolumeError('aborted', 'the snapshot was given up');
    if (result.code !== 0 || !told.done) {
      throw diskFull(said.text) ?? new VolumeError('snapshot_failed', `the volume cannot be copied: ${said.line}`);
    }
    if (!hold.wasHeld) {
      throw new VolumeError('not_frozen', 'the last difference took longer to copy than an instance is held still for');
    }
    if (this.#options.store.usersOf(ref).join() !== hold.users.join()) {
      throw new VolumeError('not_frozen', 'an instance or a task started or ended meanwhile: take the snapshot again');
    }
    return hold.tookMs;
  }

  async #pack(options: {
    uid: number | undefined;
    copy: string;
    bytesMax: number;
    signal: AbortSignal | undefined;
  }): Promise<{ digest: Digest; sizeBytes: number }> {
    const { uid, copy, bytesMax, signal } = options;
    const { tools, put } = this.#options;
    const said = new Said();
    const tar = new PassThrough();
    const ended = new AbortController();
    const running = tools
      .run({
        name: `pack-${suffix()}`,
        uid,
        argv: ['/bin/bash', '-c', PACK],
        binds: [{ from: copy, to: TO, writable: false }],
        onOutput: (chunk, stream) => (stream === 'err' ? said.take(chunk) : written(tar, chunk)),
        outputBytesMax: bytesMax,
        timeoutMs: TIMEOUT_MS,
        signal: signal === undefined ? ended.signal : AbortSignal.any([signal, ended.signal]),
      })
      .then((result) => {
        if (result.code === 0 && !result.truncated) tar.end();
        else tar.destroy(new VolumeError('snapshot_failed', `the snapshot cannot be packed: ${said.line}`));
      })
      .catch((error: Error) => tar.destroy(error));
    try {
      return await put(tar, { sizeBytesMax: bytesMax });
    } finally {
      // Should the store have given up, there is nobody to pack for.
      tar.destroy();
      ended.abort();
      await running;
    }
  }
}

/** The time for which all that have it mounted are held still. */
class Hold {
  /** Empty: nothing changes it. */
  users: readonly InstanceId[] = [];
  #frozen: Frozen[] = [];
  #startMs: number | undefined;
  wasHeld = true;
  tookMs = 0;

  async begin(users: readonly InstanceId[], freeze: SnapshotsOptions['freeze']): Promise<void> {
    this.users = users;
    if (users.length === 0) return;
    this.#startMs = performance.now();
    for (const user of users) this.#frozen.push(await freeze(user));
  }

  /** Harmless to repeat. */
  async end(): Promise<void> {
    const [frozen, startMs] = [this.#frozen, this.#startMs];
    if (frozen.length === 0 || startMs === undefined) return;
    this.#frozen = [];
    const held = await Promise.all(frozen.map((one) => one.thaw()));
    this.wasHeld = held.every((inTime) => inTime);
    this.tookMs = performance.now() - startMs;
  }
}

/** What a tool complained of. */
class Said {
  text = '';

  take(chunk: Buffer): void {
    if (this.text.length < MESSAGES_BYTES_MAX) this.text += chunk;
  }

  get line(): string {
    const [first = ''] = this.text.trim().split('\n');
    return first === '' ? 'it gave no reason' : first.replace(/[^\x20-\x7e]+/g, ' ').slice(0, PROBLEM_CHARACTERS_MAX);
  }
}

function tarBytesMax(sizeBytes: number): number {
  return sizeBytes * OVERHEAD_FACTOR + OVERHEAD_BYTES;
}

function suffix(): string {
  return randomBytes(4).toString('hex');
}

function diskFull(text: string): VolumeError | undefined {
  return /No space left on device|Disk quota exceeded/.test(text)
    ? new VolumeError('disk_full', "this node's disk is full: free some disk space")
    : undefined;
}

/** A copy may take as much of the disk again. */
async function expectRoom(store: VolumeStore, ref: VolumeRef): Promise<void> {
  const usedBytes = store.usedBytes(ref) ?? 0;
  const { bavail, bsize } = await statfs(store.root);
  if (bavail * bsize > usedBytes) return;
  throw new VolumeError(
    'disk_full',
    `a snapshot needs as much free disk as the volume has data, ${formatBytes(usedBytes)}: free some disk space`,
  );
}

/**
 * The content, as long as it is no larger than a volume's tar can be. Fails at its end when that is not a tar's: tar
 * itself takes one that was cut off between two files for whole.
 */
async function* bounded(content: AsyncIterable<Uint8Array>, bytesMax: number): AsyncGenerator<Uint8Array> {
  let bytes = 0;
  let end = Buffer.alloc(0);
  for await (const chunk of content) {
    bytes += chunk.length;
    end = Buffer.concat([end, chunk.subarray(-TAR_END_BYTES)]).subarray(-TAR_END_BYTES);
    if (bytes > bytesMax) {
      throw new VolumeError(
        'bad_snapshot',
        `the snapshot is larger than its volume: more than ${formatBytes(bytesMax)}`,
      );
    }
    yield chunk;
  }
  if (end.length === TAR_END_BYTES && bytes % TAR_BLOCK_BYTES === 0 && end.every((byte) => byte === 0)) return;
  throw new VolumeError('bad_snapshot', 'the snapshot is cut off, or none: it does not end as a tar does');
}

/** Waits until the reader has taken enough. */
function written(stream: PassThrough, chunk: Buffer): Promise<void> | void {
  if (stream.destroyed || stream.write(chunk)) return;
  return new Promise((resolve) => {
    const done = (): void => {
      stream.off('drain', done).off('close', done);
      resolve();
    };
    stream.on('drain', done).on('close', done);
  });
}
