// The content-addressed blobs of this node, kept in chunks that blobs share. What a manifest names is whole, verified
// and on disk; anything else is a leftover. Never decides what to keep or to fetch.

import { mkdir, open, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Digest } from '../../crdt/ids.ts';
import type { TlsIdentity } from '../identity/identity.ts';
import type { BlobRange, BlobStore, Room, SourceStore } from '../ports/blobs.ts';
import { BlobError } from './errors.ts';
import type { FetchEvent, Fetched } from './fetch.ts';
import type { HolderAddress } from './holder.ts';
import { digestOfName, hexOf, type Layout, layoutOf, type Stay } from './layout.ts';
import { PASSING_BYTES_MAX, PASSING_MAX } from './limits.ts';
import { HEADER_BYTES, sizeInHeader } from './manifest.ts';
import { readBlob } from './reader.ts';
import type { Stored } from './shelf.ts';
import type { Candidate, Weights } from './weigh.ts';
import { type Job, WorkerHandle } from './worker-handle.ts';

export type FetchRequest = { sizeBytesMax: number; holders: HolderAddress[]; identity: TlsIdentity; room?: Room };

export type LocalBlobStore = BlobStore & {
  readonly sources: SourceStore;
  /** Begins a download; `job.result` when the blob is there. */
  download(digest: Digest, request: FetchRequest & { stay: Stay }, onEvent: (event: FetchEvent) => void): Job<'fetch'>;
  /** Called by the one that ran a download, so that the blob shows. */
  arrived(fetched: Fetched, stay: Stay): void;
  /** Frees what nothing refers to any more; resolves when it is done, which running puts and downloads delay. */
  sweep(): Promise<void>;
  weigh(candidates: Candidate[]): Promise<Weights>;
  /** Removes all of them, and resolves when their room on disk is free. */
  evict(blobs: readonly Candidate[]): Promise<void>;
  /** When each source was used last, the longest ago first; ms on the clock of performance.now(). */
  sourcesUsedAtMs(): ReadonlyMap<Digest, number>;
  /** Something was stored, whatever it is. */
  onGrowth(listener: () => void): void;
  close(): Promise<void>;
};

