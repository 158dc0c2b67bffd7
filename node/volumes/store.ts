// The volumes of this node: makes them, says who has them mounted and how full they are, and removes them on a
// person's word. Decides nothing about where a volume should be.

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { InstanceId, LineageId, VolumeId } from '../../crdt/ids.ts';
import type { VolumeMount } from '../core/types.ts';
import type { Log } from '../lib/log.ts';
import type { HeldVolumes, LocalVolume, VolumeEvent, VolumeRequest, Volumes } from '../ports/volumes.ts';
import { VolumeError } from './errors.ts';
import {
  checkName,
  dataFolder,
  giveTo,
  listVolumes,
  makeVolume,
  removeTree,
  removeVolume,
  renameVolume,
  type VolumeRecord,
  volumesFolder,
  writeRecord,
} from './folder.ts';
import { attachDisk, detachDisk, growDisk } from './hard-disk.ts';
import { Holds, type Wanted } from './holds.ts';
import { fullnessMessage, Meter } from './meter.ts';

export type VolumeStoreOptions = {
  dataDir: string;
  /** Users that files of volumes may belong to. Undefined: all is the daemon's own. */
  users: { first: number; count: number } | undefined;
  /** Whether this machine can give a volume a disk of its own. Default false. */
  hardQuotas?: boolean;
  /** The lineage that the desired state has of a volume whose data is on this node; undefined: none. */
  wanted: (id: VolumeId) => LineageId | undefined;
  log: Log;
  /** Defaults: SAMPLE_MS, WAIT_MAX_MS. */
  sampleMs?: number;
  waitMaxMs?: number;
};

/** One lineage of a volume. */
export type VolumeRef = { id: VolumeId; lineage: LineageId };

/** Writes what is to be in a volume; `uid`: whose it will be, undefined where all is the daemon's own. */
type Fill = (data: string, uid: number | undefined) => Promise<void>;

/** What came with others, which may take as long, is asked for within that time. */
const ARRIVING_MAX_MS = 6 * 60 * 60_000;

export type VolumeMeta = Pick<VolumeRecord, 'owner' | 'slot' | 'path' | 'sizeBytes' | 'hardQuota'>;

export class VolumeStore implements Volumes {
  readonly #options: VolumeStoreOptions;
  /** Where all of them are. */
  readonly root: string;
  readonly #records = new Map<string, VolumeRecord>();
  readonly #holds: Holds;
  readonly #meter: Meter;
  readonly #listeners: ((event: VolumeEvent) => void)[] = [];
  /** Folders of which nothing is known, by their key. */
  readonly #unreadable = new Map<string, VolumeRef>();
  /** Users of those that are on their way here. */
  readonly #receiving = new Map<string, number>();
  /** Those that came, and what the desired state had then: it is to have them next. */
  readonly #arriving = new Map<string, { before: LineageId | undefined; untilMs: number }>();
  /** One after the other: users are handed out by looking at all records. */
  #working: Promise<unknown> = Promise.resolve();

