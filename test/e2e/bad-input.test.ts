// What happens to input that cannot be done: one clear line on what is wrong and what to do, the right exit status,
// nothing changed, and a daemon that has not even noticed. The tests share one node; the full disk is another one's.

import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { Header } from 'tar';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { AppShape } from '../../node/api/shapes.ts';
import { LocalCluster, type LocalNode, type Ran, ROOT, run, waitFor } from '../../scripts/local-cluster.ts';
import { isRunning, processTable } from '../../scripts/processes.ts';
import { rawTar } from '../staging/harness.ts';
import { askApi, sendBytes } from './requests.ts';

const MIB = 1024 * 1024;
const APPS = join(ROOT, 'test', 'apps');
const STATIC = join(APPS, 'hello-static');

let cluster: LocalCluster;
let node: LocalNode;
/** Tokens by role. */
const tokens: Record<string, string> = {};

beforeAll(async () => {
  cluster = await LocalCluster.start(1);
  node = cluster.nodes[0]!;
  await cluster.json(node, ['push', join(APPS, 'hello-node'), '--name', 'good']);
  for (const role of ['viewer', 'developer']) {
    tokens[role] = (await cluster.json<{ token: string }>(node, ['users', 'add', role, '--role', role])).token;
  }
});
afterAll(() => cluster?.stop());

const peer = (...args: string[]): Promise<Ran> => cluster.peer(node, args);
const read = <T>(path: string): Promise<T> => cluster.read<T>(node, path);

/** All that bad input must not change, but for what is being staged: tests that run at once see that of each other. */
async function everything(): Promise<object> {
  const apps = await read<{ name: string }[]>('/v1/apps');
  return {
    apps: await Promise.all(apps.map(({ name }) => read<AppShape>(`/v1/apps/${name}`).then(withoutAges))),
    env: await read('/v1/apps/good/env'),
    releases: await read('/v1/apps/good/releases'),
    routes: await read('/v1/routes'),
    users: await read('/v1/users'),
    nodes: (await read<{ name: string; draining: boolean; labels: object }[]>('/v1/nodes')).map(
      ({ name, draining, labels }) => ({ name, draining, labels }),
    ),
  };
}
const staged = (): Promise<string[]> => readdir(join(node.dataDir, 'staging'));
const withoutAges = (app: AppShape) => ({ ...app, instances: app.instances.map(({ sinceMs: _, ...rest }) => rest) });

function changesNothing(): void {
  const before = new Map<string, unknown>();
  let stagedBefore: string[];
  beforeAll(async () => {
    stagedBefore = await staged();
  });
  beforeEach(async ({ task }) => {
    before.set(task.id, await everything());
  });
  afterEach(async ({ task }) => {
    expect(await everything()).toEqual(before.get(task.id));
    expect(await isRunning(node.pid)).toBe(true);
    expect((await cluster.get(node, 'good.localhost')).status).toBe(200);
  });
  afterAll(async () => expect(await staged()).toEqual(stagedBefore));
}

/** One after the other, what is being staged is the same after each, too. */
function stagesNothing(): void {
  let before: string[];
  beforeEach(async () => {
    before = await staged();
  });
  afterEach(async () => expect(await staged()).toEqual(before));
}

/** One line on stderr, after the progress; nothing on stdout. */
function expectFailure(ran: Ran, code: number, message: string | RegExp): void {
  const lines = ran.stderr.trimEnd().split('\n');
  const matching = typeof message === 'string' ? expect.stringContaining(message) : expect.stringMatching(message);
  expect({ ...ran, stderr: lines.at(-1) }).toEqual({ code, stdout: '', stderr: matching });
  expect(lines.at(-1)).toMatch(/^peer: .{10,400}$/);
}

