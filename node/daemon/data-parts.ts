// Makes what looks after the data of this node: the steward of its services, their backups, the way of apps to
// services here and elsewhere; and what others may ask of them.

import { freemem } from 'node:os';
import type { InstanceId, NodeId, ServiceId } from '../../crdt/ids.ts';
import type { EventLog } from '../cluster/event-log.ts';
import type { KnownCluster } from '../cluster/known-cluster.ts';
import type { Replicator } from '../cluster/replicator.ts';
import type { ClusterEvent } from '../core/types.ts';
import type { ArchivePiece } from '../ports/archives.ts';
import type { Backup, Backups } from '../ports/backups.ts';
import { ARCHIVE_COPIES, ARCHIVE_PIECES_MAX, BACKUP_COPIES, BACKUPS_MAX } from '../ports/data-methods.ts';
import type { KindInfo, ServiceGuests, ServicesDesk } from '../ports/services-desk.ts';
import type { VolumeLife } from '../ports/snapshots.ts';
import { ServiceArchives } from '../services/archives.ts';
import { type BackupsParts, ServiceBackups } from '../services/backups.ts';
import { KINDS } from '../services/catalogue.ts';
import { Rebuilds } from '../services/rebuilds.ts';
import { Steward } from '../services/steward.ts';
import type { VolumeMover } from '../volumes/mover.ts';
import type { LossRestorer } from '../volumes/restorer.ts';
import type { Agent } from './agent.ts';
import { Environments } from './environments.ts';
import type { Ground } from './ground.ts';
import type { Lines } from './lines.ts';
import { Proofs } from './proofs.ts';
import { ServiceWays } from './service-ways.ts';
import { ServicesHere } from './services-here.ts';
import type { Shutdown } from './shutdown.ts';
import type { Storage } from './storage-parts.ts';
import { makeVolumeLife } from './volume-parts.ts';
import type { Works } from './works.ts';

type Parts = {
  ground: Ground;
  lines: Lines;
  works: Works;
  agent: Agent;
  known: KnownCluster;
  events: EventLog;
  storage: Storage;
  replicator: Replicator;
};

export type DataParts = {
  desk: ServicesDesk;
  guests: ServiceGuests;
  /** Where the service runs, ready, as far as this node knows. */
  nodeOf(service: ServiceId): NodeId | undefined;
  kinds: readonly KindInfo[];
  backups: Backups;
  /** Ends what proved a backup when an earlier daemon ended. Call when the runtime has adopted. */
  endProofs(): void;
  volumes: VolumeLife;
  mover: VolumeMover;
  restorer: LossRestorer;
  environments: Environments;
  /** Call once it is known what is asked for, and what an earlier daemon left running. */
  begin(): void;
  /** Call whenever the desired state has changed, or what runs somewhere. */
  look(): void;
};

export async function makeData(parts: Parts, shutdown: Shutdown): Promise<DataParts> {
  const { ground, works, agent } = parts;
  const { view, log, nowMs } = ground;
  const steward = new Steward({
    view,
    instanceOf: (service) => readyInstance(agent, service),
    contexts: works.contexts,
    open: (...sealed) => ground.keyring.open(...sealed),
    runner: works.runtime,
    record: (event) => record(parts, event),
    log,
    nowMs,
  });
  shutdown.add('steward', () => steward.close());
  const proofs = new Proofs(works, log);
  const { backups, archives } = await makeBackups(parts, { proofs, steward }, shutdown);
  const life = await makeVolumeLife({ ...parts, record: (event) => record(parts, event) }, shutdown);
  const ways = new ServiceWays(parts);
  return {
    desk: new ServicesHere({
      view,
      self: ground.self,
      steward,
      volumes: works.volumes,
      keptLog: (service) => archives.keptHere(service),
      isExported: (service) => ways.isExported(service),
    }),
    guests: steward,
    nodeOf: (service) => nodeOf(parts, service),
    kinds: KINDS.map(({ name, tags, plans, least, debianPackage, backup, archive }) => ({
      ...{ name, tags, plans, least, debianPackage },
      keepsData: backup !== undefined,
      hasLog: archive !== undefined,
    })),
    backups,
    volumes: life.volumes,
    mover: life.mover,
    restorer: life.restorer,
    endProofs: () => proofs.endAll(),
    environments: new Environments({ view, secrets: ground.keyring }),
    begin: () => ways.begin(),
    look: () => {
      steward.look();
      ways.look();
    },
  };
}

