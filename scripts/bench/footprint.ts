// footprint: memory and CPU of an idle node, apps aside: its daemon, its router, and what it keeps around each
// instance.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { LocalCluster, waitFor } from '../local-cluster.ts';
import { processTable } from '../processes.ts';
import { readApp, readyOn, writeApp } from './app.ts';
import { type Bench, figure, median, worst } from './figure.ts';
import { cpuSeconds } from './process-time.ts';

const NODES = 3;
/** Start-up garbage is collected and compiled code settles. */
const SETTLE_MS = 30_000;
const OBSERVE_MS = 30_000;

const footprint: Bench = async (_args, say) => {
  say(`starting ${NODES} nodes`);
  const cluster = await LocalCluster.start(NODES);
  try {
    const folder = join(cluster.folder, 'app');
    await writeApp(folder, '1');
    await cluster.json(cluster.nodes[0]!, ['push', folder, '--name', 'hello', '--instances', String(NODES)]);
    await waitFor('one instance on every node', 30_000, async () => {
      const state = await readApp(cluster, cluster.nodes[0]!, 'hello');
      return readyOn(state) === NODES && new Set(state.instances.map((one) => one.node)).size === NODES;
    });
    say(`idle for ${SETTLE_MS / 1000} s, then observed for ${OBSERVE_MS / 1000} s`);
    await pause(SETTLE_MS);
    const platform = await Promise.all(
      cluster.nodes.map(async (node) => platformProcesses(await cluster.processesOf(node))),
    );
    const before = await Promise.all(platform.map(cpuSeconds));
    await pause(OBSERVE_MS);
    const after = await Promise.all(platform.map(cpuSeconds));
    const memory = await Promise.all(platform.map(memoryMb));
    const pss = memory.map((one) => one.pssMb);
    const cpu = after.map((seconds, index) => (100 * (seconds - before[index]!)) / (OBSERVE_MS / 1_000));
    for (const [index, node] of cluster.nodes.entries()) {
      say(
        `${node.name}: ${platform[index]!.length} processes, ${Math.round(pss[index]!)} MB PSS, ${cpu[index]!.toFixed(2)} % of a core`,
      );
    }
    return [
      figure('worst node, proportional set size', worst(pss), 'MB', { atMost: 160, samples: pss }),
      figure('median node, proportional set size', median(pss), 'MB'),
      figure('worst node, private memory', worst(memory.map((one) => one.privateMb)), 'MB'),
      figure('worst node, CPU', worst(cpu), '% of a core', { atMost: 1.5, samples: cpu }),
    ];
  } finally {
    await cluster.stop();
  }
};
export default footprint;

/** The node's processes without those inside sandboxes: the apps. bwrap itself is the platform's. */
async function platformProcesses(pids: number[]): Promise<number[]> {
  const table = new Map((await processTable()).map((one) => [one.pid, one]));
  const isSandbox = (pid: number): boolean => /^\S*bwrap /.test(table.get(pid)?.command ?? '');
  return pids.filter((pid) => {
    if (isSandbox(pid)) return true;
    for (let one = table.get(pid); one !== undefined; one = table.get(one.parent)) if (isSandbox(one.pid)) return false;
    return true;
  });
}

async function memoryMb(pids: number[]): Promise<{ pssMb: number; privateMb: number }> {
  let pssKb = 0;
  let privateKb = 0;
  for (const pid of pids) {
    const rollup = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8');
    pssKb += Number(/^Pss: +(\d+) kB/m.exec(rollup)?.[1] ?? 0);
    privateKb += Number(/^Private_Clean: +(\d+) kB/m.exec(rollup)?.[1] ?? 0);
    privateKb += Number(/^Private_Dirty: +(\d+) kB/m.exec(rollup)?.[1] ?? 0);
  }
  return { pssMb: pssKb / 1024, privateMb: privateKb / 1024 };
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
