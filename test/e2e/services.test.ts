// Services of every kind that apps keep data in, with the real engines and the client libraries that people use: on
// another host, so that every byte takes the whole way from the sandbox through the door and the link; and on the same.

import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Lan } from '../../scripts/lan.ts';
import { LocalCluster, type LocalNode, type Ran, waitFor } from '../../scripts/local-cluster.ts';
import { DataApp, dataAppFolder, serviceOf } from './data-app.ts';
import { appOf, lastWords } from './observe.ts';

type Service = { name: string; kind: string; node: 'a' | 'b'; prefix?: string; variable: string };

/** The apps find room on b alone: a has what its services take. */
const SERVICES: readonly Service[] = [
  { name: 'far-postgres', kind: 'postgres', node: 'a', variable: 'DATABASE_URL' },
  { name: 'far-mysql', kind: 'mysql', node: 'a', prefix: 'MYSQL', variable: 'MYSQL_DATABASE_URL' },
  { name: 'far-redis', kind: 'redis', node: 'a', variable: 'REDIS_URL' },
  { name: 'far-rabbitmq', kind: 'rabbitmq', node: 'a', variable: 'AMQP_URL' },
  { name: 'near-postgres', kind: 'postgres', node: 'b', prefix: 'NEAR', variable: 'NEAR_DATABASE_URL' },
  { name: 'near-redis', kind: 'redis', node: 'b', prefix: 'NEAR', variable: 'NEAR_REDIS_URL' },
];
const FAR = SERVICES.filter(({ node }) => node === 'a');
const MEMORY = { a: '992M', b: '2G' };
const APP_MEMORY = '128M';
const STARTS_MS = 240_000;

let lan: Lan;
let cluster: LocalCluster;
let a: LocalNode;
let b: LocalNode;
let client: DataApp;
/** Bound to all as well: it has ways to them when the other has none any more. */
let witness: DataApp;

async function peer(on: LocalNode, ...args: string[]): Promise<Ran> {
  const ran = await cluster.peer(on, args, { timeoutMs: STARTS_MS });
  expect(ran, `peer ${args.join(' ')} on ${on.name}`).toMatchObject({ code: 0 });
  return ran;
}

const each = <T>(services: readonly Service[], work: (service: Service) => Promise<T>): Promise<T[]> =>
  Promise.all(services.map(work));

/** After a restart of daemons their pids and ports are others. */
function refresh(): void {
  [a, b] = cluster.nodes as [LocalNode, LocalNode];
}

const bindArgs = ({ name, prefix }: Service, app: DataApp): string[] => [
  'bind',
  name,
  app.name,
  ...(prefix === undefined ? [] : ['--as', prefix]),
];

beforeAll(async () => {
  lan = await Lan.create(['a', 'b']);
  cluster = await LocalCluster.create();
  const at = (name: 'a' | 'b') => ({
    name,
    namespace: lan.namespaceOf(name),
    host: lan.addressOf(name),
    args: ['--memory', MEMORY[name]],
  });
  await cluster.startNode(at('a'));
  await cluster.startNode({ ...at('b'), join: await cluster.invite(1) });
  await cluster.waitForAlive(2);
  refresh();
  client = new DataApp(cluster, 'client');
  witness = new DataApp(cluster, 'witness');
}, 120_000);

beforeEach(({ onTestFailed }) => onTestFailed(async () => console.error(await lastWords(cluster))));

afterAll(async () => {
  await cluster?.stop();
  await lan?.remove();
});

describe('services of every kind', () => {
  it('are made on the node that is named, and run', async () => {
    await each(SERVICES, ({ kind, name, node }) => peer(a, 'service', 'create', kind, name, '--node', node));
    for (const { name, kind, node } of SERVICES) {
      expect(await serviceOf(cluster, b, name)).toMatchObject({ kind, node, state: 'ready', reason: null });
    }
  }, STARTS_MS);

  it('give credentials to apps that are bound, and the apps run elsewhere', async () => {
    const folder = await dataAppFolder(join(cluster.folder, 'app'));
    for (const { name } of [client, witness]) {
      await peer(b, 'push', folder, '--name', name, '--memory', APP_MEMORY, '--no-start');
    }
    for (const app of [client, witness]) await each(SERVICES, (service) => peer(b, ...bindArgs(service, app)));
    for (const app of [client, witness]) await peer(b, 'start-app', app.name);
    for (const app of [client, witness]) {
      const { instances } = await appOf(cluster, a, app.name);
      expect(instances.map(({ node }) => node)).toEqual(['b']);
      const { variables, services } = await app.names(b);
      expect(services).toEqual(SERVICES.map(({ name }) => name).sort());
      expect(variables).toEqual(expect.arrayContaining(SERVICES.map(({ variable }) => variable)));
    }
  }, STARTS_MS);

  it('are written and read by both apps, found by VCAP_SERVICES and by variable', async () => {
    await each(SERVICES, async ({ name, variable }) => {
      await client.write(b, name, 'first', `of ${name}`);
      expect(await client.read(a, name, 'first', variable)).toBe(`of ${name}`);
      expect(await witness.read(b, name, 'first')).toBe(`of ${name}`);
    });
  });
});
