// What an instance finds around itself, and what others see of it: its environment, its logs and events, the requests
// that reach it, and its end. Two nodes; every look is taken through the one that it did not start on, where there is
// a choice.

import { type ChildProcess, spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Agent, WebSocket } from 'undici';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { LogShape } from '../../node/api/log-lines.ts';
import type { AppShape, InstanceShape, ReleaseShape } from '../../node/api/shapes.ts';
import { LocalCluster, type LocalNode, ROOT, run, splitAddress, waitFor } from '../../scripts/local-cluster.ts';
import { isRunning, processTable } from '../../scripts/processes.ts';
import { postToApp } from './requests.ts';

const HELLO = 'hello.localhost';
const MIB = 1024 * 1024;
const GREETING = `two words, "quotes", $HOME, 'ü' and\na second line`;
const APPS = join(ROOT, 'test', 'apps');

let cluster: LocalCluster;
let one: LocalNode;
let two: LocalNode;

beforeAll(async () => {
  cluster = await LocalCluster.start(2);
  [one, two] = cluster.nodes as [LocalNode, LocalNode];
  const settings = ['--instances', '2', '--memory', '128M', '--disk', '256M', '--route', HELLO];
  const env = ['--env', `GREETING=${GREETING}`, '--env', 'EMPTY=', '--env', 'TMPDIR=/tmp'];
  await cluster.json(one, ['push', join(APPS, 'hello-node'), '--name', 'hello', ...settings, ...env]);
});
afterAll(() => cluster?.stop());

const appOf = (name: string, node = one): Promise<AppShape> => cluster.read(node, `/v1/apps/${name}`);
const instanceAt = async (index: number): Promise<InstanceShape> =>
  (await appOf('hello')).instances.find((instance) => instance.index === index)!;

/** The node that runs the instance: a router prefers its own node's. */
const nodeOf = async (index: number): Promise<LocalNode> => ((await instanceAt(index)).node === one.name ? one : two);

const environmentOf = async (index: number): Promise<Record<string, string>> =>
  JSON.parse((await cluster.get(await nodeOf(index), HELLO, '/env')).body);

describe.each([0, 1])('the environment of instance %d', (index) => {
  let env: Record<string, string>;
  let instance: InstanceShape;
  beforeAll(async () => {
    env = await environmentOf(index);
    instance = await instanceAt(index);
  });

  it('says where it is', () => {
    expect(env).toMatchObject({
      HOME: '/home/vcap/app',
      USER: 'vcap',
      MEMORY_LIMIT: '128m',
      INSTANCE_INDEX: String(index),
      CF_INSTANCE_INDEX: String(index),
      CF_INSTANCE_GUID: instance.id,
      CF_INSTANCE_IP: expect.stringMatching(/^\d+\.\d+\.\d+\.\d+$/),
      CF_INSTANCE_PORT: env.PORT,
      CF_INSTANCE_ADDR: `${env.CF_INSTANCE_IP}:${env.PORT}`,
      VCAP_SERVICES: '{}',
    });
    expect(Number(env.PORT)).toBeGreaterThan(1024);
    expect(env.PWD).toBe('/home/vcap/app');
  });

  it('describes the app', async () => {
    const app = await appOf('hello');
    const releases = await cluster.read<ReleaseShape[]>(one, '/v1/apps/hello/releases');
    expect(JSON.parse(env.VCAP_APPLICATION!)).toMatchObject({
      application_id: app.id,
      application_name: 'hello',
      application_uris: [HELLO],
      application_version: releases[0]!.id,
      name: 'hello',
      uris: [HELLO],
      limits: { mem: 128, disk: 256, fds: 16384 },
      instance_id: instance.id,
      instance_index: index,
      host: '0.0.0.0',
      port: Number(env.PORT),
    });
  });

  it("has the app's own variables, byte by byte", () => {
    expect(env).toMatchObject({ GREETING, EMPTY: '', TMPDIR: '/tmp' });
  });

  it("has nothing of the daemon's", () => {
    for (const name of ['XDG_CONFIG_HOME', 'NO_COLOR', 'PEER_TOKEN', 'PEER_API']) expect(env).not.toHaveProperty(name);
    expect(JSON.stringify(env)).not.toContain(cluster.folder);
  });
});

