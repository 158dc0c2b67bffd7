// failover: time from SIGKILL of a node (daemon, router and instances at once) until all slots are ready on the
// survivors, and until all answer through the survivors' routers, while requests run through them.
// `--fault kill|freeze|cut` does it on hosts of their own; `--rivals serf,swarm|none` says who else is measured beside
// it.

import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { LocalCluster, waitFor } from '../local-cluster.ts';
import { untilAnswered } from './answered.ts';
import { readApp, readyOn, writeApp } from './app.ts';
import { faults } from './faults.ts';
import { type Bench, type Figure, figure, type Measured, median, worst } from './figure.ts';
import { Load } from './load.ts';
import { besideRivals, RIVALS, type Rival } from './rivals.ts';

const NODES = 5;
const INSTANCES = 3;
const KILLS = 5;
const REQUESTS_PER_SECOND = 100;
/** The load goes on this long after the slots are full again: late failures count too. */
const LOAD_AFTER_MS = 1_000;
const HEAL_DEADLINE_MS = 30_000;

const failover: Bench = async (args, say) => {
  const { values } = parseArgs({
    args,
    options: { fault: { type: 'string' }, rivals: { type: 'string', default: RIVALS.join(',') } },
  });
  const which = rivalsOf(values.rivals);
  if (values.fault !== undefined) return faults(values.fault, which, say);
  return plain(which, say);
};
export default failover;

async function plain(which: readonly Rival[], say: (text: string) => void): Promise<Measured> {
  const answeredMs: number[] = [];
  say(`starting ${NODES} nodes`);
  const cluster = await LocalCluster.start(NODES);
  const names = cluster.nodes.map((node) => node.name);
  const figures: Figure[] = [];
  try {
    const folder = join(cluster.folder, 'app');
    await writeApp(folder, '1');
    await cluster.json(cluster.nodes[0]!, ['push', folder, '--name', 'hello', '--instances', String(INSTANCES)]);
    const healMs: number[] = [];
    let sent = 0;
    let failed = 0;
    let slowestMs = 0;
    for (let kill = 1; kill <= KILLS; kill++) {
      const { instances } = await readApp(cluster, cluster.nodes[0]!, 'hello');
      // A node that runs an instance; a different one each time where there is a choice.
      const hosts = [...new Set(instances.map((one) => one.node))].sort();
      const victim = cluster.nodes.find((node) => node.name === hosts[kill % hosts.length])!;
      const survivors = cluster.nodes.filter((node) => node !== victim);
      const load = new Load({
        targets: survivors.map((node) => node.http),
        host: 'hello.localhost',
        perSecond: REQUESTS_PER_SECOND,
      });
      await pause(LOAD_AFTER_MS);
      const pids = await cluster.processesOf(victim);
      const startMs = performance.now();
      cluster.kill(pids);
      const answered = untilAnswered({
        cluster,
        through: survivors,
        host: 'hello.localhost',
        slots: INSTANCES,
        deadlineMs: HEAL_DEADLINE_MS,
      });
      // Awaited below; what fails before it is awaited must not end the process.
      answered.catch(() => {});
      await waitFor('every slot to be ready on the survivors', HEAL_DEADLINE_MS, async () => {
        return readyOn(await readApp(cluster, survivors[0]!, 'hello'), victim.name) === INSTANCES;
      });
      const tookMs = performance.now() - startMs;
      answeredMs.push((await answered) - startMs);
      await pause(LOAD_AFTER_MS);
      const result = await load.stop();
      sent += result.sent;
      failed += result.failed;
      slowestMs = Math.max(slowestMs, result.slowestMs);
      healMs.push(tookMs);
      say(
        `kill ${kill}: ${victim.name}, full after ${Math.round(tookMs)} ms, ` +
          `answered after ${Math.round(answeredMs.at(-1)!)} ms, ${result.failed} of ${result.sent} requests failed`,
      );
      for (const failure of result.failures) say(`  ${failure}`);
      await cluster.restartNode(victim);
      await cluster.waitForAlive(NODES);
      await waitFor('one instance a slot', HEAL_DEADLINE_MS, async () => {
        const state = await readApp(cluster, cluster.nodes[0]!, 'hello');
        return state.instances.length === INSTANCES && readyOn(state) === INSTANCES;
      });
    }
    figures.push(
      figure('median time to full capacity', median(healMs), 'ms', { atMost: 2_000, samples: healMs }),
      figure('worst time to full capacity', worst(healMs), 'ms'),
      figure('median time until every slot was answered', median(answeredMs), 'ms', { samples: answeredMs }),
      figure('failed requests', failed, 'requests', { atMost: 0 }),
      figure('requests sent', sent, 'requests'),
      figure('slowest answer', slowestMs, 'ms'),
    );
  } finally {
    await cluster.stop();
  }
  const beside = await besideRivals({ which, names, lan: undefined, failoverMs: answeredMs, say });
  return { figures: [...figures, ...beside.figures], leftOut: beside.leftOut };
}

function rivalsOf(text: string): Rival[] {
  if (text === 'none') return [];
  return text.split(',').map((name) => {
    const rival = RIVALS.find((one) => one === name);
    if (rival === undefined) throw new Error(`there is no rival "${name}": give some of ${RIVALS.join(',')}, or none`);
    return rival;
  });
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
