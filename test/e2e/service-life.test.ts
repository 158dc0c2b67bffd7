// A service on three real daemons with a real engine: moved while it is written to, brought back from a backup when
// its node is lost for good, taken along when its node drains, and upgraded from one version of its engine to another.

import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { BackupShape, ServiceLifeShape, StrandedShape } from '../../node/api/data-shapes.ts';
import { LocalCluster, type LocalNode, waitFor } from '../../scripts/local-cluster.ts';
import { DataApp, dataAppFolder, serviceOf } from './data-app.ts';
import { lastWords } from './observe.ts';

const TIMEOUT_MS = 300_000;
const WITHIN_MS = 90_000;

let cluster: LocalCluster;
let client: DataApp;
let address: string;

beforeAll(async () => {
  cluster = await LocalCluster.start(3);
  client = new DataApp(cluster, 'client');
  const folder = await dataAppFolder(join(cluster.folder, 'app'));
  await peer('service', 'create', 'postgres', 'db', '--node', cluster.nodes[0]!.name);
  await peer('push', folder, '--name', client.name, '--memory', '128M', '--no-start');
  await peer('bind', 'db', client.name);
  await peer('start-app', client.name);
  address = (await db()).address!;
}, TIMEOUT_MS);
beforeEach(({ onTestFailed }) => onTestFailed(async () => console.error(await lastWords(cluster))));
afterAll(() => cluster?.stop());

/** Nodes whose daemon was ended for good. */
const lost = new Set<string>();
const alive = (but?: string): LocalNode => cluster.nodes.find(({ name }) => name !== but && !lost.has(name))!;
const nodeNamed = (name: string): LocalNode => cluster.nodes.find((one) => one.name === name)!;
const peer = <T>(...args: string[]): Promise<T> => cluster.json<T>(alive(), args, { timeoutMs: TIMEOUT_MS });
const db = () => serviceOf(cluster, alive(), 'db');

async function refused(...args: string[]): Promise<string> {
  const { code, stderr } = await cluster.peer(alive(), args);
  expect(code).not.toBe(0);
  const said = stderr.split('\n').filter((line) => line.startsWith('peer: '));
  expect(said).toHaveLength(1);
  return said[0]!;
}

/** Writes one note after the other until it is told to stop; answers those that were acknowledged. */
function writing(): { stop: () => Promise<string[]>; count: () => number } {
  const acknowledged: string[] = [];
  let stopped = false;
  const done = (async () => {
    for (let number = 0; !stopped; number++) {
      const key = `note-${number}`;
      await client.write(alive(), 'db', key, key).then(
        () => acknowledged.push(key),
        () => {},
      );
    }
  })();
  return {
    count: () => acknowledged.length,
    stop: async () => {
      stopped = true;
      await done;
      return acknowledged;
    },
  };
}

/** Folders of lineages that a node has of the service's data. */
async function lineagesAt(name: string): Promise<string[]> {
  const root = join(nodeNamed(name).dataDir, 'volumes');
  const volumes = await readdir(root);
  return (await Promise.all(volumes.map((volume) => readdir(join(root, volume))))).flat().sort();
}

