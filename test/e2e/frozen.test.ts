// A daemon that is frozen: what is asked of it is given up within the time that the command names, and is not carried
// out when the daemon goes on. A write whose other node is frozen says that it may still take effect.

import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { LocalCluster, type LocalNode, type Ran, ROOT, run, waitFor } from '../../scripts/local-cluster.ts';
import { appOf, envOf, nodesOf, SETTLE_DEADLINE_MS, waitForFilledOnce } from './observe.ts';

let cluster: LocalCluster;
const node = (): LocalNode => cluster.nodes[0]!;

beforeAll(async () => {
  cluster = await LocalCluster.start(1);
  const pushed = await cluster.peer(node(), [
    'push',
    join(ROOT, 'test', 'apps', 'hello-node'),
    '--name',
    'hello',
    '--env',
    'A=1',
  ]);
  expect(pushed).toMatchObject({ code: 0 });
  await waitForFilledOnce(cluster, cluster.nodes, 'hello', 1);
});
afterEach(() => {
  for (const { pid } of cluster.nodes) process.kill(pid, 'SIGCONT');
});
afterAll(() => cluster.stop());

/** A command that waits three seconds for an answer. */
function impatient(args: string[]): Promise<Ran> {
  const { XDG_CONFIG_HOME: _, ...env } = process.env;
  const { api, token } = node();
  return run([join(ROOT, 'scripts', 'peer'), ...args], {
    env: { ...env, PEER_API: api, PEER_TOKEN: token, PEER_TIMEOUT: '3s', NO_COLOR: '1' },
  });
}

describe('a frozen daemon', () => {
  it('is given up within the time that the command names, and does nothing of it when it goes on', async () => {
    const { pid, api } = node();
    process.kill(pid, 'SIGSTOP');
    const asked = [
      ['stop'],
      ['scale', 'hello', 'web=3'],
      ['env', 'set', 'hello', 'D=1'],
      ['restart', 'hello'],
      ['users', 'add', 'eve', '--role', 'admin'],
      ['delete', 'hello'],
    ];
    const gaveUp = await Promise.all(asked.map((args) => impatient(args)));
    for (const ran of gaveUp) {
      expect(ran).toMatchObject({ code: 1, stderr: expect.stringContaining(`no answer from http://${api}`) });
      expect(ran.stderr).toMatch(/within 3 s: is its daemon frozen.*may have been done/);
    }
    expect(await impatient(['status'])).toMatchObject({ code: 1, stderr: expect.not.stringContaining('been done') });
    process.kill(pid, 'SIGCONT');
    // A request that comes in after them is answered after them.
    await waitFor('the daemon to answer', SETTLE_DEADLINE_MS, () =>
      impatient(['status']).then(({ code }) => code === 0),
    );
    expect(await impatient(['map', 'hello', 'later.localhost'])).toMatchObject({ code: 0 });
    const log = await run(['grep', '-c', 'api.request_not_wanted', join(node().dataDir, 'daemon.log')]);
    expect(Number(log.stdout)).toBe(asked.length);
    expect(await envOf(cluster, node(), 'hello')).toEqual({ A: '1' });
    expect(await appOf(cluster, node(), 'hello')).toMatchObject({ desired: { web: 1 }, release: 'v1' });
    expect(await cluster.json(node(), ['users'])).not.toContainEqual(expect.objectContaining({ name: 'eve' }));
  });
});

describe('a write while the only other node is frozen', () => {
  it('stands alone or says that it may still take effect, and does', async () => {
    await cluster.startNode({ name: 'node-2', join: await cluster.invite(1) });
    await cluster.waitForAlive(2);
    const [, other] = cluster.nodes;
    process.kill(other!.pid, 'SIGSTOP');
    const ran = await cluster.peer(node(), ['env', 'set', 'hello', 'E=5', '--json']);
    // Whoever is held for dead by the time is not waited for: then it stands with this node alone.
    if (ran.code === 0) {
      const { status } = (await nodesOf(cluster, node())).find(({ id }) => id === other!.id)!;
      expect(status).toBe('dead');
    } else {
      expect(ran).toMatchObject({ code: 1, stderr: expect.stringMatching(/may still take effect.*see peer nodes/) });
      expect(JSON.parse(ran.stdout)).toMatchObject({ error: { code: 'not_replicated', mayHold: true } });
    }
    process.kill(other!.pid, 'SIGCONT');
    await waitFor('the change to be known on both nodes', SETTLE_DEADLINE_MS, async () => {
      const known = await Promise.all(cluster.nodes.map((one) => envOf(cluster, one, 'hello').catch(() => undefined)));
      return known.every((env) => env?.E === '5');
    });
  });
});
