// Gets blobs from other nodes (port BlobExchange): callers that want the same blob share one download, and only so
// many run at a time. Says which holder sent what it should not. The transfer itself is in the worker.

import type { Digest, NodeId } from '../../crdt/ids.ts';
import type { TlsIdentity } from '../identity/identity.ts';
import type { Log } from '../lib/log.ts';
import type { BlobExchange, Room } from '../ports/blobs.ts';
import { BlobError } from './errors.ts';
import type { FetchEvent } from './fetch.ts';
import type { HolderAddress } from './holder.ts';
import type { Stay } from './layout.ts';
import { DOWNLOADS_MAX, DOWNLOADS_QUEUED_MAX, HOLDERS_TRIED_MAX } from './limits.ts';
import type { LocalBlobStore } from './store.ts';
import type { Job } from './worker-handle.ts';

export type ExchangeOptions = {
  blobs: LocalBlobStore;
  identity: TlsIdentity;
  /** Where the node's link listens; undefined while nothing is known of it. */
  linkOf: (node: NodeId) => string | undefined;
  /** The holder was left out: a chunk or the manifest that it sent is not what the digest promises. */
  onCorrupt: (event: { digest: Digest; holder: NodeId; reason: string }) => void;
  log: Log;
};

type Download = {
  done: Promise<void>;
  holders: HolderAddress[];
  waiting: number;
  job: Job<'fetch'> | undefined;
  cancelled: boolean;
};

export const createBlobExchange = (options: ExchangeOptions): BlobExchange => {
  const { blobs, identity, log } = options;
  const downloads = new Map<string, Download>();
  let running = 0;
  const queue: (() => void)[] = [];

  const turn = async (): Promise<void> => {
    if (running < DOWNLOADS_MAX) {
      running += 1;
      return;
    }
    if (queue.length >= DOWNLOADS_QUEUED_MAX) {
      throw new BlobError('busy', `more than ${DOWNLOADS_QUEUED_MAX} downloads wait already: try again later`);
    }
    await new Promise<void>((resolve) => queue.push(resolve));
  };
  const endTurn = (): void => {
    const next = queue.shift();
    if (next === undefined) running -= 1;
    else next();
  };

  const run = async (
    digest: Digest,
    stay: Stay,
    asks: { sizeBytesMax: number; room?: Room },
    download: Download,
  ): Promise<void> => {
    await turn();
    try {
      if (download.cancelled) throw givenUp();
      const startedMs = performance.now();
      const onEvent = (event: FetchEvent): void => {
        const fields = { digest, holder: event.node, reason: event.reason };
        if (event.type === 'holderCorrupt') {
          log.warn('blob.corrupt', fields);
          options.onCorrupt(fields);
        } else log.warn('blob.holder_failed', fields);
      };
      download.job = blobs.download(digest, { ...asks, holders: download.holders, identity, stay }, onEvent);
      const fetched = await download.job.result;
      blobs.arrived(fetched, stay);
      const { sizeBytes, receivedBytes, holders } = fetched;
      const tookMs = Math.round(performance.now() - startedMs);
      log.info('blob.fetched', { digest, sizeBytes, receivedBytes, holders, tookMs });
    } finally {
      endTurn();
    }
  };

  return {
    async fetch(digest, { sizeBytesMax, holders, signal, passing = false, room }) {
      const stay: Stay = passing ? 'passing' : 'kept';
      if (passing ? blobs.sources.has(digest) : blobs.has(digest)) return;
      signal?.throwIfAborted();
      const key = `${stay} ${digest}`;
      const found = downloads.get(key);
      const download: Download = found ?? {
        done: Promise.resolve(),
        holders: [],
        waiting: 0,
        job: undefined,
        cancelled: false,
      };
      const more = addressesOf(holders, options.linkOf);
      download.holders.push(...more.slice(0, HOLDERS_TRIED_MAX));
      download.job?.addHolders(more);
      if (found === undefined) {
        downloads.set(key, download);
        download.done = run(digest, stay, { sizeBytesMax, ...(room === undefined ? {} : { room }) }, download).finally(
          () => {
            if (downloads.get(key) === download) downloads.delete(key);
          },
        );
        download.done.catch(() => {});
      }
      download.waiting += 1;
      try {
        await settledOrAborted(download.done, signal);
      } finally {
        download.waiting -= 1;
        if (download.waiting === 0) {
          // A caller that comes from now on begins anew instead of joining a cancelled one.
          if (downloads.get(key) === download) downloads.delete(key);
          download.cancelled = true;
          download.job?.abort();
        }
      }
    },
  };
};

/** In random order, so that many fetchers do not all ask the same one. */
const addressesOf = (holders: readonly NodeId[], linkOf: ExchangeOptions['linkOf']): HolderAddress[] =>
  holders
    .map((node) => ({ node, link: linkOf(node), order: Math.random() }))
    .sort((a, b) => a.order - b.order)
    .flatMap(({ node, link }) => (link === undefined ? [] : [{ node, link }]));

const givenUp = (): BlobError => new BlobError('aborted', 'nobody waits for the blob any more');

function settledOrAborted(done: Promise<void>, signal: AbortSignal | undefined): Promise<void> {
  if (signal === undefined) return done;
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(givenUp());
    signal.addEventListener('abort', onAbort, { once: true });
    done.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