describe.concurrent('wrong usage', () => {
  changesNothing();

  it.each<[args: string[], message: string]>([
    [['frobnicate'], 'there is no command frobnicate: see peer --help'],
    [['aps'], 'did you mean peer apps?'],
    [['push', '--frobnicate'], 'peer push has no option --frobnicate'],
    [['push', STATIC, 'more'], 'one argument too many'],
    [['push', STATIC, '--name', 'Capitals'], 'lower-case letters'],
    [['push', STATIC, '--name', ''], 'lower-case letters'],
    [['push', STATIC, '--name', 'a'.repeat(64)], 'up to 63'],
    [['push', STATIC, '--instances', '-1'], '-1 is no option: a value that begins with a dash is written'],
    [['push', STATIC, '--instances=-1'], 'from 0 to 100'],
    [['push', STATIC, '--instances', '1000'], 'from 0 to 100'],
    [['push', STATIC, '--instances', 'many'], 'from 0 to 100'],
    [['push', STATIC, '--memory', '1'], 'should be a size such as 256M'],
    [['push', STATIC, '--memory', '1K'], 'from 16M to 64G'],
    [['push', STATIC, '--memory', '100T'], 'from 16M to 64G'],
    [['push', STATIC, '--disk', '1K'], 'from 16M to 1T'],
    [['push', STATIC, '--timeout', '1h'], 'from 1s to 180s'],
    [['push', STATIC, '--env', 'NOVALUE'], 'should be KEY=VALUE'],
    [['push', STATIC, '--health', 'ftp'], 'should be port, process or http:/PATH'],
    [['push', STATIC, '--strategy', 'yolo'], 'should be one of rolling, recreate'],
    [['scale', 'good', '1000'], 'from 0 to 100'],
    [['scale', 'good', '-1'], 'a value that begins with a dash'],
    [['scale', 'good'], 'N is missing'],
    [['scale', 'good', '--memory', '100T'], 'from 16M to 64G'],
    [['nodes', 'frobnicate'], 'it is one of drain, undrain, remove, data, label'],
    [['users', 'add', 'ann'], '--role is missing'],
    [['users', 'add', 'ann', '--role', 'king'], 'should be one of admin, developer, viewer'],
    [['rollback', 'good', '7'], 'should be a release such as v3'],
    [['env', 'set', 'good'], 'is missing'],
    [['logs', 'good', '--lines', 'all'], 'from 0 to'],
    [['invite', '--ttl', 'soon'], 'should be a duration'],
    [['apps', '--api', 'ftp://somewhere'], 'should begin with http:// or https://'],
    [['map', 'good', 'tcp://somewhere'], 'must be HOST or HOST/PATH, of HTTP'],
    [['push', STATIC, '--route', 'not a host'], 'must begin with a DNS name'],
    [['push', STATIC, '--env', '1A=x'], 'not beginning with a digit'],
    [['push', STATIC, '--env', 'DYNO=1'], 'env.DYNO: is set by Peer for each instance'],
    [['push', STATIC, '--port', 'web'], 'should be a whole number from 1 to 65535'],
    [['env', 'set', 'good', 'PORT=0'], 'must be a port, 1 to 65535'],
    [['nodes', 'label', 'node-1', 'zone-=a'], 'with a letter or digit at both ends'],
    [['service', 'create', 'redis', 'x"; DROP DATABASE x'], 'lower-case letters'],
    [['service', 'create', 'redis', '$(reboot)'], 'lower-case letters'],
    [['service', 'create', 'redis', '../../x'], 'lower-case letters'],
    [['service', 'create', 'redis', 'x', '--version', '7.0; reboot'], 'must be a version such as'],
    [['service', 'create', 'redis', 'x', '--storage', '1K'], 'from 1M to 16T'],
    [['service', 'provide', 'x', '--credentials', '{"uri"'], 'should be JSON such as'],
    [['bind', 'x', 'good', '--as', '1; reboot'], 'capital letters, digits or underscores'],
    [['push', STATIC, '--volume', 'data:1G'], 'should be /PATH or /PATH:SIZE'],
    [['push', STATIC, '--volume', '/data:1K'], 'from 1M to 16T'],
    [['push', STATIC, '--volume', '/data', '--volume', '/data:1G'], 'was given twice'],
  ])('peer %j ends with 2', async (args, message) => expectFailure(await peer(...args), 2, message));
});

