// Whether the file system below an instance has nothing left at all. Then what failed there is not the instance's fault,
// whatever it looked like: a full disk below a disk of its own comes to it as an error of input and output.

import { statfs } from 'node:fs/promises';
import type { Resource } from '../core/pressure.ts';

/** Less is nothing: one write of anything else on the machine takes it. */
const FREE_BYTES_MIN = 2 * 1024 * 1024;
const FREE_INODES_MIN = 16;

/** Undefined: there is room, or nobody knows. */
export async function exhaustedAt(path: string): Promise<Resource | undefined> {
  const found = await statfs(path).catch(() => undefined);
  if (found === undefined) return undefined;
  // Root may use what is kept for it.
  const blocks = process.getuid?.() === 0 ? found.bfree : found.bavail;
  if (blocks * found.bsize < FREE_BYTES_MIN) return 'disk';
  return found.files > 0 && found.ffree < FREE_INODES_MIN ? 'inodes' : undefined;
}
