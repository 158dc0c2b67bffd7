// push: time from starting `peer push` of a Node app without dependencies to the first 200 through another node, and
// the same for a second push of a changed file while requests run.

import { join } from 'node:path';
import { LocalCluster, waitFor } from '../local-cluster.ts';
import { writeApp } from './app.ts';
import { type Bench, figure, median } from './figure.ts';
import { Load } from './load.ts';

const NODES = 3;
const ROUNDS = 5;
const REQUESTS_PER_SECOND = 20;
const DEADLINE_MS = 60_000;

const push: Bench = async (_args, say) => {
  say(`starting ${NODES} nodes`);
  const cluster = await LocalCluster.start(NODES);
  const [first, , other] = cluster.nodes;
  const folder = join(cluster.folder, 'app');
  const serves = async (host: string, version: string): Promise<boolean> => {
    const response = await cluster.get(other!, host);
    return response.status === 200 && response.body === version;
  };
  const timedPush = async (app: string, version: string): Promise<{ servedMs: number; exitMs: number }> => {
    const startMs = performance.now();
    const pushed = cluster.json(first!, ['push', folder, '--name', app]);
    pushed.catch(() => {});
    await waitFor(`${app} to serve version ${version} through ${other!.name}`, DEADLINE_MS, () =>
      serves(`${app}.localhost`, version),
    );
    const servedMs = performance.now() - startMs;
    await pushed;
    return { servedMs, exitMs: performance.now() - startMs };
  };
  try {
    const firstMs: number[] = [];
    const secondMs: number[] = [];
    const exitMs: number[] = [];
    let failed = 0;
    let sent = 0;
    for (let round = 1; round <= ROUNDS; round++) {
      const app = `app-${round}`;
      await writeApp(folder, `${round}.1`);
      const one = await timedPush(app, `${round}.1`);
      const load = new Load({
        targets: cluster.nodes.map((node) => node.http),
        host: `${app}.localhost`,
        perSecond: REQUESTS_PER_SECOND,
      });
      await writeApp(folder, `${round}.2`);
      const two = await timedPush(app, `${round}.2`);
      const result = await load.stop();
      firstMs.push(one.servedMs);
      secondMs.push(two.servedMs);
      exitMs.push(two.exitMs);
      failed += result.failed;
      sent += result.sent;
      say(
        `round ${round}: first ${Math.round(one.servedMs)} ms, second ${Math.round(two.servedMs)} ms (command ended after ${Math.round(two.exitMs)} ms), ${result.failed} of ${result.sent} requests failed`,
      );
      for (const failure of result.failures) say(`  ${failure}`);
    }
    return [
      figure('median first push to 200 through another node', median(firstMs), 'ms', {
        atMost: 2_500,
        samples: firstMs,
      }),
      figure('median second push to new version through another node', median(secondMs), 'ms', {
        atMost: 2_000,
        samples: secondMs,
      }),
      figure('median second push to end of the command', median(exitMs), 'ms', { atMost: 2_000, samples: exitMs }),
      figure('failed requests during second pushes', failed, 'requests', { atMost: 0 }),
      figure('requests sent during second pushes', sent, 'requests'),
    ];
  } finally {
    await cluster.stop();
  }
};
export default push;
