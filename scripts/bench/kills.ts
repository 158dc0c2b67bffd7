// kills: nothing that a service acknowledged is lost when processes are killed. A client of each kind writes without a
// pause from another node, while in turn the engine, the daemon and the whole node (daemon, router, every engine) are
// ended with SIGKILL; then all is read back. `--cycles N` in place of 20.

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ServiceShape } from '../../node/api/data-shapes.ts';
import { Lan } from '../lan.ts';
import { LocalCluster, type LocalNode, waitFor } from '../local-cluster.ts';
import { ENGINES, environmentOf, inNetworkOf, output, processOn } from './data/inside.ts';
import { linesOf } from './data/writer.ts';
import { type Bench, type Figure, figure, median, worst } from './figure.ts';

const CYCLES = 20;
const URLS = { postgres: 'DATABASE_URL', mysql: 'MYSQL_DATABASE_URL', redis: 'REDIS_URL', rabbitmq: 'AMQP_URL' };
type Kind = keyof typeof URLS;
const KINDS = Object.keys(URLS) as Kind[];
const APP = 'client';
const TIMEOUT_MS = 300_000;
/** Of writes between two kills. */
const WRITES_BETWEEN = 20;

type Writer = { kind: Kind; process: ChildProcess; acknowledged: Set<string>; env: NodeJS.ProcessEnv };

const kills: Bench = async (args, say) => {
  const cycles = args[0] === '--cycles' ? Number(args[1]) : CYCLES;
  const lan = await Lan.create(['a', 'b']);
  const cluster = await LocalCluster.create();
  const writers: Writer[] = [];
  try {
    // The app finds room on b alone.
    const at = (name: string) => ({ name, namespace: lan.namespaceOf(name), host: lan.addressOf(name) });
    await cluster.startNode({ ...at('a'), args: ['--memory', '992M'] });
    await cluster.startNode({ ...at('b'), args: ['--memory', '1G'], join: await cluster.invite(1) });
    await cluster.waitForAlive(2);
    const client = await clientOf(cluster, cluster.nodes[1]!);
    for (const kind of KINDS) writers.push(startWriter(kind, client));
    const backMs: Record<Kind, number[]> = { postgres: [], mysql: [], redis: [], rabbitmq: [] };
    for (let cycle = 0; cycle < cycles; cycle++) {
      await untilWritten(writers);
      const what = (['engines', 'daemon', 'node'] as const)[cycle % 3]!;
      const killedMs = performance.now();
      await kill(cluster, what);
      await Promise.all(
        writers.map(async (writer) => {
          await untilWritten([writer]);
          backMs[writer.kind].push(performance.now() - killedMs);
        }),
      );
      say(
        `cycle ${cycle + 1}, ${what} killed: ${KINDS.map((kind) => `${kind} ${Math.round(backMs[kind].at(-1)!)} ms`).join(', ')}`,
      );
    }
    await Promise.all(writers.map(stopWriter));
    const figures: Figure[] = [];
    for (const { kind, acknowledged, env } of writers) {
      const command = inNetworkOf(client.pid, [process.execPath, writerPath]);
      const printed = await output(command, { env: { ...env, DO: 'read' }, timeoutMs: TIMEOUT_MS });
      const there = new Set(printed.split('\n'));
      const lost = [...acknowledged].filter((id) => !there.has(id));
      say(`${kind}: ${acknowledged.size} acknowledged, ${lost.length} lost`);
      figures.push(
        figure(`${kind}: acknowledged writes in ${cycles} kills`, acknowledged.size, 'writes'),
        figure(`${kind}: acknowledged writes that are lost`, lost.length, 'writes', { atMost: 0 }),
        figure(`${kind}: from a kill to ${WRITES_BETWEEN} writes, median`, median(backMs[kind]), 'ms', {
          samples: backMs[kind],
        }),
        figure(`${kind}: from a kill to ${WRITES_BETWEEN} writes, longest`, worst(backMs[kind]), 'ms'),
      );
    }
    return figures;
  } finally {
    for (const writer of writers) writer.process.kill('SIGKILL');
    await cluster.stop();
    await lan.remove();
  }
};
export default kills;

/** Services of every kind on a, an app on b that is bound to all. */
async function clientOf(cluster: LocalCluster, b: LocalNode): Promise<{ pid: number; env: Record<string, string> }> {
  const peer = (...args: string[]): Promise<unknown> => cluster.json(b, args, { timeoutMs: TIMEOUT_MS });
  for (const kind of KINDS) await peer('service', 'create', kind, kind, '--node', 'a');
  const folder = join(cluster.folder, 'app');
  await mkdir(folder);
  await writeFile(
    join(folder, 'package.json'),
    `${JSON.stringify({ name: APP, scripts: { start: 'node wait.js' } })}\n`,
  );
  await writeFile(join(folder, 'wait.js'), 'setInterval(() => {}, 60_000);\n');
  await peer('push', folder, '--name', APP, '--memory', '128M', '--health', 'process', '--no-route', '--no-start');
  for (const kind of KINDS) await peer('bind', kind, APP, ...(kind === 'mysql' ? ['--as', 'MYSQL'] : []));
  await peer('start-app', APP);
  const pid = await processOn(cluster, b, /^\S*node wait\.js/);
  const env = await environmentOf(pid);
  // Names of services stand in the files of the sandbox alone, and the writers are beside it.
  for (const kind of KINDS) {
    const { address, host } = await cluster.read<ServiceShape>(b, `/v1/services/${kind}`);
    env[URLS[kind]] = env[URLS[kind]]!.replace(host!, address!);
  }
  return { pid, env };
}

const writerPath = join(import.meta.dirname, 'data', 'writer.ts');

function startWriter(kind: Kind, client: { pid: number; env: Record<string, string> }): Writer {
  const env = { ...process.env, KIND: kind, URL: client.env[URLS[kind]], DO: 'write' };
  const [program, ...args] = inNetworkOf(client.pid, [process.execPath, writerPath]);
  const child = spawn(program!, args, { env, stdio: ['ignore', 'pipe', 'inherit'] });
  const acknowledged = new Set<string>();
  void (async () => {
    for await (const id of linesOf(child.stdout)) acknowledged.add(id);
  })();
  return { kind, process: child, acknowledged, env };
}

async function stopWriter({ process: child }: Writer): Promise<void> {
  const ended = new Promise((resolve) => child.once('close', resolve));
  child.kill('SIGTERM');
  await ended;
}

/** Until each has had some more acknowledged. */
async function untilWritten(writers: readonly Writer[]): Promise<void> {
  const before = writers.map(({ acknowledged }) => acknowledged.size);
  await waitFor('every kind to take writes', TIMEOUT_MS, async () =>
    writers.every(({ acknowledged }, at) => acknowledged.size >= before[at]! + WRITES_BETWEEN),
  );
}

async function kill(cluster: LocalCluster, what: 'engines' | 'daemon' | 'node'): Promise<void> {
  const a = cluster.nodes[0]!;
  if (what === 'engines') {
    cluster.kill(await Promise.all(KINDS.map((kind) => processOn(cluster, a, ENGINES[kind]!))));
    return;
  }
  if (what === 'daemon') cluster.killDaemon(a);
  else await cluster.killNode(a);
  await cluster.restartNode(a);
}