describe.concurrent('what there is not, or may not be', () => {
  changesNothing();

  it.each<[args: string[], message: string]>([
    [['push', '/nowhere'], 'there is no such folder'],
    [['push', STATIC, '--name', 'thief', '--route', 'good.localhost'], 'good.localhost belongs to good'],
    [
      ['push', STATIC, '--buildpack', 'cobol'],
      'buildpack "cobol": expected one of deno, bun, ruby, php, java, go, nodejs',
    ],
    [['push', STATIC, '--buildpack', '/nowhere'], 'there is no such folder'],
    ...['app', 'restart', 'stop-app', 'start-app', 'delete', 'releases', 'rollback', 'env', 'logs', 'events'].map(
      (command): [string[], string] => [[command, 'nope'], 'there is no app nope: see peer apps'],
    ),
    [['scale', 'nope', '2'], 'there is no app nope'],
    [['env', 'set', 'nope', 'A=1'], 'there is no app nope'],
    [['map', 'nope', 'a.localhost'], 'there is no app nope'],
    [['scale', 'good', 'wob=2'], 'good has no process wob; it has web'],
    [['restart', 'good/7'], 'good has no running instance web/7'],
    [['rollback', 'good'], 'no earlier good release'],
    [['rollback', 'good', 'v9'], 'good has no release v9'],
    [['env', 'unset', 'good', 'NOPE'], 'good has no variable NOPE'],
    [['unmap', 'good', 'nope.localhost'], 'good has no route nope.localhost'],
    [['service', 'create', 'oracle', 'x'], 'there is no kind of service oracle: it is one of'],
    ...['status', 'start', 'stop', 'backup', 'backups'].map((action): [string[], string] => [
      ['service', action, 'nope'],
      'there is no service nope: see peer services',
    ]),
    [['bind', 'nope', 'good'], 'there is no service nope: see peer services'],
    [['volume', 'delete', 'good/0', '--yes'], 'good'],
    [['nodes', 'drain', 'nope'], 'there is no node nope: see peer nodes'],
    [['nodes', 'remove', 'nope'], 'there is no node nope'],
    [['nodes', 'remove', 'node-1'], 'last'],
    [['users', 'remove', 'nope'], 'there is no user nope: see peer users'],
    [['apps', '--token', 'nonsense'], 'the token is not valid in this cluster'],
    [['apps', '--api', '127.0.0.1:1'], 'is it running? Start it with: peer start'],
    [['apps', '--api', 'http://no-such-host.invalid'], 'cannot reach the node at http://no-such-host.invalid'],
  ])('peer %j ends with 1', async (args, message) => expectFailure(await peer(...args), 1, message));

  it('an API that is another program is told from a node', async () => {
    const other = createServer((_request, response) => response.end('hello'));
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    const { port } = other.address() as { port: number };
    try {
      expectFailure(await peer('apps', '--api', `127.0.0.1:${port}`), 1, 'not from a Peer node');
    } finally {
      other.close();
    }
  });

  it.each<[args: string[], code: number, retry?: string]>([
    [['push', '/nowhere'], 1],
    [['delete', 'nope'], 1, 'no'],
    [['apps', '--token', 'nonsense'], 1, 'no'],
    [['apps', '--api', '127.0.0.1:1'], 1],
    [['push', STATIC, '--name', 'thief', '--route', 'good.localhost'], 1],
    [['push', STATIC, '--memory', '1'], 2],
    [['frobnicate'], 2],
    [['push', '--frobnicate'], 2],
  ])('peer %j --json prints one document, with the same status', async (args, code, retry) => {
    const ran = await peer(...args, '--json');
    expect(ran.code).toBe(code);
    const { error } = JSON.parse(ran.stdout);
    const said = { code: expect.stringMatching(/^[a-z_]+$/), message: expect.any(String) };
    // Only a node can tell whether it may succeed later.
    expect(error).toEqual(retry === undefined ? said : { ...said, retry });
    expect(ran.stderr.trimEnd().split('\n').at(-1)).toBe(`peer: ${error.message}`);
  });
});

