// Gets a blob from whoever holds it: one holder after the other until one delivers it whole. Verification is the store's
// (BlobStore.put with the expected digest); a holder that sends something else is passed over.

import { setTimeout as delay } from 'node:timers/promises';
import type { Stream } from '@libp2p/interface';
import type { Digest, NodeId } from '../../crdt/ids.ts';
import type { BlobStore, Log } from '../ports.ts';
import { decodeBlobHeader } from './blob-frames.ts';
import type { Connections } from './connections.ts';
import type { Dialer } from './dialer.ts';
import { GossipError, reasonOf } from './errors.ts';
import { encodeJson, StreamReader, writeFrame } from './frames.ts';
import {
  BLOB_BUSY_DELAY_MS,
  BLOB_BUSY_ROUNDS_MAX,
  BLOB_DOWNLOADS_MAX,
  BLOB_DOWNLOADS_QUEUED_MAX,
  BLOB_HOLDERS_TRIED_MAX,
  BLOB_IDLE_TIMEOUT_MS,
  BLOB_REQUEST_BYTES_MAX,
  DIAL_TIMEOUT_MS,
} from './limits.ts';
import { Semaphore } from './semaphore.ts';

type Download = { done: Promise<void>; holders: Set<NodeId>; waiting: number; cancel: AbortController };

export class BlobClient {
  readonly #blobs: BlobStore;
  readonly #connections: Connections;
  readonly #dialer: Dialer;
  readonly #protocol: string;
  readonly #log: Log;
  readonly #permits = new Semaphore(BLOB_DOWNLOADS_MAX, BLOB_DOWNLOADS_QUEUED_MAX);
  readonly #downloads = new Map<Digest, Download>();

  constructor(options: { blobs: BlobStore; connections: Connections; dialer: Dialer; protocol: string; log: Log }) {
    this.#blobs = options.blobs;
    this.#connections = options.connections;
    this.#dialer = options.dialer;
    this.#protocol = options.protocol;
    this.#log = options.log;
  }

  /** Callers for one digest share a download, which ends when the last of them gives up. */
  async fetch(
    digest: Digest,
    options: { sizeBytesMax: number; holders: NodeId[]; signal?: AbortSignal },
  ): Promise<void> {
    if (this.#blobs.has(digest)) return;
    options.signal?.throwIfAborted();
    const download = this.#downloads.get(digest) ?? this.#begin(digest, options.sizeBytesMax);
    for (const holder of options.holders) download.holders.add(holder);
    download.waiting += 1;
    try {
      await settledOrAborted(download.done, options.signal);
    } finally {
      download.waiting -= 1;
      if (download.waiting === 0) {
        // A caller that comes from now on begins anew instead of joining a cancelled one.
        if (this.#downloads.get(digest) === download) this.#downloads.delete(digest);
        download.cancel.abort(new GossipError('aborted', 'nobody waits for the blob any more'));
      }
    }
  }

  #begin(digest: Digest, sizeBytesMax: number): Download {
    const cancel = new AbortController();
    const holders = new Set<NodeId>();
    const download: Download = { done: Promise.resolve(), holders, waiting: 0, cancel };
    this.#downloads.set(digest, download);
    download.done = this.#run(digest, { sizeBytesMax, holders, signal: cancel.signal }).finally(() => {
      if (this.#downloads.get(digest) === download) this.#downloads.delete(digest);
    });
    download.done.catch(() => undefined);
    return download;
  }

