// Makes what looks after the data of this node: the steward of its services, their backups, the way of apps to
// services here and elsewhere; and what others may ask of them.

import { freemem } from 'node:os';
import type { InstanceId, NodeId, ServiceId } from '../../crdt/ids.ts';
import type { EventLog } from '../cluster/event-log.ts';
import type { KnownCluster } from '../cluster/known-cluster.ts';
import type { Replicator } from '../cluster/replicator.ts';
import type { ClusterEvent } from '../core/types.ts';
import type { Backup } from '../ports/backups.ts';
import { BACKUP_COPIES, BACKUPS_MAX } from '../ports/methods.ts';
import type { KindInfo, ServiceGuests, ServicesDesk } from '../ports/services-desk.ts';
import type { VolumeLife } from '../ports/snapshots.ts';
import { ServiceBackups } from '../services/backups.ts';
import { KINDS } from '../services/catalogue.ts';
import { Steward } from '../services/steward.ts';
import type { VolumeMover } from '../volumes/mover.ts';
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
  backups: ServiceBackups;
  /** Ends what proved a backup when an earlier daemon ended. Call when the runtime has adopted. */
  endProofs(): void;
  volumes: VolumeLife;
  mover: VolumeMover;
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
  const backups = await makeBackups(parts, { proofs, steward }, shutdown);
  const life = await makeVolumeLife({ ...parts, record: (event) => record(parts, event) }, shutdown);
  const ways = new ServiceWays(parts);
  return {
    desk: new ServicesHere({
      view,
      self: ground.self,
      steward,
      volumes: works.volumes,
      isExported: (service) => ways.isExported(service),
    }),
    guests: steward,
    nodeOf: (service) => nodeOf(parts, service),
    kinds: KINDS.map(({ name, tags, plans, debianPackage }) => ({ name, tags, plans, debianPackage })),
    backups,
    volumes: life.volumes,
    mover: life.mover,
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

async function makeBackups(
  parts: Parts,
  { proofs, steward }: { proofs: Proofs; steward: Steward },
  shutdown: Shutdown,
) {
  const { ground, lines, works, agent, known, storage } = parts;
  const { log, view, self, dataDir } = ground;
  const copies = await storage.openCopies<Backup, ServiceId>({
    path: dataDir.file('backups.json'),
    max: BACKUPS_MAX,
    methods: BACKUP_COPIES,
    ownerOf: ({ service }) => service,
    // Only the node that took it proves it.
    merge: (heard, known) => ({ ...heard, proof: heard.proof ?? known.proof }),
  });
  const backups = new ServiceBackups({
    self,
    view,
    contexts: works.contexts,
    nodeOf: (service) => nodeOf(parts, service),
    instanceOf: (service) => readyInstance(agent, service),
    copies,
    blobs: works.blobs,
    gossip: lines.gossip,
    nameOf: known.nameOf,
    proof: {
      runtime: works.runtime,
      onEvent: (listener) => proofs.onEvent(listener),
      removeVolume: (volume) => proofs.removeVolume(volume),
    },
    freeMemoryBytes: freemem,
    restored: (service) => steward.lookAgain(service),
    record: (name, service, message) => record(parts, { name, app: service.id as never, message }),
    log,
    nowMs: () => Date.now(),
  });
  shutdown.add('backups', () => backups.close());
  return backups;
}

/** Where it runs, ready, as far as this node knows. */
function nodeOf({ agent, ground, known }: Parts, service: ServiceId): NodeId | undefined {
  if (readyInstance(agent, service) !== undefined) return ground.self;
  return known
    .aliveOtherMembers()
    .find(({ report }) => report?.instances.some(({ app, state }) => (app as string) === service && state === 'ready'))
    ?.id;
}
