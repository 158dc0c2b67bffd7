// failover: time from SIGKILL of a node (daemon, router and instances at once) until all slots are ready on the survivors,
// while requests run through the survivors' routers.

import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { LocalCluster, waitFor } from '../local-cluster.ts';
import { readApp, readyOn, writeApp } from './app.ts';
import { faults } from './faults.ts';
import { type Bench, figure, median, worst } from './figure.ts';
import { Load } from './load.ts';

const NODES = 5;
const INSTANCES = 3;
const KILLS = 5;
const REQUESTS_PER_SECOND = 100;
/** The load goes on this long after the slots are full again: late failures count too. */
const LOAD_AFTER_MS = 1_000;
const HEAL_DEADLINE_MS = 30_000;

const failover: Bench = async (args, say) => {
  const { values } = parseArgs({ args, options: { fault: { type: 'string' } } });
  if (values.fault !== undefined) return faults(values.fault, say);
  say(`starting ${NODES} nodes`);
  const cluster = await LocalCluster.start(NODES);
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
      await waitFor('every slot to be ready on the survivors', HEAL_DEADLINE_MS, async () => {
        return readyOn(await readApp(cluster, survivors[0]!, 'hello'), victim.name) === INSTANCES;
      });
      const tookMs = performance.now() - startMs;
      await pause(LOAD_AFTER_MS);
      const result = await load.stop();
      sent += result.sent;
      failed += result.failed;
      slowestMs = Math.max(slowestMs, result.slowestMs);
      healMs.push(tookMs);
      say(
        `kill ${kill}: ${victim.name}, full after ${Math.round(tookMs)} ms, ${result.failed} of ${result.sent} requests failed`,
      );
      for (const failure of result.failures) say(`  ${failure}`);
      await cluster.restartNode(victim);
      await cluster.waitForAlive(NODES);
      await waitFor('one instance a slot', HEAL_DEADLINE_MS, async () => {
        const state = await readApp(cluster, cluster.nodes[0]!, 'hello');
        return state.instances.length === INSTANCES && readyOn(state) === INSTANCES;
      });
    }
    return [
      figure('median time to full capacity', median(healMs), 'ms', { atMost: 2_000, samples: healMs }),
      figure('worst time to full capacity', worst(healMs), 'ms'),
      figure('failed requests', failed, 'requests', { atMost: 0 }),
      figure('requests sent', sent, 'requests'),
      figure('slowest answer', slowestMs, 'ms'),
    ];
  } finally {
    await cluster.stop();
  }
};
export default failover;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
