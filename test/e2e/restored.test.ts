// Nodes that come back with less than they had: an older copy of the data directory, a desired state that is damaged,
// emptied or lost, and two nodes that were given one name. What people do about it is what the errors say.

import { cp, mkdtemp, open, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { LocalCluster, type LocalNode, ROOT, waitFor } from '../../scripts/local-cluster.ts';
import { isRunning } from '../../scripts/processes.ts';
import { appOf, envOf, lastWords, nodesOf, waitForFilledOnce } from './observe.ts';

const SAMPLE = join(ROOT, 'test', 'apps', 'hello-static');
/** With what a busy machine adds; it is a second or two. */
const BACK_WITHIN_MS = 15_000;
const TIMEOUT_MS = 240_000;

let cluster: LocalCluster;
let scratch: string;
/** Of node 2's data directory, as it was when it had hardly begun. */
let copy: string;
let eve: string;
const node = (index: number): LocalNode => cluster.nodes[index]!;
const ok = async (on: LocalNode, ...args: string[]): Promise<string> => {
  const ran = await cluster.peer(on, args);
  expect(ran).toMatchObject({ code: 0 });
  return ran.stdout;
};
const push = (on: LocalNode, name: string, instances: number): Promise<string> =>
  ok(on, 'push', SAMPLE, '--name', name, '--instances', String(instances), '--memory', '64M');

const stopped = async (one: LocalNode): Promise<void> => {
  process.kill(one.pid, 'SIGINT');
  await waitFor(`${one.name} to end`, 30_000, async () => !(await isRunning(one.pid)));
};
const appsOf = async (at: LocalNode): Promise<string[]> =>
  (await cluster.read<{ name: string }[]>(at, '/v1/apps')).map(({ name }) => name);

/** Everyone sees everyone alive. */
const waitForAll = async (count = 3): Promise<void> => {
  for (const one of cluster.nodes) {
    await waitFor(`${one.name} to see ${count} nodes alive`, BACK_WITHIN_MS, async () => {
      const nodes = await nodesOf(cluster, one);
      return nodes.length === count && nodes.every(({ status }) => status === 'alive');
    });
  }
};

const usersOf = async (at: LocalNode, token = at.token): Promise<string[]> =>
  (await cluster.read<{ name: string }[]>({ ...at, token }, '/v1/users')).map(({ name }) => name);

/** The token that node.json shows is an admin's on every node. */
async function expectOperator(one: LocalNode): Promise<void> {
  const { token } = JSON.parse(await readFile(join(one.dataDir, 'node.json'), 'utf8')) as { token: string };
  for (const at of cluster.nodes) {
    await waitFor(`the operator of ${one.name} to be let in by ${at.name}`, 10_000, async () => {
      return (await usersOf(at, token).catch(() => [])).length > 0;
    });
  }
}

const startFails = async (one: LocalNode, why: RegExp): Promise<string> => {
  const failed = await cluster.peerStart(['--data-dir', one.dataDir]);
  const [, line, ...more] = failed.stderr.trim().split('\n');
  expect([failed.code, line, more]).toEqual([1, expect.stringMatching(why), []]);
  return failed.stderr;
};

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'peer-copies-'));
  copy = join(scratch, 'copy');
  cluster = await LocalCluster.start(3);
}, 120_000);
beforeEach(({ onTestFailed }) => onTestFailed(async () => console.error(await lastWords(cluster))));
afterAll(async () => {
  await cluster?.stop();
  await rm(scratch, { recursive: true, force: true });
});

