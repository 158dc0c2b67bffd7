// The build caches of apps: `<dir>/<app id>/<buildpack>`, bounded in size and number, each with a version that grows
// with every staging of the app on any node. A cache is never needed, only fast: whatever is wrong with one, it is
// dropped.

import { mkdir, readdir, readFile, rename, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { AppId } from '../../crdt/ids.ts';
import { idProblem } from '../../crdt/limits.ts';
import { removeTree, treeBytes } from './workspace.ts';

export type CacheLimits = {
  /** Of one app, all buildpacks together; a larger one is dropped after the staging that made it. */
  appBytesMax: number;
  /** Apps that have a cache; the least recently staged one goes. */
  appsMax: number;
};

/** `usedAtMs`: Unix, of its last staging. */
export type CacheUse = { app: AppId; bytes: number; usedAtMs: number };

export type Caches = {
  /** The app's cache, with a folder below it per buildpack; `fresh`: it was just made, and belongs to the daemon. */
  folder(app: AppId): Promise<{ path: string; fresh: boolean }>;
  /**
   * Moves the app's cache to `at` until it is given back, so that a staging has it on one mount with its app. One that
   * is killed meanwhile loses it, and with it whatever was half done. It counts as not there while it is lent.
   */
  lend(app: AppId, at: string): Promise<{ fresh: boolean; giveBack(): Promise<void> }>;
  /** Holds the bounds after a staging. True when the app's cache was dropped for its size. */
  trim(app: AppId): Promise<boolean>;
  remove(app: AppId): Promise<void>;
  /** Those that are not lent, with what each takes on disk. */
  list(): Promise<CacheUse[]>;
  /** How many stagings have made it what it is; 0 when there is none. */
  version(app: AppId): Promise<number>;
  setVersion(app: AppId, version: number): Promise<void>;
};

export const createCaches = (dir: string, limits: CacheLimits): Caches => {
  const appDir = (app: AppId): string => {
    // It becomes a path that is removed as a whole.
    if (idProblem(app) !== undefined) throw new TypeError(`not an app id: ${JSON.stringify(app)}`);
    return join(dir, app);
  };

  /** Beside the caches: builds can write to those. */
  const versionsDir = `${dir}-versions`;
  /** Those that are lent, and whether they were removed meanwhile. */
  const lent = new Map<string, { removed: boolean }>();
  const drop = async (app: string): Promise<void> => {
    const loan = lent.get(app);
    if (loan !== undefined) loan.removed = true;
    await removeTree(join(versionsDir, app));
    await removeTree(join(dir, app));
  };

  const dropOldest = async (): Promise<void> => {
    const names = await readdir(dir).catch(() => []);
    if (names.length <= limits.appsMax) return;
    const used = await Promise.all(
      names.map(async (name) => ({ name, at: (await stat(join(dir, name)).catch(() => undefined))?.mtimeMs ?? 0 })),
    );
    used.sort((a, b) => b.at - a.at);
    for (const { name } of used.slice(limits.appsMax)) await drop(name);
  };

  const folder: Caches['folder'] = async (app) => {
    const path = appDir(app);
    const fresh = (await mkdir(path, { recursive: true, mode: 0o755 })) !== undefined;
    const now = new Date();
    await utimes(path, now, now);
    return { path, fresh };
  };

  return {
    folder,
    async lend(app, at) {
      const { path, fresh } = await folder(app);
      await rename(path, at);
      const loan = { removed: false };
      lent.set(app, loan);
      return {
        fresh,
        async giveBack() {
          lent.delete(app);
          if (!loan.removed) await rename(at, path);
        },
      };
    },
    async trim(app) {
      const path = appDir(app);
      const tooLarge = (await treeBytes(path)) > limits.appBytesMax;
      if (tooLarge) await drop(app);
      await dropOldest();
      return tooLarge;
    },
    async remove(app) {
      appDir(app);
      await drop(app);
    },
    async list() {
      const names = (await readdir(dir).catch(() => [])).filter((name) => idProblem(name) === undefined);
      return Promise.all(
        names.map(async (name) => ({
          app: name as AppId,
          bytes: await treeBytes(join(dir, name)),
          usedAtMs: (await stat(join(dir, name)).catch(() => undefined))?.mtimeMs ?? 0,
        })),
      );
    },
    async version(app) {
      const there = await stat(appDir(app)).catch(() => undefined);
      if (there === undefined) return 0;
      return Number.parseInt(await readFile(join(versionsDir, app), 'utf8').catch(() => ''), 10) || 0;
    },
    async setVersion(app, version) {
      appDir(app);
      await mkdir(versionsDir, { recursive: true, mode: 0o700 });
      await writeFile(join(versionsDir, app), `${version}\n`);
    },
  };
};
