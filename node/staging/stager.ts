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
import { type CacheLimits, type CacheUse, createCaches } from './cache.ts';
import { createCacheMoves } from './cache-moves.ts';
import { StagingError } from './errors.ts';
import type { BuildContext, BuildLimits } from './job.ts';
import { createLentFolders } from './lent-folders.ts';
import { hostStack } from './stack.ts';
import { createStopwatch, type Stopwatch } from './stopwatch.ts';
import { createTurns } from './turns.ts';
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
  const { dataDir, log } = options;
  const stagingDir = join(dataDir, 'staging');
  const cacheDir = join(dataDir, 'staging-cache');
  // Whatever is there, an earlier daemon was ended in the middle of it.
  await removeTree(stagingDir);
  for (const dir of [stagingDir, cacheDir]) await mkdir(dir, { recursive: true, mode: 0o700 });

  const detectOrder = options.detectOrder ?? DETECT_ORDER;
  const caches = createCaches(cacheDir, limits);
  const cacheMoves = createCacheMoves({ sandbox: options.sandbox, blobs: options.blobs, caches, limits });
  const turns = createTurns(limits);
  const closing = new AbortController();
  const running = new Set<Promise<unknown>>();
  const tidying = new Set<Promise<unknown>>();
  const context: BuildContext = {
    sandbox: options.sandbox,
    blobs: options.blobs,
    caches,
    lentFolders: createLentFolders(limits),
    builtinDir: options.builtinDir ?? fileURLToPath(new URL('../../buildpacks', import.meta.url)),
    detectOrder,
    stack: options.stack ?? hostStack(),
    forbiddenDirs: [dataDir],
    daemonEnv: options.daemonEnv ?? process.env,
    limits,
  };

  /** The app's build cache may be newer where it was staged last. */
  const followCache = async ({ app, onLine }: StageRequest, signal: AbortSignal): Promise<void> => {
    const newer = await options.cachePeers?.bringNewer(app.id, { version: await caches.version(app.id), signal });
    if (newer === undefined) return;
    try {
      await cacheMoves.unpack(app.id, newer, signal);
      onLine('-----> Build cache brought from the node that staged last');
    } catch (error) {
      log.info('staging.cache_not_unpacked', { app: app.name, error });
    } finally {
      await options.blobs.remove(newer.digest).catch(() => {});
    }
  };

  const stage = async (request: StageRequest, stopwatch: Stopwatch): Promise<StagedDroplet> => {
    if (request.buildpacks.length > BUILDPACKS_MAX) {
      throw new StagingError(
        'buildpack_unknown',
        `${request.buildpacks.length} buildpacks: at most ${BUILDPACKS_MAX} are allowed`,
      );
    }
    const packs = request.buildpacks.map((text) => parseBuildpackSpec(text, detectOrder));
    const place = turns.enter();
    const id = randomBytes(6).toString('hex');
    const root = join(stagingDir, id);
    const stop = new AbortController();
    const signal = AbortSignal.any([request.signal, closing.signal, stop.signal]);
    const stopWatching = watchDisk(stagingDir, limits.diskFreeBytesMin, stop);
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
      await receiveUpload(request.source, {
        path: workspace.upload,
        compressed: request.compressed ?? true,
        limits,
        signal: AbortSignal.any([signal, AbortSignal.timeout(limits.uploadTimeoutMs)]),
      });
      stopwatch.lap('upload');
      endTurn = await turns.take(request.app.id, {
        signal,
        onWait: () => request.onLine('-----> Waiting for other stagings on this node'),
      });
      stopwatch.lap('turn');
      await followCache(request, signal);
      stopwatch.lap('cache');
      // Loaded with the first staging: it brings a YAML parser along.
      const { build } = await import('./build.ts');
      const droplet = await build(context, { request, packs, workspace, id, signal, stopwatch });
      await caches.setVersion(request.app.id, (await caches.version(request.app.id)) + 1);
      inBackground(tidying, async () => {
        try {
          const dropped = await caches.trim(request.app.id);
          if (dropped) request.onLine(' !     The build cache grew too large and was dropped');
        } finally {
          await tidy();
        }
      });
      return droplet;
    } catch (error) {
      await tidy();
      throw stop.signal.aborted ? stop.signal.reason : error;
    } finally {
      stopWatching();
    }
  };

  return {
    stage(request) {
      const startedAtMs = performance.now();
      const stopwatch = createStopwatch();
      const fields = { app: request.app.name };
      const work = stage(request, stopwatch).then(
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
      running.add(work);
      work.catch(() => {}).finally(() => running.delete(work));
      return work;
    },
    async keepBuildpack(name, source, sizeBytesMax) {
      // Nothing refers to the blob: it goes with the next ones that are collected.
      const { digest } = await options.blobs.put(source, { sizeBytesMax });
      return uploadSpec(digest, name);
    },
    cacheVersion: caches.version,
    packCache: (app) => cacheMoves.pack(app, closing.signal),
    removeCache: caches.remove,
    listCaches: caches.list,
    async tidied() {
      await Promise.all(tidying);
    },
    async close() {
      closing.abort();
      await Promise.allSettled(running);
      await Promise.all(tidying);
    },
  };
};

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
