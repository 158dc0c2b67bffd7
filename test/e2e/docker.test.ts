// A cluster of one node that runs apps in containers and one that runs them in its sandbox, driven through the command
// line.

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { findEngine } from '../../node/runtime/docker/engine.ts';
import { APP_LABEL, INSTANCE_LABEL, NODE_LABEL, stackTag } from '../../node/runtime/docker/labels.ts';
import { hostStack } from '../../node/staging/stack.ts';
import { LocalCluster, type LocalNode, type Ran, ROOT, waitFor } from '../../scripts/local-cluster.ts';
import { DataApp, dataAppFolder, serviceOf } from './data-app.ts';
import { appOf, lastWords, nodesOf, open } from './observe.ts';

const APP = 'hello';
const HOST = `${APP}.localhost`;
const STACK = stackTag(hostStack());
const DEADLINE_MS = 20_000;
const STARTS_MS = 240_000;
/** Both slots of the app, and services; no room for another app's instance. */
const SANDBOX_MEMORY = '1152M';
/** By where they run: on the node of the containers, and on the other one. */
const SERVICES = [
  { name: 'near-postgres', kind: 'postgres', node: 'docker', prefix: 'NEAR', port: 5432 },
  { name: 'near-redis', kind: 'redis', node: 'docker', prefix: 'NEAR', port: 6379 },
  { name: 'far-mysql', kind: 'mysql', node: 'sandbox', prefix: 'FAR', port: 3306 },
  { name: 'far-rabbitmq', kind: 'rabbitmq', node: 'sandbox', prefix: 'FAR', port: 5672 },
] as const;

let cluster: LocalCluster;
const docker = (): LocalNode => cluster.nodes[0]!;
const sandbox = (): LocalNode => cluster.nodes[1]!;

async function peer(on: LocalNode, ...args: string[]): Promise<Ran> {
  const ran = await cluster.peer(on, args, { timeoutMs: STARTS_MS });
  expect(ran, `peer ${args.join(' ')} on ${on.name}`).toMatchObject({ code: 0 });
  return ran;
}

/** Ids of the instances that have a container on the first node. */
async function containers(): Promise<string[]> {
  const { docker: client } = await findEngine();
  const filters = JSON.stringify({ label: [`${NODE_LABEL}=${docker().id}`] });
  const found = await client.listContainers({ all: true, filters });
  return found.map((one) => one.Labels[INSTANCE_LABEL]!).sort();
}

async function networks(): Promise<string[]> {
  const { docker: client } = await findEngine();
  const filters = JSON.stringify({ label: [`${NODE_LABEL}=${docker().id}`] });
  return (await client.listNetworks({ filters: filters as never })).map((one) => one.Labels![APP_LABEL]!);
}

const idsOn = async (node: LocalNode): Promise<string[]> => {
  const { instances } = await appOf(cluster, node, APP);
  return instances
    .filter((one) => one.node === node.name && one.state === 'ready')
    .map((one) => one.id)
    .sort();
};

beforeAll(async () => {
  cluster = await LocalCluster.create();
  await cluster.startNode({ name: 'docker', args: ['--runtime', 'auto'] });
  await cluster.startNode({ name: 'sandbox', join: await cluster.invite(1), args: ['--memory', SANDBOX_MEMORY] });
  await cluster.waitForAlive(2);
  await peer(sandbox(), 'push', join(ROOT, 'test', 'apps', 'hello-node'), '--name', APP, '--instances', '2');
}, 120_000);
beforeEach(({ onTestFailed }) => onTestFailed(async () => console.error(await lastWords(cluster))));
afterAll(() => cluster?.stop());

