// Housekeeping: what goes when nothing refers to it any more: droplets of forgotten releases, logs and caches of deleted
// apps. Never touches what a release that can be rolled back to needs.

import type { AppId, Digest } from '../crdt/ids.ts';
import type { DesiredView } from '../crdt/view.ts';
import type { BlobStore, Log } from './ports.ts';

const INTERVAL_MS = 10 * 60_000;
/** A droplet that was only just staged or fetched may be of a release that is not written yet. */
const BLOB_GRACE_MS = 30 * 60_000;

export class Housekeeping {
  readonly #view: () => DesiredView;
  readonly #blobs: BlobStore;
  readonly #nowMs: () => number;
  readonly #log: Log;
  readonly #appGone: (app: AppId) => Promise<void>;
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
  }) {
    this.#view = options.view;
    this.#blobs = options.blobs;
    this.#nowMs = options.nowMs;
    this.#log = options.log;
    this.#appGone = options.appGone;
    this.#apps = new Set(this.#view().apps.keys());
    this.#timer = setInterval(() => void this.collectBlobs(), INTERVAL_MS);
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

  stop(): void {
    clearInterval(this.#timer);
  }
}
