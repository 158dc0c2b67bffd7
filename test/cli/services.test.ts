// Services, bindings and volumes from the command line, through scripts/peer.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { asAppId } from '../../crdt/ids.ts';
import { TestCli } from './peer.ts';

let cli: TestCli;
let folder: string;
beforeEach(async () => {
  cli = await TestCli.start();
  folder = join(cli.home, 'shop');
  mkdirSync(folder);
  writeFileSync(join(folder, 'index.html'), '<h1>shop</h1>');
});
afterEach(() => cli.stop());

const serviceNamed = (name: string) => [...cli.node.view().services.values()].find((one) => one.name === name);

async function ok(args: string[], input?: string) {
  const ran = await cli.run(args, input === undefined ? {} : { input });
  expect(ran.stderr).not.toMatch(/^peer: /m);
  expect(ran.status).toBe(0);
  return ran;
}

describe('peer service', () => {
  it('creates, lists, shows, stops, starts and deletes', async () => {
    expect(await cli.json(['service', 'create', 'postgres', 'db', '--plan', 'medium', '--node', 'beta'])).toEqual({
      name: 'db',
      kind: 'postgres',
      node: 'beta',
      state: 'ready',
    });
    const { id } = serviceNamed('db')!;
    expect(await cli.json(['services'])).toEqual([
      {
        name: 'db',
        id,
        kind: 'postgres',
        plan: 'medium',
        version: '15',
        node: 'beta',
        state: 'ready',
        bindings: [],
        ownsName: true,
      },
    ]);
    expect((await ok(['services'])).stdout).toMatch(
      /^NAME +KIND +PLAN +STATE +NODE +BOUND TO\ndb +postgres 15 +medium +ready +beta/,
    );
    const { stdout } = await ok(['service', 'status', 'db']);
    expect(stdout).toContain('address      db.service.internal (198.1');
    expect(stdout).toContain('storage      40M of 1G');
    expect(stdout).toContain('connections  3 of 80');
    expect(stdout).toContain('backups      every 1d, 7 kept, none proven yet');
    expect((await ok(['service', 'stop', 'db'])).stdout).toBe('db is stopped\n');
    expect((await ok(['service', 'start', 'db'])).stdout).toBe('db is ready\n');
    const unasked = await cli.run(['service', 'delete', 'db']);
    expect(unasked).toMatchObject({ status: 2, stderr: expect.stringContaining('say that it is meant with --yes') });
    expect((await ok(['service', 'delete', 'db', '--yes'])).stdout).toBe('db is deleted\n');
    expect((await ok(['services'])).stdout).toBe('no services yet: peer service create KIND NAME\n');
  });

  it('configures, and restarts what has to be', async () => {
    await ok(['service', 'create', 'redis', 'cache', '--backup-every', 'never', '--no-wait']);
    expect(serviceNamed('cache')).toMatchObject({ backupEveryMs: 0 });
    const changed = await cli.json([
      'service',
      'configure',
      'cache',
      '--memory',
      '96M',
      '--backup-every',
      '12h',
      '--keep',
      '3',
    ]);
    expect(changed).toMatchObject({
      restarted: true,
      memoryBytes: 96 * 1024 ** 2,
      backupEveryMs: 12 * 3_600_000,
      backupsKept: 3,
    });
  });

  it('says to which moments it can be restored, where its log is kept', async () => {
    const created = await cli.run(['service', 'create', 'postgres', 'logged', '--wal', '--no-wait']);
    expect(created.status).toBe(0);
    const { stdout } = await ok(['service', 'status', 'logged']);
    expect(stdout).toMatch(
      /log +any moment from 2026-01-01T00:00:00Z to 20\d\d-[-\dT:]+Z \(\d+s ago\): peer service restore logged --at TIME/,
    );
    await ok(['service', 'delete', 'logged', '--yes']);
  });

  it('says what kinds there are, and what to install where one runs nowhere', async () => {
    cli.node.engines.set('alpha', ['postgres 15']);
    cli.node.engines.set('beta', []);
    const { stdout } = await ok(['services', 'kinds']);
    expect(stdout).toMatch(/postgres +small +128M +1G +40 +15: alpha +postgresql\n +medium/);
    expect(stdout).toMatch(/redis +small +64M +1G +100 +no node +redis-server/);
    expect(stdout).toContain("no node has redis: install Debian's redis-server on one");
    expect((await cli.json(['services', 'kinds']))[1]).toMatchObject({ kind: 'redis', versions: [] });
  });

  it('has logs and events by name, and is explained', async () => {
    await ok(['service', 'create', 'redis', 'cache']);
    cli.node.say(asAppId(serviceNamed('cache')!.id), 'Ready to accept connections');
    expect((await ok(['logs', 'cache'])).stdout).toContain('Ready to accept connections');
    expect((await ok(['events', 'cache'])).stdout).toBe('');
    expect((await cli.json(['why', 'cache/service/0'])).app).toBe('cache');
  });

  it.each([
    [['service', 'create', 'oracle', 'db'], 1, 'there is no kind of service oracle: it is one of postgres, redis'],
    [['service', 'create', 'redis', 'db', '--plan', 'huge'], 1, 'redis has no plan huge'],
    [
      ['service', 'create', 'redis', 'db', '--version', '1'],
      1,
      'no living node has redis 1: there is 7.0 on alpha, beta',
    ],
    [['service', 'create', 'redis', 'db', '--memory', '2T'], 2, '--memory 2T: should be a size'],
    [['service', 'create', 'redis'], 2, 'NAME is missing: peer service create KIND NAME'],
    [['service', 'status', 'db', 'more'], 2, '"more" is one argument too many: peer service status NAME'],
    [['service', 'status', 'db', '--plan', 'small'], 2, '--plan is no option of peer service status NAME'],
    [['service', 'unbind', 'db', 'shop', '--rotate'], 2, '--rotate is no option of peer service unbind NAME APP'],
    [['service', 'crate', 'redis', 'db'], 2, 'peer service has no action crate: did you mean create?'],
    [['services', 'db'], 2, 'one service: peer service status db'],
    [['service', 'status', 'db'], 1, 'there is no service db: see peer services'],
  ])('%j is refused', async (args, status, message) => {
    expect(await cli.run(args)).toMatchObject({ status, stderr: expect.stringContaining(message) });
  });
});