  private constructor(options: VolumeStoreOptions) {
    this.#options = options;
    this.root = volumesFolder(options.dataDir);
    this.#holds = new Holds(options.waitMaxMs);
    this.#meter = new Meter({
      sampleMs: options.sampleMs,
      onFullness: (key, type, usedBytes) => this.#tell(key, type, usedBytes),
    });
  }

  static async open(options: VolumeStoreOptions): Promise<VolumeStore> {
    const store = new VolumeStore(options);
    await mkdir(store.root, { recursive: true, mode: 0o700 });
    const { records, unreadable, leftovers } = await listVolumes(store.root);
    for (const ref of unreadable) store.#unreadable.set(keyOf(ref), ref);
    for (const record of records) await store.#remount(record);
    for (const record of records) store.#keep(record);
    for (const folder of leftovers) {
      void removeTree(folder).catch((error: Error) => {
        options.log.warn('volumes.leftover', { folder, error: error.message });
      });
    }
    return store;
  }

  onEvent(listener: (event: VolumeEvent) => void): void {
    this.#listeners.push(listener);
  }

  async acquire(request: VolumeRequest): Promise<HeldVolumes> {
    const { instance, mounts, signal } = request;
    for (const { id, lineage } of mounts) for (const name of [id, lineage]) checkName(name);
    if (request.shared) this.#holds.join(instance, mounts.map(wantedOf));
    else await this.#holds.take(instance, mounts.map(wantedOf), signal);
    try {
      const held = await this.prepare(request);
      for (const mount of mounts) this.#measure(keyOf(mount));
      return held;
    } catch (error) {
      this.release(instance);
      throw error;
    }
  }

  /**
   * Makes those that are not here yet, all with the same owner. Of the others only what is said of them changes, and
   * their owner when it is another.
   */
  prepare(request: Pick<VolumeRequest, 'owner' | 'slot' | 'mounts' | 'uid' | 'shared'>): Promise<HeldVolumes> {
    return this.#inOrder(async () => {
      const { owner, slot, mounts } = request;
      for (const mount of mounts) this.#refuseOtherLineage(mount);
      for (const mount of mounts) await this.#attach(mount);
      const there = mounts.map((mount) => this.#records.get(keyOf(mount))).find((record) => record !== undefined);
      const uid = this.#owned ? (request.uid ?? there?.uid ?? this.#freeUid()) : ownUid();
      if (request.shared) this.#refuseOtherUser(mounts, uid);
      for (const mount of mounts) {
        const of = slot === undefined ? {} : { slot };
        const hard = mount.hardQuota ? { hardQuota: true as const } : {};
        const meta = { owner, ...of, path: mount.path, sizeBytes: mount.sizeBytes, ...hard };
        if (this.#records.has(keyOf(mount))) await this.#update(mount, { ...meta, uid });
        else await this.#make(mount, { ...meta, uid });
      }
      return this.#heldBy(mounts);
    });
  }

  adopt(instance: InstanceId, mounts: readonly Pick<VolumeMount, 'id' | 'lineage' | 'path'>[]): HeldVolumes {
    this.#holds.hold(instance, mounts.map(wantedOf));
    for (const mount of mounts) this.#measure(keyOf(mount));
    return this.#heldBy(mounts.filter((mount) => this.#records.has(keyOf(mount))));
  }

  release(instance: InstanceId): void {
    for (const key of this.#holds.release(instance)) this.#measure(key);
  }

  list(): LocalVolume[] {
    return [...this.#records]
      .map(([key, { version: _, uid: __, ...record }]) => ({
        ...record,
        usedBytes: this.#meter.usedBytes(key),
        heldBy: this.#holds.usersOf(key)[0],
        orphan: this.#options.wanted(record.id) !== record.lineage,
      }))
      .sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
  }

  /**
   * Mounts the volume's own disk where that is not so: before its files are read or mounted. Harmless where it has
   * none, or is not here. Fails with VolumeError `no_hard_quota`.
   */
  attach(ref: VolumeRef): Promise<void> {
    // Two at once would make two devices of one file.
    return this.#inOrder(() => this.#attach(ref));
  }

  async #attach(ref: VolumeRef): Promise<void> {
    const record = this.#records.get(keyOf(ref));
    if (record?.hardQuota) await attachDisk(this.#folder(record));
  }

  /** Folders that are there and tell nothing of themselves. */
  unreadable(): VolumeRef[] {
    return [...this.#unreadable.values()];
  }

  /** Whether it came a while ago, and the desired state has not turned to it yet, nor to anything else. */
  isArriving(ref: VolumeRef): boolean {
    const arriving = this.#arriving.get(keyOf(ref));
    if (arriving === undefined) return false;
    const wanted = this.#options.wanted(ref.id);
    if (wanted === arriving.before && performance.now() < arriving.untilMs) return true;
    this.#arriving.delete(keyOf(ref));
    return false;
  }

  /** Writes down since when it is an orphan, or that it is none. */
  mark(ref: VolumeRef, orphanedAtMs: number | undefined): Promise<void> {
    return this.#inOrder(async () => {
      const { orphanedAtMs: _, ...record } = this.placeOf(ref).record;
      const marked = orphanedAtMs === undefined ? record : { ...record, orphanedAtMs };
      await writeRecord(this.#folder(ref), marked);
      this.#records.set(keyOf(ref), marked);
    });
  }

  /** What is known of it, and where its files are. Fails with VolumeError `volume_missing`. */
  placeOf(ref: VolumeRef): { record: VolumeRecord; data: string } {
    const record = this.#records.get(keyOf(ref));
    if (record === undefined) {
      throw new VolumeError('volume_missing', `this node has no volume ${ref.id} of the lineage ${ref.lineage}`);
    }
    return { record, data: dataFolder(this.#folder(ref)) };
  }

  /** The user that its files belong to; undefined where all is the daemon's own. */
  ownerOf(ref: VolumeRef): number | undefined {
    return this.#owned ? this.placeOf(ref).record.uid : undefined;
  }

  /** As it was last measured. */
  usedBytes(ref: VolumeRef): number | undefined {
    return this.#meter.usedBytes(keyOf(ref));
  }

  /** The instance that has it mounted, and the tasks. */
  usersOf(ref: VolumeRef): InstanceId[] {
    return this.#holds.usersOf(keyOf(ref));
  }

  /**
   * A new lineage whose files `fill` writes into the folder that it is given. It is there whole, or not at all. Fails
   * with VolumeError `volume_busy` when it is there already.
   */
  async receive(ref: VolumeRef, meta: VolumeMeta, fill: Fill): Promise<void> {
    for (const name of [ref.id, ref.lineage]) checkName(name);
    const key = keyOf(ref);
    if (this.#records.has(key) || this.#receiving.has(key)) {
      throw new VolumeError('volume_busy', `the volume ${ref.id} is on this node already: remove it first`);
    }
    const uid = this.#owned ? this.#freeUid() : ownUid();
    this.#receiving.set(key, uid);
    try {
      // It may take long, and keeps no other volume waiting.
      await this.#make(ref, { ...meta, uid }, fill);
      const untilMs = performance.now() + ARRIVING_MAX_MS;
      this.#arriving.set(key, { before: this.#options.wanted(ref.id), untilMs });
    } finally {
      this.#receiving.delete(key);
    }
  }

  /**
   * The same files are another lineage, of this volume or of another, from now on. Fails with VolumeError
   * `volume_missing`, or `volume_busy` when an instance has it mounted or the other is here already.
   */
  async rename(from: VolumeRef, to: VolumeRef & Partial<VolumeMeta>): Promise<void> {
    for (const name of [to.id, to.lineage]) checkName(name);
    await this.#inOrder(async () => {
      const { record } = this.placeOf(from);
      const [before, after] = [keyOf(from), keyOf(to)];
      const [holder] = this.#holds.usersOf(before);
      if (holder !== undefined || this.#records.has(after) || this.#receiving.has(after)) {
        const why = holder === undefined ? 'is on this node already' : `is mounted by the instance ${holder}`;
        throw new VolumeError('volume_busy', `the volume ${record.path} ${why}`);
      }
      const renamed = { ...record, ...to };
      await renameVolume(this.root, record, renamed);
      this.#records.delete(before);
      this.#meter.delete(before);
      this.#keep(renamed);
    });
  }

  /**
   * For good. Out of sight at once; resolves when its files are removed. Fails with VolumeError `volume_missing` or
   * `volume_busy`.
   */
  async remove(ref: VolumeRef): Promise<void> {
    const removing = await this.#inOrder(async () => {
      const key = keyOf(ref);
      if (this.#unreadable.delete(key)) return { done: removeVolume(this.root, ref) };
      const { record } = this.placeOf(ref);
      const [user] = this.#holds.usersOf(key);
      if (user !== undefined) {
        throw new VolumeError('volume_busy', `the volume ${record.path} is mounted by ${user}`);
      }
      this.#records.delete(key);
      this.#meter.delete(key);
      // Not waited for by others.
      return { done: removeVolume(this.root, record) };
    });
    await removing.done;
  }

  /** Disks that nobody has mounted are let go of; the others stay for the next daemon. */
  async close(): Promise<void> {
    this.#meter.close();
    for (const [key, record] of this.#records) {
      if (!record.hardQuota || this.#holds.usersOf(key).length > 0) continue;
      await detachDisk(this.#folder(record)).catch((error: Error) => {
        this.#options.log.warn('volumes.disk_left', { volume: record.id, error: error.message });
      });
    }
  }

  /** After a start of the machine. What cannot be mounted now is tried again when it is needed. */
  async #remount(record: VolumeRecord): Promise<void> {
    if (!record.hardQuota) return;
    await attachDisk(this.#folder(record)).catch((error: Error) => {
      this.#options.log.warn('volumes.disk_not_mounted', { volume: record.id, error: error.message });
    });
  }

  get #owned(): boolean {
    return this.#options.users !== undefined;
  }

  #folder({ id, lineage }: VolumeRef): string {
    return join(this.root, id, lineage);
  }

  #heldBy(mounts: readonly (VolumeRef & { path: string })[]): HeldVolumes {
    const folders = mounts.map((mount) => {
      const { record, data } = this.placeOf(mount);
      const hard = record.hardQuota ? { hardQuota: true as const } : {};
      return { from: data, to: mount.path, sizeBytes: record.sizeBytes, ...hard };
    });
    const [first] = mounts;
    const uid = first !== undefined && this.#owned ? this.placeOf(first).record.uid : undefined;
    return { uid, folders };
  }

  /** An empty volume in the place of one that is here with another history would look like the loss of all data. */
  #refuseOtherLineage(ref: VolumeRef & { path: string }): void {
    if (this.#records.has(keyOf(ref))) return;
    if (this.#receiving.has(keyOf(ref))) {
      throw new VolumeError('volume_busy', `the volume ${ref.path} is being brought to this node`);
    }
    if ([...this.#unreadable.values()].some(({ id }) => id === ref.id)) {
      const message = `what is known of the volume ${ref.path} on this node cannot be read: see peer volumes --orphans`;
      throw new VolumeError('other_lineage', message);
    }
    const other = [...this.#records.values()].find(({ id }) => id === ref.id);
    if (other === undefined) return;
    throw new VolumeError(
      'other_lineage',
      `the volume ${ref.path} is on this node with another history (${other.lineage}) than the one that is asked for (${ref.lineage}): restore that one here`,
    );
  }

  /** Files are given to another user only while nobody has them open. */
  #refuseOtherUser(mounts: readonly (VolumeRef & { path: string })[], uid: number): void {
    const mount = mounts.find((one) => {
      const key = keyOf(one);
      return this.#holds.holderOf(key) !== undefined && (this.#records.get(key)?.uid ?? uid) !== uid;
    });
    if (mount === undefined) return;
    const message = `the volume ${mount.path} is mounted by an instance that runs as another user: try again later`;
    throw new VolumeError('volume_busy', message);
  }

  async #make({ id, lineage }: VolumeRef, rest: VolumeMeta & { uid: number }, fill?: Fill): Promise<void> {
    if (rest.hardQuota && !this.#options.hardQuotas) {
      const message = `this node cannot give the volume ${rest.path} a hard quota: that needs root, loop devices and mkfs.ext4`;
      throw new VolumeError('no_hard_quota', message);
    }
    const record: VolumeRecord = { version: 1, id, lineage, ...rest, createdAtMs: Date.now() };
    await makeVolume(this.root, { record, owned: this.#owned }, fill);
    this.#keep(record);
  }

  async #update(ref: VolumeRef, changes: VolumeMeta & { uid: number }): Promise<void> {
    const before = this.#records.get(keyOf(ref))!;
    const record = { ...before, ...changes };
    // It is what it was made as, and never gets smaller.
    if (before.hardQuota) {
      record.sizeBytes = await this.#grown(before, changes.sizeBytes);
    } else delete record.hardQuota;
    if (JSON.stringify(record) === JSON.stringify(before)) return;
    if (record.uid !== before.uid && this.#owned) await giveTo(dataFolder(this.#folder(ref)), record.uid);
    await writeRecord(this.#folder(ref), record);
    this.#keep(record);
  }

  /** The size that it has then. Whoever asks is not running yet; with others it waits for another start. */
  async #grown(record: VolumeRecord, sizeBytes: number): Promise<number> {
    if (sizeBytes <= record.sizeBytes || this.#holds.usersOf(keyOf(record)).length > 1) return record.sizeBytes;
    if (await growDisk(this.#folder(record), sizeBytes)) return sizeBytes;
    const message = 'something looks at it: it is enlarged at a later start';
    this.#options.log.warn('volumes.disk_not_enlarged', { volume: record.id, message });
    return record.sizeBytes;
  }

  #keep(record: VolumeRecord): void {
    this.#records.set(keyOf(record), record);
    this.#measure(keyOf(record));
  }

  #measure(key: string): void {
    const record = this.#records.get(key);
    if (record === undefined) return;
    const mounted = this.#holds.usersOf(key).length > 0;
    this.#meter.set(key, { folder: dataFolder(this.#folder(record)), sizeBytes: record.sizeBytes, mounted });
  }

  #tell(key: string, type: VolumeEvent['type'], usedBytes: number): void {
    const record = this.#records.get(key);
    if (record === undefined) return;
    const { id, lineage, path, sizeBytes } = record;
    const message = fullnessMessage(path, { usedBytes, sizeBytes });
    for (const instance of this.#holds.usersOf(key)) {
      for (const listener of this.#listeners) listener({ type, id, lineage, instance, message });
    }
  }

  #freeUid(): number {
    const { first, count } = this.#options.users ?? { first: 0, count: 0 };
    const taken = new Set([...[...this.#records.values()].map((record) => record.uid), ...this.#receiving.values()]);
    for (let uid = first; uid < first + count; uid++) if (!taken.has(uid)) return uid;
    throw new VolumeError('no_free_user', `all ${count} users for volumes are taken on this node: remove orphans`);
  }

  #inOrder<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#working.then(work);
    this.#working = done.catch(() => {});
    return done;
  }
}

function keyOf({ id, lineage }: VolumeRef): string {
  return `${id}/${lineage}`;
}

function wantedOf(mount: VolumeRef & { path: string }): Wanted {
  return { key: keyOf(mount), shown: mount.path };
}

/** Where all is the daemon's own. */
function ownUid(): number {
  return process.getuid?.() ?? 0;
}
