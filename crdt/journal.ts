// The desired state on disk: a snapshot of the document and a log of the changes since. Recovers what a crash left,
// appends durably, folds the log into a new snapshot when it has grown. Never decides what a change means.
//
// `desired.snapshot` is only ever replaced as a whole (written under another name, fsynced, renamed, directory
// fsynced). `desired.log` is cut back only after that; changes that are in both are harmless, since Automerge knows
// them already.

import { join } from 'node:path';
import type { Disk, LogFile } from './disk.ts';
import { reasonOf, StoreError } from './errors.ts';
import {
  encodeFrame,
  encodeSnapshot,
  type Frames,
  fileHeader,
  readFileHeader,
  readFrames,
  readSnapshot,
} from './frames.ts';
import { asClusterId, type ClusterId } from './ids.ts';

const SNAPSHOT_KIND = 'PEERSNAP';
const LOG_KIND = 'PEERLOG\n';

/** The log is folded into the snapshot beyond either bound: it bounds the work of the next start. */
export const LOG_BYTES_MAX = 256 * 1024;
export const LOG_FRAMES_MAX = 200;

export type Recovered = {
  journal: Journal;
  clusterId: ClusterId;
  /** A saved document. */
  snapshot: Buffer;
  /** Changes made since, in the order they were written. */
  changes: Uint8Array[];
  /** Bytes of a last write that a crash had torn, and that were cut off; 0 after a clean stop. */
  tornBytes: number;
};

export class Journal {
  readonly #disk: Disk;
  readonly #paths: Paths;
  readonly #clusterId: ClusterId;
  readonly #headerBytes: number;
  #log: LogFile;
  /** Length up to which the log is whole and on disk. */
  #end: number;
  #frames: number;
  /** Raised when folding fails, so that a full disk is not asked again at every write. */
  #foldAtBytes = LOG_BYTES_MAX;
  #foldAtFrames = LOG_FRAMES_MAX;
  /** Set when a failed write could not be undone on disk. */
  #broken: StoreError | undefined;

  private constructor(disk: Disk, paths: Paths, clusterId: ClusterId, log: LogFile, frames: Omit<Frames, 'changes'>) {
    this.#disk = disk;
    this.#paths = paths;
    this.#clusterId = clusterId;
    this.#headerBytes = fileHeader(LOG_KIND, clusterId).length;
    this.#log = log;
    this.#end = frames.end;
    this.#frames = frames.frames;
  }

  static async exists(disk: Disk, dir: string): Promise<boolean> {
    return (await disk.read(pathsIn(dir).snapshot)) !== undefined;
  }

  /** Fails with StoreError `exists` when the directory holds a desired state already. */
  static async create(disk: Disk, dir: string, clusterId: ClusterId, snapshot: Uint8Array): Promise<Journal> {
    const paths = pathsIn(dir);
    return guarded(async () => {
      await disk.makeDirectory(dir);
      if ((await disk.read(paths.snapshot)) !== undefined) {
        throw new StoreError('exists', `${dir} holds a cluster's desired state already; use another data directory.`);
      }
      // A log without a snapshot is what a crash between the two steps below leaves; it holds nothing.
      await disk.writeSynced(paths.log, fileHeader(LOG_KIND, clusterId));
      await replaceSnapshot(disk, paths, encodeSnapshot(SNAPSHOT_KIND, clusterId, snapshot));
      const log = await disk.openLog(paths.log);
      return new Journal(disk, paths, clusterId, log, { end: fileHeader(LOG_KIND, clusterId).length, frames: 0 });
    });
  }

