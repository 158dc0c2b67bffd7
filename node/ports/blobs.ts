// Ports of blobs: content by its digest, here and from other nodes, and what people push. Types only; each says what
// it guarantees and how it fails.

import type { Digest, NodeId } from '../../crdt/ids.ts';

/** Bytes `from` to before `to` of a blob that this node holds. */
export type BlobRange = { digest: Digest; from: number; to: number };

/**
 * Content of this node, named by a digest that it can be checked against. A blob that is there is whole and verified.
 * Stored in compressed chunks that blobs share; the digest is the hash of the list of its chunks' hashes (manifest.ts
 * of blobs).
 */
export interface BlobStore {
  has(digest: Digest): boolean;
  list(): Digest[];
  /**
   * The content of a blob that is there, from its beginning, as fast as the reader takes it. Fails at once with
   * BlobError `not_held`.
   */
  read(digest: Digest): AsyncIterable<Uint8Array>;
  /**
   * Writes the content, or the first `bytesMax` of it, into the named pipe `into`, which has a reader, away from the
   * daemon's own thread. Resolves when the pipe is open; `done` when all has been taken, and fails when it was not:
   * BlobError `not_held`, `corrupt`, `aborted`, or an error of the pipe when its reader went.
   */
  pour(
    digest: Digest,
    options: { into: string; bytesMax: number; signal?: AbortSignal },
  ): Promise<{ done: Promise<void> }>;
  sizeBytes(digest: Digest): number;
  /**
   * Temporary name, fsync, verify, rename. Fails with BlobError `too_large`, `corrupt` (digest differs from expected),
   * `disk_full`. Nothing is left behind on failure. The same content has the same digest on every node, whether it
   * comes as bytes or as a range of another blob, which is not read for it; `not_held` or `corrupt` when that cannot
   * be.
   */
  put(
    source: AsyncIterable<Uint8Array | BlobRange>,
    options: { sizeBytesMax: number; expected?: Digest },
  ): Promise<{ digest: Digest; sizeBytes: number }>;
  remove(digest: Digest): Promise<void>;
  onChange(listener: () => void): void;
}

/** `bytes`: as stored, of what is not here yet. `refusal`: one line for people, with what to do. */
export type Room = { bytes: number; refusal: string };

/** What blobs and build caches of this node take on its disk, and may take. */
export type BlobUsage = { usedBytes: number; budgetBytes: number };

/** Brings blobs from other nodes into the local store, over their links. */
export interface BlobExchange {
  /**
   * From several holders at once; every chunk is verified, only those that are not here travel, and what has come
   * stays when the fetch fails. Concurrent calls for one digest share a download. `passing`: as a source, not as a
   * blob. `room`: the disk decides when it is absent. Fails with BlobError `unavailable` (no holder delivers it),
   * `too_large`, `disk_full`, `over_budget`, `busy`, `aborted`.
   */
  fetch(
    digest: Digest,
    options: { sizeBytesMax: number; holders: NodeId[]; passing?: boolean; room?: Room; signal?: AbortSignal },
  ): Promise<void>;
}

/**
 * What people push, on its way to staging: chunks that come by themselves, then the blob they make. Bounded; the
 * oldest go.
 */
export interface SourceStore {
  /** Numbers of those chunks that this node does not have. `hashes`: SHA-256 of each, one after the other. */
  missing(hashes: Uint8Array): Promise<number[]>;
  /**
   * Stores framed chunks (chunk-frames.ts of blobs), each checked. What came whole stays, also when the source fails.
   * Fails with BlobError `corrupt`, `too_large`, `disk_full`.
   */
  take(source: AsyncIterable<Uint8Array>, options: { bytesMax: number }): Promise<void>;
  /**
   * The blob that is made of these chunks: hash and size (u32) of each. Fails with BlobError `not_held` when one is
   * not here, `too_large`, `corrupt`.
   */
  assemble(chunks: Uint8Array, options: { sizeBytesMax: number }): Promise<{ digest: Digest; sizeBytes: number }>;
  has(digest: Digest): boolean;
  /** Fails at once with BlobError `not_held`. */
  read(digest: Digest): AsyncIterable<Uint8Array>;
  list(): Digest[];
  remove(digest: Digest): Promise<void>;
}

/**
 * What the API may ask of the sources: those of the store, with what the rest of the cluster has of an app's last
 * push.
 */
export type PushSources = Pick<SourceStore, 'take' | 'read'> & {
  missing(app: string, hashes: Uint8Array): Promise<number[]>;
  /** As in the store; remembered as the app's, also for other nodes. */
  assemble(app: string, chunks: Uint8Array): Promise<{ digest: Digest; sizeBytes: number }>;
};
