// failover --fault kill|freeze|cut: five hosts of their own on a switch; one node at a time is killed, frozen or cut off without
// a sound; time until all slots are ready on the others. --fault none: ten minutes of busy cores and lost packets, in which
// nobody may be held dead.

import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { Lan } from '../lan.ts';
import { LocalCluster, type LocalNode, waitFor } from '../local-cluster.ts';
import { type AppState, readyOn, writeApp } from './app.ts';
import { type Bench, type Figure, figure, median, worst } from './figure.ts';

const NODES = 5;
const INSTANCES = 5;
const ROUNDS = 5;
const HEAL_DEADLINE_MS = 60_000;
const LOSS_PERCENT = 5;

type Fault = 'kill' | 'freeze' | 'cut';
/** Full capacity again, ms at most. */
const BOUND_MS: Record<Fault, number> = { kill: 1_500, freeze: 5_000, cut: 5_000 };

export const faults: (fault: string, minutes: number, say: (text: string) => void) => ReturnType<Bench> = async (
  fault,
  minutes,
  say,
) => {
  say(`starting ${NODES} nodes on hosts of their own`);
  const names = Array.from({ length: NODES }, (_, index) => `node-${index + 1}`);
  const lan = await Lan.create(names);
  const cluster = await LocalCluster.create();
  try {
    await startNodes(cluster, lan, names);
    const folder = join(cluster.folder, 'app');
    await writeApp(folder, '1');
    await cluster.json(cluster.nodes[0]!, ['push', folder, '--name', 'hello', '--instances', String(INSTANCES)]);
    if (fault === 'none') return await falseDeaths(cluster, lan, names, minutes, say);
    return await heal(cluster, lan, fault as Fault, say);
  } finally {
    await cluster.stop();
    await lan.remove();
  }
};

async function startNodes(cluster: LocalCluster, lan: Lan, names: string[]): Promise<void> {
  let invite: string | undefined;
  for (const name of names) {
    const [namespace, address] = [lan.namespaceOf(name), lan.addressOf(name)];
    await cluster.startNode({ name, namespace, host: address, ...(invite === undefined ? {} : { join: invite }) });
    invite ??= await cluster.invite(names.length - 1);
  }
  await cluster.waitForAlive(names.length);
}

const read = (cluster: LocalCluster, node: LocalNode): Promise<AppState> => cluster.read(node, '/v1/apps/hello');

async function heal(cluster: LocalCluster, lan: Lan, fault: Fault, say: (text: string) => void): Promise<Figure[]> {
  const took: number[] = [];
  for (let round = 1; round <= ROUNDS; round++) {
    const victim = cluster.nodes[round % NODES]!;
    const witness = cluster.nodes[(round + 1) % NODES]!;
    const pids = await cluster.processesOf(victim);
    const startMs = performance.now();
    if (fault === 'kill') cluster.kill(pids);
    else if (fault === 'freeze') signalAll(pids, 'SIGSTOP');
    else await lan.cut(victim.name);
    await waitFor('every slot to be ready on the others', HEAL_DEADLINE_MS, async () => {
      return readyOn(await read(cluster, witness), victim.name) === INSTANCES;
    });
    took.push(performance.now() - startMs);
    say(`round ${round}: ${victim.name}, full after ${Math.round(took.at(-1)!)} ms`);
    if (fault === 'kill') await cluster.restartNode(victim);
    else if (fault === 'freeze') signalAll(pids, 'SIGCONT');
    else await lan.heal(victim.name);
    await cluster.waitForAlive(NODES);
    for (const node of cluster.nodes) {
      await waitFor(`${node.name} to see one instance a slot, one on every node`, HEAL_DEADLINE_MS, async () => {
        const state = await read(cluster, node);
        return state.instances.length === INSTANCES && new Set(state.instances.map((one) => one.node)).size === NODES;
      });
    }
  }
  return [
    figure(`median time to full capacity after ${fault}`, median(took), 'ms', {
      atMost: BOUND_MS[fault],
      samples: took,
    }),
    figure(`worst time to full capacity after ${fault}`, worst(took), 'ms'),
  ];
}

/** Both cores busy, every twentieth packet lost: what a poor network and a busy machine look like from within. */
async function falseDeaths(
  cluster: LocalCluster,
  lan: Lan,
  names: string[],
  minutes: number,
  say: (text: string) => void,
): Promise<Figure[]> {
  for (const name of names) await lan.lose(name, LOSS_PERCENT);
  const spinners = [0, 1].map(() =>
    spawn(process.execPath, [
      '-e',
      `setTimeout(() => process.exit(), ${minutes * 60_000}); for (;;) { const end = performance.now() + 50; while (performance.now() < end); if (performance.timeOrigin + performance.now() > ${Date.now() + minutes * 60_000}) process.exit(); }`,
    ]),
  );
  say(`${minutes} minutes of busy cores and ${LOSS_PERCENT} % loss`);
  try {
    await new Promise((resolve) => setTimeout(resolve, minutes * 60_000));
  } finally {
    for (const spinner of spinners) spinner.kill('SIGKILL');
  }
  type Event = { name: string; message: string };
  let deaths = 0;
  for (const node of cluster.nodes) {
    const events = await cluster.json<Event[]>(node, ['events', '--lines', '2000']);
    deaths = Math.max(deaths, events.filter((event) => event.name === 'member.dead').length);
  }
  const stopped = await cluster.json<Event[]>(cluster.nodes[0]!, ['events', 'hello', '--lines', '2000']);
  return [
    figure('false deaths', deaths, 'verdicts', { atMost: 0 }),
    figure('instances stopped', stopped.filter((event) => event.name === 'instance.stopped').length, 'instances', {
      atMost: 0,
    }),
    figure('minutes observed', minutes, 'min'),
  ];
}

function signalAll(pids: readonly number[], signal: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
}
