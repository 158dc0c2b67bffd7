// A disk of a volume's own: a file as large as the volume may be, with a file system in it that is mounted where the
// volume's files are. A full one tells the app so at once. Decides neither who has one nor how large it is.

import { chmod, rmdir, stat, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { formatBytes } from '../lib/format-bytes.ts';
import { runCommand } from '../lib/program.ts';
import { VolumeError } from './errors.ts';

const IMAGE = 'disk.img';
const DATA = 'data';
const FOLDER_MODE = 0o700;
/** What the file system keeps for itself, its journal aside. */
const OVERHEAD_SHARE = 0.035;
const OVERHEAD_BYTES = 2 * 1024 ** 2;
const BYTES_PER_FILE = 16 * 1024;
const MIB = 1024 ** 2;
/** A large file system on a busy machine. */
const TIMEOUT_MS = 10 * 60_000;

/** What the machine was at when it lost its power is finished or undone; 1: that has repaired something. */
const CHECK = 'e2fsck "$2" "$1" >&2; [ $? -le 1 ]';
/** A look at how full it is takes no longer, as a rule. */
const SOON_MS = 5_000;
const LOOK_MS = 20;

/** What survives a crash of the machine is in the journal; a larger one lets more be on its way. */
const journalMib = (sizeBytes: number): number => (sizeBytes < 512 * MIB ? 4 : sizeBytes < 8192 * MIB ? 16 : 64);

/** Of the file, for so many bytes of files, in whole pages. */
export function imageBytes(sizeBytes: number): number {
  const whole = sizeBytes * (1 + OVERHEAD_SHARE) + journalMib(sizeBytes) * MIB + OVERHEAD_BYTES;
  return Math.ceil(whole / 4096) * 4096;
}

/**
 * Makes it in the volume's folder, mounted and empty; the folder `data` is there. Fails with VolumeError `disk_full`
 * or `no_hard_quota`; the caller detaches.
 */
export async function makeDisk(folder: string, sizeBytes: number): Promise<void> {
  const image = join(folder, IMAGE);
  await writeFile(image, '', { mode: 0o600, flag: 'wx' });
  await allocate(image, sizeBytes);
  const options = ['-m', '0', '-b', '4096', '-i', String(BYTES_PER_FILE), '-J', `size=${journalMib(sizeBytes)}`];
  const extended = 'lazy_itable_init=1,lazy_journal_init=1,nodiscard';
  await run(['mkfs.ext4', '-q', '-F', ...options, '-E', extended, image]);
  await attachDisk(folder);
  await chmod(join(folder, DATA), FOLDER_MODE);
  await rmdir(join(folder, DATA, 'lost+found')).catch(() => {});
}

/**
 * Mounts it, where it is not. A device that is there for the file already is used again: two would write past one
 * another. Fails with VolumeError `no_hard_quota`.
 */
export async function attachDisk(folder: string): Promise<void> {
  if (await isAttached(folder)) return;
  const image = join(folder, IMAGE);
  const device = await loopDevice(image);
  try {
    await run(['mount', '-t', 'ext4', '-o', 'nosuid,nodev,noatime', device, join(folder, DATA)]);
  } finally {
    // From when it is mounted nowhere any more, the kernel gives it back by itself.
    await runCommand(['losetup', '--detach', device]).catch(() => {});
  }
}

/** With direct I/O what the app has synced is on the disk below, and is cached once. */
async function loopDevice(image: string): Promise<string> {
  const known = await deviceOf(image);
  if (known !== undefined) return known;
  await check(image, '-p');
  const show = ['--find', '--show', image];
  // Not every file system below has direct I/O.
  const made = await runCommand(['losetup', '--direct-io=on', ...show]).catch(() => run(['losetup', ...show]));
  return made.trim();
}

/** Of one that has no device. Whole before it is enlarged (`-fp`), else as far as it was not let go of in order. */
const check = (image: string, how: '-p' | '-fp'): Promise<string> => run(['/bin/sh', '-c', CHECK, 'peer', image, how]);

async function deviceOf(image: string): Promise<string | undefined> {
  const found = await run(['losetup', '--noheadings', '--output', 'NAME', '--associated', image]);
  const [first = ''] = found.split('\n');
  return first.trim() === '' ? undefined : first.trim();
}

/** Harmless where there is none. What has files open in it keeps it until it has closed them. */
export async function detachDisk(folder: string): Promise<void> {
  if (!(await isAttached(folder))) return;
  const data = join(folder, DATA);
  await runCommand(['umount', data]).catch(() => runCommand(['umount', '--lazy', data]));
}

/**
 * Never smaller. Answers false, with nothing changed, where something has it mounted or open: a snapshot, a look at
 * how full it is. Enlarging what is mounted takes a right that a daemon in a container lacks, and what is mounted
 * elsewhere would be written to from two sides. Fails with VolumeError `no_hard_quota`, and is then mounted as it was.
 */
export async function growDisk(folder: string, sizeBytes: number): Promise<boolean> {
  const image = join(folder, IMAGE);
  const unmount = () =>
    runCommand(['umount', join(folder, DATA)]).then(
      () => true,
      () => false,
    );
  if (!(await soon(unmount))) return false;
  try {
    // The kernel gives the device back shortly after the last mount of it, wherever that is.
    if (!(await soon(async () => (await deviceOf(image)) === undefined))) return false;
    await allocate(image, sizeBytes);
    await check(image, '-fp');
    await run(['resize2fs', image]);
    return true;
  } finally {
    await attachDisk(folder);
  }
}

async function soon(isSo: () => Promise<boolean>): Promise<boolean> {
  const deadlineMs = performance.now() + SOON_MS;
  while (!(await isSo())) {
    if (performance.now() > deadlineMs) return false;
    await delay(LOOK_MS);
  }
  return true;
}

export async function isAttached(folder: string): Promise<boolean> {
  const [outer, inner] = await Promise.all(
    [folder, join(folder, DATA)].map((path) => stat(path).catch(() => undefined)),
  );
  return outer !== undefined && inner !== undefined && outer.dev !== inner.dev;
}

/** All of it at once: a sparse file could run out of disk below an app that has been promised its size. */
async function allocate(image: string, sizeBytes: number): Promise<void> {
  const [bytes, { size }, { bavail, bsize }] = [imageBytes(sizeBytes), await stat(image), await statfs(image)];
  // It would take all that is left before it failed.
  if (bytes - size > bavail * bsize) {
    // It has not run out of disk: only this is too large.
    const message = `a hard quota of ${formatBytes(sizeBytes)} needs as much free disk on this node: free some, or ask for less`;
    throw new VolumeError('no_hard_quota', message);
  }
  await run(['fallocate', '--length', String(bytes), image]);
}

async function run(argv: readonly string[]): Promise<string> {
  return runCommand(argv, { timeoutMs: TIMEOUT_MS }).catch((cause: Error & { code?: string }) => {
    if (cause.code === 'ENOSPC') {
      throw new VolumeError('disk_full', "this node's disk is full: free some disk space", { cause });
    }
    const message = `this node cannot give the volume a hard quota: ${cause.message}`;
    throw new VolumeError('no_hard_quota', message, { cause });
  });
}
