// `npm run demo`: three daemons on this machine, a real app pushed to one, opened through each, a node killed, the
// cluster healing. Every step is observed, not assumed; with --once the exit status says whether all of them worked.

import { join } from 'node:path';
import { parseArgs } from 'node:util';
import pc from 'picocolors';
import { get, LocalCluster, type LocalNode, ROOT, splitAddress, waitFor } from './local-cluster.ts';

const NODES = 3;
const INSTANCES = 3;
const APP = 'guestbook';
const HEAL_DEADLINE_MS = 20_000;
/** The load during the kill: one request every so often through each survivor. */
const REQUEST_INTERVAL_MS = 50;

type AppShape = {
  instances: {
    id: string;
    process: string;
    index: number;
    node: string;
    release: string;
    state: string;
    restarts: number;
  }[];
};

const { values } = parseArgs({ options: { once: { type: 'boolean', default: false } } });
const STAYING_MS = 60_000;
const startedMs = performance.now();
let failed = false;

function say(text: string): void {
  const seconds = ((performance.now() - startedMs) / 1_000).toFixed(1).padStart(6);
  process.stdout.write(`${pc.dim(`${seconds} s`)}  ${text}\n`);
}

/** One step of the story: says what it does, then how long it took and what came out. */
async function step<T>(what: string, action: () => Promise<T>, outcome: (result: T) => string): Promise<T> {
  say(`${pc.bold(what)}…`);
  const fromMs = performance.now();
  const result = await action();
  say(`  ${pc.green('✓')} ${outcome(result)} ${pc.dim(`(${Math.round(performance.now() - fromMs)} ms)`)}`);
  return result;
}

const cluster = await LocalCluster.create();
const interrupted = new Promise<void>((resolve) => {
  process.once('SIGINT', resolve);
  process.once('SIGTERM', resolve);
});