/** Opens the store: creates its folders, removes what interrupted writes left behind, remembers sizes. */
export const createBlobStore = async (options: {
  dir: string;
  /** Default: PASSING_BYTES_MAX. */
  passingBytesMax?: number;
  /** What puts and sources may fill; asked at the beginning of each. Default: the disk decides. */
  room?: () => Room;
}): Promise<LocalBlobStore> => {
  const { passingBytesMax = PASSING_BYTES_MAX } = options;
  const room = (): { room?: Room } => (options.room === undefined ? {} : { room: options.room() });
  const layout = layoutOf(options.dir);
  for (const dir of [layout.packs, layout.incoming, ...Object.values(layout.manifests)]) {
    await mkdir(dir, { recursive: true, mode: 0o700 });
  }
  await removeLeftovers(layout);
  const sizes: Record<Stay, Map<Digest, number>> = {
    kept: await readSizes(layout.manifests.kept),
    passing: await readSizes(layout.manifests.passing),
  };
  const worker = new WorkerHandle(options.dir);
  /** Those that came as parts of an upload. */
  const taken = new Set<Digest>();
  const usedAtMs = new Map<Digest, number>();
  const growthListeners = new Set<() => void>();
  const listeners = new Set<() => void>();
  const changed = (): void => {
    for (const listener of listeners) listener();
  };
  const note = (digest: Digest, sizeBytes: number, stay: Stay): void => {
    const isNew = !sizes[stay].has(digest);
    // The last one that was used is the last of the map.
    if (stay === 'passing') {
      sizes.passing.delete(digest);
      usedAtMs.delete(digest);
      usedAtMs.set(digest, performance.now());
    }
    sizes[stay].set(digest, sizeBytes);
    if (stay === 'passing') trimPassing();
    else if (isNew) changed();
    for (const listener of growthListeners) listener();
  };
  for (const digest of sizes.passing.keys()) usedAtMs.set(digest, performance.now());

  const put = async (
    source: AsyncIterable<Uint8Array | BlobRange>,
    { sizeBytesMax, expected, stay }: { sizeBytesMax: number; expected?: Digest; stay: Stay },
  ): Promise<{ digest: Digest; sizeBytes: number }> => {
    if (expected !== undefined) hexOf(expected);
    const job = worker.begin('put', { sizeBytesMax, stay, ...room(), ...(expected === undefined ? {} : { expected }) });
    const stored = await feedAll(job, source);
    note(stored.digest, stored.sizeBytes, stay);
    return stored;
  };

  let sweeping: Promise<void> | undefined;
  const sweep = (): Promise<void> => {
    sweeping ??= worker
      .begin('sweep', { pressed: false })
      .result.then(() => {})
      .finally(() => {
        sweeping = undefined;
      });
    return sweeping;
  };

  const takeAway = async ({ digest, stay }: Candidate): Promise<boolean> => {
    const path = layout.manifest(digest, stay);
    if (!sizes[stay].delete(digest)) return false;
    if (stay === 'passing') {
      usedAtMs.delete(digest);
      taken.delete(digest);
    }
    await rm(path, { force: true });
    return true;
  };

  const remove = async (digest: Digest, stay: Stay): Promise<void> => {
    if (!(await takeAway({ digest, stay }))) return;
    if (stay === 'kept') changed();
    // What it alone referred to goes when nothing else runs; a failure leaves it to the next removal.
    sweep().catch(() => {});
  };

  const trimPassing = (): void => {
    let bytes = [...sizes.passing.values()].reduce((sum, size) => sum + size, 0);
    for (const [digest, size] of [...sizes.passing]) {
      if (bytes <= passingBytesMax && sizes.passing.size <= PASSING_MAX) break;
      bytes -= size;
      remove(digest, 'passing').catch(() => {});
    }
  };

  const read = (digest: Digest, stay: Stay): AsyncIterable<Uint8Array> => {
    if (!sizes[stay].has(digest)) throw new BlobError('not_held', `this node does not hold ${digest}`);
    return readBlob(layout, digest, stay);
  };

  const sources: SourceStore = {
    missing: async (hashes) => (await worker.begin('missing', { hashes }).result).missing,
    async take(source, { bytesMax }) {
      const { digest, sizeBytes } = await feedAll(worker.begin('take', { bytesMax, ...room() }), source, {
        endsWhenCut: true,
      });
      if (sizeBytes === 0) return;
      taken.add(digest);
      note(digest, sizeBytes, 'passing');
    },
    async assemble(chunks, { sizeBytesMax }) {
      const { pieces, ...stored } = await worker.begin('assemble', { chunks, sizeBytesMax, stay: 'passing' }).result;
      note(stored.digest, stored.sizeBytes, 'passing');
      // Another app's source may be all in this one, too.
      for (const piece of pieces) if (taken.has(piece)) await takeAway({ digest: piece, stay: 'passing' });
      return stored;
    },
    has: (digest) => sizes.passing.has(digest),
    read: (digest) => read(digest, 'passing'),
    list: () => [...sizes.passing.keys()].sort(),
    remove: (digest) => remove(digest, 'passing'),
  };

  return {
    has: (digest) => sizes.kept.has(digest),
    list: () => [...sizes.kept.keys()].sort(),
    read: (digest) => read(digest, 'kept'),
    async pour(digest, { into, bytesMax, signal }) {
      if (!sizes.kept.has(digest)) throw new BlobError('not_held', `this node does not hold ${digest}`);
      signal?.throwIfAborted();
      const { promise: opened, resolve } = Promise.withResolvers<void>();
      const job = worker.begin('pour', { digest, path: into, bytesMax }, () => resolve());
      const abort = (): void => job.abort();
      signal?.addEventListener('abort', abort, { once: true });
      const done = job.result.then(() => {}).finally(() => signal?.removeEventListener('abort', abort));
      done.catch(() => {});
      await Promise.race([opened, done]);
      return { done };
    },
    sizeBytes: (digest) => {
      const size = sizes.kept.get(digest);
      if (size === undefined) throw new BlobError('not_held', `this node does not hold ${digest}`);
      return size;
    },
    put: (source, asks) => put(source, { ...asks, stay: 'kept' }),
    remove: (digest) => remove(digest, 'kept'),
    onChange: (listener) => void listeners.add(listener),
    sources,
    download: (digest, request, onEvent) => {
      hexOf(digest);
      return worker.begin('fetch', { digest, ...request }, (event) => {
        if (event.type !== 'opened') onEvent(event);
      });
    },
    arrived: ({ digest, sizeBytes }, stay) => note(digest, sizeBytes, stay),
    sweep,
    weigh: (candidates) => worker.begin('weigh', { candidates }).result,
    async evict(going) {
      let changes = false;
      for (const one of going) if ((await takeAway(one)) && one.stay === 'kept') changes = true;
      if (changes) changed();
      await worker.begin('sweep', { pressed: true }).result;
    },
    sourcesUsedAtMs: () => usedAtMs,
    onGrowth: (listener) => void growthListeners.add(listener),
    close: () => worker.close(),
  };
};

/** `endsWhenCut`: what has come counts although the source failed. */
async function feedAll(
  job: Job<'put' | 'take'>,
  source: AsyncIterable<Uint8Array | BlobRange>,
  { endsWhenCut = false } = {},
): Promise<Stored> {
  // Reported when the source has ended or was left.
  job.result.catch(() => {});
  let over = false;
  job.result.catch(() => {
    over = true;
  });
  try {
    for await (const part of source) {
      if (part instanceof Uint8Array) await job.feed(part);
      else job.reuse(part);
      if (over) break;
    }
  } catch (error) {
    if (endsWhenCut) {
      job.end();
      await job.result.catch(() => {});
    } else {
      job.abort();
      await job.result.catch(() => {});
    }
    throw error;
  }
  job.end();
  return job.result;
}

const readSizes = async (dir: string): Promise<Map<Digest, number>> => {
  const sizes = new Map<Digest, number>();
  for (const name of await readdir(dir)) {
    const digest = digestOfName(name);
    if (digest === undefined) continue;
    const file = await open(join(dir, name), 'r');
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(HEADER_BYTES), 0, HEADER_BYTES, 0);
      const size = sizeInHeader(buffer.subarray(0, bytesRead));
      if (size !== undefined) sizes.set(digest, size);
    } finally {
      await file.close();
    }
  }
  return sizes;
};

/** Downloads, which have a log beside them, go on where they were cut. */
const removeLeftovers = async ({ incoming }: Layout): Promise<void> => {
  const names = await readdir(incoming);
  for (const name of names) {
    const base = name.replace(/\.(pack|log)$/, '');
    if (names.includes(`${base}.pack`) && names.includes(`${base}.log`)) continue;
    await rm(join(incoming, name), { recursive: true, force: true });
  }
};
