// Services of every kind that apps keep data in, with the real engines and the client libraries that people use: on
// another host, so that every byte takes the whole way from the sandbox through the door and the link; and on the
// same.

import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Lan } from '../../scripts/lan.ts';
import { LocalCluster, type LocalNode, type Ran, run, splitAddress, waitFor } from '../../scripts/local-cluster.ts';
import { routerOf } from '../../scripts/processes.ts';
import { DataApp, dataAppFolder, serviceOf } from './data-app.ts';
import { ExportedServices } from './exported-services.ts';
import { appOf, instanceProcesses, lastWords } from './observe.ts';

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
/** The engine's own words for credentials that it does not take, as its client library says them. */
const REFUSES: Readonly<Record<string, RegExp>> = {
  postgres: /^502 28(P01|000) /,
  mysql: /^502 ER_ACCESS_DENIED_ERROR /,
  redis: /^502 .*WRONGPASS/,
  rabbitmq: /^502 .*ACCESS_REFUSED/,
};
const PORTS: Readonly<Record<string, number>> = { postgres: 5432, mysql: 3306, redis: 6379, rabbitmq: 5672 };
const MEMORY = { a: '992M', b: '2G' };
const APP_MEMORY = '128M';
const STARTS_MS = 240_000;
/** Acknowledged by each service before the power is cut. */
const WRITES_MIN = 20;

let lan: Lan;
let cluster: LocalCluster;
let a: LocalNode;
let b: LocalNode;
let client: DataApp;
/** Bound to all as well: it has ways to them when the other has none any more. */
let witness: DataApp;
/** By the names of services. */
const addresses = new Map<string, string>();

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

/** Each is ready, on its node, and both apps find back to what was written. */
async function expectAllBack(services: readonly Service[]): Promise<void> {
  await each(services, async ({ name, node }) => {
    await waitFor(`${name} to be back`, STARTS_MS, async () => (await serviceOf(cluster, b, name)).state === 'ready');
    expect(await serviceOf(cluster, b, name)).toMatchObject({ node, address: addresses.get(name) });
    for (const app of [client, witness]) await app.readAgain(b, name, 'first', `of ${name}`);
  });
}

/** With credentials that were taken away: the way is there, and the engine says no. */
async function expectRefused({ name, kind }: Service, uri: string): Promise<void> {
  await waitFor(`${name} to refuse what was taken away`, 20_000, async () => {
    expect(await witness.attempt(b, kind, uri)).toMatch(REFUSES[kind]!);
    return true;
  });
}

/** Of what client has now: connections that stay open until its credentials are taken away. */
const holdAll = () =>
  each(SERVICES, async (service) => {
    const uri = await client.uriOf(b, service.name);
    expect(await witness.attempt(b, service.kind, uri)).toBe('200 connected');
    return { service, uri, held: await witness.hold(b, service.kind, uri) };
  });

const instanceOf = async ({ name }: Service): Promise<string | undefined> =>
  (await serviceOf(cluster, b, name)).instance?.id;

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
  it(
    'are made on the node that is named, and run',
    async () => {
      await each(SERVICES, ({ kind, name, node }) => peer(a, 'service', 'create', kind, name, '--node', node));
      for (const { name, kind, node } of SERVICES) {
        const service = await serviceOf(cluster, b, name);
        expect(service).toMatchObject({ kind, node, state: 'ready', reason: null });
        addresses.set(name, service.address!);
      }
      expect(new Set(addresses.values()).size).toBe(SERVICES.length);
    },
    STARTS_MS,
  );

  it(
    'give credentials to apps that are bound, and the apps run elsewhere',
    async () => {
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
    },
    STARTS_MS,
  );

  it('are written and read by both apps, found by VCAP_SERVICES and by variable', async () => {
    await each(SERVICES, async ({ name, variable }) => {
      await client.write(b, name, 'first', `of ${name}`);
      expect(await client.read(a, name, 'first', variable)).toBe(`of ${name}`);
      expect(await witness.read(b, name, 'first')).toBe(`of ${name}`);
    });
  });
});

/** Whether what runs in the network of an instance on b reaches its router, as apps may. */
async function reachesRouter(instance: string): Promise<boolean> {
  const [host, port] = splitAddress(b.http);
  const pid = (await instanceProcesses(cluster, b, instance)).at(-1);
  const { code } = await run([
    ...['nsenter', '--target', String(pid), '--net', '--'],
    ...['timeout', '10', 'bash', '-c', `exec 7<>/dev/tcp/${host}/${port}`],
  ]);
  return code === 0;
}

