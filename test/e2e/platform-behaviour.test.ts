// What users of such platforms expect of running apps: every rule that Cloud Foundry's own tests have for it, with the
// place where it is shown. Here is what only real daemons can show; the rest is where the table says.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { AppShape } from '../../node/api/shapes.ts';
import { Load } from '../../scripts/bench/load.ts';
import { LocalCluster, type LocalNode, type Ran, ROOT, waitFor } from '../../scripts/local-cluster.ts';
import { appOf, instanceProcesses, lastWords, releasesOf, waitForFilledOnce } from './observe.ts';
import { putToApp } from './requests.ts';

const HERE = 'e2e/platform-behaviour';
const CORE = 'core/platform-behaviour';

/** Numbers are those that Cloud Foundry's cases have in our list of them; each title stands in the file named. */
const BEHAVIOURS: [number: number, rule: string, file: string, title: string][] = [
  [27, 'an app that listens late gets no route before', HERE, 'gets no request before it listens, however late'],
  [
    28,
    'one that never listens has crashed after the time-out',
    HERE,
    'that never listens has crashed after the time-out',
  ],
  [29, 'a process check needs no port', HERE, 'with a process check runs without a port'],
  [30, 'an http check that answers 500 is a crash', HERE, 'with an http check that answers 500 has crashed'],
  [
    31,
    'a failing check takes the route, not the instance',
    HERE,
    'that fails its check gets no requests and is not restarted',
  ],
  [31, 'the same, on every node', CORE, 'that fails its check gets no requests and is not restarted, and serves again'],
  [32, 'a command that ends at once fails the push', HERE, 'whose command ends at once fails its push'],
  [33, 'kill -9 is told, and another instance comes', HERE, 'that is killed is told of, and another one comes'],
  [34, 'some indices crash, the others serve', HERE, 'of which one index crashes serves with the others'],
  [35, 'all crash: index 0 is tried first', CORE, 'is tried with its first index; the others follow'],
  [
    36,
    'crashes are answered at once, then later and later',
    'core/healing',
    'is answered by a restart at once three times',
  ],
  [37, 'an update cancels a pending backoff', CORE, 'whose slots wait out a backoff is started at once by an update'],
  [38, 'TERM is followed by KILL', 'e2e/environment', 'is dead by 11 s when it ignores TERM'],
  [
    39,
    'what an app says when it is told to end is kept',
    'e2e/environment',
    'is told to end, and is gone at once when it does',
  ],
  [40, 'scaled from one to two and back', CORE, 'scaled from one to two and back keeps its first instance'],
  [41, 'more memory than there is', HERE, 'that wants more memory than there is is told so, and runs on'],
  [42, 'a restart of one instance changes one id', HERE, 'of which one instance is restarted has one new id'],
  [
    43,
    'a dead node has its instances elsewhere',
    'e2e/cluster',
    'of one node, it comes back alone to one instance a slot',
  ],
  [44, 'a node that returns leads to no duplicates', CORE, 'that returns leads to no duplicate, and the last copy'],
  [45, 'a stale view stops nothing', CORE, 'with a stale view stops nothing'],
  [46, 'a node is lost in the middle of a roll-out', CORE, 'after three of four slots goes on'],
  [47, 'a drained node serves until others do', 'e2e/healing', 'a node that is drained keeps serving until others do'],
  [48, 'a rolling push has no 404', 'e2e/cluster', 'is pushed anew without a failed request'],
  [49, 'a roll-out that is called off', HERE, 'whose roll-out is called off half way is the old one again'],
];