describe('a node whose desired state is damaged', { timeout: TIMEOUT_MS }, () => {
  it('says what to do, and is a member again with a working operator when that is done', async () => {
    await push(node(0), 'kept', 3);
    await push(node(0), 'gone', 1);
    eve = (await cluster.json<{ token: string }>(node(0), ['users', 'add', 'eve', '--role', 'admin'])).token;
    await waitForFilledOnce(cluster, cluster.nodes, 'kept', 3);
    const one = node(2);
    await stopped(one);
    await cp(one.dataDir, copy, { recursive: true });

    const log = await open(join(one.dataDir, 'desired', 'desired.log'), 'r+');
    expect((await log.stat()).size).toBeGreaterThan(1_000);
    await log.write(Buffer.alloc(20, 0xff), 0, 20, 200);
    await log.close();
    const advice =
      /Move desired\.snapshot and desired\.log out of (\S+), then join again with an invite from another node \(on its stdin: `peer start --join -`\)/;
    const [, dir] = advice.exec(await startFails(one, advice))!;
    for (const file of ['desired.snapshot', 'desired.log']) await rename(join(dir!, file), join(scratch, file));
    await startFails(one, /has been a member of a cluster: join again with an invite/);

    // It had been started more often than its copy will know.
    await writeFile(join(one.dataDir, 'incarnation'), '7\n');
    const back = await cluster.restartNode(one, ['--join', await cluster.invite(1)]);
    await waitForAll();
    await expectOperator(back);
    const config = await readFile(join(cluster.folder, 'config', 'peer', 'config.json'), 'utf8');
    expect((JSON.parse(config) as { token: string }).token).toBe(back.token);
    await waitForFilledOnce(cluster, cluster.nodes, 'kept', 3);
  });

  it('catches up when its log was emptied, and joins again when its cluster.json is damaged', async () => {
    const one = node(1);
    await ok(one, 'env', 'set', 'kept', 'ROUND=1');
    await stopped(one);
    await truncate(join(one.dataDir, 'desired', 'desired.log'), 0);
    const back = await cluster.restartNode(one);
    expect((await envOf(cluster, back, 'kept')).ROUND).toBe('1');
    await waitForAll();
    await expectOperator(back);

    await stopped(back);
    await truncate(join(one.dataDir, 'cluster.json'), 10);
    await startFails(one, /cluster\.json is damaged: join again with an invite from another node/);
    const again = await cluster.restartNode(one, ['--join', await cluster.invite(1)]);
    await waitForAll();
    await expectOperator(again);
  });
});

