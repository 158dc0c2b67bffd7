// The LogStore port: each app's recent lines on this node, in files that rotate, written in batches behind a bounded
// buffer. Losing lines is counted and said; it never holds up the daemon's thread or grows without bound.

import { mkdir, readdir, rename, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type AppId, asAppId, type NodeId } from '../../../crdt/ids.ts';
import { idProblem } from '../../../crdt/limits.ts';
import { LOG_LINE_BYTES_MAX } from '../../lib/lines.ts';
import type { Log } from '../../lib/log.ts';
import type { LogLine, LogStore } from '../../ports/logs.ts';
import { RuntimeError } from '../errors.ts';
import { type Follower, followed } from './follow.ts';
import { LOG_TAIL_LINES_MAX, tailLines } from './tail.ts';

/** A file that is full makes way for a new one; LOG_FILES_KEPT files are held per app. */
export const LOG_FILE_BYTES_MAX = 4 * 1024 * 1024;
export const LOG_FILES_KEPT = 3;
/** Lines of all apps that wait for the disk. Beyond it they are dropped, counted and reported. */
const PENDING_BYTES_MAX = 8 * 1024 * 1024;
/** From here on, writers that can wait are asked to. */
const PENDING_BYTES_SLOW = 1024 * 1024;
/** Lines are gathered for so long before they are written. */
const WRITE_DELAY_MS = 50;
/** Rough cost of a line beyond its text. */
const LINE_OVERHEAD_BYTES = 300;

/** What a source of many lines asks before it goes on. */
export type PacedLogStore = LogStore & {
  /** A promise while too much waits for the disk; undefined while there is room. */
  full(): Promise<void> | undefined;
  /** Writes all that waits, then takes no more. */
  close(): Promise<void>;
};

type AppLog = {
  app: AppId;
  folder: string;
  pending: string[];
  pendingBytes: number;
  dropped: number;
  /** The last write did not succeed. */
  failing: boolean;
  /** Undefined until the first write. */
  fileBytes: number | undefined;
  timer: NodeJS.Timeout | undefined;
  /** The writes so far, one after the other. */
  writing: Promise<void>;
  followers: Set<Follower>;
};

export type LogStoreOptions = { dataDir: string; nodeId: NodeId; log: Log; fileBytesMax?: number };

export function createLogStore(options: LogStoreOptions): PacedLogStore {
  return new FileLogStore(options);
}

class FileLogStore implements PacedLogStore {
  readonly #folder: string;
  readonly #node: NodeId;
  readonly #log: Log;
  readonly #fileBytesMax: number;
  readonly #apps = new Map<AppId, AppLog>();
  #pendingBytes = 0;
  #room: PromiseWithResolvers<void> | undefined;
  #closed = false;

  constructor(options: LogStoreOptions) {
    this.#folder = join(options.dataDir, 'logs');
    this.#node = options.nodeId;
    this.#log = options.log;
    this.#fileBytesMax = options.fileBytesMax ?? LOG_FILE_BYTES_MAX;
  }

