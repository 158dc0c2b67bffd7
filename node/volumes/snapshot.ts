// Snapshots of volumes: a volume as it is at one point in time, as a tar in the blob store, and a volume made of one
// again. Decides neither when nor where.

import { chown, mkdir, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import type { Digest, InstanceId } from '../../crdt/ids.ts';
import { formatBytes } from '../lib/format-bytes.ts';
import type { BlobStore } from '../ports/blobs.ts';
import type { Frozen } from '../ports/runtime.ts';
import type { VolumeTools } from '../ports/volumes.ts';
import { VolumeError } from './errors.ts';
import { makingFolder, removeTree } from './folder.ts';
import { COPY, DONE, FROM, GO, LISTS, PACK, READY, TO, UNPACK } from './scripts.ts';
import type { VolumeMeta, VolumeRef, VolumeStore } from './store.ts';
import { BLOCK_TOOL_BIND, fed, MESSAGES_BYTES_MAX, Said, stored, suffix, TIMEOUT_MS, tarBytesMax } from './tool-run.ts';

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

export type TakeOptions = {
  signal?: AbortSignal;
  /** Nothing has it mounted, nor will, so that it is packed as it lies there, without a copy. */
  idle?: boolean;
  /** A folder that is not there yet, for what tells how the volume differs from the snapshot later (difference.ts). */
  lists?: string | undefined;
};

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
   */
  take(ref: VolumeRef, { signal, idle = false, lists }: TakeOptions = {}): Promise<Snapshot> {
    const taken = this.#working.then(async () => {
      // Without its disk the folder is there, and empty.
      await this.#options.store.attach(ref);
      return idle ? this.#takeIdle(ref, signal) : this.#take(ref, { signal, lists });
    });
    this.#working = taken.catch(() => {});
    return taken;
  }

  /**
   * Makes a lineage of what a snapshot holds, whole or not at all; the content is not trusted. `then`: what else is
   * done to its files before it is there. Fails with VolumeError `volume_busy` when the lineage is here already,
   * `bad_snapshot`.
   */
  async restore(
    content: AsyncIterable<Uint8Array>,
    ref: VolumeRef,
    meta: VolumeMeta,
    then?: (data: string, uid: number | undefined) => Promise<void>,
  ): Promise<void> {
    const { store, tools } = this.#options;
    await store.receive(ref, meta, async (data, uid) => {
      await fed(
        content,
        {
          ...{ name: 'restore', uid, bytesMax: tarBytesMax(meta.sizeBytes) },
          argv: ['/bin/bash', '-c', UNPACK],
          binds: [{ from: data, to: TO, writable: true }],
        },
        tools,
      );
      await then?.(data, uid);
    });
  }

  async #takeIdle(ref: VolumeRef, signal: AbortSignal | undefined): Promise<Snapshot> {
    const { store } = this.#options;
    const { record, data } = store.placeOf(ref);
    const uid = store.ownerOf(ref);
    const packed = await this.#pack({ uid, copy: data, record, signal });
    if (store.usersOf(ref).length === 0) return { ...packed, frozenMs: 0 };
    throw new VolumeError('not_frozen', 'an instance started meanwhile: take the snapshot again');
  }

  async #take(ref: VolumeRef, { signal, lists: kept }: Omit<TakeOptions, 'idle'>): Promise<Snapshot> {
    const { store } = this.#options;
    const { record, data } = store.placeOf(ref);
    const uid = store.ownerOf(ref);
    const scratch = makingFolder(store.root);
    const [copy, lists] = [join(scratch, 'copy'), kept ?? join(scratch, 'lists')];
    await expectRoom(store, ref);
    try {
      for (const folder of [copy, lists]) {
        await mkdir(folder, { recursive: true, mode: 0o700 });
        if (uid !== undefined) await chown(folder, uid, uid);
      }
      const how = { isApart: record.hardQuota === true, isBase: kept !== undefined };
      const frozenMs = await this.#copy({ ref, uid, data, copy, lists, ...how, signal });
      const packed = await this.#pack({ uid, copy, record, signal });
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
    /** Differences from it are asked for later. */
    isBase: boolean;
    signal: AbortSignal | undefined;
  }): Promise<number> {
    const { ref, uid, data, copy, lists, isApart, isBase, signal } = options;
    const { tools } = this.#options;
    const stdin = new PassThrough();
    const said = new Said();
    const hold = new Hold();
    const told = { ready: false, done: false };
    const isUsed = this.#options.store.usersOf(ref).length > 0;
    const result = await tools
      .run({
        name: `copy-${suffix()}`,
        uid,
        argv: ['/bin/bash', '-c', COPY, 'peer', ...[!isApart, isBase, isUsed].map((is) => (is ? 'yes' : 'no'))],
        binds: [
          { from: data, to: FROM, writable: false },
          { from: copy, to: TO, writable: true },
          { from: lists, to: LISTS, writable: true },
          BLOCK_TOOL_BIND,
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
      throw said.error('snapshot_failed', 'the volume cannot be copied');
    }
    if (!hold.wasHeld) {
      throw new VolumeError('not_frozen', 'the last difference took longer to copy than an instance is held still for');
    }
    if (this.#options.store.usersOf(ref).join() !== hold.users.join()) {
      throw new VolumeError('not_frozen', 'an instance or a task started or ended meanwhile: take the snapshot again');
    }
    return hold.tookMs;
  }

  #pack(options: {
    uid: number | undefined;
    copy: string;
    record: Pick<VolumeMeta, 'sizeBytes'>;
    signal: AbortSignal | undefined;
  }): Promise<{ digest: Digest; sizeBytes: number }> {
    const { uid, copy, record, signal } = options;
    return stored(
      {
        ...{ name: 'pack', uid, bytesMax: tarBytesMax(record.sizeBytes), signal },
        argv: ['/bin/bash', '-c', PACK],
        binds: [{ from: copy, to: TO, writable: false }],
      },
      this.#options,
    );
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