describe('engines', () => {
  it('answer, and call nobody: not even whom apps may', async () => {
    const [app] = (await appOf(cluster, b, client.name)).instances;
    expect(await reachesRouter(app!.id)).toBe(true);
    const near = SERVICES.filter(({ node }) => node === 'b');
    for (const service of near) expect(await reachesRouter((await instanceOf(service))!), service.name).toBe(false);
  });
});

/** Reads what the app wrote, with the client that people have for it. */
const READS: Readonly<Record<string, string[]>> = {
  postgres: ['-Atc', "SELECT value FROM notes WHERE key = 'first'"],
  mysql: ['-Ne', "SELECT value FROM notes WHERE name = 'first'"],
  redis: ['get', 'first'],
};

describe('people', () => {
  it('connect through any node with the client of the kind, and their credentials end with it', async () => {
    for (const { name, kind } of FAR.filter((one) => READS[one.kind] !== undefined)) {
      const ran = await cluster.peer(b, ['service', 'connect', name, '--', ...READS[kind]!], { timeoutMs: 60_000 });
      expect(ran, name).toMatchObject({ code: 0, stdout: `of ${name}\n` });
    }
    const roles = ['-Atc', "SELECT count(*) FROM pg_roles WHERE rolname ~ '^b[0-9a-f]{16}$'"];
    await waitFor('only apps and who asks to be let in', 30_000, async () => {
      expect((await peer(b, 'service', 'connect', 'far-postgres', '--', ...roles)).stdout).toBe('3\n');
      return true;
    });
  });

  it(
    'reach what is exported from another host, with TLS and what they were given alone',
    async () => {
      const exported = new ExportedServices(cluster, { from: 'b', lan });
      // What runs on a, and is opened by either node.
      for (const [at, { name }] of FAR.entries()) {
        await exported.open(b, { name, node: at % 2 === 0 ? 'a' : 'b', port: 16_000 + at });
      }
      for (const [at, { name }] of FAR.entries()) {
        expect(`${name}: ${await exported.read(name)}`).toBe(`${name}: of ${name}`);
        expect(await exported.readInClear(name), name).toMatch(/^refused: .*(TLS alone|closed|I\/O error|reset)/s);
        const another = FAR.at(at - 1)!.name;
        expect(await exported.read(name, another), name).toMatch(/^refused: .*(certificate|issuer)/s);
      }
      cluster.killDaemon(a);
      await cluster.restartNode(a);
      refresh();
      await each(FAR, async ({ name }) => {
        await waitFor(`${name} to be open again`, STARTS_MS, async () => {
          expect(await exported.read(name)).toBe(`of ${name}`);
          return true;
        });
        await peer(b, 'service', 'export', name, '--stop');
        await waitFor(`${name} to be closed`, 20_000, async () => {
          expect(await exported.read(name)).toMatch(/^refused: /);
          return true;
        });
      });
    },
    STARTS_MS,
  );
});