describe('logs', () => {
  const logLines = (node: LocalNode, lines = 100): Promise<LogShape[]> =>
    cluster.json(node, ['logs', 'hello', '--lines', String(lines)]);
  const followers: ChildProcess[] = [];
  afterEach(() => {
    for (const follower of followers.splice(0)) follower.kill('SIGKILL');
  });

  it('have both streams of every instance, tagged, through any node', async () => {
    for (const node of [one, two]) {
      for (const stream of ['out', 'err']) await postToApp(node, HELLO, `/log?stream=${stream}&text=said-${stream}`);
    }
    for (const node of [one, two]) {
      await waitFor(`every line to be seen through ${node.name}`, 10_000, async () => {
        const lines = (await logLines(node)).filter(({ text }) => text.startsWith('0 said-'));
        const seen = lines.map(({ source, index, stream, text }) => `${source}/${index} ${stream} ${text}`).sort();
        const wanted = [0, 1].flatMap((at) => ['err', 'out'].map((as) => `APP/${at} ${as} 0 said-${as}`));
        return seen.join() === wanted.join();
      });
    }
    const { stdout } = await cluster.peer(two, ['logs', 'hello']);
    expect(stdout).toMatch(/^\d{4}-\d\d-\d\dT\S+Z \[APP\/web\/[01]\] OUT 0 said-out$/m);
    expect(stdout).toMatch(/ \[APP\/web\/[01]\] ERR 0 said-err$/m);
    expect(stdout).toMatch(/ \[STG\] OUT -----> Buildpack: nodejs$/m);
    expect(stdout).toMatch(/ \[CELL\/web\/[01]\] OUT Starting instance web\.[01] of release v1$/m);
  });

  it('are in the order of time', async () => {
    const times = (await logLines(two)).map(({ atMs }) => atMs);
    expect(times).toEqual(times.toSorted((a, b) => a - b));
  });

  it('go on with --follow as lines come, whichever node they are on', async () => {
    const follower = follow(two, ['logs', 'hello', '--follow', '--lines', '0']);
    await waitFor('following to have begun', 15_000, async () => {
      for (const node of [one, two]) await postToApp(node, HELLO, '/log?text=are-you-there');
      return [0, 1].every((index) => follower.text().includes(`[APP/web/${index}] OUT 0 are-you-there`));
    });
    await postToApp(one, HELLO, '/log?text=now');
    await waitFor('the new line to be shown', 5_000, () => follower.text().includes('OUT 0 now'));
    expect(follower.text().match(/OUT 0 now$/gm)).toHaveLength(1);
  });

  it('go on with --follow and --json as one document a line', async () => {
    const follower = follow(one, ['logs', 'hello', '--follow', '--lines', '1', '--json']);
    await waitFor('a line', 15_000, async () => {
      await postToApp(one, HELLO, '/log?text=as-json');
      return follower.text().includes('as-json');
    });
    const lines = follower.text().split('\n').slice(0, -1);
    for (const line of lines) expect(JSON.parse(line)).toMatchObject({ source: expect.any(String) });
  });

  it('survive 32 MB of output: the last lines stay, the rest makes way, the nodes keep answering', async () => {
    const lines = 4 * 1024;
    let done = false;
    const flood = postToApp(one, HELLO, `/log?n=${lines}&bytes=8192&text=flood`, '', 60_000).finally(() => {
      done = true;
    });
    while (!done) {
      const startMs = performance.now();
      for (const node of [one, two]) await appOf('hello', node);
      expect(performance.now() - startMs).toBeLessThan(2_000);
    }
    expect((await flood).status).toBe(200);
    for (const node of [two, one]) {
      await waitFor(`the last line to be seen through ${node.name}`, 15_000, async () => {
        const last = await logLines(node, 3);
        return last.some(({ text }) => text.startsWith(`${lines - 1} flood.`));
      });
    }
    // As much as anybody may ask for: what no longer fits into an answer is left out, the oldest first.
    for (const node of [two, one]) {
      const all = await logLines(node, 2_000);
      expect(all.filter(({ text }) => text.includes('flood.')).length).toBeGreaterThan(100);
    }
    for (const node of [one, two]) {
      const { stdout } = await run(['du', '-sk', join(node.dataDir, 'logs')]);
      expect(Number.parseInt(stdout, 10) * 1024).toBeLessThan(16 * MIB);
      expect(await residentBytes(node.pid)).toBeLessThan(300 * MIB);
    }
  });

  function follow(node: LocalNode, args: string[]): { text: () => string } {
    const env = { ...process.env, PEER_API: node.api, PEER_TOKEN: node.token, NO_COLOR: '1' };
    const child = spawn(join(ROOT, 'scripts', 'peer'), args, { env, stdio: ['ignore', 'pipe', 'inherit'] });
    followers.push(child);
    let text = '';
    child.stdout.on('data', (chunk) => {
      text += chunk;
    });
    return { text: () => text };
  }
});

