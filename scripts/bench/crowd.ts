// crowd [--nodes N] [--minutes M] [--part free|held]: more daemons than the machine's cores like. Once free, once with
// each node held to a small share of a core by its control group: a crowd must come to rest by itself, stay there, do
// its work, heal, and come back after all of it stood still at once. Judged by what the daemons themselves log.

import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { LocalCluster, type LocalNode, waitFor } from '../local-cluster.ts';
import { killAll, signalAll } from '../processes.ts';
import { readApp, readyOn, writeApp } from './app.ts';
import { CpuCage } from './cpu-cage.ts';
import { type Counts, CrowdLog } from './crowd-log.ts';
import { type Bench, type Figure, figure, median } from './figure.ts';
import { cpuSeconds } from './process-time.ts';

const NODES_FREE = 24;
const NODES_HELD = 12;
/** Of one core, for the whole of a node: daemon and router. */
const HELD_SHARE = 0.05;
const MINUTES_DEFAULT = '5';
const INSTANCES = 12;
const KILLED = 2;
const FROZEN_MS = 20_000;
/** Calm is this long without a lost connection, a suspicion or a death, while all hold all for alive. */
const CALM_MS = 10_000;
const CALM_WITHIN_MS = 60_000;
/** The cost of being idle is compared between these. */
const FEW = 2;
const MANY = 14;
const SETTLE_MS = 20_000;
const OBSERVE_MS = 30_000;

const crowd: Bench = async (args, say) => {
  const { values } = parseArgs({
    args,
    options: {
      nodes: { type: 'string' },
      minutes: { type: 'string', default: MINUTES_DEFAULT },
      part: { type: 'string', default: 'both' },
    },
  });
  const minutes = Number(values.minutes);
  const figures: Figure[] = [];
  if (values.part !== 'held') {
    figures.push(...(await tryCrowd({ nodes: Number(values.nodes ?? NODES_FREE), minutes, share: undefined }, say)));
  }
  if (values.part !== 'free') {
    figures.push(...(await tryCrowd({ nodes: Number(values.nodes ?? NODES_HELD), minutes, share: HELD_SHARE }, say)));
  }
  return figures;
};
export default crowd;

type Crowd = { nodes: number; minutes: number; share: number | undefined };

async function tryCrowd({ nodes, minutes, share }: Crowd, say: (text: string) => void): Promise<Figure[]> {
  const kind = share === undefined ? `${nodes} nodes` : `${nodes} nodes at ${share * 100} % of a core`;
  const figures: Figure[] = [];
  const cluster = await LocalCluster.create();
  const cage = share === undefined ? undefined : await CpuCage.create(share);
  const log = new CrowdLog();
  try {
    const costs = await grow({ cluster, cage, log, nodes }, say);
    if (share === undefined && nodes >= MANY) {
      const [few, many] = costs.map(median);
      figures.push(
        figure(`idle node of ${FEW}`, few!, '% of a core', { samples: costs[0]! }),
        figure(`idle node of ${MANY}`, many!, '% of a core', { samples: costs[1]! }),
        figure(`idle node of ${MANY}, over one of ${FEW}`, many! / few!, 'ratio', { atMost: 2.5 }),
      );
    }
    const joined = await calmAfter(cluster, log, say);
    figures.push(figure(`${kind}: calm after the last join`, joined / 1_000, 's', { atMost: CALM_WITHIN_MS / 1_000 }));

    say(`${kind}: at rest for ${minutes} minutes`);
    const before = await log.read(cluster.nodes);
    await pause(minutes * 60_000);
    const rest = CrowdLog.since(before, await log.read(cluster.nodes));
    say(`at rest: ${describe(rest)}`);
    figures.push(
      figure(`${kind}: connections lost at rest`, rest.lost, 'connections', { atMost: 0 }),
      figure(`${kind}: suspicions at rest`, rest.suspicions, 'suspicions', { atMost: 0 }),
    );

    figures.push(...(await work({ cluster, cage, kind }, say)));

    say(`${kind}: everything stands still for ${FROZEN_MS / 1_000} s`);
    const pids = (await Promise.all(cluster.nodes.map((node) => cluster.processesOf(node)))).flat();
    signalAll(pids, 'SIGSTOP');
    await pause(FROZEN_MS);
    signalAll(pids, 'SIGCONT');
    const thawed = await calmAfter(cluster, log, say);
    figures.push(
      figure(`${kind}: calm after all stood still`, thawed / 1_000, 's', { atMost: CALM_WITHIN_MS / 1_000 }),
    );
    return figures;
  } finally {
    await cluster.stop();
    await cage?.remove();
  }
}