describe('peer bind', () => {
  beforeEach(async () => {
    await ok(['push', folder]);
    await ok(['service', 'create', 'postgres', 'db']);
  });

  it('gives an app credentials, rotates them and takes them away, and the app runs on', async () => {
    expect((await ok(['bind', 'db', 'shop', '--as', 'MAIN'])).stdout).toBe(
      'shop is bound to db; shop v1: web=1 ready\n',
    );
    expect((await cli.json(['services']))[0].bindings).toEqual(['shop']);
    expect((await ok(['service', 'status', 'db'])).stdout).toContain('bound to     shop (as MAIN)');
    const twice = await cli.run(['service', 'bind', 'db', 'shop']);
    expect(twice).toMatchObject({ status: 1, stderr: expect.stringContaining('peer service bind db shop --rotate') });
    expect(await cli.json(['service', 'bind', 'db', 'shop', '--rotate'])).toEqual({
      service: 'db',
      app: 'shop',
      prefix: 'MAIN',
      rotated: true,
      granted: true,
    });
    const bound = await cli.run(['service', 'delete', 'db', '--yes']);
    expect(bound).toMatchObject({ status: 1, stderr: expect.stringContaining('db is bound to shop') });
    expect((await ok(['unbind', 'db', 'shop'])).stdout).toContain(
      'shop is not bound to db any more; shop v1: web=1 ready',
    );
  });

  it('warns where the access is not there yet', async () => {
    await ok(['service', 'stop', 'db']);
    cli.node.onServiceStatus = async () => undefined;
    const ran = await ok(['bind', 'db', 'shop']);
    expect(ran.stderr).toContain('warning: db does not run (stopped), so its credentials work once it does');
    expect((await cli.json(['services']))[0].bindings).toEqual(['shop']);
  });
});

describe('peer service provide', () => {
  const credentials = '{"uri": "smtp://user:pa55@mail.example.org"}';
  const opened = () => {
    const { id, secret } = serviceNamed('mail')!;
    return JSON.parse(cli.node.secrets.open(`service/${id}`, secret));
  };

  it('takes credentials from a file, from stdin, or a line that it asks for', async () => {
    const file = join(cli.home, 'mail.json');
    writeFileSync(file, credentials);
    const ran = await ok(['service', 'provide', 'mail', '--credentials', `@${file}`]);
    expect(ran.stdout + ran.stderr).not.toContain('pa55');
    expect(opened()).toEqual(JSON.parse(credentials));
    await ok(['service', 'provide', 'mail', '--credentials', '-'], '{"uri": "b"}');
    expect(opened()).toEqual({ uri: 'b' });
    await ok(['service', 'provide', 'mail'], '{"uri": "c"}\n');
    expect(opened()).toEqual({ uri: 'c' });
    const warned = await ok(['service', 'provide', 'mail', '--credentials', '{"uri": "d"}']);
    expect(warned.stderr).toContain('warning: what is in the arguments stands in ps');
    expect((await cli.json(['services']))[0]).toMatchObject({ kind: 'user-provided', state: 'provided', node: null });
  });

  it('refuses what is no JSON without repeating it', async () => {
    const ran = await cli.run(['service', 'provide', 'mail', '--credentials', '-'], { input: 'pa55' });
    expect(ran).toMatchObject({ status: 2, stderr: expect.stringContaining('--credentials: should be JSON') });
    expect(ran.stderr).not.toContain('pa55');
  });
});

