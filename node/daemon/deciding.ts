// The agent of a node, and what carries out its decisions.

import { randomInt } from 'node:crypto';
import { arch, totalmem } from 'node:os';
import type { EventLog } from '../cluster/event-log.ts';
import { writeFailedRelease } from '../cluster/failed-release.ts';
import type { Replicator } from '../cluster/replicator.ts';
import { initialState, SALTS } from '../core/state.ts';
import type { Report } from '../core/types.ts';
import { VERSION } from '../lib/version.ts';
import { engineNames } from '../services/catalogue.ts';
import type { DropletFetches } from '../storage/droplet-fetches.ts';
import { type Actors, Agent } from './agent.ts';
import type { DataParts } from './data-parts.ts';
import type { Ground } from './ground.ts';
import type { Lines } from './lines.ts';
import type { Shutdown } from './shutdown.ts';
import type { Works } from './works.ts';

/** Share of the machine's memory that instances may take unless --memory says otherwise; the rest is the system's. */
const MEMORY_SHARE = 0.75;

/** This node's newest report, as it went out. */
export class OwnReport {
  told: { report: Report; atMs: number } | undefined;
}

/** Decides nothing before it is begun; what happens until then waits. */
export function makeAgent(ground: Ground, works: Works, shutdown: Shutdown): Agent {
  const { options, log, nowMs, self, name, start } = ground;
  const { runtime, blobs } = works;
  const state = initialState({
    self: {
      node: self,
      name,
      version: VERSION,
      // Where it listens is said when it does.
      addresses: [],
      link: '',
      http: '',
      api: '',
      arch: arch(),
      stacks: [...runtime.stacks],
      runtimes: [runtime.kind],
      services: engineNames(works.engines),
      hardQuota: works.isolation.ownDisks,
      labels: options.labels,
      memoryBytes: options.memoryBytes ?? Math.floor(totalmem() * MEMORY_SHARE),
    },
    incarnation: start,
    salt: randomInt(SALTS),
    nowMs: nowMs(),
    droplets: blobs.list(),
  });
  const agent = new Agent({ state, log, nowMs });
  shutdown.add('agent', () => agent.stop());
  return agent;
}

type ActorParts = {
  ground: Ground;
  lines: Lines;
  works: Works;
  agent: Agent;
  ownReport: OwnReport;
  dropletFetches: DropletFetches;
  replicator: Replicator;
  events: EventLog;
  data: Pick<DataParts, 'environments' | 'mover' | 'restorer'>;
};

/** Each decision of the core, and the part that carries it out. */
export function actorsOf(parts: ActorParts): Actors {
  const { ground, lines, works, agent, ownReport, dropletFetches, replicator, events, data } = parts;
  const { log, dataDir, nowMs, name } = ground;
  const { gossip, router } = lines;
  const { runtime } = works;
  return {
    startInstance: (spec) => runtime.start({ ...spec, ...data.environments.of(spec.app.id, spec.env) }),
    stopInstance: (id, reason) => runtime.stop(id, reason),
    fetchDroplet: (wanted) => dropletFetches.fetch(wanted),
    probe: (node, timeoutMs) => {
      void gossip.probe(node, timeoutMs).then((result) => {
        if (result === 'ok') agent.post({ type: 'probeSucceeded', node });
        else agent.post({ type: 'probeFailed', node, reason: result });
      });
    },
    publishReport: (report, how) => {
      ownReport.told = { report, atMs: nowMs() };
      gossip.publishReport(report, how);
    },
    askReport: (node, belief) => void gossip.askReport(node, belief),
    persistStart: (start) => {
      dataDir.rememberStart(start).catch((error) => log.error('node.start_not_kept', { start, error }));
    },
    publishMembership: (message) => gossip.publishMembership(message),
    setRoutes: (table) => router.setTable(table),
    syncDesired: (node) => {
      gossip.syncDesired(node).catch((error) => log.debug('desired.sync_failed', { node, error }));
    },
    failRelease: (failure) => void writeFailedRelease(failure, { replicator, nodeName: name, log }),
    leaveVolume: ({ volume }) => data.mover.handOver(volume),
    restoreVolumes: (order) => data.restorer.restore(order),
    recordEvent: (event) => {
      events.record(event);
      const { message, instance } = event;
      log.info(event.name, { message, ...(instance === undefined ? {} : { instance }) });
    },
  };
}