describe('a service', { timeout: TIMEOUT_MS }, () => {
  it('is moved while it is written to: nothing that was acknowledged is lost, and clients find back', async () => {
    const from = (await db()).node!;
    const to = alive(from).name;
    const writer = writing();
    await waitFor('some notes', WITHIN_MS, async () => writer.count() > 10);
    const moved = await peer<ServiceLifeShape>('service', 'move', 'db', '--to', to);
    expect(moved).toMatchObject({ node: to, ready: true, ageMs: null });
    const before = writer.count();
    await waitFor('notes after the move', WITHIN_MS, async () => writer.count() > before + 10);
    for (const key of await writer.stop()) expect(await client.read(alive(), 'db', key)).toBe(key);
    expect(await db()).toMatchObject({ node: to, state: 'ready', address });
    await waitFor('the files that were moved away to be removed', WITHIN_MS, async () => {
      return (await lineagesAt(from)).length === 0;
    });
  });

  it('is not upgraded to what it is, or to what no node has', async () => {
    const { version } = await db();
    expect(await refused('service', 'upgrade', 'db', '--version', version)).toContain(
      `db is postgres ${version} already`,
    );
    expect(await refused('service', 'upgrade', 'db', '--version', '99')).toMatch(/no living node has postgres 99/);
  });

  it('comes back from a backup when its node is lost, and the data there is kept when that is back', async () => {
    await client.write(alive(), 'db', 'early', 'in the backup');
    const taken = await peer<BackupShape>('service', 'backup', 'db');
    expect(taken.proof).toMatchObject({ state: 'proven' });
    await client.write(alive(), 'db', 'late', 'lost with the node');
    const before = (await db()).node!;
    const kept = await lineagesAt(before);
    expect(await refused('service', 'recover', 'db', '--yes')).toContain(
      `${before}, which has the data of db, is alive`,
    );

    lost.add(before);
    await cluster.killNode(nodeNamed(before));
    await waitFor(`${before} to be dead`, WITHIN_MS, async () => (await db()).state === 'node dead');
    const recovered = await peer<ServiceLifeShape>('service', 'recover', 'db', '--yes');
    expect(recovered).toMatchObject({ ready: true, backup: taken.id });
    expect(recovered.node).not.toBe(before);
    expect(recovered.ageMs).toBeGreaterThan(0);
    await client.readAgain(alive(), 'db', 'early', 'in the backup');
    await expect(client.read(alive(), 'db', 'late')).rejects.toThrow(/404/);
    expect(await db()).toMatchObject({ address, bindings: [{ app: client.name, granted: true }] });

    await cluster.restartNode(nodeNamed(before));
    lost.delete(before);
    await cluster.waitForAlive(3);
    expect(await db()).toMatchObject({ node: recovered.node, state: 'ready' });
    expect(await lineagesAt(before)).toEqual(kept);
    await client.readAgain(alive(), 'db', 'early', 'in the backup');
  });

  it('is named by what would strand it, and goes along when its node drains with its data', async () => {
    const from = (await db()).node!;
    expect(await peer<StrandedShape>('nodes', 'data', from)).toMatchObject({
      services: [{ name: 'db', provenBackupAgeMs: expect.any(Number) }],
      volumes: [],
    });
    const said = await refused('nodes', 'drain', from);
    expect(said).toMatch(/has the data of db \(newest proven backup \d+ (s|min) old\).*--with-data.*--strand/);
    const drained = await peer<{ moved: { what: string; node: string }[] }>('nodes', 'drain', from, '--with-data');
    expect(drained.moved).toMatchObject([{ what: 'db', ready: true }]);
    expect(await db()).toMatchObject({ node: drained.moved[0]!.node, state: 'ready', address });
    await client.readAgain(alive(), 'db', 'early', 'in the backup');
    expect(await peer<StrandedShape>('nodes', 'data', from)).toEqual({ services: [], volumes: [], exports: [] });
  });
});

/** What the engine says that it is. */
async function engineOf(service: string): Promise<string> {
  const uri = JSON.stringify(await client.uriOf(alive(), service));
  const script = `const client = new (require('pg').Client)({ connectionString: ${uri} });
    client.connect().then(() => client.query('SELECT version()'))
      .then(({ rows }) => console.log(rows[0].version)).finally(() => client.end());`;
  return client.inside(alive(), script);
}

describe('a service whose storage is full', { timeout: TIMEOUT_MS }, () => {
  it('says so, and has all that it took once it may have more', async () => {
    const brim = () => serviceOf(cluster, alive(), 'brim');
    await peer('service', 'create', 'postgres', 'brim', '--storage', '256M');
    await peer('bind', 'brim', client.name);
    await client.write(alive(), 'brim', 'kept', 'from before');
    const uri = JSON.stringify(await client.uriOf(alive(), 'brim'));
    const rows = 'SELECT md5(i::text) || md5((i + 1)::text) AS text FROM generate_series(1, 6000000) i';
    const fill = `const client = new (require('pg').Client)({ connectionString: ${uri} });
      client.on('error', () => {});
      client.connect().then(() => client.query('CREATE TABLE filling AS ${rows}'))
        .then(() => console.log('taken'), (error) => console.log(error.message)).finally(() => client.end());`;
    // It is ended, or has no more room for it, before that is through.
    expect(await client.inside(alive(), fill)).not.toContain('taken');
    await waitFor('brim to say that it is full', WITHIN_MS, async () => /full/.test((await brim()).reason ?? ''));
    expect(await refused('service', 'configure', 'brim', '--storage', '128M')).toContain('storage only grows');
    await peer('service', 'configure', 'brim', '--storage', '2G');
    await waitFor('brim to run again', WITHIN_MS, async () => (await brim()).state === 'ready');
    await client.readAgain(alive(), 'brim', 'kept', 'from before');
    await peer('unbind', 'brim', client.name);
    await peer('service', 'delete', 'brim', '--yes');
  });
});

