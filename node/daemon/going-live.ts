// The last steps of a start: the API listens, instances learn which ports of the machine they may reach, what an
// earlier daemon left running is adopted, and what was chosen is written down for people, scripts and the next start.

import { startApi } from '../api/server.ts';
import type { EventLog } from '../cluster/event-log.ts';
import type { KnownCluster } from '../cluster/known-cluster.ts';
import { olderCopyWarnings } from '../cluster/older-copy.ts';
import type { Service } from '../cluster/service.ts';
import { Trouble } from '../cluster/trouble.ts';
import { parseHostPort } from '../lib/host-port.ts';
import { until } from '../lib/until.ts';
import { unsealedWarnings } from '../secrets/warnings.ts';
import type { Agent } from './agent.ts';
import type { DataParts } from './data-parts.ts';
import type { Ground } from './ground.ts';
import type { Lines } from './lines.ts';
import { rememberOptions } from './remembered-options.ts';
import type { ResourceMeter } from './resource-meter.ts';
import { adoptInstances } from './runtime-events.ts';
import type { Shutdown } from './shutdown.ts';
import type { Works } from './works.ts';

const INSTANCES_STOP_TIMEOUT_MS = 15_000;

type Parts = {
  ground: Ground;
  lines: Lines;
  works: Works;
  agent: Agent;
  known: KnownCluster;
  events: EventLog;
  meter: ResourceMeter;
  data: DataParts;
  service: Service;
};
type Bound = { api: string; http: string; link: string; listen: string };

/** Fails with ApiListenError. */
export async function goLive(parts: Parts, caughtUp: Promise<void>, shutdown: Shutdown): Promise<void> {
  const { ground, lines, works, agent, meter, data } = parts;
  const { options, log, dataDir, self, name } = ground;
  const bound = await listen(parts, caughtUp, shutdown);
  agent.post({ type: 'selfMoved', to: { api: bound.api } });
  await setMachinePorts(works, bound);
  // Before anything is decided: a full node that starts takes nothing new.
  await meter.look();
  await adoptInstances(works.runtime, (event) => {
    if (event.type === 'instanceExited' && event.lacks !== undefined) void meter.look();
    agent.post(event);
  });
  data.endProofs();
  watch(parts, bound, shutdown);
  await rememberOptions(options, bound);
  await dataDir.writeNodeFile({ id: self, name, pid: process.pid, ...bound, token: ground.operatorToken });
  shutdown.add('instances', async ({ keepInstances }) => {
    agent.post({ type: 'leave', keepInstances });
    if (!keepInstances) await until(() => !agent.hasLiveInstances(), INSTANCES_STOP_TIMEOUT_MS);
  });
  log.info('node.ready', { name, id: self, api: bound.api, http: lines.router.http });
}

async function listen({ ground, lines, service }: Parts, caughtUp: Promise<void>, shutdown: Shutdown): Promise<Bound> {
  const { options, log, identity } = ground;
  const { standstill, router, gossip } = lines;
  const apiHost = parseHostPort(options.api)?.host ?? '';
  const isLoopback = apiHost === 'localhost' || apiHost === '::1' || apiHost.startsWith('127.');
  const tls = isLoopback ? {} : { tls: identity.tls };
  const server = await startApi({ service, listen: options.api, ...tls, log, standstill, caughtUp });
  shutdown.add('API', () => server.close());
  const { http, link } = router;
  return { api: server.address, http, link, listen: boundListen(gossip.addresses()[0], options.listen) };
}

async function setMachinePorts({ isolation, runtime }: Works, { api, http, link, listen }: Bound): Promise<void> {
  const ports = { open: portsOf([http]), closed: portsOf([api, link, listen]) };
  await isolation.networks?.setMachinePorts(ports);
  await runtime.setMachinePorts?.(ports);
}

/** From now on the node says whom it cannot reach, and follows the machine's addresses. */
function watch({ ground, lines, agent, known, events }: Parts, bound: Bound, shutdown: Shutdown): void {
  const { log, name, nowMs, view } = ground;
  const { gossip, router, addressWatch, reach } = lines;
  const trouble = new Trouble({
    self: name,
    gossip,
    router,
    warnings: () => [
      ...addressWatch.warnings({ '--listen': bound.listen, '--link': bound.link, '--http': bound.http }),
      ...olderCopyWarnings(view(), gossip.strangers()),
      ...unsealedWarnings(view()),
    ],
    isAlive: known.isAlive,
    nameOf: known.nameOf,
    post: (event) => agent.post(event),
    record: (event) => events.record(event),
    nowMs,
    log,
  });
  trouble.start();
  shutdown.add('trouble', () => trouble.stop());
  addressWatch.start({
    changed: () => {
      const to = reach();
      log.info('node.moved', to);
      agent.post({ type: 'selfMoved', to });
    },
    lost: (lost) => {
      log.info('node.address_lost', { lost });
      gossip.checkConnections();
      trouble.look();
    },
  });
  shutdown.add('addresses', () => addressWatch.stop());
}

/** `HOST:PORT` of the listener: the host that was asked for, with the port that was chosen. */
function boundListen(address: string | undefined, asked: string): string {
  const port = /\/tcp\/(\d+)/.exec(address ?? '')?.[1];
  return port === undefined ? asked : asked.replace(/:\d+$/, `:${port}`);
}

/** Ports of `HOST:PORT` addresses. */
function portsOf(addresses: readonly string[]): number[] {
  return addresses.map((address) => parseHostPort(address)?.port ?? 0).filter((port) => port > 0);
}