describe('a node with a container engine', () => {
  it('is chosen to run containers, and says so', async () => {
    const nodes = await nodesOf(cluster, sandbox());
    expect(Object.fromEntries(nodes.map((one) => [one.name, one.runtimes]))).toEqual({
      docker: ['docker'],
      sandbox: ['process'],
    });
  });

  it('runs a droplet that another node staged, and serves it through both', async () => {
    expect(await idsOn(docker())).toEqual(await containers());
    expect(await containers()).toHaveLength(1);
    for (const node of cluster.nodes) await open(cluster, node, HOST);
  });

  it('adopts the container when its daemon was killed', async () => {
    const before = await idsOn(docker());
    cluster.killDaemon(docker());
    await cluster.restartNode(docker());
    await waitFor('the container to be adopted', DEADLINE_MS, async () => {
      expect(await idsOn(docker())).toEqual(before);
      return true;
    });
    expect(await containers()).toEqual(before);
    await open(cluster, docker(), HOST);
  });

  it('gets its slot back when the other node had filled it meanwhile', async () => {
    const before = await idsOn(docker());
    cluster.killDaemon(docker());
    await waitFor('the other node to fill both slots', DEADLINE_MS, async () => {
      expect(await idsOn(sandbox())).toHaveLength(2);
      return true;
    });
    await cluster.restartNode(docker());
    await waitFor('each node to run one instance', DEADLINE_MS, async () => {
      expect([await idsOn(docker()), await idsOn(sandbox())]).toEqual([before, [expect.any(String)]]);
      return true;
    });
    expect(await containers()).toEqual(before);
    await open(cluster, docker(), HOST);
  });

  it(
    'leads bound containers to services of its own and of another node, with their client libraries, and no others',
    async () => {
      const client = new DataApp(cluster, 'client');
      await Promise.all([
        dataAppFolder(join(cluster.folder, 'data-app')).then((folder) =>
          peer(docker(), 'push', folder, '--name', client.name, '--memory', '320M', '--no-start'),
        ),
        ...SERVICES.map(({ kind, name, node }) => peer(docker(), 'service', 'create', kind, name, '--node', node)),
      ]);
      for (const { name, prefix } of SERVICES) await peer(docker(), 'bind', name, client.name, '--as', prefix);
      await peer(docker(), 'start-app', client.name);
      const [instance] = (await appOf(cluster, docker(), client.name)).instances;
      expect([instance!.node, (await containers()).includes(instance!.id)]).toEqual(['docker', true]);
      for (const { name } of SERVICES) {
        await client.write(docker(), name, 'first', `of ${name}`);
        expect(await client.read(sandbox(), name, 'first')).toBe(`of ${name}`);
      }
      // Ways that an earlier daemon has made are there after it.
      cluster.killDaemon(docker());
      await cluster.restartNode(docker());
      for (const { name } of SERVICES) await client.readAgain(docker(), name, 'first', `of ${name}`);
      const stranger = (await appOf(cluster, docker(), APP)).instances.find(({ node }) => node === 'docker')!;
      for (const { name, port } of SERVICES) {
        const { address } = await serviceOf(cluster, docker(), name);
        expect(await client.reach(docker(), address!, port), name).toBe('connected');
        expect(await client.reach(docker(), address!, port, `${APP}/${stranger.index}`), name).toBe('ECONNREFUSED');
        await peer(docker(), 'unbind', name, client.name);
        await waitFor(`the way to ${name} to close`, DEADLINE_MS, async () => {
          expect(await client.reach(docker(), address!, port)).toBe('ECONNREFUSED');
          return true;
        });
      }
      await peer(docker(), 'delete', client.name);
      await Promise.all(SERVICES.map(({ name }) => peer(docker(), 'service', 'delete', name, '--yes')));
      await waitFor('its network to go', DEADLINE_MS, async () => (await networks()).length === 1);
    },
    STARTS_MS,
  );

  it('takes an image of its engine, and another such node runs it too', async () => {
    const second = await cluster.startNode({
      name: 'docker-2',
      join: await cluster.invite(1),
      args: ['--runtime', 'docker'],
    });
    await cluster.waitForAlive(3);
    const command = 'python3 -m http.server $PORT';
    await peer(docker(), 'push', '--image', STACK, '--name', 'pages', '--instances', '2', '--command', command);
    const { instances } = await appOf(cluster, docker(), 'pages');
    expect(instances.map((one) => one.node).sort()).toEqual(['docker', 'docker-2']);
    for (const node of [...cluster.nodes, second])
      expect(await open(cluster, node, 'pages.localhost')).toContain('bin/');
    await peer(second, 'delete', 'pages');
  });

  it('builds the Dockerfile of a folder', async () => {
    const folder = join(cluster.folder, 'dockerfile');
    await mkdir(folder);
    const Dockerfile = `FROM ${STACK}\nRUN echo built here >/index.html\nCMD python3 -m http.server $PORT`;
    await writeFile(join(folder, 'Dockerfile'), Dockerfile);
    const pushed = await peer(docker(), 'push', folder, '--name', 'built');
    expect(pushed.stderr).toMatch(/Step 3\/4 : CMD/);
    expect(await open(cluster, sandbox(), 'built.localhost')).toBe('built here\n');
  });

  it('runs tasks and commands of an image, asked by a node that runs none', async () => {
    const task = ['run', 'built', '--', 'sh', '-c', 'cat /index.html; echo oh >&2; exit 7'];
    expect(await cluster.peer(sandbox(), task)).toMatchObject({ code: 7, stdout: 'built here\n', stderr: 'oh\n' });
    const inside = ['exec', 'built/0', '--', 'sh', '-c', 'echo $CF_INSTANCE_INDEX; exit 4'];
    expect(await cluster.peer(sandbox(), inside)).toMatchObject({ code: 4, stdout: '0\n' });
    const missing = await cluster.peer(sandbox(), ['run', 'built', '--', 'no-such-program']);
    expect(missing.code).toBe(127);
    expect(missing.stderr).toMatch(/peer: the image has no program no-such-program/);
    await peer(docker(), 'delete', 'built');
  });

  it.each([
    ['a node without an engine', () => sandbox(), STACK, /push to a node whose runtime is docker/],
    ['a node that does not have it', () => docker(), 'no-such-image:1', /has no image no-such-image:1/],
  ])('refuses an image on %s', async (_, on, image, reason) => {
    const ran = await cluster.peer(on(), ['push', '--image', image, '--name', 'refused']);
    expect(ran.code).toBe(1);
    expect(ran.stderr).toMatch(reason);
  });

  it('leaves no container and no network of an app that is deleted', async () => {
    expect(await networks()).toHaveLength(1);
    await peer(docker(), 'delete', APP);
    await waitFor('the containers to go', DEADLINE_MS, async () => (await containers()).length === 0);
    await waitFor('the network to go', DEADLINE_MS, async () => (await networks()).length === 0);
  });
});
