// Three real daemons on loopback, driven through the command line: what a user does, and what SIGKILL does. The tests
// share one cluster and follow one another.

import { cp, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { RolloutShape } from '../../node/api/shapes.ts';
import { Load } from '../../scripts/bench/load.ts';
import { LocalCluster, type LocalNode, type Ran, ROOT, waitFor } from '../../scripts/local-cluster.ts';
import {
  appOf,
  areGone,
  envOf,
  filledOnce,
  instanceProcesses,
  lastWords,
  linesOf,
  nodesOf,
  open,
  releasesOf,
  SETTLE_DEADLINE_MS,
  waitForFilledOnce,
} from './observe.ts';

const APP = 'hello';
const HOST = `${APP}.localhost`;
const EXTRA_ROUTE = 'extra.example.test';
const INSTANCES = 3;
const LOAD_PER_SECOND = 20;
/** From when a killed node is ready again until every slot is filled once. */
const BACK_DEADLINE_MS = 5_000;

let cluster: LocalCluster;
let folder: string;

const nodes = (): LocalNode[] => cluster.nodes;
const node = (index: number): LocalNode => cluster.nodes[index]!;
const apps = (name: string): string => join(ROOT, 'test', 'apps', name);

/** Runs a command that should succeed. */
async function peer(on: LocalNode, ...args: string[]): Promise<Ran> {
  const ran = await cluster.peer(on, args);
  expect(ran, `peer ${args.join(' ')} on ${on.name}`).toMatchObject({ code: 0 });
  return ran;
}

/** Runs requests through the nodes while something happens, and expects every one of them to be answered with 200. */
async function withoutFailedRequests(through: readonly LocalNode[], work: () => Promise<unknown>): Promise<void> {
  const load = new Load({ targets: through.map((one) => one.http), host: HOST, perSecond: LOAD_PER_SECOND });
  try {
    await work();
  } finally {
    const result = await load.stop();
    expect(result.failures).toEqual([]);
    expect(result.sent).toBeGreaterThan(0);
  }
}

const settled = (count = INSTANCES, seenBy = nodes()): Promise<void> => waitForFilledOnce(cluster, seenBy, APP, count);

beforeAll(async () => {
  cluster = await LocalCluster.start(3);
  folder = join(cluster.folder, 'app');
  await cp(apps('hello-node'), folder, { recursive: true });
  const args = ['push', folder, '--name', APP, '--instances', String(INSTANCES), '--env', 'GREETING=hello'];
  await peer(node(0), ...args);
  await peer(node(1), 'map', APP, EXTRA_ROUTE);
  await peer(node(2), 'users', 'add', 'ada', '--role', 'developer');
  await settled();
}, 120_000);

beforeEach(({ onTestFailed }) => onTestFailed(async () => console.error(await lastWords(cluster))));
afterAll(() => cluster?.stop());

describe('every node', () => {
  it('routes to every app, by every route, wherever its instances are', async () => {
    const { instances } = await appOf(cluster, node(0), APP);
    expect(new Set(instances.map((one) => one.node)).size).toBe(3);
    for (const one of nodes()) {
      await waitFor(`${one.name} to know the new route`, 5_000, async () => {
        return (await cluster.get(one, EXTRA_ROUTE)).status === 200;
      });
      expect(await open(cluster, one, HOST)).toMatch(/^hello from index \d version v1$/m);
      expect(await open(cluster, one, EXTRA_ROUTE)).toMatch(/^hello from index \d version v1$/m);
      expect((await cluster.get(one, 'nobody.localhost')).status).toBe(404);
    }
  });

  it('knows every app, user, route and variable, whoever wrote it', async () => {
    for (const one of nodes()) await expectAllIsKnown(one);
  });
});

describe('an app', () => {
  it('is scaled up and down without a failed request', async () => {
    await withoutFailedRequests(nodes(), async () => {
      await peer(node(1), 'scale', APP, '5');
      await settled(5);
      await peer(node(2), 'scale', APP, '2');
      await settled(2);
      await peer(node(0), 'scale', APP, String(INSTANCES));
      await settled();
    });
  });

  it('takes a new variable as a new release, rolled out without a failed request', async () => {
    const before = await appOf(cluster, node(0), APP);
    await withoutFailedRequests(nodes(), async () => {
      await peer(node(1), 'env', 'set', APP, 'COLOUR=green');
    });
    await settled();
    const { release, instances } = await appOf(cluster, node(2), APP);
    expect(release).not.toBe(before.release);
    expect(new Set(instances.map((one) => one.release))).toEqual(new Set([release]));
    for (const one of nodes()) {
      expect(JSON.parse(await open(cluster, one, HOST, '/env?name=COLOUR'))).toBe('green');
      expect(JSON.parse(await open(cluster, one, HOST, '/env?name=GREETING'))).toBe('hello');
    }
  });

  it('goes back to the release before, its variables too', async () => {
    await withoutFailedRequests(nodes(), () => peer(node(2), 'rollback', APP));
    await settled();
    expect(await envOf(cluster, node(0), APP)).toEqual({ GREETING: 'hello' });
    expect(JSON.parse(await open(cluster, node(0), HOST, '/env?name=COLOUR'))).toBeNull();
  });

  it('is pushed anew without a failed request', async () => {
    await writeFile(join(folder, 'version.txt'), 'v2\n');
    await withoutFailedRequests(nodes(), () => peer(node(1), 'push', folder, '--name', APP));
    await settled();
    for (const one of nodes()) expect(await open(cluster, one, HOST)).toMatch(/version v2$/m);
    expect(await envOf(cluster, node(2), APP)).toEqual({ GREETING: 'hello' });
  });

  it('is restarted instance by instance, without a failed request', async () => {
    const before = (await appOf(cluster, node(0), APP)).instances.map((one) => one.id);
    await withoutFailedRequests(nodes(), () => peer(node(0), 'restart', APP));
    await settled();
    const after = (await appOf(cluster, node(0), APP)).instances.map((one) => one.id);
    expect(after.filter((id) => before.includes(id))).toEqual([]);
  });

  it('is stopped and started again', async () => {
    await peer(node(1), 'stop-app', APP);
    for (const one of nodes()) {
      await waitFor(`${one.name} to see no instance`, SETTLE_DEADLINE_MS, async () => {
        return (await appOf(cluster, one, APP)).instances.length === 0;
      });
      expect((await cluster.get(one, HOST)).status).toBe(503);
    }
    await peer(node(2), 'start-app', APP);
    await settled();
    for (const one of nodes()) await open(cluster, one, HOST);
  });

  it.each([
    {
      bad: 'never-listens',
      reason: /never-listens|port|listen|healthy/i,
      lastWords: 'this app runs but never listens',
    },
    { bad: 'exits-at-once', reason: /status 3/, lastWords: 'this app cannot start: no configuration' },
  ])('keeps its good release when a push of $bad does not become ready', async ({ bad, reason, lastWords }) => {
    const good = (await appOf(cluster, node(0), APP)).release;
    let ran: Ran | undefined;
    await withoutFailedRequests(nodes(), async () => {
      ran = await cluster.peer(node(0), ['push', apps(bad), '--name', APP, '--timeout', '2s']);
    });
    expect(ran!.code).toBe(1);
    const last = ran!.stderr.trimEnd().split('\n').at(-1)!;
    expect(last).toMatch(/^peer: v\d+ failed: /);
    expect(last).toMatch(reason);
    expect(last).toContain(`${good} keeps running`);
    expect(ran!.stderr).toContain(lastWords);

    await settled();
    for (const one of nodes()) {
      expect((await appOf(cluster, one, APP)).release).toBe(good);
      expect(await open(cluster, one, HOST)).toMatch(/version v2$/m);
      const [newest] = await releasesOf(cluster, one, APP);
      expect(newest).toMatchObject({ current: false, failed: { reason: expect.stringMatching(reason) } });
    }
    expect((await peer(node(1), 'releases', APP)).stdout).toMatch(/^v\d+ +failed .*$/m);
    // For the tests that follow: the health check that the good release was made for.
    await peer(node(0), 'push', folder, '--name', APP, '--timeout', '60s');
    await settled();
  });

  it('moves off a node that is drained, without a failed request, and may come back', async () => {
    const victim = node(2);
    await withoutFailedRequests(nodes(), async () => {
      await peer(node(0), 'nodes', 'drain', victim.name);
      await waitFor(`${victim.name} to be empty`, SETTLE_DEADLINE_MS, async () => {
        const found = (await nodesOf(cluster, node(1))).find((one) => one.name === victim.name);
        return found?.draining === true && found.instances === 0;
      });
      await settled();
    });
    await peer(node(1), 'nodes', 'undrain', victim.name);
    await waitFor('the instances to be spread again', SETTLE_DEADLINE_MS, async () => {
      const { instances } = await appOf(cluster, node(0), APP);
      return instances.length === INSTANCES && new Set(instances.map((one) => one.node)).size === 3;
    });
    await settled();
  });
});

describe('after SIGKILL', () => {
  it('of all daemons and instances at once, everything is back from the data directories alone', async () => {
    const before = await appOf(cluster, node(0), APP);
    await cluster.killNode(...nodes());
    await Promise.all(nodes().map((one) => cluster.restartNode(one)));
    await cluster.waitForAlive(3);
    await settled();
    for (const one of nodes()) {
      await expectAllIsKnown(one);
      const app = await appOf(cluster, one, APP);
      expect({ id: app.id, release: app.release }).toEqual({ id: before.id, release: before.release });
      expect(await open(cluster, one, HOST)).toMatch(/version v2$/m);
      await open(cluster, one, EXTRA_ROUTE);
    }
  });

  it('of the daemons alone, the instances run on and are adopted', async () => {
    const before = await appOf(cluster, node(0), APP);
    const addressesBefore = nodes().map(({ http, link, listen, api }) => ({ http, link, listen, api }));
    const pidsBefore = await Promise.all(nodes().map((one) => instanceProcesses(cluster, one)));
    expect(pidsBefore.every((pids) => pids.length > 0)).toBe(true);
    for (const one of nodes()) cluster.killDaemon(one);
    await Promise.all(nodes().map((one) => cluster.restartNode(one)));
    expect(nodes().map(({ http, link, listen, api }) => ({ http, link, listen, api }))).toEqual(addressesBefore);
    await cluster.waitForAlive(3);
    await settled();
    for (const one of nodes()) {
      const { instances } = await appOf(cluster, one, APP);
      expect(instances.map(({ id, restarts }) => ({ id, restarts }))).toEqual(
        before.instances.map(({ id }) => ({ id, restarts: 0 })),
      );
      await open(cluster, one, HOST);
    }
    const pidsAfter = await Promise.all(nodes().map((one) => instanceProcesses(cluster, one)));
    expect(pidsAfter).toEqual(pidsBefore);
    const { stdout } = await peer(node(1), 'logs', APP);
    expect(stdout).not.toBe('');
  });

  it('of a node right after its acknowledgement, a write is there on the others', async () => {
    const writer = node(0);
    const others = nodes().filter((one) => one !== writer);
    await cluster.json<unknown>(writer, ['push', folder, '--name', 'idle', '--no-start', '--no-route']);
    for (let round = 1; round <= 2; round++) {
      const processes = await cluster.processesOf(writer);
      const ran = await cluster.peer(writer, ['env', 'set', 'idle', `ROUND=${round}`]);
      cluster.kill(processes);
      expect(ran).toMatchObject({ code: 0 });
      for (const one of others) {
        await waitFor(`${one.name} to have the variable`, 5_000, async () => {
          return (await envOf(cluster, one, 'idle')).ROUND === String(round);
        });
      }
      if (round < 2) await cluster.restartNode(writer);
    }
  });

  it('of one node, it comes back alone to one instance a slot within 5 s', async () => {
    const victim = node(0);
    await cluster.killNode(victim);
    const others = nodes().filter((one) => one !== victim);
    for (const one of others) {
      await waitFor(`${one.name} to see the slots filled by others`, SETTLE_DEADLINE_MS, async () => {
        const { instances } = await appOf(cluster, one, APP);
        const elsewhere = instances.filter((instance) => instance.node !== victim.name);
        return linesOf(elsewhere).join() === filledOnce(INSTANCES).join();
      });
    }
    await cluster.restartNode(victim);
    const readyAtMs = performance.now();
    for (const one of nodes()) {
      const leftMs = BACK_DEADLINE_MS - (performance.now() - readyAtMs);
      await waitForFilledOnce(cluster, [one], APP, INSTANCES, Math.max(1, leftMs));
    }
    expect(await envOf(cluster, node(0), 'idle')).toEqual({ ROUND: '2' });
    await cluster.waitForAlive(3);
    await settled();
    for (const one of nodes()) await open(cluster, one, HOST);
  });
});

describe('the end', () => {
  it('of an app takes its processes, routes and logs from every node', async () => {
    await peer(node(0), 'delete', 'idle');
    const { id } = await appOf(cluster, node(0), APP);
    const processes = (await Promise.all(nodes().map((one) => instanceProcesses(cluster, one)))).flat();
    expect(processes.length).toBeGreaterThan(0);
    const logsOf = async (one: LocalNode): Promise<string[]> =>
      (await readdir(join(one.dataDir, 'logs'))).filter((name) => name.includes(id));
    for (const one of nodes()) expect(await logsOf(one)).not.toEqual([]);

    const doomed = await cluster.json<RolloutShape>(node(1), ['push', folder, '--name', 'doomed']);
    expect(doomed.instances).toHaveLength(1);
    await peer(node(1), 'delete', 'doomed');
    await peer(node(2), 'delete', APP);
    await waitFor('every process of it to end', SETTLE_DEADLINE_MS, () => areGone(processes));
    for (const one of nodes()) {
      await waitFor(`${one.name} to have nothing left of it`, SETTLE_DEADLINE_MS, async () => {
        const left = [...(await instanceProcesses(cluster, one)), ...(await logsOf(one))];
        return left.length === 0 && (await cluster.get(one, HOST)).status === 404;
      });
      expect((await cluster.get(one, EXTRA_ROUTE)).status).toBe(404);
    }
    const ran = await cluster.peer(node(0), ['logs', APP]);
    expect(ran).toMatchObject({ code: 1, stdout: '' });
    expect(ran.stderr).toMatch(/^peer: .*hello.*\n$/);
  });

  it('of a membership, by leave, comes without a failed request', async () => {
    await peer(node(0), 'push', folder, '--name', APP, '--instances', String(INSTANCES));
    await settled();
    const leaver = node(2);
    const stayers = nodes().slice(0, 2);
    await withoutFailedRequests(stayers, async () => {
      await peer(leaver, 'leave', '--data-dir', leaver.dataDir);
      await waitForFilledOnce(cluster, stayers, APP, INSTANCES);
    });
    await waitFor('its processes to be gone', SETTLE_DEADLINE_MS, async () => {
      return (await cluster.processesOf(leaver)).length === 0;
    });
    for (const one of stayers) {
      expect((await nodesOf(cluster, one)).map((each) => each.name)).toEqual(stayers.map((each) => each.name));
    }
  });
});

async function expectAllIsKnown(one: LocalNode): Promise<void> {
  const app = await appOf(cluster, one, APP);
  expect(app).toMatchObject({ desired: { web: INSTANCES }, stopped: false });
  expect([...app.routes].sort()).toEqual([EXTRA_ROUTE, HOST]);
  expect(await envOf(cluster, one, APP)).toEqual({ GREETING: 'hello' });
  const users = await cluster.read<{ name: string; role: string }[]>(one, '/v1/users');
  expect(users).toContainEqual(expect.objectContaining({ name: 'ada', role: 'developer' }));
}
