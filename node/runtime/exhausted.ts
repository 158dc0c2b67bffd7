// Whether the file system below an instance has nothing left at all. Then what failed there is not the instance's
// fault, whatever it looked like: a full disk below a disk of its own comes to it as an error of input and output.

import type { StatsFs } from 'node:fs';
import { statfs } from 'node:fs/promises';
import type { Resource } from '../core/pressure.ts';

/** Less is nothing: one write of anything else on the machine takes it. */
const FREE_BYTES_MIN = 2 * 1024 * 1024;
const FREE_INODES_MIN = 16;

/**
 * Fails with ENOSPC where so much does not fit. Asked before a sparse disk is filled: what is written there is in
 * memory first, and an instance would start from there and lose it later.
 */
export async function expectRoomAt(path: string, bytes: number): Promise<void> {
  const found = await statfs(path).catch(() => undefined);
  if (found === undefined || freeBytes(found) - bytes >= FREE_BYTES_MIN) return;
  throw Object.assign(new Error('no space left'), { code: 'ENOSPC' });
}

/** Root may use what is kept for it. */
const freeBytes = ({ bfree, bavail, bsize }: StatsFs): number => (process.getuid?.() === 0 ? bfree : bavail) * bsize;

/** Undefined: there is room, or nobody knows. */
export async function exhaustedAt(path: string): Promise<Resource | undefined> {
  const found = await statfs(path).catch(() => undefined);
  if (found === undefined) return undefined;
  if (freeBytes(found) < FREE_BYTES_MIN) return 'disk';
  return found.files > 0 && found.ffree < FREE_INODES_MIN ? 'inodes' : undefined;
}