describe('a service of an older version of its engine', { timeout: TIMEOUT_MS }, () => {
  const old = () => serviceOf(cluster, alive(), 'old');
  let written: string[];
  let uri: string;
  let is: Awaited<ReturnType<typeof old>>;
  /** Backups, as the versions have them. */
  const backups: Record<string, string> = {};

  const expectKept = async (): Promise<void> => {
    await waitFor('old to let its app in', WITHIN_MS, async () => (await old()).bindings[0]?.granted === true);
    expect(await old()).toMatchObject({ address: is.address, bindings: [{ app: client.name }] });
    expect(await client.uriOf(alive(), 'old')).toBe(uri);
    for (const key of written) await client.readAgain(alive(), 'old', key, key);
  };

  it('is upgraded with its data, credentials and address, and what it was is kept', async () => {
    await peer('service', 'create', 'postgres', 'old', '--version', '14');
    await peer('bind', 'old', client.name);
    written = ['one', 'two'];
    for (const key of written) await client.write(alive(), 'old', key, key);
    is = await old();
    uri = await client.uriOf(alive(), 'old');
    expect(is).toMatchObject({ version: '14', state: 'ready' });
    const upgraded = await peer<ServiceLifeShape>('service', 'upgrade', 'old', '--version', '15');
    expect(upgraded).toMatchObject({ version: '15', ready: true, before: { version: '14', node: is.node } });
    backups['14'] = upgraded.backup!;
    await expectKept();
    expect(await engineOf('old')).toMatch(/^PostgreSQL 15\./);
  });

  it('is what it was when the upgrade is taken back, without what came since', async () => {
    await client.write(alive(), 'old', 'since', 'since the upgrade');
    backups['15'] = (await peer<BackupShape>('service', 'backup', 'old')).id;
    const reverted = await peer<ServiceLifeShape>('service', 'upgrade', 'old', '--revert', '--yes');
    expect(reverted).toMatchObject({ version: '14', node: is.node, ready: true, before: null });
    await expectKept();
    await expect(client.read(alive(), 'old', 'since')).rejects.toThrow(/404/);
    expect(await engineOf('old')).toMatch(/^PostgreSQL 14\./);
  });

  it('refuses backups of the newer one, untouched, also as a file that says nothing of it', async () => {
    await client.write(alive(), 'old', 'late', 'not touched');
    expect(await refused('service', 'restore', 'old', backups['15']!, '--yes')).toContain(
      'is of postgres 15, which postgres 14 does not read, and old is as it was: peer service upgrade old --version 15 first',
    );
    const file = join(cluster.folder, 'newer.dump');
    await peer('service', 'download', 'old', backups['15']!, file);
    const { id } = await peer<BackupShape>('service', 'upload', 'old', file);
    expect(await refused('service', 'restore', 'old', id, '--yes')).toContain(
      'old is as it was: the backup is of postgres 15, which postgres 14 does not read',
    );
    await client.readAgain(alive(), 'old', 'late', 'not touched');
  });

  it('is never an older one again once its upgrade is confirmed, and takes backups of that', async () => {
    await peer('service', 'upgrade', 'old', '--version', '15');
    expect(await refused('service', 'upgrade', 'old', '--version', '15')).toContain('--confirm or --revert first');
    expect(await peer('service', 'upgrade', 'old', '--confirm')).toMatchObject({ version: '15', before: null });
    expect(await refused('service', 'upgrade', 'old', '--version', '14')).toContain(
      'old is postgres 15, and an older engine does not read its backups',
    );
    await expectKept();
    await client.readAgain(alive(), 'old', 'late', 'not touched');
    await peer('service', 'restore', 'old', backups['14']!, '--yes');
    await expectKept();
    await expect(client.read(alive(), 'old', 'late')).rejects.toThrow(/404/);
  });
});