const TEST_LINE = /(\bit|\]\))\('/;
const APPS = join(ROOT, 'test', 'apps');
const DEADLINE_MS = 90_000;
/** By then a failing check has been noticed: a ready instance is checked every 10 s, and then twice more. */
const CHECK_NOTICED_MS = 16_000;

let cluster: LocalCluster;
let alone: LocalCluster;
let pushed = 0;

const [one, two, lone] = [() => cluster.nodes[0]!, () => cluster.nodes[1]!, () => alone.nodes[0]!];

beforeAll(async () => {
  cluster = await LocalCluster.start(2, ['--memory', '2G']);
  alone = await LocalCluster.start(1, ['--memory', '2G']);
}, 120_000);
beforeEach(({ onTestFailed }) =>
  onTestFailed(async () => console.error(await lastWords(cluster), await lastWords(alone))),
);
afterAll(async () => {
  await cluster?.stop();
  await alone?.stop();
});

/** A push of a sample app under a name of its own. */
function push(sample: string, ...args: string[]): { name: string; host: string; ran: Promise<Ran> } {
  const name = `app-${++pushed}`;
  return { name, host: `${name}.localhost`, ran: again(sample, name, ...args) };
}

const again = (sample: string, name: string, ...args: string[]): Promise<Ran> =>
  cluster.peer(one(), ['push', join(APPS, sample), '--name', name, '--memory', '64M', ...args]);

const app = (name: string, node: LocalNode = two()): Promise<AppShape> => appOf(cluster, node, name);

async function pushWell(sample: string, ...args: string[]): Promise<{ name: string; host: string }> {
  const { name, host, ran } = push(sample, ...args);
  expect(await ran).toMatchObject({ code: 0 });
  return { name, host };
}

const eventsOf = (name: string): Promise<{ name: string; message: string }[]> =>
  cluster.json(two(), ['events', name, '--lines', '200']);

const statusOf = async (host: string, node: LocalNode = two()): Promise<number> =>
  (await cluster.get(node, host)).status;

it('every behaviour has its test', async () => {
  const numbers = new Set(BEHAVIOURS.map(([number]) => number));
  expect([...numbers]).toEqual(Array.from({ length: 49 - 27 + 1 }, (_, index) => 27 + index));
  for (const [number, , file, title] of BEHAVIOURS) {
    const text = await readFile(join(ROOT, 'test', `${file}.test.ts`), 'utf8');
    const tests = text.split('\n').filter((line) => TEST_LINE.test(line) && line.includes(title));
    expect(tests, `${number}: ${title}, in ${file}`).toHaveLength(1);
  }
});

/** Where nothing is ever moved: what becomes of one instance can be told by its id. */
const peerAlone = (...args: string[]): Promise<Ran> => alone.peer(lone(), args);

async function pushAlone(...args: string[]): Promise<{ name: string; host: string }> {
  const name = `app-${++pushed}`;
  const pushArgs = ['push', join(APPS, 'hello-node'), '--name', name, '--memory', '64M', ...args];
  expect(await peerAlone(...pushArgs)).toMatchObject({ code: 0 });
  return { name, host: `${name}.localhost` };
}

const instancesOf = async (name: string): Promise<AppShape['instances']> =>
  (await appOf(alone, lone(), name)).instances;

describe.concurrent('an app on a node alone', () => {
  it('that fails its check gets no requests and is not restarted', async () => {
    const { name, host } = await pushAlone('--health', 'http:/health');
    const [before] = await instancesOf(name);
    await putToApp(lone(), host, `/health?status=500&forMs=${CHECK_NOTICED_MS}`);
    await waitFor('the instance to get no requests', DEADLINE_MS, async () => (await statusOf(host, lone())) === 503);
    expect(await instancesOf(name)).toMatchObject([{ id: before!.id, state: 'unhealthy', restarts: 0 }]);
    await waitFor('it to serve again', DEADLINE_MS, async () => (await statusOf(host, lone())) === 200);
    expect(await instancesOf(name)).toMatchObject([{ id: before!.id, state: 'ready', restarts: 0 }]);
  });

  it('that is killed is told of, and another one comes', async () => {
    const { name } = await pushAlone();
    const [before] = await instancesOf(name);
    const pids = await instanceProcesses(alone, lone(), before!.id);
    process.kill(pids.at(-1)!, 'SIGKILL');
    await waitFor('another instance', DEADLINE_MS, async () => {
      const instances = await instancesOf(name);
      return instances.length === 1 && instances[0]!.state === 'ready' && instances[0]!.id !== before!.id;
    });
    const events: { name: string; message: string }[] = await alone.json(lone(), ['events', name, '--lines', '200']);
    expect(events.find((event) => event.name === 'instance.crashed')?.message).toMatch(/KILL/);
  });

  it('that wants more memory than there is is told so, and runs on', async () => {
    const { name, host } = await pushAlone();
    const [before] = await instancesOf(name);
    const { code, stderr } = await peerAlone('scale', name, '2', '--memory', '64G');
    expect(code).toBe(1);
    expect(stderr).toMatch(/insufficient resources: .*65536M is needed/);
    expect(await instancesOf(name)).toMatchObject([{ id: before!.id, state: 'ready' }]);
    expect(await statusOf(host, lone())).toBe(200);
    expect(await peerAlone('scale', name, '1', '--memory', '64M')).toMatchObject({ code: 0 });
  });

  it('whose new environment keeps it from starting is as it was, and no later release ships that', async () => {
    const { name } = await pushAlone('--env', 'A=1');
    expect(await peerAlone('env', 'set', name, 'NODE_OPTIONS=--no-such-flag', 'A=2')).toMatchObject({ code: 1 });
    const refused = [{ release: 'v2', keys: ['A', 'NODE_OPTIONS'], reason: expect.any(String) }];
    expect(await alone.json(lone(), ['env', name, '--show'])).toEqual({ app: name, env: { A: '1' }, refused });
    expect((await peerAlone('releases', name)).stdout).toMatch(/v2 +failed .*refused env A, env NODE_OPTIONS: /);
    expect(await peerAlone('env', 'set', name, 'B=1')).toMatchObject({ code: 0 });
    expect(await alone.json(lone(), ['env', name, '--show'])).toEqual({
      app: name,
      env: { A: '1', B: '1' },
      refused: [],
    });
  });

  it('of which one instance is restarted has one new id', async () => {
    const { name } = await pushAlone('--instances', '3');
    const before = await instancesOf(name);
    expect(await peerAlone('restart', `${name}/1`)).toMatchObject({ code: 0 });
    await waitForFilledOnce(alone, alone.nodes, name, 3);
    const after = await instancesOf(name);
    expect(after.filter(({ id }) => !before.some((old) => old.id === id)).map(({ index }) => index)).toEqual([1]);
  });
});

describe.concurrent('an app', () => {
  it('gets no request before it listens, however late', async () => {
    const { host, ran } = push('hello-node', '--env', 'LISTEN_DELAY_MS=2000');
    const seen: number[] = [];
    await waitFor('the app to serve', DEADLINE_MS, async () => {
      seen.push(await statusOf(host));
      return seen.at(-1) === 200;
    });
    expect(await ran).toMatchObject({ code: 0 });
    expect(seen).toContain(503);
    expect(new Set(seen.filter((status) => status !== 200))).toEqual(
      new Set([404, 503].filter((code) => seen.includes(code))),
    );
  });

  it('that never listens has crashed after the time-out', async () => {
    const { name, host, ran } = push('never-listens', '--timeout', '1s');
    const { code, stderr } = await ran;
    expect(code).toBe(1);
    expect(stderr).toMatch(/did not listen on PORT \d+ within 1 s/);
    expect(await statusOf(host)).toBe(503);
    const crash = (await eventsOf(name)).find((event) => event.name === 'instance.crashed');
    expect(crash?.message).toMatch(/did not listen on PORT/);
  });

  it('with a process check runs without a port', async () => {
    const { name } = await pushWell('never-listens', '--health', 'process');
    await waitForFilledOnce(cluster, cluster.nodes, name, 1);
  });

  it('with an http check that answers 500 has crashed', async () => {
    const { name, ran } = push(
      'hello-node',
      '--health',
      'http:/health',
      '--env',
      'HEALTH_STATUS=500',
      '--timeout',
      // As long as the app takes to listen on a machine that is busy: what it answers is what is told then.
      '8s',
    );
    const { code, stderr } = await ran;
    expect(code).toBe(1);
    expect(stderr).toMatch(/GET \/health answered 500/);
    expect((await eventsOf(name)).map((event) => event.name)).toContain('instance.crashed');
  });

  it('whose command ends at once fails its push', async () => {
    const { name, ran } = push('hello-node', '--command', '/bin/false');
    const { code, stderr } = await ran;
    expect(code).toBe(1);
    expect(stderr).toMatch(/exited with status 1/);
    expect((await eventsOf(name)).map((event) => event.name)).toContain('instance.crashed');
  });

  it('of which one index crashes serves with the others', async () => {
    const { name, host, ran } = push('hello-node', '--instances', '3', '--env', 'EXIT_INDEXES=1');
    expect(await ran).toMatchObject({ code: 1 });
    await waitFor('the others to be ready', DEADLINE_MS, async () => {
      return (await app(name)).instances.filter((instance) => instance.state === 'ready').length === 2;
    });
    const bodies = new Set<string>();
    for (let request = 0; request < 12; request++) {
      // A router prefers an instance of its own node.
      const { status, body } = await cluster.get(request % 2 === 0 ? one() : two(), host);
      expect(status).toBe(200);
      bodies.add(/index (\d)/.exec(body)?.[1] ?? body);
    }
    expect([...bodies].sort()).toEqual(['0', '2']);
  });

  it('whose roll-out is called off half way is the old one again', async () => {
    const { name, host } = await pushWell('hello-node', '--instances', '3', '--env', 'APP_VERSION=old');
    const targets = cluster.nodes.map((node) => node.http);
    const load = new Load({ targets, host, perSecond: 20 });
    try {
      const rollout = again('hello-node', name, '--env', 'APP_VERSION=new', '--env', 'LISTEN_DELAY_MS=1500');
      await waitFor('the first slot to run the new release', DEADLINE_MS, async () => {
        const { instances } = await app(name);
        return instances.some((instance) => instance.release !== 'v1' && instance.state === 'ready');
      });
      expect(await cluster.peer(two(), ['rollback', name])).toMatchObject({ code: 0 });
      const { code, stderr } = await rollout;
      expect(code).toBe(1);
      expect(stderr).toMatch(/another release took its place/);
    } finally {
      expect((await load.stop()).failures).toEqual([]);
    }
    await waitForFilledOnce(cluster, cluster.nodes, name, 3);
    const { release, instances } = await app(name);
    expect(new Set(instances.map((instance) => instance.release))).toEqual(new Set([release]));
    for (const node of cluster.nodes) expect((await cluster.get(node, host)).body).toMatch(/version old/);
    expect((await releasesOf(cluster, one(), name)).find((candidate) => candidate.current)?.release).toBe(release);
  });
});