describe('a request that cannot be', () => {
  it.each<[string, string[], RegExp, code?: number]>([
    ['an unknown kind', ['service', 'create', 'oracle', 'other'], /no kind of service oracle: it is one of .*postgres/],
    ['an unknown plan', ['service', 'create', 'redis', 'other', '--plan', 'huge'], /no plan huge: it is one of small/],
    ['an unknown version', ['service', 'create', 'redis', 'other', '--version', '1.0'], /redis 1\.0/],
    ['an unknown node', ['service', 'create', 'redis', 'other', '--node', 'c'], /no node c\b/],
    [
      'too little memory',
      ['service', 'create', 'mysql', 'other', '--memory', '32M'],
      /mysql takes at least 160 MiB/,
      2,
    ],
    [
      'too little storage',
      ['service', 'create', 'redis', 'other', '--storage', '1M'],
      /redis takes at least 128 MiB/,
      2,
    ],
    ['a name that is taken', ['service', 'create', 'mysql', 'far-redis'], /there is a service far-redis already/],
    ['more memory than is left', ['service', 'create', 'postgres', 'other', '--node', 'a'], /a has no room|memory/],
    ['more memory than there is', ['service', 'create', 'redis', 'other', '--memory', '64G'], /no node can take redis/],
    ['a binding that is there', ['bind', 'far-redis', 'client'], /client is bound to far-redis already.*--rotate/],
    ['a binding of nobody', ['bind', 'far-redis', 'nobody'], /there is no app nobody/],
    ['a binding to nothing', ['bind', 'nothing', 'client'], /there is no service nothing/],
    [
      'a restore of what there is not',
      ['service', 'restore', 'far-redis', 'newest', '--yes'],
      /no node .*holds a backup/,
    ],
    ['a backup of nothing', ['service', 'backup', 'nothing'], /there is no service nothing/],
    ['the end of no binding', ['unbind', 'nothing', 'client'], /there is no service nothing/],
    [
      'deletion of what is bound',
      ['service', 'delete', 'far-redis', '--yes'],
      /far-redis is bound to client, witness: /,
    ],
  ])('is refused in one line: %s', async (_, args, says, code = 1) => {
    const ran = await cluster.peer(b, args);
    expect(ran).toMatchObject({ code, stdout: '' });
    expect(ran.stderr).toMatch(says);
    expect(
      ran.stderr
        .trim()
        .split('\n')
        .filter((line) => !/^(restoring|backing up)$/.test(line)),
    ).toHaveLength(1);
    const services = await cluster.read<{ name: string }[]>(b, '/v1/services');
    expect(services.map(({ name }) => name).sort()).toEqual(SERVICES.map(({ name }) => name).sort());
  });
});

describe('a backup that is none', () => {
  const upload = async (name: string, bytes: string): Promise<Ran> => {
    const file = join(cluster.folder, 'upload');
    await writeFile(file, bytes);
    return cluster.peer(b, ['service', 'upload', name, file]);
  };

  it.each([
    ['empty', 'far-redis', ''],
    ['of another kind', 'far-redis', 'PGDMP and more'],
    ['of another kind', 'far-postgres', 'REDIS0010 and more'],
    ['of nothing', 'far-mysql', 'What is this?'],
  ])('is refused when it is %s: %s', async (_what, name, bytes) => {
    const ran = await upload(name, bytes);
    expect(ran).toMatchObject({ stdout: '', stderr: expect.stringMatching(/no backup/) });
    expect(ran.code).toBeGreaterThan(0);
    expect(await cluster.read(b, `/v1/services/${name}/backups`)).toEqual([]);
  });

  it.each([
    ['far-redis', 'REDIS0010 and no more', /far-redis is as it was: the backup is cut, damaged or of a newer version/],
    [
      'far-postgres',
      'PGDMP and no more',
      /far-postgres is as it was: the backup is cut, damaged or of a newer version/,
    ],
  ])('is taken when it begins like one, and leaves all as it was: %s', async (name, bytes, says) => {
    expect(await upload(name, bytes)).toMatchObject({ code: 0 });
    const [{ id }] = await cluster.read<[{ id: string }]>(b, `/v1/services/${name}/backups`);
    const unnamed = await cluster.peer(b, ['service', 'restore', name, 'newest', '--yes']);
    expect(unnamed).toMatchObject({ code: 1, stdout: '' });
    expect(unnamed.stderr).toContain(`was not proven: peer service restore ${name} ${id} takes it all the same`);
    const ran = await cluster.peer(b, ['service', 'restore', name, id, '--yes'], { timeoutMs: STARTS_MS });
    expect(ran).toMatchObject({ code: 1, stdout: '', stderr: expect.stringMatching(says) });
    expect(await client.read(b, name, 'first')).toBe(`of ${name}`);
  });
});