const residentBytes = async (pid: number): Promise<number> =>
  Number(/^VmRSS:\s+(\d+) kB$/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024;

describe('events', () => {
  it('tell what happened to an app, through any node', async () => {
    for (const node of [one, two]) {
      const events = await cluster.json<{ name: string; app: string; message: string; atMs: number }[]>(node, [
        'events',
        'hello',
      ]);
      expect(events.filter(({ name }) => name === 'instance.ready').length).toBeGreaterThanOrEqual(2);
      expect(new Set(events.map(({ app }) => app))).toEqual(new Set(['hello']));
      const times = events.map(({ atMs }) => atMs);
      expect(times).toEqual(times.toSorted((a, b) => a - b));
    }
    const { stdout } = await cluster.peer(two, ['events', 'hello']);
    expect(stdout).toMatch(/^\S+Z node-[12] instance\.ready hello\/web\/[01] is ready on node-[12]$/m);
  });

  it('of a crash say why, and that the instance is back', async () => {
    const before = (await appOf('hello')).instances.map(({ id }) => id);
    await postToApp(two, HELLO, '/crash');
    await waitFor('the crash to be told and healed', 15_000, async () => {
      const { stdout } = await cluster.peer(one, ['events', 'hello']);
      const { instances } = await appOf('hello');
      const back = instances.length === 2 && instances.every(({ state }) => state === 'ready');
      const replaced = instances.some(({ id }) => !before.includes(id));
      return back && replaced && /crashed on node-[12]: exited with status 1/.test(stdout);
    });
  });
});

describe('a sample app', () => {
  it.each([
    ['hello-static', [], 'hello from static files'],
    ['hello-python', ['--instances', '2'], 'hello from python, index'],
    ['hello-procfile', ['--instances', '2'], 'hello from perl, index'],
    ['ws-echo', [], 'ws-echo index 0'],
  ])('%s is pushed to one node and served through both', async (name, options, text) => {
    await cluster.json(one, ['push', join(APPS, name), '--name', name, ...options]);
    for (const node of [two, one]) {
      await waitFor(`${name} through ${node.name}`, 5_000, async () => {
        const { status, body } = await cluster.get(node, `${name}.localhost`);
        return status === 200 && body.includes(text);
      });
    }
  });

  it('speaks WebSocket through both nodes', async () => {
    for (const node of [one, two]) expect(await echo(node, 'ws-echo.localhost', 'ahoy')).toBe('ahoy');
  });
});

/** What an app answers to a WebSocket message that reaches it through the node. */
async function echo(node: LocalNode, host: string, message: string): Promise<string> {
  const [address, port] = splitAddress(node.http);
  const dispatcher = new Agent({
    connect: { lookup: (_host, _options, done) => done(null, [{ address, family: 4 }]) },
  });
  try {
    return await new Promise<string>((resolve, reject) => {
      const socket = new WebSocket(`ws://${host}:${port}/`, { dispatcher });
      socket.addEventListener('open', () => socket.send(message));
      socket.addEventListener('message', ({ data }) => {
        socket.close();
        resolve(String(data));
      });
      socket.addEventListener('error', () => reject(new Error(`no WebSocket through ${node.name}`)));
    });
  } finally {
    await dispatcher.destroy();
  }
}

describe('an app that says where it listens', () => {
  it('is told so and reached there, through any node, and elsewhere once it says so', async () => {
    await cluster.json(one, [
      'push',
      join(APPS, 'hello-node'),
      '--name',
      'ported',
      '--port',
      '3117',
      '--memory',
      '64M',
    ]);
    const told = async () => (await cluster.peer(two, ['exec', 'ported', '--', 'printenv', 'PORT'])).stdout;
    expect(await told()).toBe('3117\n');
    await cluster.json(two, ['env', 'set', 'ported', 'PORT=3118']);
    expect(await told()).toBe('3118\n');
    for (const through of [one, two]) expect((await cluster.get(through, 'ported.localhost')).status).toBe(200);
    await cluster.json(one, ['delete', 'ported']);
  });
});

describe('an app that is stopped', () => {
  it('is told to end, and is gone at once when it does', async () => {
    const tookMs = await stop('hello');
    expect(tookMs).toBeLessThan(5_000);
    const { stdout } = await cluster.peer(two, ['logs', 'hello', '--lines', '20']);
    for (const index of [0, 1]) expect(stdout).toContain(`[APP/web/${index}] OUT index ${index} was told to stop`);
    expect((await cluster.get(one, HELLO)).status).toBe(503);
  });

  it('is dead by 11 s when it ignores TERM', async () => {
    const push = ['push', join(APPS, 'hello-node'), '--name', 'stubborn', '--env', 'IGNORE_TERM=1'];
    await cluster.json(one, push);
    const tookMs = await stop('stubborn');
    expect(tookMs).toBeGreaterThan(9_000);
    expect(tookMs).toBeLessThan(11_500);
  });

  /** How long it takes until none of its processes is left. */
  async function stop(name: string): Promise<number> {
    const { instances } = await appOf(name);
    const ids = instances.map(({ id }) => id);
    const table = await processTable();
    const shims = table.filter(({ command }) => ids.some((id) => command.includes(id))).map(({ pid }) => pid);
    expect(shims.length).toBeGreaterThanOrEqual(ids.length);
    const pids = await withDescendants(shims);
    const startMs = performance.now();
    await cluster.json(two, ['stop-app', name]);
    await waitFor(`the processes of ${name} to be gone`, 15_000, async () => {
      return (await Promise.all(pids.map(isRunning))).every((running) => !running);
    });
    return performance.now() - startMs;
  }
});

async function withDescendants(pids: readonly number[]): Promise<number[]> {
  const found = new Set(pids);
  const table = await processTable();
  for (let before = -1; before !== found.size; ) {
    before = found.size;
    for (const { pid, parent } of table) if (found.has(parent)) found.add(pid);
  }
  return [...found];
}