describe('a manifest', () => {
  it('makes, binds and mounts what it asks for', async () => {
    writeFileSync(
      join(folder, 'manifest.yml'),
      'applications:\n- name: shop\n  instances: 2\n  volumes: [/data:64M]\n  services:\n  - name: shop-db\n    kind: postgres\n  - redis\n',
    );
    const missing = await cli.run(['push', folder]);
    expect(missing).toMatchObject({ status: 1, stderr: expect.stringContaining('there is no service redis') });
    await ok(['push', folder, '--create-services']);
    expect(
      (await cli.json(['services'])).map(({ name, bindings }: Record<string, unknown>) => [name, bindings]),
    ).toEqual([
      ['redis', ['shop']],
      ['shop-db', ['shop']],
    ]);
    expect((await ok(['volumes'])).stdout).toMatch(/^shop\/1 +\/data +64M +(alpha|beta) +mounted/m);
  });
});

describe('volumes', () => {
  it('are named by the app alone where it has one', async () => {
    await ok(['push', folder, '--volume', '/data:64M']);
    expect((await ok(['volume', 'path', 'shop'])).stdout).toBe((await ok(['volume', 'path', 'shop/0'])).stdout);
  });

  it('are made by a push, scaled with the app, kept, and deleted when that is meant', async () => {
    await ok(['push', folder, '--volume', '/data:64M', '--volume', '/cache']);
    expect(
      (await cli.json(['volumes'])).map(({ path, sizeBytes }: Record<string, unknown>) => [path, sizeBytes]),
    ).toEqual([
      ['/cache', 1024 ** 3],
      ['/data', 64 * 1024 ** 2],
    ]);
    await ok(['scale', 'shop', '2']);
    expect((await cli.run(['scale', 'shop', '1'])).stderr).toContain('2 volumes stay with all that is in it');
    const path = await ok(['volume', 'path', 'shop/0:/data']);
    expect(path.stdout).toMatch(/^\/var\/lib\/peer\/volumes\/[0-9a-f-]+\n$/);
    expect(path.stderr).toMatch(/^on (alpha|beta)$/m);
    const several = await cli.run(['volume', 'path', 'shop/1']);
    expect(several.stderr).toContain('shop/1 has several volumes: say one of shop/1:/cache, shop/1:/data');
    const ofApp = await cli.run(['volume', 'path', 'shop:/data']);
    expect(ofApp.stderr).toContain('shop:/data has several volumes: say one of shop/0:/data, shop/1:/data');
    expect((await cli.run(['volume', 'delete', 'shop/1:/data'])).stderr).toContain('--yes');
    await ok(['volume', 'delete', 'shop/1:/data', '--yes']);
    expect((await cli.run(['volume', 'delete', 'shop/0:/data', '--yes'])).stderr).toContain('shop/web/0 mounts it');
    expect((await ok(['delete', 'shop'])).stderr).toContain('3 volumes are kept: peer volumes lists them');
    const kept = await cli.json(['volumes']);
    for (const { id } of kept) await ok(['volume', 'delete', id, '--yes']);
    expect(await cli.json(['volumes'])).toEqual([]);
  });

  it('go with the app when that is said, and meant', async () => {
    await ok(['push', folder, '--volume', '/data']);
    expect((await cli.run(['delete', 'shop', '--volumes'])).stderr).toContain('say that it is meant with --yes');
    expect((await ok(['delete', 'shop', '--volumes', '--yes'])).stdout).toBe('shop is deleted, and its volume\n');
    expect(await cli.json(['volumes'])).toEqual([]);
  });

  it.each([
    [['push', '--volume', 'data'], '--volume data: should be /PATH or /PATH:SIZE, such as /data:2G'],
    [['push', '--volume', '/data:big'], '--volume /data big: should be a size'],
    [['push', '--volume', '/data', '--volume', '/data:2G'], '--volume /data was given twice'],
    [['scale', 'shop', '--volume', '/data'], 'N is missing: peer scale APP [web=]N --volume /PATH[:SIZE]'],
    [['volume', 'mov', 'shop/0'], 'peer volume has no action mov: did you mean move?'],
    [['volume', 'move', 'shop/0'], '--to NODE is missing: peer volume move APP/INDEX --to NODE'],
    [['volume', 'path', 'shop/0', '--keep', '2'], '--keep is no option of peer volume path'],
    [['push', '--snapshot', '1h'], '--snapshot, --keep and --on-loss are of the volumes that --volume makes'],
    [['volume', 'delete'], 'APP/INDEX[:PATH] is missing'],
  ])('%j is wrong usage', async (args, message) => {
    expect(await cli.run(args)).toMatchObject({ status: 2, stderr: expect.stringContaining(message) });
  });
});

it('completes the names of services and volumes', async () => {
  await ok(['push', folder, '--volume', '/data']);
  await ok(['service', 'create', 'redis', 'cache', '--no-wait']);
  expect((await ok(['completions', 'services'])).stdout).toBe('cache\n');
  expect((await ok(['completions', 'volumes'])).stdout).toContain('shop/0\n');
});
