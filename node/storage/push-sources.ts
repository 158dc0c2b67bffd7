// What `peer push` sends, between the API and the blob store (port PushSources): remembers which source each app was
// pushed from last, and brings it from another node when this one has none, so that a push to any node sends only
// what changed.

import type { Digest, NodeId } from '../../crdt/ids.ts';
import type { Log } from '../lib/log.ts';
import type { BlobExchange, PushSources, SourceStore } from '../ports/blobs.ts';
import type { Gossip } from '../ports/gossip.ts';
import { SOURCE_OF } from '../ports/methods.ts';

/** Apps whose last source is remembered; the one that was pushed longest ago goes. */
const APPS_MAX = 256;
/** A source unpacked, with a tar's headers and padding; staging holds tighter limits. */
const SOURCE_BYTES_MAX = 3 * 1024 ** 3;
const FETCH_TIMEOUT_MS = 60_000;
/** Another node is asked for an app's source again after this. */
const ASK_AGAIN_MS = 60_000;

export type PushSourcesParts = {
  store: SourceStore;
  exchange: BlobExchange;
  gossip: Gossip;
  aliveOthers: () => NodeId[];
  nowMs: () => number;
  log: Log;
};

export const createPushSources = (parts: PushSourcesParts): PushSources => {
  const { store, exchange, gossip, log } = parts;
  const sources = new Map<string, Digest>();
  const askedAtMs = new Map<string, number>();
  const remember = <V>(map: Map<string, V>, app: string, value: V): void => {
    map.delete(app);
    map.set(app, value);
    for (const oldest of map.keys()) {
      if (map.size <= APPS_MAX) break;
      map.delete(oldest);
    }
  };
  const held = (app: string): Digest | undefined => {
    const digest = sources.get(app);
    return digest !== undefined && store.has(digest) ? digest : undefined;
  };
  gossip.handle(SOURCE_OF, async ({ app }) => ({ digest: held(app) ?? null }));

  /** Gives up quietly: then more is sent than would have to be. */
  const bring = async (app: string): Promise<void> => {
    remember(askedAtMs, app, parts.nowMs());
    const answers = parts.aliveOthers().map(async (node) => {
      const { digest } = await gossip.request(node, SOURCE_OF, { app });
      if (digest === null) throw new Error('it has none');
      return { node, digest };
    });
    try {
      const { node, digest } = await Promise.any(answers);
      const signal = AbortSignal.timeout(FETCH_TIMEOUT_MS);
      await exchange.fetch(digest, { sizeBytesMax: SOURCE_BYTES_MAX, holders: [node], passing: true, signal });
      remember(sources, app, digest);
    } catch (error) {
      log.debug('source.not_brought', { app, error });
    }
  };

  return {
    take: store.take,
    read: store.read,
    async missing(app, hashes) {
      const sinceAskedMs = parts.nowMs() - (askedAtMs.get(app) ?? Number.NEGATIVE_INFINITY);
      if (held(app) === undefined && sinceAskedMs >= ASK_AGAIN_MS) await bring(app);
      return store.missing(hashes);
    },
    async assemble(app, chunks) {
      const before = held(app);
      const source = await store.assemble(chunks, { sizeBytesMax: SOURCE_BYTES_MAX });
      remember(sources, app, source.digest);
      if (before !== undefined && before !== source.digest) await store.remove(before);
      return source;
    },
  };
};
