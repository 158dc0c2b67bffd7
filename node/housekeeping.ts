// Housekeeping: what goes when nothing refers to it any more (droplets of forgotten releases, logs and caches of deleted
// apps) and what would grow for ever (the daemon's own log). Never touches what a release that can be rolled back to needs.

import { copyFile, stat, truncate } from 'node:fs/promises';
import type { AppId, Digest } from '../crdt/ids.ts';
import type { DesiredView } from '../crdt/view.ts';
import type { BlobStore, Log } from './ports.ts';

const INTERVAL_MS = 10 * 60_000;
/** A droplet that was only just staged or fetched may be of a release that is not written yet. */
const BLOB_GRACE_MS = 30 * 60_000;

/** The daemon's log is at most this long, twice: the file and the one before it. */
const DAEMON_LOG_BYTES_MAX = 8 * 1024 * 1024;

export class Housekeeping {
  readonly #view: () => DesiredView;
  readonly #blobs: BlobStore;
  readonly #nowMs: () => number;
  readonly #log: Log;
  readonly #appGone: (app: AppId) => Promise<void>;
  readonly #daemonLog: string;
  #apps: Set<AppId>;
  /** Since when each blob has been without a release. */
  readonly #unused = new Map<Digest, number>();
  readonly #timer: NodeJS.Timeout;

  constructor(options: {
    view: () => DesiredView;
    blobs: BlobStore;
    nowMs: () => number;
    log: Log;
    appGone: (app: AppId) => Promise<void>;
    /** Where the daemon's output goes when it runs detached; need not exist. */
    daemonLog: string;
  }) {
    this.#view = options.view;
    this.#blobs = options.blobs;
    this.#nowMs = options.nowMs;
    this.#log = options.log;
    this.#appGone = options.appGone;
    this.#daemonLog = options.daemonLog;
    this.#apps = new Set(this.#view().apps.keys());
    this.#timer = setInterval(() => {
      void this.collectBlobs();
      void this.trimDaemonLog();
    }, INTERVAL_MS);
    this.#timer.unref();
  }

  desiredChanged(): void {
    const now = new Set(this.#view().apps.keys());
    for (const app of this.#apps) {
      if (now.has(app)) continue;
      this.#appGone(app).catch((error) => this.#log.warn('housekeeping.app_failed', { app, error }));
    }
    this.#apps = now;
  }

  async collectBlobs(): Promise<void> {
    const used = new Set<Digest>();
    for (const app of this.#view().apps.values()) for (const { droplet } of app.releases) used.add(droplet.digest);
    const nowMs = this.#nowMs();
    for (const digest of this.#blobs.list()) {
      if (used.has(digest)) {
        this.#unused.delete(digest);
        continue;
      }
      const sinceMs = this.#unused.get(digest) ?? nowMs;
      this.#unused.set(digest, sinceMs);
      if (nowMs - sinceMs < BLOB_GRACE_MS) continue;
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
    clearInterval(this.#timer);
  }
}