describe('a node restored from an older copy of its data directory', { timeout: TIMEOUT_MS }, () => {
  it('is alive for all within seconds, and brings back nothing that was removed', async () => {
    const one = node(2);
    await ok(one, 'env', 'set', 'kept', 'ROUND=2');
    await ok(one, 'delete', 'gone');
    await ok(one, 'users', 'remove', 'eve');
    await stopped(one);
    await waitForFilledOnce(cluster, [node(0), node(1)], 'kept', 3);
    await rm(one.dataDir, { recursive: true });
    await cp(copy, one.dataDir, { recursive: true });
    const back = await cluster.restartNode(one);
    // The first thing that anyone asks it: it knows better than its copy by then.
    const [refused, written] = await Promise.allSettled([usersOf(back, eve), ok(back, 'env', 'set', 'kept', 'NEW=1')]);
    expect(refused).toMatchObject({ reason: { message: expect.stringMatching(/401 .*token is not valid/) } });
    expect(written.status).toBe('fulfilled');
    await waitForAll();
    await waitForFilledOnce(cluster, cluster.nodes, 'kept', 3);
    for (const at of cluster.nodes) {
      expect(await appsOf(at)).toEqual(['kept']);
      expect(await envOf(cluster, at, 'kept')).toEqual({ ROUND: '2', NEW: '1' });
      expect(await usersOf(at)).not.toContain('eve');
    }
    await expectOperator(back);
    const logged = (await readFile(join(one.dataDir, 'daemon.log'), 'utf8')).slice(
      (await readFile(join(copy, 'daemon.log'), 'utf8')).length,
    );
    expect(logged).toMatch(/node\.restored message="the data directory of node node-3 is an older copy of itself/);
    // Not even for a moment.
    expect(logged).not.toMatch(/gone/);
  });
});

describe('a copy from before its cluster had other nodes', { timeout: TIMEOUT_MS }, () => {
  it('finds them again with an invite, and keeps what was written to it alone', async () => {
    const others = cluster.nodes.splice(0);
    const founder = await cluster.startNode({ name: 'founder' });
    await stopped(founder);
    const early = join(scratch, 'early');
    await cp(founder.dataDir, early, { recursive: true });
    const first = await cluster.restartNode(founder);
    const second = await cluster.startNode({ name: 'second', join: await cluster.invite(1) });
    await stopped(first);
    await ok(second, 'users', 'add', 'later', '--role', 'viewer');
    await rm(first.dataDir, { recursive: true });
    await cp(early, first.dataDir, { recursive: true });
    const alone = await cluster.restartNode(first);
    await ok(alone, 'users', 'add', 'alone', '--role', 'viewer');
    expect(await nodesOf(cluster, alone)).toHaveLength(1);
    await stopped(alone);
    const { invite } = await cluster.json<{ invite: string }>(second, ['invite']);
    const back = await cluster.restartNode(alone, ['--join', invite]);
    await waitForAll(2);
    await expectOperator(back);
    const users = ['alone', 'later', 'operator@founder', 'operator@second'];
    for (const one of [back, second]) {
      await waitFor(`${one.name} to have all users`, 10_000, async () => {
        return (await usersOf(one)).join() === users.join();
      });
    }
    for (const one of [back, second]) await stopped(one);
    cluster.nodes.splice(0, 2, ...others);
  });
});

describe('two nodes that were given one name on two sides', { timeout: TIMEOUT_MS }, () => {
  it('both have an operator, and a command that takes the name asks for an id', async () => {
    const [zero, one, two] = cluster.nodes as [LocalNode, LocalNode, LocalNode];
    const invite = await cluster.invite(2);
    await waitForAll();
    await Promise.all([stopped(one), stopped(two)]);
    const first = await cluster.startNode({ name: 'same', dataDirName: 'same-1', join: invite });
    cluster.nodes.pop();
    await Promise.all([stopped(first), stopped(zero)]);
    // The invite names only who made it.
    await cluster.restartNode(one);
    const { invite: other } = await cluster.json<{ invite: string }>(node(1), ['invite']);
    const second = await cluster.startNode({ name: 'same', dataDirName: 'same-2', join: other });
    cluster.nodes.pop();
    for (const back of [zero, two, { ...first, name: 'same-1' }]) await cluster.restartNode(back);
    cluster.nodes.push({ ...second, name: 'same-2' });
    await waitForAll(5);
    await expectOperator(node(3));
    await expectOperator(node(4));
    const operators = (await usersOf(node(0))).filter((name) => name.startsWith('operator@same'));
    expect(new Set(operators).size).toBe(2);
    for (const args of [
      ['nodes', 'remove', 'same'],
      ['what-if', '--without', 'same'],
    ]) {
      const ran = await cluster.peer(node(0), args);
      expect([ran.code, ran.stderr.trim().split('\n')]).toEqual([
        1,
        [expect.stringMatching(/several nodes are called same: use one of the ids/)],
      ]);
    }
    const listed = await ok(node(0), 'nodes');
    for (const { id } of [first, second]) expect(listed).toContain(id);
    await ok(node(0), 'nodes', 'remove', second.id);
    await waitFor('the removed one to end', 30_000, async () => !(await isRunning(second.pid)));
    cluster.nodes.pop();
    await waitForAll(4);
  });
});

describe('a node that was removed while it was away', { timeout: TIMEOUT_MS }, () => {
  it('is not let in with a copy in which it is still a member, and disturbs nobody', async () => {
    const last = node(2);
    await stopped(last);
    await ok(node(0), 'nodes', 'remove', last.name);
    const others = [node(0), node(1)];
    await waitForFilledOnce(cluster, others, 'kept', 3);
    await cluster.restartNode(last);
    for (const one of others) {
      await waitForFilledOnce(cluster, [one], 'kept', 3);
      expect((await nodesOf(cluster, one)).map(({ name }) => name)).not.toContain(last.name);
      const { instances } = await appOf(cluster, one, 'kept');
      expect(instances.map((instance) => instance.node)).not.toContain(last.name);
    }
  });
});