try {
  await Promise.race([story(), interrupted]);
  if (!values.once && !failed) {
    const [, port] = splitAddress(cluster.nodes[0]!.http);
    say('');
    say(`The cluster stays up until Ctrl-C. Open ${pc.cyan(`http://${APP}.localhost:${port}/`)} or look around:`);
    say(`  export PEER_API=${cluster.nodes[0]!.api} PEER_TOKEN=${cluster.nodes[0]!.token}`);
    say('  scripts/peer nodes; scripts/peer app guestbook; scripts/peer logs guestbook; scripts/peer events');
    // Neither a signal that is waited for nor the daemons keep this process alive.
    const staying = setInterval(() => {}, STAYING_MS);
    await interrupted;
    clearInterval(staying);
  }
} catch (error) {
  failed = true;
  const { message, cause } = error as Error;
  say(`${pc.red('✗')} ${message}${cause === undefined ? '' : ` (${String(cause)})`}`);
} finally {
  say('cleaning up');
  await cluster.stop();
}
process.exit(failed ? 1 : 0);

async function story(): Promise<void> {
  const first = await step(
    'Starting the first node',
    () => cluster.startNode({ name: 'node-1' }),
    (node) => {
      return `node-1 is a cluster of one; its API is ${node.api}`;
    },
  );
  const invite = await cluster.invite(NODES - 1);
  for (let i = 2; i <= NODES; i++) {
    await step(
      `Joining node-${i} with an invite`,
      () => cluster.startNode({ name: `node-${i}`, join: invite }),
      () => {
        return `node-${i} was admitted and has the desired state`;
      },
    );
  }
  await step(
    'Waiting until every node sees every other',
    () => cluster.waitForAlive(NODES),
    () => `${NODES} nodes are alive`,
  );

  type Pushed = { release: string; buildpack: string; droplet: string };
  await step(
    'Pushing an Express app with npm dependencies to node-1',
    () =>
      cluster.json<Pushed>(first, [
        'push',
        join(ROOT, 'test/apps/express-node'),
        '--name',
        APP,
        '--instances',
        String(INSTANCES),
      ]),
    (pushed) => `release ${pushed.release}, staged by the ${pushed.buildpack} buildpack`,
  );
  await table(first);
  for (const node of cluster.nodes) {
    await step(
      `Opening it through ${node.name}`,
      () => open(node),
      (body) => JSON.stringify(body.trim().slice(0, 60)),
    );
  }

  const victim = await nodeWithAnInstance(first);
  const survivors = cluster.nodes.filter((node) => node !== victim);
  const load = startRequests(survivors);
  await step(
    `Killing ${victim.name} with SIGKILL: its daemon, its router, its instances`,
    async () => {
      await cluster.killNode(victim);
      await waitFor(`${INSTANCES} instances to be ready on the survivors`, HEAL_DEADLINE_MS, async () => {
        return (await readyInstances(survivors[0]!)).filter((one) => one.node !== victim.name).length === INSTANCES;
      });
    },
    () => 'every slot is filled again by the survivors',
  );
  const { sent, failures } = await load.stop();
  if (failures.length > 0) throw new Error(`${failures.length} of ${sent} requests failed meanwhile: ${failures[0]}`);
  say(`  ${pc.green('✓')} ${sent} requests went through the survivors meanwhile, none failed`);
  await table(survivors[0]!);

  await step(
    `Starting ${victim.name} again with nothing but its data directory`,
    async () => {
      await cluster.restartNode(victim);
      await cluster.waitForAlive(NODES);
      await waitFor('one instance a slot, one on every node', HEAL_DEADLINE_MS, async () => {
        const { instances } = await cluster.json<AppShape>(first, ['app', APP]);
        const ready = instances.filter((one) => one.state === 'ready');
        return (
          instances.length === INSTANCES &&
          ready.length === INSTANCES &&
          new Set(ready.map((one) => one.node)).size === NODES
        );
      });
    },
    () => 'it is back, took its share, and no slot is filled twice',
  );
  await table(first);
  for (const node of cluster.nodes) {
    await step(
      `Opening it through ${node.name}`,
      () => open(node),
      (body) => JSON.stringify(body.trim().slice(0, 60)),
    );
  }
  say(pc.green('Every step was observed to work.'));
}

async function open(node: LocalNode): Promise<string> {
  const response = await cluster.get(node, `${APP}.localhost`);
  if (response.status !== 200) throw new Error(`${node.name} answered ${response.status}: ${response.body.trim()}`);
  return response.body;
}

async function readyInstances(node: LocalNode): Promise<AppShape['instances']> {
  const { instances } = await cluster.json<AppShape>(node, ['app', APP]);
  return instances.filter((one) => one.state === 'ready');
}

/** The node to kill: one that runs an instance; not the first, so that the story can go on talking to it. */
async function nodeWithAnInstance(asked: LocalNode): Promise<LocalNode> {
  const hosts = new Set((await readyInstances(asked)).map((one) => one.node));
  const victim = cluster.nodes.find((node) => node !== cluster.nodes[0] && hosts.has(node.name));
  if (victim === undefined) throw new Error('no instance runs on node-2 or node-3: the app was not spread');
  return victim;
}

async function table(node: LocalNode): Promise<void> {
  const ran = await cluster.peer(node, ['app', APP]);
  for (const line of ran.stdout.trimEnd().split('\n')) say(`    ${line}`);
}

function startRequests(nodes: LocalNode[]): { stop(): Promise<{ sent: number; failures: string[] }> } {
  const failures: string[] = [];
  const open = new Set<Promise<void>>();
  let sent = 0;
  const timer = setInterval(() => {
    const node = nodes[sent++ % nodes.length]!;
    const [address, port] = splitAddress(node.http);
    const request = get({ address, port, host: `${APP}.localhost`, path: '/', timeoutMs: 10_000 })
      .then((response) => {
        if (response.status !== 200) failures.push(`${node.name}: ${response.status} ${response.body.trim()}`);
      })
      .catch((error: Error) => {
        failures.push(`${node.name}: ${error.message}`);
      })
      .finally(() => open.delete(request));
    open.add(request);
  }, REQUEST_INTERVAL_MS);
  return {
    async stop() {
      clearInterval(timer);
      await Promise.all(open);
      return { sent, failures };
    },
  };
}
