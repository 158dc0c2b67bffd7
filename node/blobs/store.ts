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
  return new Store(layout, sizes, { worker: new WorkerHandle(options.dir), room, passingBytesMax });
};

/** The methods do not need their object: parts of the daemon are given some of them alone. */
class Store implements LocalBlobStore {
  readonly sources: SourceStore;
  readonly #layout: Layout;
  readonly #sizes: Record<Stay, Map<Digest, number>>;
  readonly #worker: WorkerHandle;
  readonly #room: () => { room?: Room };
  readonly #passingBytesMax: number;
  /** Those that came as parts of an upload. */
  readonly #taken = new Set<Digest>();
  readonly #usedAtMs = new Map<Digest, number>();
  readonly #growthListeners = new Set<() => void>();
  readonly #listeners = new Set<() => void>();
  #sweeping: Promise<void> | undefined;

  constructor(
    layout: Layout,
    sizes: Record<Stay, Map<Digest, number>>,
    parts: { worker: WorkerHandle; room: () => { room?: Room }; passingBytesMax: number },
  ) {
    this.#layout = layout;
    this.#sizes = sizes;
    this.#worker = parts.worker;
    this.#room = parts.room;
    this.#passingBytesMax = parts.passingBytesMax;
    for (const digest of sizes.passing.keys()) this.#usedAtMs.set(digest, performance.now());
    this.sources = {
      missing: async (hashes) => (await this.#worker.begin('missing', { hashes }).result).missing,
      take: (source, bounds) => this.#takeParts(source, bounds),
      assemble: (chunks, bounds) => this.#assemble(chunks, bounds),
      has: (digest) => sizes.passing.has(digest),
      read: (digest) => this.#read(digest, 'passing'),
      list: () => [...sizes.passing.keys()].sort(),
      remove: (digest) => this.#remove(digest, 'passing'),
    };
  }

  has: LocalBlobStore['has'] = (digest) => this.#sizes.kept.has(digest);

  list: LocalBlobStore['list'] = () => [...this.#sizes.kept.keys()].sort();

  read: LocalBlobStore['read'] = (digest) => this.#read(digest, 'kept');

  pour: LocalBlobStore['pour'] = async (digest, { into, bytesMax, signal }) => {
    if (!this.has(digest)) throw notHeld(digest);
    signal?.throwIfAborted();
    const { promise: opened, resolve } = Promise.withResolvers<void>();
    const job = this.#worker.begin('pour', { digest, path: into, bytesMax }, () => resolve());
    const abort = (): void => job.abort();
    signal?.addEventListener('abort', abort, { once: true });
    const done = job.result.then(() => {}).finally(() => signal?.removeEventListener('abort', abort));
    done.catch(() => {});
    await Promise.race([opened, done]);
    return { done };
  };

  sizeBytes: LocalBlobStore['sizeBytes'] = (digest) => {
    const size = this.#sizes.kept.get(digest);
    if (size === undefined) throw notHeld(digest);
    return size;
  };

  put: LocalBlobStore['put'] = async (source, { sizeBytesMax, expected }) => {
    if (expected !== undefined) hexOf(expected);
    const asked = {
      sizeBytesMax,
      stay: 'kept' as const,
      ...this.#room(),
      ...(expected === undefined ? {} : { expected }),
    };
    const stored = await feedAll(this.#worker.begin('put', asked), source);
    this.#note(stored.digest, stored.sizeBytes, 'kept');
    return stored;
  };

  remove: LocalBlobStore['remove'] = (digest) => this.#remove(digest, 'kept');

  onChange: LocalBlobStore['onChange'] = (listener) => void this.#listeners.add(listener);

  download: LocalBlobStore['download'] = (digest, request, onEvent) => {
    hexOf(digest);
    return this.#worker.begin('fetch', { digest, ...request }, (event) => {
      if (event.type !== 'opened') onEvent(event);
    });
  };

  arrived: LocalBlobStore['arrived'] = ({ digest, sizeBytes }, stay) => this.#note(digest, sizeBytes, stay);

  sweep: LocalBlobStore['sweep'] = () => {
    this.#sweeping ??= this.#worker
      .begin('sweep', { pressed: false })
      .result.then(() => {})
      .finally(() => {
        this.#sweeping = undefined;
      });
    return this.#sweeping;
  };

  weigh: LocalBlobStore['weigh'] = (candidates) => this.#worker.begin('weigh', { candidates }).result;

  evict: LocalBlobStore['evict'] = async (going) => {
    let changes = false;
    for (const one of going) if ((await this.#takeAway(one)) && one.stay === 'kept') changes = true;
    if (changes) this.#changed();
    await this.#worker.begin('sweep', { pressed: true }).result;
  };

  sourcesUsedAtMs: LocalBlobStore['sourcesUsedAtMs'] = () => this.#usedAtMs;

  onGrowth: LocalBlobStore['onGrowth'] = (listener) => void this.#growthListeners.add(listener);

  close: LocalBlobStore['close'] = () => this.#worker.close();

  #changed(): void {
    for (const listener of this.#listeners) listener();
  }

  #note(digest: Digest, sizeBytes: number, stay: Stay): void {
    const isNew = !this.#sizes[stay].has(digest);
    // The last one that was used is the last of the map.
    if (stay === 'passing') {
      this.#sizes.passing.delete(digest);
      this.#usedAtMs.delete(digest);
      this.#usedAtMs.set(digest, performance.now());
    }
    this.#sizes[stay].set(digest, sizeBytes);
    if (stay === 'passing') this.#trimPassing();
    else if (isNew) this.#changed();
    for (const listener of this.#growthListeners) listener();
  }

  async #takeParts(source: AsyncIterable<Uint8Array>, { bytesMax }: { bytesMax: number }): Promise<void> {
    const job = this.#worker.begin('take', { bytesMax, ...this.#room() });
    const { digest, sizeBytes } = await feedAll(job, source, { endsWhenCut: true });
    if (sizeBytes === 0) return;
    this.#taken.add(digest);
    this.#note(digest, sizeBytes, 'passing');
  }

  async #assemble(chunks: Uint8Array, { sizeBytesMax }: { sizeBytesMax: number }): Promise<Stored> {
    const asked = { chunks, sizeBytesMax, stay: 'passing' as const };
    const { pieces, ...stored } = await this.#worker.begin('assemble', asked).result;
    this.#note(stored.digest, stored.sizeBytes, 'passing');
    // Another app's source may be all in this one, too.
    for (const piece of pieces) if (this.#taken.has(piece)) await this.#takeAway({ digest: piece, stay: 'passing' });
    return stored;
  }

  #read(digest: Digest, stay: Stay): AsyncIterable<Uint8Array> {
    if (!this.#sizes[stay].has(digest)) throw notHeld(digest);
    return readBlob(this.#layout, digest, stay);
  }

  async #remove(digest: Digest, stay: Stay): Promise<void> {
    if (!(await this.#takeAway({ digest, stay }))) return;
    if (stay === 'kept') this.#changed();
    // What it alone referred to goes when nothing else runs; a failure leaves it to the next removal.
    this.sweep().catch(() => {});
  }

  async #takeAway({ digest, stay }: Candidate): Promise<boolean> {
    const path = this.#layout.manifest(digest, stay);
    if (!this.#sizes[stay].delete(digest)) return false;
    if (stay === 'passing') {
      this.#usedAtMs.delete(digest);
      this.#taken.delete(digest);
    }
    await rm(path, { force: true });
    return true;
  }

  #trimPassing(): void {
    const { passing } = this.#sizes;
    let bytes = [...passing.values()].reduce((sum, size) => sum + size, 0);
    for (const [digest, size] of [...passing]) {
      if (bytes <= this.#passingBytesMax && passing.size <= PASSING_MAX) break;
      bytes -= size;
      this.#remove(digest, 'passing').catch(() => {});
    }
  }
}

const notHeld = (digest: Digest): BlobError => new BlobError('not_held', `this node does not hold ${digest}`);

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
