// Makes what looks after this node's disk: the budget of blobs, downloads, build caches, the sources of pushes,
// housekeeping.

import type { Digest } from '../../crdt/ids.ts';
import { createBlobExchange } from '../blobs/exchange.ts';
import type { EventLog } from '../cluster/event-log.ts';
import type { KnownCluster } from '../cluster/known-cluster.ts';
import { resourceBehind } from '../core/pressure.ts';
import { Late } from '../lib/late.ts';
import type { BlobExchange } from '../ports/blobs.ts';
import type { Copies, CopyEntry } from '../ports/copies.ts';
import { BlobBudget, defaultBudgetBytes } from '../storage/blob-budget.ts';
import { BuildCaches } from '../storage/build-caches.ts';
import { type CopyKind, openCopies } from '../storage/copies.ts';
import { DropletFetches } from '../storage/droplet-fetches.ts';
import { Housekeeping } from '../storage/housekeeping.ts';
import { Keeping } from '../storage/keep-promises.ts';
import { createPushSources } from '../storage/push-sources.ts';
import type { Agent } from './agent.ts';
import type { Ground } from './ground.ts';
import type { Lines } from './lines.ts';
import type { ResourceMeter } from './resource-meter.ts';
import type { Shutdown } from './shutdown.ts';
import type { Works } from './works.ts';

type Parts = {
  ground: Ground;
  lines: Lines;
  works: Works;
  agent: Agent;
  known: KnownCluster;
  events: EventLog;
  meter: ResourceMeter;
};

export type Storage = Awaited<ReturnType<typeof makeStorage>>;

export async function makeStorage(parts: Parts, shutdown: Shutdown) {
  const { ground, lines, works, agent, known, meter } = parts;
  const { log, nowMs } = ground;
  const { blobs, stack, stager } = works;
  const { gossip } = lines;
  const exchange = makeExchange(parts);
  /** What is kept beside the droplets of releases. */
  const kept: (() => ReadonlySet<Digest>)[] = [];
  const keepAlso = (): ReadonlySet<Digest> => new Set(kept.flatMap((digests) => [...digests()]));
  const { budget, housekeeping } = await makeBudget({ ...parts, keepAlso }, shutdown);
  works.room.is(() => budget.room());
  const dropletFetches = new DropletFetches({
    exchange,
    budget,
    failed: (digest, error) => {
      meter.failed(error);
      const lacks = resourceBehind(error);
      const why = { reason: error.message, ...(lacks === undefined ? {} : { lacks }) };
      agent.post({ type: 'dropletFetchFailed', digest, ...why });
    },
    log,
  });
  shutdown.add('downloads', () => dropletFetches.stop());
  /** For what only saves time. */
  const exchangeAhead: BlobExchange = {
    fetch: (digest, asks) => exchange.fetch(digest, { ...asks, room: budget.roomAhead() }),
  };
  const { aliveOthers } = known;
  const local = { stack, cacheVersion: stager.cacheVersion, packCache: stager.packCache };
  works.cachePeers.is(new BuildCaches({ gossip, exchange: exchangeAhead, local, log, aliveOthers }));
  const sources = createPushSources({ store: blobs.sources, exchange: exchangeAhead, gossip, aliveOthers, nowMs, log });
  /** Content of one kind that several nodes hold; this node's own is no garbage from then on. */
  const openCopiesHere = async <Entry extends CopyEntry, Owner extends string>(
    kind: CopyKind<Entry, Owner>,
  ): Promise<Copies<Entry, Owner>> => {
    const { self } = ground;
    const copies = await openCopies(kind, {
      self,
      blobs,
      exchange,
      room: () => budget.room(),
      gossip,
      aliveOthers,
      log,
    });
    kept.push(() => copies.digests());
    return copies;
  };
  return { exchange, budget, housekeeping, openCopies: openCopiesHere, dropletFetches, sources };
}

function makeExchange({ ground, works, known, events }: Parts): BlobExchange {
  return createBlobExchange({
    blobs: works.blobs,
    identity: ground.identity.tls,
    linkOf: known.linkOf,
    onCorrupt: ({ digest, holder, reason }) => {
      const message = `${known.nameOf(holder)} sent a damaged part of ${digest} (${reason}): it comes from other nodes`;
      events.record({ name: 'blob.corrupt', node: holder, message });
    },
    log: ground.log,
  });
}

/** The budget asks since when droplets are unused, and housekeeping says when caches have gone. */
async function makeBudget(
  { ground, lines, works, agent, known, keepAlso }: Parts & { keepAlso: () => ReadonlySet<Digest> },
  shutdown: Shutdown,
) {
  const { options, log, nowMs, self, view, dataDir } = ground;
  const { blobs, logs, stager } = works;
  const budget = new Late<BlobBudget>('the budget of blobs');
  const housekeeping = new Housekeeping({
    view,
    blobs,
    nowMs,
    log,
    daemonLog: dataDir.file('daemon.log'),
    keepAlso,
    isRunning: (app) => agent.hasLiveInstances(app),
    appsLogged: () => logs.apps(),
    appGone: async (app) => {
      await logs.remove(app);
      await stager.removeCache(app);
      budget.it.cachesChanged();
    },
  });
  shutdown.add('housekeeping', () => housekeeping.stop());
  budget.is(
    new BlobBudget({
      self,
      budgetBytes: options.blobsBytes ?? (await defaultBudgetBytes(dataDir.path)),
      blobs,
      caches: { list: stager.listCaches, remove: stager.removeCache },
      keeping: new Keeping({ gossip: lines.gossip, holds: blobs.has, nowMs }),
      view,
      observed: known.observed,
      instancesHere: () => agent.instancesHere(),
      unusedSinceMs: () => housekeeping.unusedSinceMs(),
      nowMs,
      log,
    }),
  );
  shutdown.add('budget', () => budget.it.stop());
  return { budget: budget.it, housekeeping };
}
