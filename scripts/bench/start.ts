// start: time from asking for a stopped app, whose droplet is on the node, to the first 200 through the router, on
// each runtime; beyond what the app itself takes from `node server.js` to its first answer on the same machine in the
// same run.

import { spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { LocalCluster, type LocalNode, waitFor } from '../local-cluster.ts';
import { readApp, writeApp } from './app.ts';
import { type Bench, type Figure, figure, median } from './figure.ts';

const ROUNDS = 7;
const DEADLINE_MS = 30_000;
const APP = 'bench';
const VERSION = '1';
/** The bound on what a runtime adds. */
const RUNTIMES = [
  { runtime: 'process', atMost: 400 },
  { runtime: 'docker', atMost: 900 },
];

const start: Bench = async (_args, say) => {
  const figures: Figure[] = [];
  for (const { runtime, atMost } of RUNTIMES) {
    say(`starting a node with the ${runtime} runtime`);
    const cluster = await LocalCluster.start(1, ['--runtime', runtime]);
    const [node] = cluster.nodes as [LocalNode];
    const folder = join(cluster.folder, 'app');
    try {
      await writeApp(folder, VERSION);
      await cluster.json(node, ['push', folder, '--name', APP]);
      const alone: number[] = [];
      const samples: number[] = [];
      for (let round = 1; round <= ROUNDS; round++) {
        alone.push(await timedAlone(folder));
        samples.push(await timedStart(cluster, node));
        say(`round ${round}: ${Math.round(samples.at(-1)!)} ms, the app alone ${Math.round(alone.at(-1)!)} ms`);
      }
      figures.push(
        figure(`median start to first response, ${runtime}`, median(samples), 'ms', { samples }),
        figure(`median start of the app alone, beside ${runtime}`, median(alone), 'ms', { samples: alone }),
        figure(`median start over the app's own, ${runtime}`, median(samples) - median(alone), 'ms', { atMost }),
      );
    } finally {
      await cluster.stop();
    }
  }
  return figures;
};
export default start;

async function timedStart(cluster: LocalCluster, node: LocalNode): Promise<number> {
  await ask(node, 'stop');
  await waitFor('the app to be stopped', DEADLINE_MS, async () => {
    const { instances } = await readApp(cluster, node, APP);
    return instances.length === 0;
  });
  const startMs = performance.now();
  await ask(node, 'start');
  await waitFor('the app to answer', DEADLINE_MS, async () => {
    const { status, body } = await cluster.get(node, `${APP}.localhost`);
    return status === 200 && body === VERSION;
  });
  return performance.now() - startMs;
}

/** Past the command line, whose own start would be measured too. */
async function ask(node: LocalNode, what: 'start' | 'stop'): Promise<void> {
  const response = await fetch(`http://${node.api}/v1/apps/${APP}/${what}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${node.token}` },
    signal: AbortSignal.timeout(DEADLINE_MS),
  });
  if (!response.ok) throw new Error(`${what}: ${response.status} ${await response.text()}`);
}

async function timedAlone(folder: string): Promise<number> {
  const port = await freePort();
  const startMs = performance.now();
  const child = spawn(process.execPath, ['server.js'], {
    cwd: folder,
    env: { PATH: process.env.PATH, PORT: String(port) },
    stdio: 'ignore',
  });
  try {
    await waitFor('the app to answer by itself', DEADLINE_MS, async () => {
      const response = await fetch(`http://127.0.0.1:${port}/`);
      return (await response.text()) === VERSION;
    });
    return performance.now() - startMs;
  } finally {
    child.kill('SIGKILL');
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}
