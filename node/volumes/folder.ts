// A volume's folder on disk: `<dataDir>/volumes/<volume>/<lineage>/`, with its files in `data` and what is known of
// them in `volume.json`. It comes to be, and goes, by one rename: what is half made has another name.

import { randomBytes } from 'node:crypto';
import { chown, mkdir, open, readdir, readFile, rename, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import writeFileAtomic from 'write-file-atomic';
import { asLineageId, asVolumeId, type LineageId, type VolumeId } from '../../crdt/ids.ts';
import { runCommand } from '../lib/program.ts';
import { VolumeError } from './errors.ts';
import { detachDisk, makeDisk } from './hard-disk.ts';

/** Version: raised when an older daemon's record can no longer be read. */
export type VolumeRecord = {
  version: 1;
  id: VolumeId;
  lineage: LineageId;
  /** Name of the app or service, for people. */
  owner: string;
  /** The slot that mounted it last; older daemons did not write it down. */
  slot?: { process: string; index: number };
  /** When this node noticed that nothing in the desired state refers to it. Unix ms. */
  orphanedAtMs?: number;
  /** Owner of all the files. */
  uid: number;
  path: string;
  sizeBytes: number;
  /** Its files are on a disk of its own (hard-disk.ts). */
  hardQuota?: true;
  createdAtMs: number;
};

const NAME = /^[A-Za-z0-9][A-Za-z0-9-]{0,99}$/;
/** What is being made or removed: swept at a start. */
const PASSING = /^\.(making|removing)-/;

/** A new name for what is being made in the store's root; what a crash leaves of it is cleared away at a start. */
export const makingFolder = (root: string): string => join(root, `.making-${randomBytes(8).toString('hex')}`);
const DATA = 'data';
const RECORD = 'volume.json';
/** A volume may hold very many files. */
const WALK_TIMEOUT_MS = 6 * 60 * 60_000;

export function volumesFolder(dataDir: string): string {
  return join(dataDir, 'volumes');
}

export function checkName(text: string): void {
  if (NAME.test(text)) return;
  throw new VolumeError('invalid_name', `not the id of a volume: ${JSON.stringify(text.slice(0, 200))}`);
}

/** Of the files themselves. */
export function dataFolder(folder: string): string {
  return join(folder, DATA);
}

export type FoundVolumes = {
  records: VolumeRecord[];
  /** Folders whose record cannot be read, or is another's. */
  unreadable: Pick<VolumeRecord, 'id' | 'lineage'>[];
  /** What an earlier daemon left half made or half removed. */
  leftovers: string[];
};

/** Every volume that is there. */
export async function listVolumes(root: string): Promise<FoundVolumes> {
  const { records, unreadable, leftovers }: FoundVolumes = { records: [], unreadable: [], leftovers: [] };
  for (const name of await foldersIn(root)) {
    if (PASSING.test(name)) leftovers.push(join(root, name));
    if (!NAME.test(name)) continue;
    for (const lineage of await foldersIn(join(root, name))) {
      const folder = join(root, name, lineage);
      if (!NAME.test(lineage)) continue;
      const record = await readRecord(folder);
      // A renaming was cut off before its record was written: the folder says what it is.
      const named = { id: asVolumeId(name), lineage: asLineageId(lineage) };
      if (record === undefined) {
        unreadable.push(named);
        continue;
      }
      const whole = { ...record, ...named };
      if (record.id !== name || record.lineage !== lineage) await writeRecord(folder, whole);
      records.push(whole);
    }
  }
  return { records, unreadable, leftovers };
}

async function readRecord(folder: string): Promise<VolumeRecord | undefined> {
  try {
    const record = JSON.parse(await readFile(join(folder, RECORD), 'utf8')) as VolumeRecord;
    return record.version === 1 && Number.isInteger(record.uid) ? record : undefined;
  } catch {
    return undefined;
  }
}

export function writeRecord(folder: string, record: VolumeRecord): Promise<void> {
  return writeFileAtomic(join(folder, RECORD), JSON.stringify(record), { mode: 0o600, fsync: true });
}

/**
 * Makes the folder with what `fill` puts in its data, on disk when it resolves. Fails with nothing left behind.
 * `owned`: whether the files belong to the record's user; else they are the daemon's own.
 */
export async function makeVolume(
  root: string,
  { record, owned }: { record: VolumeRecord; owned: boolean },
  fill?: (data: string, uid: number | undefined) => Promise<void>,
): Promise<string> {
  const making = makingFolder(root);
  const folder = join(root, record.id, record.lineage);
  try {
    await mkdir(dataFolder(making), { recursive: true, mode: 0o700 });
    if (record.hardQuota) await makeDisk(making, record.sizeBytes);
    if (owned) await chown(dataFolder(making), record.uid, record.uid);
    if (fill !== undefined) {
      await fill(dataFolder(making), owned ? record.uid : undefined);
      if (owned) await giveTo(dataFolder(making), record.uid);
    }
    await writeRecord(making, record);
    if (fill !== undefined) await syncFiles(making, dataFolder(making));
    await syncFolder(making);
    await mkdir(dirname(folder), { recursive: true, mode: 0o700 });
    await rename(making, folder);
    await syncFolder(dirname(folder));
    await syncFolder(root);
    return folder;
  } catch (error) {
    await removeTree(making).catch(() => {});
    throw error;
  }
}

/** Gives a lineage that is whole another id, or name; on disk when it resolves. */
export async function renameVolume(root: string, from: VolumeRecord, to: VolumeRecord): Promise<void> {
  const [before, folder] = [join(root, from.id, from.lineage), join(root, to.id, to.lineage)];
  await mkdir(dirname(folder), { recursive: true, mode: 0o700 });
  await rename(before, folder);
  await writeRecord(folder, to);
  await syncFolder(dirname(folder));
  await syncFolder(dirname(before));
  await rmdir(dirname(before)).catch(() => {});
  await syncFolder(root);
}

/** Out of sight at once; resolves when it is removed. */
export async function removeVolume(root: string, { id, lineage }: Pick<VolumeRecord, 'id' | 'lineage'>): Promise<void> {
  const removing = join(root, `.removing-${randomBytes(8).toString('hex')}`);
  const folder = join(root, id, lineage);
  await rename(folder, removing);
  await syncFolder(dirname(folder));
  await rmdir(dirname(folder)).catch(() => {});
  await removeTree(removing);
}

/** Makes all of it belong to the user; links themselves, never what they lead to. */
export async function giveTo(data: string, uid: number): Promise<void> {
  await runCommand(['chown', '-Rh', `${uid}:${uid}`, '--', data], { timeoutMs: WALK_TIMEOUT_MS });
}

/** All that was written there is on disk when it resolves, at once: a file system keeps no order among files. */
export async function syncFiles(...folders: string[]): Promise<void> {
  await runCommand(['sync', '-f', ...folders], { timeoutMs: WALK_TIMEOUT_MS });
}

/** In a process of its own. Of a volume: its disk is let go of first. */
export async function removeTree(folder: string): Promise<void> {
  await detachDisk(folder).catch(() => {});
  // Should something be mounted still, it is not this folder's to empty.
  const remove = ['rm', '-rf', '--one-file-system', '--', folder];
  await runCommand(remove, { timeoutMs: WALK_TIMEOUT_MS }).catch(async () => {
    // Without root, folders that the app closed to its own user must be opened first.
    await runCommand(['chmod', '-R', 'u+rwX', '--', folder], { timeoutMs: WALK_TIMEOUT_MS }).catch(() => {});
    await runCommand(remove, { timeoutMs: WALK_TIMEOUT_MS });
  });
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function foldersIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
}
