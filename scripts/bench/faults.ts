// failover --fault kill|freeze|cut: five hosts of their own on a switch; one node at a time is killed, frozen or cut
// off without a sound; time until all slots are ready on the others, and answer through their routers. A kill is held
// beside others' too.

import { join } from 'node:path';
import { Lan } from '../lan.ts';
import { LocalCluster, type LocalNode, waitFor } from '../local-cluster.ts';
import { signalAll } from '../processes.ts';
import { untilAnswered } from './answered.ts';
import { type AppState, readyOn, writeApp } from './app.ts';
import { type Figure, figure, type Measured, median, worst } from './figure.ts';
import { besideRivals, type Rival } from './rivals.ts';

const NODES = 5;
const INSTANCES = 5;
const ROUNDS = 5;
const HEAL_DEADLINE_MS = 60_000;

const FAULTS = ['kill', 'freeze', 'cut'] as const;
type Fault = (typeof FAULTS)[number];
/** Full capacity again, ms at most. */
const BOUND_MS: Record<Fault, number> = { kill: 1_500, freeze: 5_000, cut: 5_000 };

type Healed = { figures: Figure[]; answeredMs: number[] };

/** @param which others that a kill is measured beside; what a frozen or cut one of theirs takes is not asked. */
export async function faults(name: string, which: readonly Rival[], say: (text: string) => void): Promise<Measured> {
  const fault = FAULTS.find((one) => one === name);
  if (fault === undefined) throw new Error(`there is no fault "${name}": give one of ${FAULTS.join(', ')}`);
  say(`starting ${NODES} nodes on hosts of their own`);
  const names = Array.from({ length: NODES }, (_, index) => `node-${index + 1}`);
  const lan = await Lan.create(names);
  const cluster = await LocalCluster.create();
  try {
    await cluster.startOn(lan, names);
    const folder = join(cluster.folder, 'app');
    await writeApp(folder, '1');
    await cluster.json(cluster.nodes[0]!, ['push', folder, '--name', 'hello', '--instances', String(INSTANCES)]);
    const { figures, answeredMs } = await heal(cluster, lan, fault, say);
    if (fault !== 'kill') return { figures, leftOut: [] };
    await cluster.stop();
    const beside = await besideRivals({ which, names, lan, failoverMs: answeredMs, say });
    return { figures: [...figures, ...beside.figures], leftOut: beside.leftOut };
  } finally {
    await cluster.stop();
    await lan.remove();
  }
}

const read = (cluster: LocalCluster, node: LocalNode): Promise<AppState> => cluster.read(node, '/v1/apps/hello');

async function heal(cluster: LocalCluster, lan: Lan, fault: Fault, say: (text: string) => void): Promise<Healed> {
  const took: number[] = [];
  const answeredMs: number[] = [];
  for (let round = 1; round <= ROUNDS; round++) {
    const victim = cluster.nodes[round % NODES]!;
    const witness = cluster.nodes[(round + 1) % NODES]!;
    const pids = await cluster.processesOf(victim);
    const startMs = performance.now();
    if (fault === 'kill') cluster.kill(pids);
    else if (fault === 'freeze') signalAll(pids, 'SIGSTOP');
    else await lan.cut(victim.name);
    const answered = untilAnswered({
      cluster,
      through: cluster.nodes.filter((node) => node !== victim),
      host: 'hello.localhost',
      slots: INSTANCES,
      deadlineMs: HEAL_DEADLINE_MS,
    });
    answered.catch(() => {});
    await waitFor('every slot to be ready on the others', HEAL_DEADLINE_MS, async () => {
      return readyOn(await read(cluster, witness), victim.name) === INSTANCES;
    });
    took.push(performance.now() - startMs);
    answeredMs.push((await answered) - startMs);
    const [full, all] = [took, answeredMs].map((samples) => Math.round(samples.at(-1)!));
    say(`round ${round}: ${victim.name}, full after ${full} ms, answered after ${all} ms`);
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
  const figures = [
    figure(`median time to full capacity after ${fault}`, median(took), 'ms', { samples: took }),
    figure(`worst time to full capacity after ${fault}`, worst(took), 'ms', { atMost: BOUND_MS[fault] }),
    figure(`median time until every slot was answered after ${fault}`, median(answeredMs), 'ms', {
      samples: answeredMs,
    }),
  ];
  return { figures, answeredMs };
}
