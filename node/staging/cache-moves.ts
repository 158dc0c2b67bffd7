// Moves build caches between nodes: packs one into the blob store for another node, and unpacks one that has come.
// Both are runs in the sandbox: what is in a cache was written by builds. Who asks whom is decided elsewhere.

import { PassThrough, Readable } from 'node:stream';
import type { AppId, Digest } from '../../crdt/ids.ts';
import type { BlobStore } from '../ports/blobs.ts';
import type { Sandbox, SandboxRun } from '../ports/sandbox.ts';
import type { Caches } from './cache.ts';
import { StagingError } from './errors.ts';

export type CacheMoves = {
  /** Fails with StagingError when there is none, or when it changes while it is packed; nothing is left then. */
  pack(app: AppId, signal: AbortSignal): Promise<{ digest: Digest; sizeBytes: number; version: number }>;
  /** Takes the place of the cache that is here. When it fails there is no cache. */
  unpack(app: AppId, from: { digest: Digest; version: number }, signal: AbortSignal): Promise<void>;
};

const INSIDE = '/cache';
const MOVE_TIMEOUT_MS = 120_000;
const MOVE_MEMORY_BYTES = 256 * 1024 * 1024;
const MOVE_PIDS_MAX = 16;
const COMPLAINT_BYTES_MAX = 2_000;
/** Headers and padding of a tar come on top of what a cache may take on disk. */
const TAR_BYTES_FACTOR = 1.25;
/** Reads no further than the bound, so that a small blob cannot fill the disk. */
const UNPACK = `head -c "$1" | tar -xf - -C ${INSIDE} --no-same-owner`;

export const createCacheMoves = (context: {
  sandbox: Sandbox;
  blobs: BlobStore;
  caches: Caches;
  limits: { appBytesMax: number };
}): CacheMoves => {
  const { sandbox, blobs, caches } = context;
  const tarBytesMax = Math.ceil(context.limits.appBytesMax * TAR_BYTES_FACTOR);
  let moves = 0;
  const run = (path: string, writable: boolean, own: Pick<SandboxRun, 'argv' | 'outputBytesMax' | 'signal'>) => ({
    ...own,
    name: `stage-cache-${++moves}`,
    cwd: '/',
    env: { PATH: '/usr/bin:/bin', LC_ALL: 'C' },
    binds: [{ from: path, to: INSIDE, writable }],
    memoryBytes: MOVE_MEMORY_BYTES,
    pidsMax: MOVE_PIDS_MAX,
    timeoutMs: MOVE_TIMEOUT_MS,
  });

  return {
    async pack(app, signal) {
      const version = await caches.version(app);
      if (version === 0) throw new StagingError('aborted', 'this node has no build cache of the app');
      const { path } = await caches.folder(app);
      const stop = new AbortController();
      const bytes = new PassThrough();
      const stored = blobs.put(bytes, { sizeBytesMax: tarBytesMax });
      stored.catch(() => stop.abort());
      const result = await sandbox.run({
        ...run(path, false, {
          argv: ['/bin/tar', '-C', INSIDE, '-cf', '-', '.'],
          outputBytesMax: tarBytesMax + COMPLAINT_BYTES_MAX,
          signal: AbortSignal.any([signal, stop.signal]),
        }),
        onOutput: (chunk, stream) => {
          if (stream === 'out' && !bytes.destroyed && !bytes.write(chunk)) return drained(bytes);
        },
      });
      // A cache that is written to meanwhile has another status, and another version.
      if (result.code === 0 && !result.truncated && version === (await caches.version(app))) bytes.end();
      else bytes.destroy(new StagingError('aborted', 'the build cache could not be packed'));
      return { ...(await stored), version };
    },

    async unpack(app, from, signal) {
      await caches.remove(app);
      const { path } = await caches.folder(app);
      await sandbox.giveTo(path);
      const result = await sandbox.run({
        ...run(path, true, {
          argv: ['/bin/bash', '-o', 'pipefail', '-c', UNPACK, 'unpack', String(tarBytesMax)],
          outputBytesMax: COMPLAINT_BYTES_MAX,
          signal,
        }),
        stdin: Readable.from(blobs.read(from.digest)),
      });
      if (result.code === 0) return caches.setVersion(app, from.version);
      await caches.remove(app);
      throw new StagingError('aborted', 'the build cache of another node could not be unpacked');
    },
  };
};

const drained = (stream: PassThrough): Promise<void> =>
  new Promise((resolve) => {
    const done = (): void => {
      stream.off('drain', done).off('close', done);
      resolve();
    };
    stream.on('drain', done).on('close', done);
  });