describe.concurrent('a role that is too small', () => {
  changesNothing();
  const admin = [
    ['users'],
    ['users', 'add', 'ann', '--role', 'viewer'],
    ['users', 'remove', 'viewer'],
    ['invite'],
    ['nodes', 'drain', 'node-1'],
    ['nodes', 'undrain', 'node-1'],
    ['nodes', 'remove', 'node-1'],
    ['nodes', 'label', 'node-1', 'a=b'],
    ['stop'],
    ['leave'],
  ];
  const developer = [
    ['push', STATIC],
    ['scale', 'good', '2'],
    ['restart', 'good'],
    ['restart', 'good/0'],
    ['stop-app', 'good'],
    ['start-app', 'good'],
    ['delete', 'good'],
    ['rollback', 'good'],
    ['env', 'set', 'good', 'A=1'],
    ['env', 'unset', 'good', 'A'],
    ['map', 'good', 'more.localhost'],
    ['unmap', 'good', 'good.localhost'],
  ];
  const refused = (role: string, needed: string) => (args: string[]) => ({ role, needed, args });
  it.each([
    ...admin.map(refused('developer', 'admin')),
    ...admin.map(refused('viewer', 'admin')),
    ...developer.map(refused('viewer', 'developer')),
  ])('$role may not: peer $args', async ({ role, needed, args }) => {
    expectFailure(await peer(...args, '--token', tokens[role]!), 1, `this needs the role ${needed}`);
  });

  it('may look, but not at values', async () => {
    for (const args of [['apps'], ['app', 'good'], ['nodes'], ['routes'], ['releases', 'good'], ['status']]) {
      expect(await peer(...args, '--token', tokens.viewer!)).toMatchObject({ code: 0 });
    }
    expect((await peer('env', 'good', '--show', '--token', tokens.viewer!)).stdout).not.toContain('=');
  });
});

describe('a folder that cannot be staged', () => {
  changesNothing();
  stagesNothing();

  it('because it is empty', async () => {
    const empty = join(cluster.folder, 'empty');
    await mkdir(empty, { recursive: true });
    expectFailure(await peer('push', empty), 1, 'has no files to push');
  });

  it('because no buildpack knows it', async () => {
    const unknown = await folderOf('unknown', { 'notes.md': 'nothing to run' });
    expectFailure(await peer('push', unknown), 1, /no buildpack recognises this folder .*: add a package\.json/);
  });

  it('because its compile fails: the end of what it printed is shown', async () => {
    const buildpack = join(APPS, 'buildpacks', 'compile-fails');
    const ran = await peer('push', join(APPS, 'compile-fails'), '--buildpack', buildpack);
    expectFailure(ran, 1, /compile failed \(exit status 1\): main\.c:3: error/);
    expect(ran.stderr).toContain('compiling main.c');
  });

  it('because its compile hangs and the person gives up: nothing is left of it', async () => {
    const marker = 'peer-hanging-compile';
    const buildpack = await buildpackOf('hangs', `exec -a ${marker} sleep 1000000`);
    const isStaging = async () => (await processTable()).some(({ command }) => command.startsWith(marker));
    const env = { ...process.env, PEER_API: node.api, PEER_TOKEN: node.token };
    const args = ['push', STATIC, '--name', 'hanging', '--buildpack', buildpack];
    const child = spawn(join(ROOT, 'scripts', 'peer'), args, { env, stdio: 'ignore' });
    try {
      await waitFor('the compile to run', 15_000, isStaging);
      expectFailure(await peer('push', STATIC, '--name', 'hanging'), 1, 'another push of hanging is in progress');
    } finally {
      child.kill('SIGINT');
    }
    await waitFor('the compile to end with it', 10_000, async () => !(await isStaging()));
    await waitFor('its files to be removed', 10_000, async () => {
      return (await staged()).length === 0;
    });
  });

  it('because it prints 100 MB and fails: the daemon stays small and the push ends', async () => {
    const line = 'x'.repeat(199);
    const buildpack = await buildpackOf('prints', `yes ${line} | head -c 120000000; echo at last; exit 1`);
    let largestBytes = 0;
    const pushing = peer('push', STATIC, '--name', 'prints', '--buildpack', buildpack);
    let done = false;
    void pushing.finally(() => {
      done = true;
    });
    await waitFor('the push to end', 60_000, async () => {
      largestBytes = Math.max(largestBytes, await residentBytes(node.pid));
      return done;
    });
    expectFailure(await pushing, 1, 'compile failed (exit status 1)');
    expect(largestBytes).toBeLessThan(400 * MIB);
  });
});

/** A folder with these files, below the cluster's. */
async function folderOf(name: string, files: Record<string, string>, mode = 0o644): Promise<string> {
  const folder = join(cluster.folder, name);
  for (const [path, text] of Object.entries(files)) {
    await mkdir(join(folder, path, '..'), { recursive: true });
    await writeFile(join(folder, path), text, { mode });
  }
  return folder;
}