  append(line: Omit<LogLine, 'node' | 'atMs'>): void {
    if (this.#closed || idProblem(line.app) !== undefined) return;
    const app = this.#app(line.app);
    const full: LogLine = { atMs: Date.now(), node: this.#node, ...line, text: bounded(line.text) };
    for (const follower of app.followers) follower.push(full);
    const encoded = `${JSON.stringify(full)}\n`;
    const bytes = encoded.length + LINE_OVERHEAD_BYTES;
    if (this.#pendingBytes + bytes > PENDING_BYTES_MAX) {
      app.dropped++;
      return;
    }
    this.#pendingBytes += bytes;
    app.pendingBytes += bytes;
    app.pending.push(encoded);
    app.timer ??= setTimeout(() => void this.#flush(app), WRITE_DELAY_MS);
  }

  full(): Promise<void> | undefined {
    if (this.#pendingBytes < PENDING_BYTES_SLOW) return undefined;
    this.#room ??= Promise.withResolvers();
    return this.#room.promise;
  }

  async tail(app: AppId, lines: number): Promise<LogLine[]> {
    const log = this.#app(checked(app));
    await this.#flush(log);
    return tailLines(this.#paths(log), Math.min(lines, LOG_TAIL_LINES_MAX));
  }

  follow(app: AppId, listener: (line: LogLine) => void): () => void {
    const log = this.#app(checked(app));
    const follower = followed(listener, (dropped) =>
      this.#notice(app, `${dropped} lines left out: the reader is too slow`),
    );
    log.followers.add(follower);
    return () => {
      follower.stop();
      log.followers.delete(follower);
    };
  }

  async apps(): Promise<AppId[]> {
    const entries = await readdir(this.#folder, { withFileTypes: true }).catch(() => []);
    return entries.filter((entry) => entry.isDirectory() && !idProblem(entry.name)).map((entry) => asAppId(entry.name));
  }

  async remove(app: AppId): Promise<void> {
    const log = this.#app(checked(app));
    await this.#flush(log);
    log.writing = log.writing.then(async () => {
      await rm(log.folder, { recursive: true, force: true });
      log.fileBytes = undefined;
    });
    await log.writing;
    if (log.followers.size === 0 && log.pending.length === 0) this.#apps.delete(app);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#apps.values()].map((app) => this.#flush(app)));
    for (const app of this.#apps.values()) for (const follower of app.followers) follower.stop();
  }

  #app(app: AppId): AppLog {
    const known = this.#apps.get(app);
    if (known !== undefined) return known;
    const made: AppLog = {
      app,
      folder: join(this.#folder, app),
      pending: [],
      pendingBytes: 0,
      dropped: 0,
      failing: false,
      fileBytes: undefined,
      timer: undefined,
      writing: Promise.resolve(),
      followers: new Set(),
    };
    this.#apps.set(app, made);
    return made;
  }

  /** Newest first. */
  #paths(app: AppLog): string[] {
    return Array.from({ length: LOG_FILES_KEPT }, (_, age) => join(app.folder, age === 0 ? 'current' : String(age)));
  }

  #flush(app: AppLog): Promise<void> {
    clearTimeout(app.timer);
    app.timer = undefined;
    if (app.pending.length > 0 || app.dropped > 0) app.writing = app.writing.then(() => this.#write(app));
    return app.writing;
  }

  async #write(app: AppLog): Promise<void> {
    const { pendingBytes, dropped } = app;
    if (dropped > 0)
      app.pending.push(`${JSON.stringify(this.#notice(app.app, `${dropped} lines lost: the disk is too slow`))}\n`);
    const batch = app.pending.join('');
    app.pending = [];
    app.pendingBytes = 0;
    app.dropped = 0;
    try {
      if (batch !== '') await this.#appendToFile(app, Buffer.from(batch));
      app.failing = false;
    } catch (error) {
      // Said once, not for every batch of a disk that stays full: the daemon's own log may be on it too.
      if (!app.failing) {
        const message = error instanceof Error ? error.message : String(error);
        this.#log.warn('logs.write_failed', { app: app.app, error: message });
      }
      app.failing = true;
      app.fileBytes = undefined;
    } finally {
      this.#pendingBytes -= pendingBytes;
      if (this.#pendingBytes < PENDING_BYTES_SLOW) {
        this.#room?.resolve();
        this.#room = undefined;
      }
    }
  }

  async #appendToFile(app: AppLog, batch: Buffer): Promise<void> {
    const paths = this.#paths(app);
    const current = paths[0]!;
    if (app.fileBytes === undefined) {
      await mkdir(app.folder, { recursive: true, mode: 0o700 });
      app.fileBytes = await stat(current).then(
        (found) => found.size,
        () => 0,
      );
    }
    if (app.fileBytes > 0 && app.fileBytes + batch.length > this.#fileBytesMax) {
      for (let age = paths.length - 1; age > 0; age--) {
        await rename(paths[age - 1]!, paths[age]!).catch(ignoreMissing);
      }
      app.fileBytes = 0;
    }
    const { fileBytes } = app;
    try {
      await writeFile(current, batch, { flag: 'a', mode: 0o600 });
    } catch (error) {
      // Half a line would take the first one that fits again with it.
      await truncate(current, fileBytes).catch(() => {});
      throw error;
    }
    app.fileBytes += batch.length;
  }

  #notice(app: AppId, text: string): LogLine {
    return { atMs: Date.now(), app, node: this.#node, source: 'CELL', stream: 'err', text };
  }
}

/**
 * The id becomes the name of a folder. By the rule that views are read by, so that no app of the cluster is refused
 * here.
 */
function checked(app: AppId): AppId {
  if (idProblem(app) === undefined) return app;
  throw new RuntimeError('invalid_name', `not an app id: ${JSON.stringify(app.slice(0, 200))}`);
}

function bounded(text: string): string {
  // No character takes more than three bytes per UTF-16 unit, so short texts need no counting.
  if (text.length * 3 <= LOG_LINE_BYTES_MAX || Buffer.byteLength(text) <= LOG_LINE_BYTES_MAX) return text;
  return new TextDecoder().decode(Buffer.from(text).subarray(0, LOG_LINE_BYTES_MAX), { stream: true });
}

function ignoreMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error;
}
