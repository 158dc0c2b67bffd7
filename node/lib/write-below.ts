// Writes files into a folder that someone else can write to, too: no link in it leads anywhere, and what is there
// under a file's name is replaced, never written into.

import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, rename, unlink } from 'node:fs/promises';
import { posix } from 'node:path';

const FOLDER_MODE = 0o700;
const FILE_MODE = 0o600;
const INTO = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

/**
 * Writes one file, readable by its owner alone, on disk when it resolves; folders on the way are made. `path` is
 * relative, without `..`. Fails with an error that names the part of the path which is not what it should be.
 */
export async function writeBelow(
  folder: string,
  file: { path: string; content: string; owner: number | undefined },
): Promise<void> {
  const parts = posix.normalize(file.path).split('/');
  const name = parts.pop() ?? '';
  if (posix.isAbsolute(file.path) || name === '' || [name, ...parts].some((part) => part === '..' || part === '.')) {
    throw new Error(`${file.path} is no path of a file below a folder`);
  }
  let at = await open(folder, INTO);
  try {
    for (const part of parts) {
      const next = await enter(at, part, file);
      await at.close();
      at = next;
    }
    await replace(at, name, file);
  } finally {
    await at.close();
  }
}

/** As openat(2) would name it: below a folder that is open, whatever its path leads to by now. */
function within(folder: FileHandle, name: string): string {
  return `/proc/self/fd/${folder.fd}/${name}`;
}

async function enter(at: FileHandle, part: string, file: { path: string; owner: number | undefined }) {
  const path = within(at, part);
  const made = await mkdir(path, { mode: FOLDER_MODE }).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'EEXIST') return false;
      throw error;
    },
  );
  const folder = await open(path, INTO).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ELOOP' && error.code !== 'ENOTDIR') throw error;
    throw new Error(`${part} on the way to ${file.path} is a link or a file where a folder should be: remove it`);
  });
  if (made && file.owner !== undefined) await folder.chown(file.owner, file.owner);
  return folder;
}

async function replace(
  at: FileHandle,
  name: string,
  file: { path: string; content: string; owner: number | undefined },
): Promise<void> {
  const passing = within(at, `.new-${randomBytes(8).toString('hex')}`);
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  const handle = await open(passing, flags, FILE_MODE);
  try {
    try {
      if (file.owner !== undefined) await handle.chown(file.owner, file.owner);
      await handle.writeFile(file.content);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(passing, within(at, name));
  } catch (error) {
    await unlink(passing).catch(() => {});
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'EISDIR' && code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error;
    throw new Error(`${file.path} is a folder where a file should be: remove it`, { cause: error });
  }
}