const buildpackOf = (name: string, compile: string): Promise<string> =>
  folderOf(`buildpack-${name}`, { 'bin/compile': `#!/bin/bash\n${compile}\n` }, 0o755);

const residentBytes = async (pid: number): Promise<number> =>
  Number(/^VmRSS:\s+(\d+) kB$/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024;

describe.concurrent('an app that cannot start', () => {
  afterEach(async () => expect(await isRunning(node.pid)).toBe(true));
  const BROKEN: [folder: string, reason: RegExp, said: string][] = [
    ['exits-at-once', /exited with status 3/, 'this app cannot start: no configuration'],
    ['never-listens', /did not listen on PORT \d+ within 3 s/, 'this app runs but never listens'],
    [
      'wrong-port',
      /did not listen on PORT \d+ within 3 s \(it listens on \d+ of its loopback only: listen on 0/,
      'not on PORT=',
    ],
  ];

  it.each(BROKEN)('%s is told why, with the end of its log', async (folder, reason, said) => {
    const ran = await peer('push', join(APPS, folder), '--name', folder, '--timeout', '3s');
    expectFailure(ran, 1, /^peer: web\/0 keeps crashing on node-1: /);
    expectFailure(ran, 1, reason);
    expect(ran.stderr).toMatch(new RegExp(`\\[APP/web/0\\] (OUT|ERR) .*${said}`));
    expect((await cluster.get(node, `${folder}.localhost`)).status).toBe(503);
    await peer('delete', folder);
  });

  it.sequential.each(BROKEN)('%s does not take the place of a release that runs', async (folder, reason) => {
    const { release, instances } = await read<AppShape>('/v1/apps/good');
    const ran = await peer('push', join(APPS, folder), '--name', 'good', '--timeout', '3s');
    expectFailure(ran, 1, /^peer: v\d+ failed: /);
    expectFailure(ran, 1, reason);
    expectFailure(ran, 1, `${release} keeps running`);
    const [instance] = instances;
    await waitFor('nothing but the old instance to be left', 5_000, async () => {
      const now = await read<AppShape>('/v1/apps/good');
      return now.release === release && now.instances.length === 1 && now.instances[0]!.id === instance!.id;
    });
    expect(await read<AppShape>('/v1/apps/good')).toMatchObject({ instances: [{ state: 'ready', restarts: 0 }] });
    expect((await cluster.get(node, 'good.localhost')).status).toBe(200);
  });
});

describe('an upload that is no folder', () => {
  changesNothing();
  stagesNothing();
  const push = (body: Buffer | Readable) => askApi(node, '/v1/apps/upload/push', { method: 'POST', body });

  const entry = (fields: { path: string; type?: string; linkpath?: string; size?: number }): Buffer => {
    const block = Buffer.alloc(512);
    new Header({ mode: 0o644, size: 0, type: 'File', ...fields } as ConstructorParameters<typeof Header>[0]).encode(
      block,
    );
    return block;
  };
  const index = entry({ path: 'index.html' });
  it.each<[what: string, archive: () => Buffer, message: RegExp]>([
    ['an absolute path', () => rawTar(index, entry({ path: '/etc/x' })), /\/etc\/x.*leads outside the folder/],
    ['a path that climbs', () => rawTar(index, entry({ path: 'a/../../x' })), /leads outside the folder/],
    ['a device', () => rawTar(index, entry({ path: 'sda', type: 'BlockDevice' })), /sda.*not BlockDevice/],
    ['a pipe', () => rawTar(index, entry({ path: 'fifo', type: 'FIFO' })), /fifo.*not FIFO/],
    [
      'a link that leads outside',
      () => rawTar(index, entry({ path: 'a', type: 'SymbolicLink', linkpath: '../../etc/passwd' })),
      /a link that leads outside the folder/,
    ],
    [
      'an absolute link',
      () => rawTar(index, entry({ path: 'a', type: 'SymbolicLink', linkpath: '/etc' })),
      /a link that leads outside the folder/,
    ],
    [
      'a file through a link',
      () => rawTar(entry({ path: 'a', type: 'SymbolicLink', linkpath: '.' }), entry({ path: 'a/b' })),
      /goes through a symbolic link/,
    ],
    [
      'a hard link that leads outside',
      () => rawTar(index, entry({ path: 'a', type: 'Link', linkpath: '/etc/shadow' })),
      /a link that leads outside the folder/,
    ],
    ['more than the limit', () => rawTar(entry({ path: 'big', size: 3 * 1024 * MIB })), /more than 2048 MiB/],
    ['nothing', () => Buffer.alloc(0), /incomplete or damaged: push again|holds no source/],
    ['random bytes', () => randomBytes(100_000), /not a gzip-compressed tar archive/],
    ['half of an archive', () => rawTar(index).subarray(0, 40), /incomplete or damaged: push again/],
    ['an archive of nothing', () => rawTar(), /the folder is empty/],
  ])('%s is refused, and nothing is kept', async (_what, archive, message) => {
    const { status, body } = await push(archive());
    expect(status).toBe(200);
    expect(failureIn(body)).toMatch(message);
  });

  it('that is cut off half way leaves nothing, and can be pushed again at once', async () => {
    const count = async (): Promise<number> => (await staged()).length;
    await waitFor('what was pushed before to be removed', 5_000, async () => (await count()) === 0);
    const half = new Readable({ read() {} });
    half.push(rawTar(index).subarray(0, 40));
    const pushing = push(half);
    await waitFor('the upload to have begun', 5_000, async () => (await count()) === 1);
    half.destroy(new Error('cut off'));
    await expect(pushing).rejects.toThrow();
    await waitFor('what was received to be removed', 5_000, async () => (await count()) === 0);
    // Its turn ends a moment after its files have gone.
    await waitFor('the next push to be taken', 5_000, async () =>
      /the folder is empty/.test(failureIn((await push(rawTar())).body)),
    );
  });
});

/** The message of the event that ends a push that fails. */
const failureIn = (events: string): string => {
  const data = /event: failed\ndata: (.*)/.exec(events)?.[1];
  return data === undefined ? `no failure in ${events}` : (JSON.parse(data) as { message: string }).message;
};

describe('a request to the API that makes no sense', () => {
  changesNothing();
  stagesNothing();
  const post = (path: string, body: string, headers: Record<string, string> = {}) =>
    askApi(node, path, { method: 'POST', body, headers: { 'content-type': 'application/json', ...headers } });

  it.each<[what: string, ask: () => ReturnType<typeof post>, status: number, message: RegExp]>([
    ['broken JSON', () => post('/v1/apps', '{"name":'), 400, /JSON/],
    ['deep JSON', () => post('/v1/apps', '['.repeat(500_000)), 400, /JSON/],
    ['JSON of another shape', () => post('/v1/apps', '{"name":["a"]}'), 400, /name: should be text/],
    ['an unknown field', () => post('/v1/apps', '{"name":"a","evil":1}'), 400, /evil: is not a field/],
    ['a prototype', () => post('/v1/apps', '{"name":"a","__proto__":{}}'), 400, /__proto__: is not a field/],
    ['huge JSON', () => post('/v1/apps', `{"name":"${'a'.repeat(2 * MIB)}"}`), 413, /larger than 1 MiB/],
    ['a form', () => post('/v1/apps', 'name=a', { 'content-type': 'application/x-www-form-urlencoded' }), 400, /JSON/],
    ['no JSON', () => post('/v1/node/stop', '{"leave":true}', { 'content-type': 'text/plain' }), 400, /should be JSON/],
    ['bad options', () => post('/v1/apps/a/push', 'x', { 'x-peer-push': '%%%' }), 400, /x-peer-push/],
    ['a bad name', () => post('/v1/apps/A_B/push', 'x'), 400, /^name: must be/],
    ['an unknown path', () => askApi(node, '/v1/nothing'), 404, /there is no GET/],
    ['an unknown method', () => askApi(node, '/v1/apps', { method: 'PUT' }), 404, /there is no PUT/],
    ['a path that climbs', () => askApi(node, '/v1/apps/..%2f..%2fcluster.json'), 404, /there is no app/],
    ['a broken escape', () => askApi(node, '/v1/apps/%ff%fe'), 404, /there is no app/],
    ['no token', () => askApi(node, '/v1/apps', { headers: { authorization: '' } }), 401, /token/],
    ['another scheme', () => askApi(node, '/v1/apps', { headers: { authorization: 'Basic eDp5' } }), 401, /token/],
  ])('%s is refused', async (_what, ask, status, message) => {
    const answer = await ask();
    expect(answer.status).toBe(status);
    expect(JSON.parse(answer.body).error.message).toMatch(message);
  });
});

describe('garbage', () => {
  changesNothing();
  stagesNothing();

  it.each(['http', 'api', 'link', 'listen'] as const)('to the %s port changes nothing', async (port) => {
    const hello = Buffer.from(
      'GET / HTTP/1.1\r\nHost: good.localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n',
    );
    const endless = Buffer.from(`GET / HTTP/1.1\r\nHost: good.localhost\r\nX: ${'x'.repeat(MIB)}`);
    for (const bytes of [randomBytes(10), randomBytes(300_000), hello, endless, Buffer.alloc(70_000)]) {
      const answers = await Promise.all(Array.from({ length: 5 }, () => sendBytes(node[port], bytes)));
      for (const answer of answers) expect(answer).not.toContain('hello from index');
    }
    expect((await cluster.get(node, 'good.localhost')).status).toBe(200);
  });
});

describe('a full disk', () => {
  let small: LocalCluster;
  let full: LocalNode;
  let filler: string;
  const resize = async (size: string): Promise<void> => {
    expect(await run(['mount', '-o', `remount,size=${size}`, full.dataDir])).toMatchObject({ code: 0 });
  };
  const asked = (...args: string[]): Promise<Ran> => small.peer(full, args);
  /** Larger than what is left of any file's last block. */
  const large = `LARGE=${'x'.repeat(60 * 1024)}`;

  beforeAll(async () => {
    small = await LocalCluster.create();
    const dataDir = join(small.folder, 'node-1');
    await mkdir(dataDir);
    expect(await run(['mount', '-t', 'tmpfs', '-o', 'size=600m', 'tmpfs', dataDir])).toMatchObject({ code: 0 });
    full = await small.startNode({ name: 'node-1' });
    filler = join(dataDir, 'filler');
    await small.json(full, ['push', STATIC, '--name', 'works']);
    await resize('24m');
    // Ends when the last byte is taken.
    await run(['dd', 'if=/dev/zero', `of=${filler}`, 'bs=4k']);
  });
  afterAll(async () => {
    if (small === undefined) return;
    await small.killNode(...small.nodes);
    await run(['umount', '--lazy', join(small.folder, 'node-1')]);
    await small.stop();
  });

  it('fails a push, and what has to be written, with a line that says so', async () => {
    expectFailure(
      await asked('push', STATIC, '--name', 'more'),
      1,
      /(disk left: free some disk space, or push to|has no room left on its disk)/,
    );
    expectFailure(
      await asked('env', 'set', 'works', large),
      1,
      'The disk of this node is full, so nothing was changed',
    );
    expect(await small.read(full, '/v1/apps')).toMatchObject([{ name: 'works' }]);
    expect(await small.read(full, '/v1/apps/works/env')).toEqual({ app: 'works', env: {}, refused: [] });
  });

  it('takes no instance away that runs, and says why none can be started', async () => {
    expectFailure(await asked('restart', 'works'), 1, /no node can take web\/0: node-1 has no room left on its disk/);
    expect((await small.get(full, 'works.localhost')).status).toBe(200);
  });

  it('does not end the node, however much it has to say', async () => {
    for (let push = 0; push < 5; push++)
      expect(await asked('push', STATIC, '--name', 'more')).toMatchObject({ code: 1 });
    expect(await asked('status')).toMatchObject({ code: 0 });
    expect(await isRunning(full.pid)).toBe(true);
  });

  it('is forgotten when there is room again', async () => {
    await rm(filler);
    await resize('600m');
    expect(await asked('env', 'set', 'works', 'SMALL=1')).toMatchObject({ code: 0 });
    expect(await asked('push', STATIC, '--name', 'more')).toMatchObject({ code: 0 });
    for (const name of ['works', 'more']) {
      expect(await small.read<AppShape>(full, `/v1/apps/${name}`)).toMatchObject({ instances: [{ state: 'ready' }] });
      expect((await small.get(full, `${name}.localhost`)).status).toBe(200);
    }
    expect((await asked('logs', 'more')).stdout).toContain('Starting instance web.0');
    expect(await isRunning(full.pid)).toBe(true);
  });
});
