// Stages apps: receives the upload, waits its turn, builds, and cleans up whatever happens. The one door into staging.

import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { AppId, Digest } from '../../crdt/ids.ts';
import type { Log } from '../lib/log.ts';
import type { BlobStore } from '../ports/blobs.ts';
import type { Sandbox } from '../ports/sandbox.ts';
import type { CachePeers, StagedDroplet, StageRequest, Stager } from '../ports/staging.ts';
import { BUILDPACKS_MAX, parseBuildpackSpec, uploadSpec } from './buildpack.ts';
import { type CacheLimits, type Caches, type CacheUse, createCaches } from './cache.ts';
import { type CacheMoves, createCacheMoves } from './cache-moves.ts';
import { StagingError } from './errors.ts';
import type { BuildContext, BuildLimits } from './job.ts';
import { createLentFolders } from './lent-folders.ts';
import { hostStack } from './stack.ts';
import { createStopwatch, type Stopwatch } from './stopwatch.ts';
import { createTurns, type Turns } from './turns.ts';
import { receiveUpload, type UploadLimits } from './upload.ts';
import { createWorkspace, freeBytes, removeTree } from './workspace.ts';

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;

/** Meaning of each in the types they come from. */
export type StagingLimits = UploadLimits &
  BuildLimits &
  CacheLimits & {
    /** Stagings at the same time. */
    runningMax: number;
    /** Stagings that wait their turn, their uploads on disk; more are refused. */
    waitingMax: number;
    /** From the first byte of an upload to its last. */
    uploadTimeoutMs: number;
    /** A staging ends when it leaves less than this free on the data directory's disk: the node itself needs it. */
    diskFreeBytesMin: number;
  };

/** Time, archive and output limits are those of Cloud Foundry or above; the rest suits small machines. */
export const STAGING_LIMITS: StagingLimits = {
  uploadBytesMax: 1 * GIB,
  unpackedBytesMax: 2 * GIB,
  entriesMax: 200_000,
  uploadTimeoutMs: 900_000,
  timeLimitMs: 900_000,
  memoryBytes: 1 * GIB,
  pidsMax: 1024,
  outputBytesMax: 100 * MIB,
  dropletBytesMax: 2 * GIB,
  appBytesMax: 1 * GIB,
  appsMax: 16,
  runningMax: 2,
  waitingMax: 8,
  diskFreeBytesMin: 256 * MIB,
};

/** How often the free space is looked at while something is built. */
const DISK_WATCH_INTERVAL_MS = 1_000;

/**
 * The built-in buildpacks, in the order in which they are asked. The languages whose apps often have a package.json
 * too, for their assets, come before nodejs; what fits nearly any folder comes last.
 */
export const DETECT_ORDER = [
  'deno',
  'bun',
  'ruby',
  'php',
  'java',
  'go',
  'nodejs',
  'python',
  'static',
  'procfile',
  'binary',
] as const;

export type StagerOptions = {
  dataDir: string;
  sandbox: Sandbox;
  blobs: BlobStore;
  log: Log;
  /** Default: the one this machine has. */
  stack?: string;
  /** Default: `buildpacks/` of this installation. */
  builtinDir?: string;
  detectOrder?: readonly string[];
  /** Where proxies, registries and certificates are read from. */
  daemonEnv?: NodeJS.ProcessEnv;
  limits?: Partial<StagingLimits>;
  /** Default: this node's caches are all there are. */
  cachePeers?: CachePeers;
};

export type LocalStager = Stager & {
  /** How many stagings have made the app's build cache; 0: there is none. */
  cacheVersion(app: AppId): Promise<number>;
  /** As a blob, for another node. Fails with StagingError when it is being changed. */
  packCache(app: AppId): Promise<{ digest: Digest; sizeBytes: number; version: number }>;
  /** Drops the build cache of an app that is gone. */
  removeCache(app: AppId): Promise<void>;
  /** The build caches that are here, and not in use. */
  listCaches(): Promise<CacheUse[]>;
  /** Resolves when nothing is left of the stagings that have ended. */
  tidied(): Promise<void>;
  /** Stops all stagings with `aborted`; resolves when nothing of them is left. */
  close(): Promise<void>;
};