/** Those that a person reads are in the daemon's log too. */
function record({ events, ground }: Parts, event: ClusterEvent): void {
  events.record(event);
  ground.log.info(event.name, { message: event.message });
}

const readyInstance = (agent: Agent, service: ServiceId): InstanceId | undefined => {
  const here = agent.serviceHere(service);
  return here?.isReady ? here.id : undefined;
};

/** Backups and what is kept of engines' logs; both make instances that are no slot's. */
async function makeBackups(
  parts: Parts,
  { proofs, steward }: { proofs: Proofs; steward: Steward },
  shutdown: Shutdown,
): Promise<{ backups: Backups; archives: ServiceArchives }> {
  const { ground, lines, works, agent, known, storage, replicator } = parts;
  const { log, view, self, dataDir } = ground;
  const copies = await storage.openCopies<Backup, ServiceId>({
    path: dataDir.file('backups.json'),
    max: BACKUPS_MAX,
    methods: BACKUP_COPIES,
    ownerOf: ({ service }) => service,
    // Only the node that took it proves it.
    merge: (heard, known) => ({ ...heard, proof: heard.proof ?? known.proof }),
  });
  const shared: Omit<BackupsParts, 'copies' | 'restored'> = {
    ...{ self, view, log },
    contexts: works.contexts,
    nodeOf: (service) => nodeOf(parts, service),
    instanceOf: (service) => readyInstance(agent, service),
    blobs: works.blobs,
    gossip: lines.gossip,
    nameOf: known.nameOf,
    proof: proofs.parts(),
    freeMemoryBytes: freemem,
    record: (name, service, message) => record(parts, { name, app: service.id as never, message }),
    nowMs: () => Date.now(),
  };
  const backups = new ServiceBackups({ ...shared, copies, restored: (service) => steward.lookAgain(service) });
  shutdown.add('backups', () => backups.close());
  const rebuilds = new Rebuilds({
    ...shared,
    ...{ copies, backups, steward },
    writeUpgraded: async (service, to, by) => {
      await replicator.write([{ change: 'upgradeService', service, ...to }], { by, atMs: Date.now() });
    },
  });
  shutdown.add('rebuilds', () => rebuilds.close());
  const pieces = await storage.openCopies<ArchivePiece, ServiceId>({
    path: dataDir.file('archives.json'),
    max: ARCHIVE_PIECES_MAX,
    methods: ARCHIVE_COPIES,
    ownerOf: ({ service }) => service,
  });
  const archives = new ServiceArchives({ ...shared, copies: pieces, adopt: (...asks) => backups.adopt(...asks) });
  shutdown.add('archives', () => archives.close());
  const asked: Backups = {
    list: (...asks) => backups.list(...asks),
    take: (...asks) => backups.take(...asks),
    restore: (...asks) => backups.restore(...asks),
    download: (...asks) => backups.download(...asks),
    upload: (...asks) => backups.upload(...asks),
    rebuild: (...asks) => rebuilds.rebuild(...asks),
    upgrade: (...asks) => rebuilds.upgrade(...asks),
    windows: (...asks) => archives.windows(...asks),
    recover: (...asks) => archives.recover(...asks),
  };
  return { backups: asked, archives };
}

/** Where it runs, ready, as far as this node knows. */
function nodeOf({ agent, ground, known }: Parts, service: ServiceId): NodeId | undefined {
  if (readyInstance(agent, service) !== undefined) return ground.self;
  return known
    .aliveOtherMembers()
    .find(({ report }) => report?.instances.some(({ app, state }) => (app as string) === service && state === 'ready'))
    ?.id;
}