/** Starts node after node; returns what an idle node of FEW and of MANY costs, in percent of a core, on the way. */
async function grow(
  { cluster, cage, log, nodes }: { cluster: LocalCluster; cage: CpuCage | undefined; log: CrowdLog; nodes: number },
  say: (text: string) => void,
): Promise<number[][]> {
  const costs: number[][] = [];
  let invite: string | undefined;
  for (let i = 1; i <= nodes; i++) {
    const name = `node-${String(i).padStart(2, '0')}`;
    const node = await cluster.startNode({ name, ...(invite === undefined ? {} : { join: invite }) });
    invite ??= await cluster.invite(nodes - 1);
    // Starting a daemon costs seconds of a core, which would be minutes in the cage: it is for life, not for birth.
    await cage?.hold(await cluster.processesOf(node));
    if (cage === undefined && nodes >= MANY && (i === FEW || i === MANY)) costs.push(await idleCost(cluster, say));
  }
  say(`${nodes} nodes joined: ${describe((await log.read(cluster.nodes)).total)}`);
  return costs;
}

async function idleCost(cluster: LocalCluster, say: (text: string) => void): Promise<number[]> {
  await pause(SETTLE_MS);
  const pids = await Promise.all(cluster.nodes.map((node) => cluster.processesOf(node)));
  const before = await Promise.all(pids.map(cpuSeconds));
  await pause(OBSERVE_MS);
  const after = await Promise.all(pids.map(cpuSeconds));
  const percent = after.map((seconds, index) => (100 * (seconds - before[index]!)) / (OBSERVE_MS / 1_000));
  say(`an idle node of ${cluster.nodes.length} takes ${median(percent).toFixed(2)} % of a core`);
  return percent;
}

/** ms from now until the calm began that then held. Infinity when it did not come within twice its time. */
async function calmAfter(cluster: LocalCluster, log: CrowdLog, say: (text: string) => void): Promise<number> {
  const startedMs = performance.now();
  let sinceMs = startedMs;
  let last = await log.read(cluster.nodes);
  while (performance.now() - startedMs < 2 * CALM_WITHIN_MS + CALM_MS) {
    await pause(500);
    const now = await log.read(cluster.nodes);
    const news = CrowdLog.since(last, now);
    last = now;
    if (news.lost + news.suspicions + news.deaths > 0) sinceMs = performance.now();
    else if (performance.now() - sinceMs >= CALM_MS) {
      if (await allHoldAllAlive(cluster)) {
        say(`calm after ${((sinceMs - startedMs) / 1_000).toFixed(1)} s: ${describe(now.total)} in all`);
        return sinceMs - startedMs;
      }
      sinceMs = performance.now() - CALM_MS + 1_000;
    }
  }
  say(`not calm: ${describe(last.total)} in all`);
  return Number.POSITIVE_INFINITY;
}

async function allHoldAllAlive(cluster: LocalCluster): Promise<boolean> {
  for (const node of cluster.nodes) {
    const nodes = await cluster.read<{ status: string }[]>(node, '/v1/nodes').catch(() => undefined);
    if (nodes?.filter((one) => one.status === 'alive').length !== cluster.nodes.length) return false;
  }
  return true;
}

/** A push of many instances; two nodes that run some are killed, and their slots filled again; they come back. */
async function work(
  { cluster, cage, kind }: { cluster: LocalCluster; cage: CpuCage | undefined; kind: string },
  say: (text: string) => void,
): Promise<Figure[]> {
  const folder = join(cluster.folder, 'app');
  await writeApp(folder, '1');
  const [asked, watcher] = [cluster.nodes.at(-1)!, cluster.nodes[0]!];
  const pushedMs = performance.now();
  await cluster.json(asked, ['push', folder, '--name', 'hello', '--instances', String(INSTANCES)], {
    timeoutMs: 300_000,
  });
  await allReady(cluster, watcher, []);
  const push = (performance.now() - pushedMs) / 1_000;
  say(`${INSTANCES} instances pushed in ${push.toFixed(1)} s`);
  const busy = new Set((await readApp(cluster, watcher, 'hello')).instances.map((one) => one.node));
  const dead = cluster.nodes
    .filter((node) => node !== watcher && node !== asked && busy.has(node.name))
    .slice(0, KILLED);
  const pids = (await Promise.all(dead.map((node) => cluster.processesOf(node)))).flat();
  const killedMs = performance.now();
  killAll(pids);
  await allReady(cluster, watcher, dead);
  const heal = (performance.now() - killedMs) / 1_000;
  say(`healed ${heal.toFixed(1)} s after ${KILLED} nodes were killed`);
  for (const node of dead) {
    const again = await cluster.restartNode(node);
    await cage?.hold(await cluster.processesOf(again));
  }
  return [figure(`${kind}: push of ${INSTANCES} instances`, push, 's'), figure(`${kind}: healed`, heal, 's')];
}

async function allReady(cluster: LocalCluster, watcher: LocalNode, dead: readonly LocalNode[]): Promise<void> {
  const names = new Set(dead.map((node) => node.name));
  await waitFor(`${INSTANCES} instances on the living`, 180_000, async () => {
    const state = await readApp(cluster, watcher, 'hello');
    return readyOn(state) === INSTANCES && state.instances.every((one) => !names.has(one.node));
  });
}

const describe = (counts: Counts): string =>
  `${counts.made} connections made, ${counts.lost} lost, ${counts.suspicions} suspicions, ${counts.deaths} held dead`;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
