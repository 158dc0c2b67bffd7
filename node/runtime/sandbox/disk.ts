// Gives an instance's home a disk of its own: a sparse image file with a file system as large as its limit, mounted
// where the home is. A full one tells the app so at once, and nobody else notices. Decides no limit.

import { access, mkdir, rmdir, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runCommand } from '../../lib/program.ts';

const IMAGE = 'disk.img';
/** What the file system keeps for itself, on top of what the app may use. */
const OVERHEAD_SHARE = 0.05;
const OVERHEAD_BYTES = 1024 * 1024;
/** A file for so many bytes: packages of many small files fit, and an app cannot fill the node with empty ones. */
const BYTES_PER_FILE = 8192;
const PROBE_BYTES = 4 * 1024 * 1024;

/** A file on a disk of its own meets the end of the disk first, which apps know how to take; this ends them. */
const FILE_BEYOND_DISK = 2;

/** Largest file that an instance may write, to its home or to one of its volumes. */
export function fileBytesMax(
  diskBytes: number,
  ownDisk: boolean,
  volumes: readonly { sizeBytes: number }[] = [],
): number {
  const own = ownDisk ? diskBytes * FILE_BEYOND_DISK : diskBytes;
  return Math.max(own, ...volumes.map(({ sizeBytes }) => sizeBytes * FILE_BEYOND_DISK));
}

export type DiskPlan = {
  /** Folder that holds the image. */
  folder: string;
  /** Where it is mounted; there, and empty. */
  home: string;
  bytes: number;
  owner: number;
};

/** No journal and no barriers: what is on it does not outlive the instance, let alone a crash of the machine. */
export function diskCommands({ folder, home, bytes, owner }: DiskPlan): string[][] {
  const image = join(folder, IMAGE);
  const features = '^has_journal,^resize_inode,uninit_bg';
  const extended = `lazy_itable_init=1,nodiscard,root_owner=${owner}:${owner}`;
  const kib = Math.ceil((bytes * (1 + OVERHEAD_SHARE) + OVERHEAD_BYTES) / 1024);
  return [
    [
      'mkfs.ext4',
      '-q',
      '-F',
      '-O',
      features,
      '-m',
      '0',
      '-i',
      String(BYTES_PER_FILE),
      '-E',
      extended,
      image,
      `${kib}k`,
    ],
    ['mount', '-o', 'loop,nosuid,nodev,noatime,discard', image, home],
  ];
}

/** Fails with what the machine's program said; the caller calls detachDisk. */
export async function attachDisk(plan: DiskPlan): Promise<void> {
  const image = join(plan.folder, IMAGE);
  await writeFile(image, '', { mode: 0o600 });
  await truncate(image, Math.ceil(plan.bytes * (1 + OVERHEAD_SHARE) + OVERHEAD_BYTES));
  for (const command of diskCommands(plan)) await runCommand(command);
  // Not the app's, and of no use to it.
  await rmdir(join(plan.home, 'lost+found')).catch(() => {});
}

/** Whether the folder has a disk that enforces the limit. */
export function hasDisk(folder: string): Promise<boolean> {
  return isThere(join(folder, IMAGE));
}

/**
 * Lets go of the disk, if there is one, and before it of what is mounted on top of it; its image goes with the folder.
 */
export async function detachDisk({
  folder,
  home,
  root,
}: Pick<DiskPlan, 'folder' | 'home'> & { root?: string }): Promise<void> {
  if (!(await hasDisk(folder))) return;
  // Lazily: whatever still looks at it keeps it until it looks away.
  if (root !== undefined && (await isThere(root))) await runCommand(['umount', '-l', root]).catch(() => {});
  await runCommand(['umount', '-l', home]).catch(() => {});
}

function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** Fails with the reason when this machine cannot make such disks. */
export async function proveDisks(scratch: string): Promise<void> {
  const plan = { folder: join(scratch, 'disk'), home: join(scratch, 'disk', 'home'), bytes: PROBE_BYTES, owner: 0 };
  await mkdir(plan.home, { recursive: true, mode: 0o700 });
  try {
    await attachDisk(plan);
  } finally {
    await detachDisk(plan);
    await runCommand(['rm', '-rf', '--', plan.folder]);
  }
}