  /**
   * Fails with StoreError `missing`, `corrupt`, `newer_version` or `other_cluster`; then nothing on disk has changed.
   */
  static async open(disk: Disk, dir: string): Promise<Recovered> {
    const paths = pathsIn(dir);
    return guarded(async () => {
      const snapshotBytes = await disk.read(paths.snapshot);
      if (snapshotBytes === undefined) {
        throw new StoreError('missing', `${dir} holds no desired state; start a cluster there, or join one.`);
      }
      const { clusterId, document } = orCorrupt(paths, paths.snapshot, () =>
        readSnapshot(SNAPSHOT_KIND, snapshotBytes),
      );
      const logBytes = await disk.read(paths.log);
      const log = orCorrupt(paths, paths.log, () => readLog(paths, logBytes, clusterId));
      await disk.makeDirectory(dir);
      await disk.remove(paths.snapshotNew);
      if (log === undefined) {
        await disk.writeSynced(paths.log, fileHeader(LOG_KIND, clusterId));
        await disk.syncDirectory(dir);
      }
      const file = await disk.openLog(paths.log);
      const frames = log ?? { changes: [], frames: 0, end: fileHeader(LOG_KIND, clusterId).length };
      const tornBytes = log === undefined ? (logBytes?.length ?? 0) : logBytes!.length - log.end;
      if (log !== undefined && tornBytes > 0) await file.truncate(log.end);
      const journal = new Journal(disk, paths, asClusterId(clusterId), file, frames);
      return { journal, clusterId: journal.#clusterId, snapshot: document, changes: frames.changes, tornBytes };
    });
  }

  /** All changes are on disk when it resolves, none when it fails: with `disk_full`, `disk_failed` or `broken`. */
  async append(changes: readonly Uint8Array[]): Promise<void> {
    if (this.#broken !== undefined) throw this.#broken;
    const frame = encodeFrame(changes);
    try {
      await this.#log.append(frame, this.#end);
    } catch (error) {
      await this.#undo();
      throw diskError(error);
    }
    this.#end += frame.length;
    this.#frames += 1;
  }

  /** Makes sure that what failed to be written does not come back at the next start. */
  async #undo(): Promise<void> {
    try {
      await this.#log.truncate(this.#end);
    } catch (error) {
      this.#broken = brokenLog(this.#paths, error);
    }
  }

  get shouldFold(): boolean {
    return this.#end - this.#headerBytes > this.#foldAtBytes || this.#frames > this.#foldAtFrames;
  }

  /**
   * Makes a saved document, which holds every change appended so far, the new snapshot. The old one stays if it fails.
   */
  async fold(snapshot: Uint8Array): Promise<void> {
    if (this.#broken !== undefined) throw this.#broken;
    try {
      await replaceSnapshot(this.#disk, this.#paths, encodeSnapshot(SNAPSHOT_KIND, this.#clusterId, snapshot));
    } catch (error) {
      this.#foldAtBytes = 2 * (this.#end - this.#headerBytes);
      this.#foldAtFrames = 2 * this.#frames;
      throw diskError(error);
    }
    try {
      await this.#log.truncate(this.#headerBytes);
    } catch (error) {
      // Its length is unknown now, so nothing more may be appended. All that was in it is in the snapshot.
      this.#broken = brokenLog(this.#paths, error);
      throw this.#broken;
    }
    this.#end = this.#headerBytes;
    this.#frames = 0;
    this.#foldAtBytes = LOG_BYTES_MAX;
    this.#foldAtFrames = LOG_FRAMES_MAX;
  }

  async close(): Promise<void> {
    await this.#log.close();
  }
}

const brokenLog = (paths: Paths, cause: unknown): StoreError =>
  new StoreError(
    'broken',
    `${paths.log} could not be cut to the length it should have (${reasonOf(cause)}); check the disk, then restart the node.`,
    { cause },
  );

type Paths = { dir: string; snapshot: string; snapshotNew: string; log: string };

const pathsIn = (dir: string): Paths => ({
  dir,
  snapshot: join(dir, 'desired.snapshot'),
  snapshotNew: join(dir, 'desired.snapshot.new'),
  log: join(dir, 'desired.log'),
});

async function replaceSnapshot(disk: Disk, paths: Paths, bytes: Uint8Array): Promise<void> {
  await disk.writeSynced(paths.snapshotNew, bytes);
  await disk.rename(paths.snapshotNew, paths.snapshot);
  await disk.syncDirectory(paths.dir);
}

/** Undefined when a crash has left no log, or only a part of its header. */
function readLog(paths: Paths, bytes: Buffer | undefined, clusterId: string): Frames | undefined {
  if (bytes === undefined) return undefined;
  const header = readFileHeader(LOG_KIND, bytes);
  if (header === undefined) {
    if (bytes.length < fileHeader(LOG_KIND, clusterId).length) return undefined;
    throw new RangeError('its header is damaged');
  }
  if (header.clusterId !== clusterId) {
    throw new StoreError(
      'other_cluster',
      `${paths.log} is of cluster ${header.clusterId}, but ${paths.snapshot} of ${clusterId}; move the wrong one away.`,
    );
  }
  return readFrames(bytes, header.length);
}

function orCorrupt<T>(paths: Paths, path: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw corrupt(paths.dir, path, error);
  }
}

/** What people are told of a damaged file, wherever the damage is found. */
export function corrupt(dir: string, path: string, cause: unknown): StoreError {
  return new StoreError(
    'corrupt',
    `${path} is damaged: ${reasonOf(cause)}. Move desired.snapshot and desired.log out of ${dir}, then join again with an invite from another node (on its stdin: \`peer start --join -\`).`,
    { cause },
  );
}

export const logPath = (dir: string): string => pathsIn(dir).log;

async function guarded<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof StoreError) throw error;
    throw diskError(error);
  }
}

function diskError(error: unknown): StoreError {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new StoreError(
      'disk_full',
      'The disk of this node is full, so nothing was changed; free some space and try again.',
      { cause: error },
    );
  }
  return new StoreError(
    'disk_failed',
    `The disk of this node failed (${reasonOf(error)}), so nothing was changed; check the disk and the permissions of the data directory.`,
    { cause: error },
  );
}
