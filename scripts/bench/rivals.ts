// What others need for what we did: Serf to see that a member is gone, Docker Swarm to run a task elsewhere; and how
// many times as long as our whole failover that is. What this machine cannot run is left out, with the reason.

import { existsSync } from 'node:fs';
import { createServer } from 'node:net';
import { Lan } from '../lan.ts';
import { type Figure, figure, type LeftOut, median } from './figure.ts';
import { type AgentHost, SerfCluster } from './rivals/serf.ts';
import { SWARM_HOSTS_COUNT, Swarm } from './rivals/swarm.ts';

export const RIVALS = ['serf', 'swarm'] as const;
export type Rival = (typeof RIVALS)[number];

const SERF_KILLS = 5;
/** Of Serf's, on hosts of their own. */
const [SERF_PORT, SERF_RPC_PORT] = [7946, 7373];
/** Each takes about half a minute: Swarm's heartbeats, and a worker that comes back. */
const SWARM_KILLS = 3;
const SERF_RATIO = 3;
const SWARM_RATIO = 10;
const PROGRAM_FOLDERS = ['/usr/bin', '/usr/sbin', '/usr/local/bin', '/usr/local/sbin'];

export type RivalOptions = {
  which: readonly Rival[];
  /** Hosts of our nodes; on the machine's own network they had none. */
  names: readonly string[];
  lan: Lan | undefined;
  /** From the kill until every slot was answered again, each time. */
  failoverMs: readonly number[];
  say: (text: string) => void;
};

/** Fails never for what a rival cannot do here: that is left out. */
export async function besideRivals(options: RivalOptions): Promise<{ figures: Figure[]; leftOut: LeftOut[] }> {
  const figures: Figure[] = [];
  const leftOut: LeftOut[] = [];
  const parts: Record<Rival, { ratio: string; program: string; measure: () => Promise<Figure[]> }> = {
    serf: { ratio: SERF_FIGURE, program: 'serf', measure: () => besideSerf(options) },
    swarm: { ratio: SWARM_FIGURE, program: 'dockerd', measure: () => besideSwarm(options) },
  };
  for (const rival of RIVALS) {
    const { ratio, program, measure } = parts[rival];
    const leave = (reason: string): void => {
      options.say(`${ratio} is left out: ${reason}`);
      leftOut.push({ name: ratio, reason });
    };
    if (!options.which.includes(rival)) leave('not asked for (--rivals)');
    else if (!PROGRAM_FOLDERS.some((folder) => existsSync(`${folder}/${program}`)))
      leave(`there is no ${program} here`);
    else
      await measure().then(
        (measured) => figures.push(...measured),
        (error: Error) => leave(error.message),
      );
  }
  return { figures, leftOut };
}

const SERF_FIGURE = 'serf detection / failover';
const SWARM_FIGURE = 'swarm replacement / failover';

async function besideSerf({ names, lan, failoverMs, say }: RivalOptions): Promise<Figure[]> {
  say(`starting ${names.length} agents of serf`);
  const serf = await SerfCluster.start(await agentHosts(names, lan));
  const first: number[] = [];
  const all: number[] = [];
  try {
    for (let kill = 1; kill <= SERF_KILLS; kill++) {
      const name = names[kill % names.length]!;
      const { firstMs, allMs } = await serf.detectKill(name);
      first.push(firstMs);
      all.push(allMs);
      say(
        `kill ${kill}: serf of ${name}, known by the first other after ${firstMs | 0} ms, by all after ${allMs | 0} ms`,
      );
    }
  } finally {
    await serf.stop();
  }
  return [
    figure('serf: median time until the first agent knew', median(first), 'ms', { samples: first }),
    figure('serf: median time until every agent knew', median(all), 'ms', { samples: all }),
    figure(SERF_FIGURE, median(all) / median(failoverMs), 'ratio', { atLeast: SERF_RATIO }),
  ];
}

async function agentHosts(names: readonly string[], lan: Lan | undefined): Promise<AgentHost[]> {
  if (lan !== undefined) {
    const ports = { port: SERF_PORT, rpcPort: SERF_RPC_PORT };
    return names.map((name) => ({ name, namespace: lan.namespaceOf(name), address: lan.addressOf(name), ...ports }));
  }
  const ports = await freePorts(names.length * 2);
  return names.map((name, index) => {
    const [port, rpcPort] = [ports[index * 2]!, ports[index * 2 + 1]!];
    return { name, namespace: undefined, address: '127.0.0.1', port, rpcPort };
  });
}

async function besideSwarm({ names, lan: ours, failoverMs, say }: RivalOptions): Promise<Figure[]> {
  const hosts = names.slice(0, SWARM_HOSTS_COUNT);
  // Docker takes no address of loopback for a member of a swarm.
  const lan = ours ?? (await Lan.create(hosts));
  const took: number[] = [];
  try {
    say(`starting a swarm of ${hosts.length} dockerds`);
    const swarm = await Swarm.start(lan, hosts);
    try {
      for (let kill = 1; kill <= SWARM_KILLS; kill++) {
        took.push(await swarm.replaceAfterKill());
        say(`kill ${kill}: the task of the swarm ran elsewhere after ${Math.round(took.at(-1)!)} ms`);
      }
    } finally {
      await swarm.stop();
    }
  } finally {
    if (ours === undefined) await lan.remove();
  }
  return [
    figure('swarm: median time until a replacement ran', median(took), 'ms', { samples: took }),
    figure(SWARM_FIGURE, median(took) / median(failoverMs), 'ratio', { atLeast: SWARM_RATIO }),
  ];
}

async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer();
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject).listen(0, '127.0.0.1', resolve);
      });
      return server;
    }),
  );
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
