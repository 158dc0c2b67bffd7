// How the parts of a node hear of one another: what each event leads to. Decides nothing.

import type { NodeId } from '../../crdt/ids.ts';
import { Admitted } from '../admission/admitted.ts';
import { answerJoin } from '../admission/joining.ts';
import { OwnOperator } from '../admission/own-operator.ts';
import type { EventLog } from '../cluster/event-log.ts';
import type { KnownCluster } from '../cluster/known-cluster.ts';
import { RecordReporter } from '../cluster/record-reporter.ts';
import type { Replicator } from '../cluster/replicator.ts';
import type { Service } from '../cluster/service.ts';
import { tokenHashOf } from '../identity/tokens.ts';
import { until } from '../lib/until.ts';
import { wrapsFor } from '../secrets/new-key.ts';
import { Upkeep } from '../secrets/upkeep.ts';
import { DeletedVolumes } from '../volumes/deleted.ts';
import type { Agent } from './agent.ts';
import type { Departure } from './departure.ts';
import type { Ground } from './ground.ts';
import type { Lines } from './lines.ts';
import type { Shutdown } from './shutdown.ts';
import type { Storage } from './storage-parts.ts';
import type { Works } from './works.ts';

/** Above the core's settleMs, which bounds it. */
const CATCH_UP_MAX_MS = 5_000;
const OPERATOR_RENEWED_WITHIN_MS = 1_000;

type Parts = {
  ground: Ground;
  lines: Lines;
  works: Works;
  agent: Agent;
  known: KnownCluster;
  events: EventLog;
  storage: Storage;
  service: Service;
  departure: Departure;
};

/** What other nodes say becomes events of the core. */
export function hearOthers({ lines, agent }: Pick<Parts, 'lines' | 'agent'>): void {
  lines.gossip.on({
    connected: (node) => agent.post({ type: 'connected', node }),
    disconnected: (node) => agent.post({ type: 'disconnected', node }),
    report: (report) => agent.post({ type: 'reportReceived', report }),
    membership: (message) => agent.post({ type: 'membershipReceived', message }),
    belief: (belief) => agent.post({ type: 'beliefHeard', belief }),
  });
}

/** What this node holds is news to the core, and what it takes of the disk to the budget. */
export function hearBlobs({ works, agent, storage }: Pick<Parts, 'works' | 'agent' | 'storage'>): void {
  const { blobs } = works;
  blobs.onChange(() => agent.post({ type: 'dropletsHeld', digests: blobs.list() }));
  blobs.onGrowth(() => void storage.budget.look());
  void storage.budget.look();
}

/** Volumes that are filling up are said before they are full. */
export function hearVolumes({ works, events }: Pick<Parts, 'works' | 'events'>): void {
  works.volumes.onEvent(({ type, instance, message }) => {
    events.record({ name: `volume.${type}`, instance, message });
  });
}

/**
 * Every change of the desired state, and the state as it is now: the core's view comes first, as it ignores nodes
 * that it does not know.
 */
export function hearDesired(
  { ground, lines, works, agent, events, storage, departure }: Parts,
  shutdown: Shutdown,
): void {
  const { log, self, view, store } = ground;
  const admitted = new Admitted({ self, view, gossip: lines.gossip });
  const records = new RecordReporter({ log, record: (event) => events.record(event) });
  const deleted = new DeletedVolumes({ view, volumes: works.volumes, log });
  shutdown.add('deleted volumes', () => deleted.stop());
  /** What one part stumbles over is not to keep the news from the others. */
  const tell = (part: string, told: () => void): void => {
    try {
      told();
    } catch (error) {
      log.error('desired.not_taken_up', { part, error });
    }
  };
  store.onChange(() => {
    agent.post({ type: 'desiredChanged', view: view(), heads: store.heads() });
    tell('gossip', () => admitted.desiredChanged());
    tell('housekeeping', () => storage.housekeeping.desiredChanged());
    tell('records', () => records.look(view()));
    tell('volumes', () => deleted.desiredChanged());
    tell('departure', () => departure.desiredChanged());
  });
  agent.post({ type: 'desiredChanged', view: view(), heads: store.heads() });
  tell('gossip', () => admitted.admit());
  tell('records', () => records.look(view()));
}

/**
 * Resolves when it is known who may do what: the node has seen what the cluster asks for, and its own operator is in
 * order; or when neither came in time. Nobody is let in before.
 */
export function catchUp({ ground, agent, service }: Pick<Parts, 'ground' | 'agent' | 'service'>): Promise<void> {
  const { log, self, view, store, operatorToken } = ground;
  const { write } = service;
  const operator = new OwnOperator({ self, tokenHash: tokenHashOf(operatorToken), view, write, log });
  const caughtUp = async (): Promise<void> => {
    await until(() => agent.isCaughtUp(), CATCH_UP_MAX_MS);
    operator.look();
    store.onChange(() => operator.look());
    await until(() => operator.isInOrder, OPERATOR_RENEWED_WITHIN_MS);
  };
  return caughtUp().catch(() => {});
}

/** The keys of secrets: looked after from when the node knows what the cluster asks for. */
export function keepSecrets(
  { ground, agent, known, replicator }: Pick<Parts, 'ground' | 'agent' | 'known'> & { replicator: Replicator },
  shutdown: Shutdown,
): Upkeep {
  const { log, nowMs, keyring, store, view } = ground;
  const upkeep = new Upkeep({
    keyring,
    view,
    secrets: () => store.secrets(),
    heads: () => store.heads(),
    members: () => {
      const heads = store.heads().join();
      return known.observed().members.map(({ id, status, report }) => ({
        id,
        isAlive: status === 'alive',
        agrees: report?.heads.join() === heads,
      }));
    },
    isCaughtUp: () => agent.isCaughtUp(),
    write: (changes, by) => replicator.write(changes, { by, atMs: Date.now() }),
    nowMs,
    log,
  });
  shutdown.add('secrets', () => upkeep.stop());
  return upkeep;
}

/** Other nodes that join through this one. */
export function answerJoins(
  { ground, lines, known, service }: Pick<Parts, 'ground' | 'lines' | 'known' | 'service'>,
  caughtUp: Promise<void>,
): void {
  const { store, view } = ground;
  lines.router.onJoin(async (request, from) => {
    // An invite may have been used up since.
    await caughtUp;
    const { write } = service;
    const member = {
      view,
      write,
      wrapsFor: (id: NodeId, sealKey: string) => wrapsFor({ id, sealKey }, view(), ground.keyring),
      snapshot: () => store.snapshot(),
      addresses: known.addresses,
    };
    return answerJoin(member, request, from);
  });
}
