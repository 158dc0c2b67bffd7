// The folders of one staging on the host, and the files the stager reads back from it. Everything a build could write
// to is read as hostile: no link is followed, nothing but a regular file is read, and never more than a bound.

import type { ChildProcess } from 'node:child_process';
import { constants } from 'node:fs';
import { mkdir, open, rm, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { spawnChild } from '../lib/spawn-child.ts';

export type Workspace = {
  /** Removed as a whole at the end. */
  root: string;
  /**
   * What the build may write to. The sandbox shows each of these and no folder above, so none can be exchanged for a
   * link.
   */
  app: string;
  /**
   * What buildpacks supply beside the app: Cloud Foundry's `deps`, layers of Cloud Native Buildpacks, scripts for its
   * start.
   */
  deps: string;
  layers: string;
  profile: string;
  scratch: string;
  result: string;
  upload: string;
  /** The droplet's root, which only the stager writes, but for the folders above in it. */
  droplet: string;
  /**
   * Holds the droplet's root and, while it is lent, the app's cache: one mount, within which files move without being
   * copied.
   */
  together: string;
  cache: string;
};

/** Names that can be a file in ENV_DIR; others cannot be variables of a shell either. */
const VARIABLE = /^[A-Za-z_][A-Za-z0-9_]*$/;
const RESULT_BYTES_MAX = 256 * 1024;

export const createWorkspace = async (root: string): Promise<Workspace> => {
  const scratch = join(root, 'scratch');
  const result = join(root, 'result');
  const together = join(root, 'together');
  const droplet = join(together, 'droplet');
  await mkdir(root, { recursive: true, mode: 0o700 });
  for (const dir of [scratch, result, together, droplet]) await mkdir(dir, { mode: 0o755 });
  for (const dir of ['env', 'home', 'tmp', 'packs']) await mkdir(join(scratch, dir));
  for (const dir of ['app', 'deps', 'layers', 'logs', 'tmp', 'profile.d']) await mkdir(join(droplet, dir));
  return {
    root,
    app: join(droplet, 'app'),
    deps: join(droplet, 'deps'),
    layers: join(droplet, 'layers'),
    profile: join(droplet, 'profile.d'),
    scratch,
    result,
    upload: join(scratch, 'source'),
    droplet,
    together,
    cache: join(together, 'cache'),
  };
};

/** ENV_DIR of the buildpack API: one file per config var. */
export const writeEnvDir = async (workspace: Workspace, env: Record<string, string>): Promise<void> => {
  for (const [name, value] of Object.entries(env)) {
    if (VARIABLE.test(name)) await writeFile(join(workspace.scratch, 'env', name), value);
  }
};

/** What the runner left at this name in /result; undefined when it is not there or not a plain file. */
export const readResult = async (workspace: Workspace, name: string): Promise<string | undefined> => {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const file = await open(join(workspace.result, name), flags).catch(() => undefined);
  if (file === undefined) return undefined;
  try {
    if (!(await file.stat()).isFile()) return undefined;
    const { buffer, bytesRead } = await file.read({ buffer: Buffer.alloc(RESULT_BYTES_MAX), position: 0 });
    return buffer.toString('utf8', 0, bytesRead);
  } finally {
    await file.close();
  }
};

/** Removes a folder of any size without work for this process; falls back to its own when there is no rm. */
export const removeTree = async (path: string): Promise<void> => {
  const done = await ended(() => spawnChild('rm', ['-rf', '--one-file-system', '--', path], { stdio: 'ignore' }));
  if (done !== 0) await rm(path, { recursive: true, force: true });
};

/** Bytes a folder takes on disk, counted by another process; links are not followed. */
export const treeBytes = async (path: string): Promise<number> => {
  let printed = '';
  await ended(() => {
    const child = spawnChild('du', ['-s', '-x', '--block-size=1', '--', path], { stdio: ['ignore', 'pipe', 'ignore'] });
    child.stdout.on('data', (chunk: Buffer) => {
      printed += chunk.toString('latin1');
    });
    return child;
  });
  return Number.parseInt(printed, 10) || 0;
};

export const freeBytes = async (path: string): Promise<number> => {
  const { bavail, bsize } = await statfs(path);
  return bavail * bsize;
};

/** Null when it could not be started, too. */
const ended = (start: () => ChildProcess): Promise<number | null> =>
  new Promise<number | null>((resolve) => {
    const child = start();
    child.once('error', () => resolve(null));
    child.once('close', (code) => resolve(code));
  }).catch(() => null);
