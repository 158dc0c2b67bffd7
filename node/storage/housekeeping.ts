// Housekeeping: what goes when nothing refers to it any more (droplets of forgotten releases, logs and caches of
// deleted apps) and what would grow for ever (the daemon's own log). Never touches what a release that can be rolled
// back to needs.

import { copyFile, stat, truncate } from 'node:fs/promises';
import type { AppId, Digest } from '../../crdt/ids.ts';
import type { DesiredView } from '../../crdt/view.ts';
import type { Log } from '../lib/log.ts';
import type { BlobStore } from '../ports/blobs.ts';

const INTERVAL_MS = 10 * 60_000;
/**
 * A droplet that was only just staged or fetched may be of a release that is not written yet, and so may be its app.
 */
const STAGED_GRACE_MS = 30 * 60_000;

/** Instances of a deleted app write to its logs until they have ended; looked at this often while there are any. */
const GONE_LOOK_MS = 500;

/** The daemon's log is at most this long, twice: the file and the one before it. */
const DAEMON_LOG_BYTES_MAX = 8 * 1024 * 1024;

export class Housekeeping {
  readonly #view: () => DesiredView;
  readonly #blobs: BlobStore;
  readonly #nowMs: () => number;
  readonly #log: Log;
  readonly #keepAlso: () => ReadonlySet<Digest>;
  readonly #isRunning: (app: AppId) => boolean;
  readonly #appsLogged: () => Promise<AppId[]>;
  readonly #appGone: (app: AppId) => Promise<void>;
  readonly #daemonLog: string;
  #apps: Set<AppId>;
  /** Deleted apps that still have something here. */
  readonly #gone = new Set<AppId>();
  #goneTimer: NodeJS.Timeout | undefined;
  /**
   * Since when each app with logs is in no desired state: a crash came before they were removed, or staging failed.
   */
  readonly #orphans = new Map<AppId, number>();
  /** Since when each blob has been without a release. */
  readonly #unused = new Map<Digest, number>();
  readonly #timer: NodeJS.Timeout;
  #stopped = false;

  constructor(options: {
    view: () => DesiredView;
    blobs: BlobStore;
    nowMs: () => number;
    log: Log;
    /** Blobs that are kept although no release refers to them: backups. */
    keepAlso?: () => ReadonlySet<Digest>;
    /** Whether any instance of the app is left on this node. */
    isRunning: (app: AppId) => boolean;
    /** Apps that have logs on this node. */
    appsLogged: () => Promise<AppId[]>;
    /** Removes what this node keeps of the app. */
    appGone: (app: AppId) => Promise<void>;
    /** Where the daemon's output goes when it runs detached; need not exist. */
    daemonLog: string;
  }) {
    this.#view = options.view;
    this.#blobs = options.blobs;
    this.#nowMs = options.nowMs;
    this.#log = options.log;
    this.#keepAlso = options.keepAlso ?? (() => new Set());
    this.#isRunning = options.isRunning;
    this.#appsLogged = options.appsLogged;
    this.#appGone = options.appGone;
    this.#daemonLog = options.daemonLog;
    this.#apps = new Set(this.#view().workloads.keys());
    this.#timer = setInterval(() => {
      void this.collectBlobs();
      void this.collectApps();
      void this.trimDaemonLog();
    }, INTERVAL_MS);
    this.#timer.unref();
  }

  desiredChanged(): void {
    const now = new Set(this.#view().workloads.keys());
    for (const app of this.#apps) if (!now.has(app)) this.#gone.add(app);
    this.#apps = now;
    this.removeGone();
  }

  /** Removes what is left of deleted apps, once none of their instances runs here. */
  removeGone(): void {
    clearTimeout(this.#goneTimer);
    for (const app of this.#gone) {
      if (this.#isRunning(app)) continue;
      this.#gone.delete(app);
      this.#appGone(app).catch((error) => this.#log.warn('housekeeping.app_failed', { app, error }));
    }
    if (this.#gone.size === 0 || this.#stopped) return;
    this.#goneTimer = setTimeout(() => this.removeGone(), GONE_LOOK_MS);
    this.#goneTimer.unref();
  }

  /**
   * Finds apps that have logs here but are not in the desired state. An app whose first push is being staged is not in
   * it either, so they are removed only after STAGED_GRACE_MS.
   */
  async collectApps(): Promise<void> {
    const apps = this.#view().workloads;
    const nowMs = this.#nowMs();
    const orphans = (await this.#appsLogged()).filter((app) => !apps.has(app));
    for (const app of this.#orphans.keys()) if (!orphans.includes(app)) this.#orphans.delete(app);
    for (const app of orphans) {
      const sinceMs = this.#orphans.get(app) ?? nowMs;
      this.#orphans.set(app, sinceMs);
      if (nowMs - sinceMs >= STAGED_GRACE_MS) this.#gone.add(app);
    }
    this.removeGone();
  }

  /** Since when each blob here has been of no release, on the node's clock; a look brings it up to date. */
  unusedSinceMs(): ReadonlyMap<Digest, number> {
    this.#noteUnused();
    return this.#unused;
  }

  #noteUnused(): void {
    const used = new Set<Digest>(this.#keepAlso());
    for (const app of this.#view().apps.values()) for (const { droplet } of app.releases) used.add(droplet.digest);
    const nowMs = this.#nowMs();
    const held = new Set(this.#blobs.list());
    for (const digest of this.#unused.keys()) {
      if (used.has(digest) || !held.has(digest)) this.#unused.delete(digest);
    }
    for (const digest of held) if (!used.has(digest) && !this.#unused.has(digest)) this.#unused.set(digest, nowMs);
  }

  async collectBlobs(): Promise<void> {
    this.#noteUnused();
    const nowMs = this.#nowMs();
    for (const [digest, sinceMs] of [...this.#unused]) {
      if (nowMs - sinceMs < STAGED_GRACE_MS) continue;
      this.#unused.delete(digest);
      try {
        await this.#blobs.remove(digest);
        this.#log.info('housekeeping.blob_removed', { digest });
      } catch (error) {
        this.#log.warn('housekeeping.blob_failed', { digest, error });
      }
    }
  }

  /** The file is open for appending, so it can be emptied under its writer; lines of the moment between are lost. */
  async trimDaemonLog(): Promise<void> {
    try {
      const { size } = await stat(this.#daemonLog);
      if (size <= DAEMON_LOG_BYTES_MAX) return;
      await copyFile(this.#daemonLog, `${this.#daemonLog}.1`);
      await truncate(this.#daemonLog);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') this.#log.warn('housekeeping.log_failed', { error });
    }
  }

  stop(): void {
    this.#stopped = true;
    clearInterval(this.#timer);
    clearTimeout(this.#goneTimer);
  }
}
