// Lets an app's build cache follow it: asks the other nodes for a newer one before a staging, and hands this node's
// out. A push never fails for want of a cache, and never waits long for an answer.

import type { AppId, Digest, NodeId } from '../../crdt/ids.ts';
import type { Log } from '../lib/log.ts';
import type { BlobExchange } from '../ports/blobs.ts';
import type { Gossip } from '../ports/gossip.ts';
import { CACHE_VERSION, PACK_CACHE } from '../ports/methods.ts';
import type { CachePeers } from '../ports/staging.ts';

const FETCH_TIMEOUT_MS = 60_000;

export type LocalCaches = {
  stack: string;
  cacheVersion(app: AppId): Promise<number>;
  packCache(app: AppId): Promise<{ digest: Digest; sizeBytes: number; version: number }>;
};

export class BuildCaches implements CachePeers {
  readonly #parts: {
    gossip: Gossip;
    exchange: BlobExchange;
    local: LocalCaches;
    log: Log;
    aliveOthers: () => NodeId[];
  };

  constructor(parts: {
    gossip: Gossip;
    exchange: BlobExchange;
    local: LocalCaches;
    log: Log;
    aliveOthers: () => NodeId[];
  }) {
    this.#parts = parts;
    const { gossip, local } = parts;
    gossip.handle(CACHE_VERSION, async ({ app }) => ({
      stack: local.stack,
      version: await local.cacheVersion(app),
    }));
    gossip.handle(PACK_CACHE, ({ app }) => local.packCache(app));
  }

  bringNewer: CachePeers['bringNewer'] = async (app, { version, signal }) => {
    const { gossip, exchange, log } = this.#parts;
    try {
      const newest = await this.#newest(app, signal);
      if (newest === undefined || newest.version <= version) return undefined;
      const packed = await gossip.request(newest.node, PACK_CACHE, { app }, { signal });
      const { digest, sizeBytes, version: packedVersion } = packed;
      await exchange.fetch(digest, {
        sizeBytesMax: sizeBytes,
        holders: [newest.node],
        signal: AbortSignal.any([signal, AbortSignal.timeout(FETCH_TIMEOUT_MS)]),
      });
      return { digest, version: packedVersion, from: newest.node };
    } catch (error) {
      log.info('staging.cache_not_brought', { app, error });
      return undefined;
    }
  };

  async #newest(app: AppId, signal: AbortSignal): Promise<{ node: NodeId; version: number } | undefined> {
    const { gossip, local, aliveOthers } = this.#parts;
    const answers = await Promise.allSettled(
      aliveOthers().map(async (node) => {
        const { stack, version } = await gossip.request(node, CACHE_VERSION, { app }, { signal });
        // What was compiled for another stack is of no use here.
        return { node, version: stack === local.stack ? version : 0 };
      }),
    );
    const found = answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []));
    return found.sort((a, b) => b.version - a.version)[0];
  }
}
