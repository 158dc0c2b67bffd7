// Lets an app's build cache follow it: asks the other nodes for a newer one before a staging, and hands this node's out. A
// push never fails for want of a cache, and never waits long for an answer.

import type { AppId, Digest, NodeId } from '../../crdt/ids.ts';
import { idProblem } from '../../crdt/limits.ts';
import type { Log } from '../lib/log.ts';
import type { BlobExchange } from '../ports/blobs.ts';
import type { Gossip } from '../ports/gossip.ts';
import type { CachePeers } from '../ports/staging.ts';

/** A node that does not answer within this is left out: most of it passes while the upload comes in. */
const ASK_TIMEOUT_MS = 1_000;
/** Packing reads and stores the whole cache, once. */
const PACK_TIMEOUT_MS = 60_000;
const FETCH_TIMEOUT_MS = 60_000;
/** As large as a cache can be, in a tar. */
const CACHE_BYTES_MAX = 1.25 * 1024 ** 3;

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
    gossip.handle('cache.version', async (payload) => ({
      stack: local.stack,
      version: await local.cacheVersion(appIn(payload)),
    }));
    gossip.handle('cache.pack', (payload) => local.packCache(appIn(payload)), { whileWanted: true });
  }

  bringNewer: CachePeers['bringNewer'] = async (app, { version, signal }) => {
    const { gossip, exchange, log } = this.#parts;
    try {
      const newest = await this.#newest(app, signal);
      if (newest === undefined || newest.version <= version) return undefined;
      const packed = await gossip.request(newest.node, 'cache.pack', { app }, { timeoutMs: PACK_TIMEOUT_MS, signal });
      const { digest, sizeBytes, version: packedVersion } = packedIn(packed);
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
        const reply = await gossip.request(node, 'cache.version', { app }, { timeoutMs: ASK_TIMEOUT_MS, signal });
        const { stack, version } = (reply ?? {}) as { stack?: unknown; version?: unknown };
        // What was compiled for another stack is of no use here.
        return { node, version: stack === local.stack && Number.isSafeInteger(version) ? (version as number) : 0 };
      }),
    );
    const found = answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []));
    return found.sort((a, b) => b.version - a.version)[0];
  }
}

function appIn(payload: unknown): AppId {
  const { app } = (payload ?? {}) as { app?: unknown };
  if (typeof app !== 'string' || idProblem(app) !== undefined) throw new Error('app should be the id of an app');
  return app as AppId;
}

function packedIn(reply: unknown): { digest: Digest; sizeBytes: number; version: number } {
  const { digest, sizeBytes, version } = (reply ?? {}) as Record<string, unknown>;
  const isDigest = typeof digest === 'string' && /^sha256:[0-9a-f]{64}$/.test(digest);
  const isSize = typeof sizeBytes === 'number' && sizeBytes >= 0 && sizeBytes <= CACHE_BYTES_MAX;
  if (!isDigest || !isSize || !Number.isSafeInteger(version)) throw new Error('the other node sent no build cache');
  return { digest: digest as Digest, sizeBytes, version: version as number };
}
