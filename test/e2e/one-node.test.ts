// Apps of a node alone, where nothing is ever moved: what becomes of one instance can be told by its id.

import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { AppShape } from '../../node/api/shapes.ts';
import { LocalCluster, type LocalNode, type Ran, ROOT, waitFor } from '../../scripts/local-cluster.ts';
import { appOf, instanceProcesses, lastWords, waitForFilledOnce } from './observe.ts';
import { putToApp } from './requests.ts';

const APP = join(ROOT, 'test', 'apps', 'hello-node');
const DEADLINE_MS = 30_000;
/** By then a failing check has been noticed: a ready instance is checked every 10 s, and then twice more. */
const CHECK_NOTICED_MS = 16_000;

let cluster: LocalCluster;
let node: LocalNode;
let pushed = 0;

beforeAll(async () => {
  cluster = await LocalCluster.start(1, ['--memory', '2G']);
  node = cluster.nodes[0]!;
}, 120_000);
beforeEach(({ onTestFailed }) => onTestFailed(async () => console.error(await lastWords(cluster))));
afterAll(() => cluster?.stop());

const peer = (...args: string[]): Promise<Ran> => cluster.peer(node, args);

async function push(...args: string[]): Promise<{ name: string; host: string }> {
  const name = `app-${++pushed}`;
  expect(await peer('push', APP, '--name', name, '--memory', '64M', ...args)).toMatchObject({ code: 0 });
  return { name, host: `${name}.localhost` };
}

const instancesOf = async (name: string): Promise<AppShape['instances']> =>
  (await appOf(cluster, node, name)).instances;

const statusOf = async (host: string): Promise<number> => (await cluster.get(node, host)).status;

describe.concurrent('an app', () => {
  it('that fails its check gets no requests and is not restarted', async () => {
    const { name, host } = await push('--health', 'http:/health');
    const [before] = await instancesOf(name);
    await putToApp(node, host, `/health?status=500&forMs=${CHECK_NOTICED_MS}`);
    await waitFor('the instance to get no requests', DEADLINE_MS, async () => (await statusOf(host)) === 503);
    expect(await instancesOf(name)).toMatchObject([{ id: before!.id, state: 'unhealthy', restarts: 0 }]);
    await waitFor('it to serve again', DEADLINE_MS, async () => (await statusOf(host)) === 200);
    expect(await instancesOf(name)).toMatchObject([{ id: before!.id, state: 'ready', restarts: 0 }]);
  });

  it('that is killed is told of, and another one comes', async () => {
    const { name } = await push();
    const [before] = await instancesOf(name);
    const pids = await instanceProcesses(cluster, node, before!.id);
    process.kill(pids.at(-1)!, 'SIGKILL');
    await waitFor('another instance', DEADLINE_MS, async () => {
      const instances = await instancesOf(name);
      return instances.length === 1 && instances[0]!.state === 'ready' && instances[0]!.id !== before!.id;
    });
    const events: { name: string; message: string }[] = await cluster.json(node, ['events', name, '--lines', '200']);
    expect(events.find((event) => event.name === 'instance.crashed')?.message).toMatch(/KILL/);
  });

  it('that wants more memory than there is is told so, and runs on', async () => {
    const { name, host } = await push();
    const [before] = await instancesOf(name);
    const { code, stderr } = await peer('scale', name, '2', '--memory', '64G');
    expect(code).toBe(1);
    expect(stderr).toMatch(/insufficient resources: .*65536M is needed/);
    expect(await instancesOf(name)).toMatchObject([{ id: before!.id, state: 'ready' }]);
    expect(await statusOf(host)).toBe(200);
    expect(await peer('scale', name, '1', '--memory', '64M')).toMatchObject({ code: 0 });
  });

  it('of which one instance is restarted has one new id', async () => {
    const { name } = await push('--instances', '3');
    const before = await instancesOf(name);
    expect(await peer('restart', `${name}/1`)).toMatchObject({ code: 0 });
    await waitForFilledOnce(cluster, cluster.nodes, name, 3);
    const after = await instancesOf(name);
    expect(after.filter(({ id }) => !before.some((old) => old.id === id)).map(({ index }) => index)).toEqual([1]);
  });
});