  async #run(
    digest: Digest,
    options: { sizeBytesMax: number; holders: Set<NodeId>; signal: AbortSignal },
  ): Promise<void> {
    const release = await this.#permits.acquire(options.signal);
    try {
      await this.#fromAny(digest, options);
    } finally {
      release();
    }
  }

  async #fromAny(
    digest: Digest,
    { sizeBytesMax, holders, signal }: { sizeBytesMax: number; holders: Set<NodeId>; signal: AbortSignal },
  ): Promise<void> {
    const failures = new Map<NodeId, string>();
    for (let round = 0; round < BLOB_BUSY_ROUNDS_MAX; round += 1) {
      const busy: NodeId[] = [];
      for (;;) {
        // Asked anew each time: another caller may have named more holders.
        const holder = this.#order([...holders]).find((node) => !failures.has(node) && !busy.includes(node));
        if (holder === undefined || failures.size >= BLOB_HOLDERS_TRIED_MAX) break;
        const startedMs = performance.now();
        try {
          await this.#fromOne(digest, holder, sizeBytesMax, signal);
          this.#log.debug('gossip.blob_fetched', { digest, holder, tookMs: Math.round(performance.now() - startedMs) });
          return;
        } catch (error) {
          signal.throwIfAborted();
          if ((error as { code?: unknown }).code === 'disk_full') throw error;
          if (error instanceof GossipError && error.code === 'busy') {
            busy.push(holder);
            continue;
          }
          failures.set(holder, reasonOf(error));
          this.#log.warn('gossip.blob_holder_failed', { digest, holder, reason: reasonOf(error) });
        }
      }
      if (busy.length === 0) break;
      await delay(BLOB_BUSY_DELAY_MS, undefined, { signal });
    }
    const reasons = [...failures].map(([node, reason]) => `${node}: ${reason}`).join('; ');
    throw new GossipError(
      'blob_unavailable',
      `no node delivered ${digest}${reasons === '' ? ': no holder of it is free or known' : ` (${reasons})`}`,
    );
  }

  /** Connected ones first, in random order, so that many fetchers do not all ask the same one. */
  #order(holders: NodeId[]): NodeId[] {
    const weight = new Map(
      holders.map((node) => [node, Math.random() + (this.#connections.isConnected(node) ? 0 : 1)]),
    );
    return holders.sort((a, b) => weight.get(a)! - weight.get(b)!);
  }

  async #fromOne(digest: Digest, holder: NodeId, sizeBytesMax: number, signal: AbortSignal): Promise<void> {
    const opening = AbortSignal.any([signal, AbortSignal.timeout(DIAL_TIMEOUT_MS)]);
    const stream = await this.#dialer.openStream(holder, this.#protocol, opening);
    try {
      await this.#receive(stream, digest, sizeBytesMax, signal);
    } finally {
      // Nothing more is expected: after the whole blob this is a formality, before it tells the holder to stop.
      stream.abort(new GossipError('aborted', 'the receiver needs no more'));
    }
  }

  async #receive(stream: Stream, digest: Digest, sizeBytesMax: number, signal: AbortSignal): Promise<void> {
    const wait = { signal, timeoutMs: BLOB_IDLE_TIMEOUT_MS };
    const reader = new StreamReader(stream);
    await writeFrame(stream, encodeJson({ digest }, BLOB_REQUEST_BYTES_MAX), wait);
    const frame = await reader.frame(BLOB_REQUEST_BYTES_MAX, wait);
    if (frame === undefined) throw new GossipError('closed', 'the holder ended the stream without an answer');
    const header = decodeBlobHeader(frame);
    if ('refused' in header)
      throw new GossipError(
        header.refused,
        header.refused === 'busy' ? 'the holder is busy' : 'the holder does not have it any more',
      );
    if (header.sizeBytes > sizeBytesMax)
      throw new GossipError(
        'too_large',
        `the holder offers ${header.sizeBytes} bytes, at most ${sizeBytesMax} were expected`,
      );
    await this.#blobs.put(reader.bytes(header.sizeBytes, wait), { sizeBytesMax, expected: digest });
  }
}

function settledOrAborted(done: Promise<void>, signal: AbortSignal | undefined): Promise<void> {
  if (signal === undefined) return done;
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(new GossipError('aborted', 'the caller gave up waiting for the blob'));
    signal.addEventListener('abort', onAbort, { once: true });
    done.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