describe('what was written', () => {
  it(
    'is there when the app was restarted',
    async () => {
      await peer(a, 'restart', client.name);
      await each(SERVICES, async ({ name }) => expect(await client.read(b, name, 'first')).toBe(`of ${name}`));
    },
    STARTS_MS,
  );

  it(
    'is there when the service was stopped and started',
    async () => {
      await each(SERVICES, ({ name }) => peer(b, 'service', 'stop', name));
      await each(SERVICES, async ({ name }) => {
        expect(await serviceOf(cluster, b, name)).toMatchObject({ state: 'stopped' });
        expect((await serviceOf(cluster, b, name)).instance, name).toBeNull();
        await expect(client.read(b, name, 'first'), name).rejects.toThrow(/: 502 /);
      });
      await each(SERVICES, ({ name }) => peer(a, 'service', 'start', name));
      await expectAllBack(SERVICES);
    },
    STARTS_MS,
  );

  it(
    'is there when the daemon and the router of its node were killed, and the engine was not',
    async () => {
      const before = await each(FAR, instanceOf);
      cluster.kill([a.pid, await routerOf(a.pid)]);
      await cluster.restartNode(a);
      refresh();
      await expectAllBack(FAR);
      expect(await each(FAR, instanceOf)).toEqual(before);
    },
    STARTS_MS,
  );

  it(
    'is there when its node lost its power',
    async () => {
      const before = await each(FAR, instanceOf);
      await each(FAR, ({ name }) => client.write(b, name, 'last', `of ${name}`));
      await cluster.killNode(a);
      await cluster.restartNode(a);
      refresh();
      await cluster.waitForAlive(2);
      await expectAllBack(FAR);
      for (const [at, service] of FAR.entries()) expect(await instanceOf(service)).not.toBe(before[at]);
    },
    STARTS_MS,
  );
});

describe('when every node loses its power in the middle of writes', () => {
  it(
    'all that was acknowledged is there',
    async () => {
      const acknowledged = new Map(SERVICES.map(({ name }) => [name, 0]));
      const writing = SERVICES.map(async ({ name }) => {
        for (let at = 0; ; at++) {
          await client.write(b, name, `busy-${at}`, `${at} of ${name}`);
          acknowledged.set(name, at + 1);
        }
      });
      const ended = Promise.allSettled(writing);
      await waitFor('all services to be written to', STARTS_MS, () => {
        return [...acknowledged.values()].every((count) => count >= WRITES_MIN);
      });
      await cluster.killNode(a, b);
      await ended;
      for (const node of [a, b]) await cluster.restartNode(node);
      refresh();
      await cluster.waitForAlive(2);
      await expectAllBack(SERVICES);
      console.info('acknowledged before the power was cut:', Object.fromEntries(acknowledged));
      await each(SERVICES, async ({ name }) => {
        for (let at = 0; at < acknowledged.get(name)!; at++) {
          expect(await client.read(b, name, `busy-${at}`)).toBe(`${at} of ${name}`);
        }
      });
    },
    STARTS_MS,
  );
});

describe('credentials', () => {
  it(
    'that were replaced open nothing, and connections made with them end',
    async () => {
      const old = await holdAll();
      await each(SERVICES, (service) => peer(b, ...bindArgs(service, client), '--rotate'));
      for (const { held, service, uri } of old) {
        expect(`${service.name}: ${await held.ended}`).toBe(`${service.name}: 200 ended`);
        await expectRefused(service, uri);
        expect(await client.uriOf(b, service.name)).not.toBe(uri);
        await client.readAgain(b, service.name, 'first', `of ${service.name}`);
        expect(await witness.read(b, service.name, 'first')).toBe(`of ${service.name}`);
      }
    },
    STARTS_MS,
  );

  it(
    'that were taken away open nothing, and connections made with them end; nor is there a way any more',
    async () => {
      const old = await holdAll();
      await each(SERVICES, ({ name }) => peer(b, 'unbind', name, client.name));
      for (const { held, service, uri } of old) {
        expect(`${service.name}: ${await held.ended}`).toBe(`${service.name}: 200 ended`);
        await expectRefused(service, uri);
        const to = [addresses.get(service.name)!, PORTS[service.kind]!] as const;
        expect(await client.reach(b, ...to)).toBe('ECONNREFUSED');
        expect(await witness.reach(b, ...to)).toBe('connected');
        expect(await witness.read(b, service.name, 'first')).toBe(`of ${service.name}`);
      }
      expect((await client.names(b)).services).toEqual([]);
    },
    STARTS_MS,
  );
});

describe('a service that is deleted', () => {
  it(
    'leaves nothing',
    async () => {
      await each(SERVICES, ({ name }) => peer(b, 'unbind', name, witness.name));
      await each(SERVICES, ({ name }) => peer(b, 'service', 'delete', name, '--yes'));
      expect(await cluster.read(a, '/v1/services')).toEqual([]);
      for (const node of [a, b]) {
        await waitFor(`the data on ${node.name} to go`, 30_000, async () => {
          expect(await readdir(join(node.dataDir, 'volumes'))).toEqual([]);
          return true;
        });
      }
    },
    STARTS_MS,
  );
});
