// The few file operations that the store needs, each with its promise of durability, and how the real disk keeps it.
// Tests put a failing or crashing disk in its place. Knows nothing of what the files hold.

import { chmod, mkdir, open, readFile, rename, rm } from 'node:fs/promises';

/** The files hold tokens' hashes and environments: for the daemon's user only. */
const DIRECTORY_MODE = 0o700;
const FILE_MODE = 0o600;

export interface Disk {
  /** The directory exists, private, when it resolves. */
  makeDirectory(path: string): Promise<void>;
  /** Undefined when there is no such file. */
  read(path: string): Promise<Buffer | undefined>;
  /** The file holds the bytes and they are on disk when it resolves; an earlier file of the name is overwritten. */
  writeSynced(path: string, bytes: Uint8Array): Promise<void>;
  /** Atomic; on disk only after syncDirectory. */
  rename(from: string, to: string): Promise<void>;
  syncDirectory(path: string): Promise<void>;
  /** Of a file that may not be there; never fails for that. */
  remove(path: string): Promise<void>;
  openLog(path: string): Promise<LogFile>;
}

/** An open file that is only ever written at its end. */
export interface LogFile {
  /** Bytes are on disk when it resolves. When it fails, any part of them may be there. */
  append(bytes: Uint8Array, at: number): Promise<void>;
  /** The file has this length on disk when it resolves. */
  truncate(length: number): Promise<void>;
  close(): Promise<void>;
}

export const realDisk: Disk = {
  async makeDirectory(path) {
    await mkdir(path, { recursive: true, mode: DIRECTORY_MODE });
    await chmod(path, DIRECTORY_MODE);
  },

  async read(path) {
    try {
      return await readFile(path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  },

  async writeSynced(path, bytes) {
    const file = await open(path, 'w', FILE_MODE);
    try {
      await file.chmod(FILE_MODE);
      await file.writeFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
  },

  rename,

  async syncDirectory(path) {
    const directory = await open(path, 'r');
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  },

  async remove(path) {
    await rm(path, { force: true });
  },

  async openLog(path) {
    const file = await open(path, 'r+');
    return {
      async append(bytes, at) {
        for (let written = 0; written < bytes.length; ) {
          const { bytesWritten } = await file.write(bytes, written, bytes.length - written, at + written);
          written += bytesWritten;
        }
        // The length of the file is flushed along with its data; times are not, and need not be.
        await file.datasync();
      },
      async truncate(length) {
        await file.truncate(length);
        await file.sync();
      },
      close: () => file.close(),
    };
  },
};
