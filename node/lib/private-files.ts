// Makes a data directory its owner's alone: it holds the node's key, the cluster's key and apps' environment.
// Directories of today are made so; one from a backup, or made by hand, may be open.

import { chmod, lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';

/** Belongs to someone else, who could open it again, or exchange what is in it. */
export class NotOwnedError extends Error {}

/**
 * Folders of secrets within it. What is in the others is named by nothing secret, and cannot be reached from outside.
 */
const FOLDERS = ['desired'];
/** Shown to instances and builds, whose users are others: the name servers that they ask. */
const SHOWN = ['resolv.conf'];
const OTHERS = 0o077;

/**
 * Takes every right of other users from the directory and the files with secrets in it; answers what had some, as
 * paths within the directory. Fails with NotOwnedError, and with what the file system says.
 */
export async function makePrivate(dir: string, uid = process.geteuid?.() ?? 0): Promise<string[]> {
  const opened: string[] = [];
  const tighten = async (path: string, shown: string): Promise<void> => {
    const found = await lstat(path);
    if (found.isSymbolicLink() || !(found.isFile() || found.isDirectory())) return;
    if (found.uid !== uid) throw new NotOwnedError(`${path} belongs to the user id ${found.uid}, not to ${uid}`);
    if ((found.mode & OTHERS) === 0) return;
    await chmod(path, found.mode & 0o7777 & ~OTHERS);
    opened.push(shown);
  };
  await tighten(dir, '.');
  for (const folder of ['', ...FOLDERS]) {
    const path = join(dir, folder);
    const entries = await readdir(path, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return [];
      throw error;
    });
    if (folder !== '' && entries.length > 0) await tighten(path, folder);
    for (const entry of entries) {
      if (entry.isFile() && !(folder === '' && SHOWN.includes(entry.name)))
        await tighten(join(path, entry.name), join(folder, entry.name));
    }
  }
  return opened;
}