export const createStager = async (options: StagerOptions): Promise<LocalStager> => {
  const limits: StagingLimits = { ...STAGING_LIMITS, ...options.limits };
  const { dataDir } = options;
  const stagingDir = join(dataDir, 'staging');
  const cacheDir = join(dataDir, 'staging-cache');
  // Whatever is there, an earlier daemon was ended in the middle of it.
  await removeTree(stagingDir);
  for (const dir of [stagingDir, cacheDir]) await mkdir(dir, { recursive: true, mode: 0o700 });

  return new StagerHere(options, { limits, stagingDir, cacheDir });
};

/** The methods do not need their object: parts of the daemon are given some of them alone. */
class StagerHere implements LocalStager {
  readonly #options: StagerOptions;
  readonly #limits: StagingLimits;
  readonly #stagingDir: string;
  readonly #caches: Caches;
  readonly #cacheMoves: CacheMoves;
  readonly #turns: Turns;
  readonly #context: BuildContext;
  readonly #closing = new AbortController();
  readonly #running = new Set<Promise<unknown>>();
  readonly #tidying = new Set<Promise<unknown>>();

  constructor(options: StagerOptions, made: { limits: StagingLimits; stagingDir: string; cacheDir: string }) {
    const { sandbox, blobs } = options;
    const { limits } = made;
    this.#options = options;
    this.#limits = limits;
    this.#stagingDir = made.stagingDir;
    this.#caches = createCaches(made.cacheDir, limits);
    this.#cacheMoves = createCacheMoves({ sandbox, blobs, caches: this.#caches, limits });
    this.#turns = createTurns(limits);
    this.#context = {
      sandbox,
      blobs,
      caches: this.#caches,
      lentFolders: createLentFolders(limits),
      builtinDir: options.builtinDir ?? fileURLToPath(new URL('../../buildpacks', import.meta.url)),
      detectOrder: options.detectOrder ?? DETECT_ORDER,
      stack: options.stack ?? hostStack(),
      forbiddenDirs: [options.dataDir],
      daemonEnv: options.daemonEnv ?? process.env,
      limits,
    };
  }

  stage: LocalStager['stage'] = (request) => {
    const { log } = this.#options;
    const startedAtMs = performance.now();
    const stopwatch = createStopwatch();
    const fields = { app: request.app.name };
    const work = this.#stage(request, stopwatch).then(
      (droplet) => {
        const { digest, sizeBytes } = droplet;
        const tookMs = Math.round(performance.now() - startedAtMs);
        log.info('staging.done', { ...fields, digest, sizeBytes, tookMs, ...stopwatch.laps() });
        return droplet;
      },
      (error: unknown) => {
        const { code = 'unexpected', message } = error as Error & { code?: string };
        log.warn('staging.failed', { ...fields, code, message });
        throw error;
      },
    );
    this.#running.add(work);
    work.catch(() => {}).finally(() => this.#running.delete(work));
    return work;
  };

  keepBuildpack: LocalStager['keepBuildpack'] = async (name, source, sizeBytesMax) => {
    // Nothing refers to the blob: it goes with the next ones that are collected.
    const { digest } = await this.#options.blobs.put(source, { sizeBytesMax });
    return uploadSpec(digest, name);
  };

  cacheVersion: LocalStager['cacheVersion'] = (app) => this.#caches.version(app);

  packCache: LocalStager['packCache'] = (app) => this.#cacheMoves.pack(app, this.#closing.signal);

  removeCache: LocalStager['removeCache'] = (app) => this.#caches.remove(app);

  listCaches: LocalStager['listCaches'] = () => this.#caches.list();

  tidied: LocalStager['tidied'] = async () => {
    await Promise.all(this.#tidying);
  };

  close: LocalStager['close'] = async () => {
    this.#closing.abort();
    await Promise.allSettled(this.#running);
    await Promise.all(this.#tidying);
  };

  async #stage(request: StageRequest, stopwatch: Stopwatch): Promise<StagedDroplet> {
    if (request.buildpacks.length > BUILDPACKS_MAX) {
      throw new StagingError(
        'buildpack_unknown',
        `${request.buildpacks.length} buildpacks: at most ${BUILDPACKS_MAX} are allowed`,
      );
    }
    const packs = request.buildpacks.map((text) => parseBuildpackSpec(text, this.#context.detectOrder));
    const place = this.#turns.enter();
    const id = randomBytes(6).toString('hex');
    const root = join(this.#stagingDir, id);
    const stop = new AbortController();
    const signal = AbortSignal.any([request.signal, this.#closing.signal, stop.signal]);
    const stopWatching = watchDisk(this.#stagingDir, this.#limits.diskFreeBytesMin, stop);
    let endTurn = (): void => {};
    const tidy = async (): Promise<void> => {
      try {
        await removeTree(root);
      } finally {
        endTurn();
        place.leave();
      }
    };
    try {
      if (signal.aborted) throw new StagingError('aborted', 'staging was stopped');
      const workspace = await createWorkspace(root);
      await this.#receive(request, workspace.upload, signal);
      stopwatch.lap('upload');
      endTurn = await this.#turns.take(request.app.id, {
        signal,
        onWait: () => request.onLine('-----> Waiting for other stagings on this node'),
      });
      stopwatch.lap('turn');
      await this.#followCache(request, signal);
      stopwatch.lap('cache');
      // Loaded with the first staging: it brings a YAML parser along.
      const { build } = await import('./build.ts');
      const droplet = await build(this.#context, { request, packs, workspace, id, signal, stopwatch });
      await this.#caches.setVersion(request.app.id, (await this.#caches.version(request.app.id)) + 1);
      inBackground(this.#tidying, () => this.#trimCache(request).finally(tidy));
      return droplet;
    } catch (error) {
      await tidy();
      throw stop.signal.aborted ? stop.signal.reason : error;
    } finally {
      stopWatching();
    }
  }

  async #receive({ source, compressed = true }: StageRequest, path: string, signal: AbortSignal): Promise<void> {
    const limits = this.#limits;
    const bounded = AbortSignal.any([signal, AbortSignal.timeout(limits.uploadTimeoutMs)]);
    await receiveUpload(source, { path, compressed, limits, signal: bounded });
  }

  /** The app's build cache may be newer where it was staged last. */
  async #followCache({ app, onLine }: StageRequest, signal: AbortSignal): Promise<void> {
    const { cachePeers, blobs, log } = this.#options;
    const newer = await cachePeers?.bringNewer(app.id, { version: await this.#caches.version(app.id), signal });
    if (newer === undefined) return;
    try {
      await this.#cacheMoves.unpack(app.id, newer, signal);
      onLine('-----> Build cache brought from the node that staged last');
    } catch (error) {
      log.info('staging.cache_not_unpacked', { app: app.name, error });
    } finally {
      await blobs.remove(newer.digest).catch(() => {});
    }
  }

  async #trimCache({ app, onLine }: StageRequest): Promise<void> {
    if (await this.#caches.trim(app.id)) onLine(' !     The build cache grew too large and was dropped');
  }
}

/** What nobody waits for; what goes wrong with it is left for the next start of the daemon. */
const inBackground = (works: Set<Promise<unknown>>, work: () => Promise<void>): void => {
  const ended: Promise<void> = work()
    .catch(() => {})
    .finally(() => works.delete(ended));
  works.add(ended);
};

/**
 * Aborts `stop` with a StagingError when space runs out. Looks at a number of the file system, whatever the tree's
 * size.
 */
const watchDisk = (dir: string, freeBytesMin: number, stop: AbortController): (() => void) => {
  const look = async (): Promise<void> => {
    const free = await freeBytes(dir).catch(() => Number.POSITIVE_INFINITY);
    if (free >= freeBytesMin) return;
    stop.abort(
      new StagingError(
        'disk_full',
        `this node has less than ${Math.floor(freeBytesMin / MIB)} MiB of disk left: free some disk space, or push to another node`,
      ),
    );
  };
  const timer = setInterval(look, DISK_WATCH_INTERVAL_MS);
  void look();
  return () => clearInterval(timer);
};
