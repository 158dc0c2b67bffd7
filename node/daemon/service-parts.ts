// Makes what the API may ask of this node, and what that is put together from.

import { inviting } from '../admission/new-invite.ts';
import { ClusterReader } from '../cluster/cluster-reader.ts';
import { DataReader } from '../cluster/data-reader.ts';
import type { EventLog } from '../cluster/event-log.ts';
import type { KnownCluster } from '../cluster/known-cluster.ts';
import type { Replicator } from '../cluster/replicator.ts';
import { Service } from '../cluster/service.ts';
import { UsageReader } from '../cluster/usage-reader.ts';
import { VERSION } from '../lib/version.ts';
import type { Stager } from '../ports/staging.ts';
import { sealChanges } from '../secrets/seal-changes.ts';
import { exportAccess } from '../services/exports.ts';
import { ServiceSessions } from '../sessions/service-sessions.ts';
import { Sessions } from '../sessions/sessions.ts';
import { stageWith } from '../storage/stage-with.ts';
import type { Agent } from './agent.ts';
import type { DataParts } from './data-parts.ts';
import type { Departure } from './departure.ts';
import type { Ground } from './ground.ts';
import type { Lines } from './lines.ts';
import type { ResourceMeter } from './resource-meter.ts';
import type { Storage } from './storage-parts.ts';
import type { Works } from './works.ts';

type Parts = {
  ground: Ground;
  lines: Lines;
  works: Works;
  agent: Agent;
  known: KnownCluster;
  events: EventLog;
  meter: ResourceMeter;
  storage: Storage;
  replicator: Replicator;
  departure: Departure;
  data: DataParts;
};

export function makeService(parts: Parts): Service {
  const { ground, lines, works, agent, known, events, meter, storage, replicator, departure, data } = parts;
  const { log, dataDir, self, name, cluster, psk } = ground;
  const { gossip } = lines;
  const { blobs, logs, runtime } = works;
  const { observed, aliveOthers, nodesOf } = known;
  const sessions = makeSessions(parts);
  ground.store.onChange(() => sessions.desiredChanged());
  const service: Service = new Service({
    self: { id: self, name, version: VERSION, pid: process.pid, dataDir: dataDir.path },
    cluster,
    blobs,
    exchange: storage.exchange,
    budget: storage.budget,
    sources: storage.sources,
    resources: meter,
    gossip,
    log,
    reader: new ClusterReader({ gossip, logs, events, aliveOthers }),
    replicator,
    sealer: { seal: (changes, view) => sealChanges(changes, view, ground.keyring) },
    secrets: ground.keyring,
    stager: stagerOf(works, storage),
    sessions,
    serviceSessions: makeServiceSessions(parts),
    usage: new UsageReader({ self, gossip, meter: runtime, nodesOf, log }),
    data: new DataReader({ self, gossip, desk: data.desk, view: ground.view, isThere: known.isAlive, log }),
    exportAccess: (id) => exportAccess(ground.view().services.get(id), (...sealed) => ground.keyring.open(...sealed)),
    backups: data.backups,
    volumes: data.volumes,
    kinds: data.kinds,
    createInvite: inviting({ self, cluster, psk, observed, write: (changes, by) => service.write(changes, by) }),
    known,
    candidates: () => agent.candidates(),
    restartSlotHere: (slot) => agent.post({ type: 'restartSlot', slot }),
    shutdown: (how) => departure.begin(how),
  });
  return service;
}

function makeSessions({ ground, lines, works, agent, events, storage, data }: Parts): Sessions {
  return new Sessions({
    self: { id: ground.self, name: ground.name },
    runner: works.runtime,
    duplex: lines.gossip,
    logs: works.logs,
    log: ground.log,
    view: ground.view,
    environmentOf: (...asks) => data.environments.of(...asks),
    candidates: () => agent.candidates(),
    holds: (digest) => works.blobs.has(digest),
    fetchBlob: (digest, options) => storage.exchange.fetch(digest, options),
    record: (event) => events.record(event),
  });
}

function makeServiceSessions({ ground, lines, events, data }: Parts): ServiceSessions {
  return new ServiceSessions({
    self: { id: ground.self, name: ground.name },
    duplex: lines.gossip,
    guests: data.guests,
    view: ground.view,
    nodeOf: data.nodeOf,
    openService: (service) => lines.router.openService(service),
    record: (event) => events.record(event),
    log: ground.log,
  });
}

/** Room is made first, and what is said goes to the app's logs too. */
function stagerOf({ stager, runtime, logs }: Works, { budget }: Storage): Stager {
  return {
    keepBuildpack: stager.keepBuildpack,
    stage: async (request) => {
      await budget.makeRoom();
      const onLine = (text: string): void => {
        logs.append({ app: request.app.id, source: 'STG', stream: 'out', text });
        request.onLine(text);
      };
      try {
        return await stageWith({ stager, images: runtime.images }, { ...request, onLine });
      } finally {
        budget.cachesChanged();
      }
    },
  };
}
