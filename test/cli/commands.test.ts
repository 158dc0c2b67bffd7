import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { MemoryNode, StagingFailure } from '../api/memory-node.ts';
import { TestCli } from './peer.ts';

let cli: TestCli;
let folder: string;
beforeAll(async () => {
  cli = await TestCli.start(new MemoryNode());
  folder = join(cli.home, 'Hello World');
  mkdirSync(folder);
  writeFileSync(join(folder, 'index.html'), '<h1>hello</h1>');
});
afterAll(() => cli.stop());
beforeEach(async () => {
  const { node } = cli;
  node.fate = () => ({ state: 'ready' });
  node.onStage = (request) => request.onLine('-----> Sample buildpack');
  for (const app of node.view().apps.values()) await node.write([{ change: 'deleteApp', app: app.id }], 'tests');
});

describe('push', () => {
  it('pushes a folder, prints one JSON document, and progress on stderr', async () => {
    const ran = await cli.run(['push', folder, '--instances', '2', '--env', 'A=b=c', '--env', 'N=007', '--json']);
    expect(ran.status).toBe(0);
    expect(JSON.parse(ran.stdout)).toMatchObject({
      app: 'hello-world',
      release: 'v1',
      droplet: expect.stringMatching(/^sha256:/),
      buildpack: 'sample',
      routes: ['hello-world.localhost'],
      instances: [
        { process: 'web', index: 0, state: 'ready' },
        { process: 'web', index: 1, state: 'ready' },
      ],
    });
    const steps = ['uploading 1 file', 'staging', '-----> Sample buildpack', 'replicating', 'releasing', 'starting'];
    expect(ran.stderr).toMatch(new RegExp(steps.join('[^]*')));
    expect(cli.node.envOf('hello-world')).toEqual({ A: 'b=c', N: '007' });
  });

  it.each<[string, (at: string) => string, RegExp]>([
    ['a folder', (at) => at, /^upload:sha256:[0-9a-f]{64}:my-pack$/],
    ['a .tgz', (at) => `${at}.tgz`, /^upload:sha256:[0-9a-f]{64}:my-pack\.tgz$/],
    ['a name', () => 'nodejs', /^nodejs$/],
  ])(
    'sends a buildpack that is %s of this machine ahead, and names what the node calls it',
    async (_name, given, sent) => {
      const at = join(cli.home, 'my-pack');
      mkdirSync(join(at, 'bin'), { recursive: true });
      writeFileSync(join(at, 'bin', 'compile'), '');
      writeFileSync(`${at}.tgz`, 'tgz');
      const ran = await cli.run(['push', folder, '--buildpack', given(at), '--json']);
      expect(ran.stderr).not.toContain('error');
      expect(JSON.parse(ran.stdout).buildpack).toMatch(sent);
    },
  );

  it('says of a buildpack that is not there where it looked', async () => {
    const ran = await cli.run(['push', folder, '--buildpack', '/no/such/pack']);
    expect(ran).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('buildpack /no/such/pack: there is no such'),
    });
  });

  it('sends only what the node does not have', async () => {
    const large = join(cli.home, 'large');
    mkdirSync(large);
    // The same content in every run: where chunks end follows from it, and with it how many a change touches.
    const noise = (of: number): Buffer => createHash('shake256', { outputLength: 50_000 }).update(String(of)).digest();
    for (let i = 0; i < 40; i++) writeFileSync(join(large, `file-${i}`), noise(i));
    const sentIn = ({ stderr }: { stderr: string }) => /sent (.*) of (.*): the node had the rest/.exec(stderr)?.[1];
    const first = await cli.run(['push', large]);
    expect(sentIn(first)).toBe('1.9M');
    const held = cli.node.chunks.size;
    writeFileSync(join(large, 'file-20'), 'a changed line\n');
    const second = await cli.run(['push', large]);
    expect(second.status).toBe(0);
    expect(cli.node.chunks.size - held).toBeLessThanOrEqual(3);
    expect(sentIn(await cli.run(['push', large]))).toMatch(/^0/);
  });

  it('takes every option to the API', async () => {
    const options = [
      '--name=shop',
      '--instances=3',
      '--memory=64M',
      '--disk=128M',
      '--route=shop.example.org/buy',
      '--route=www.example.org',
      '--health=http:/up',
      '--timeout=5s',
      '--strategy=recreate',
      '--partition=fence',
      '--max-unavailable=2',
      '--max-surge=0',
      '--buildpack=static',
      '--command=exec ./serve --port 1',
      '--no-start',
    ];
    expect(await cli.json(['push', folder, ...options])).toMatchObject({
      app: 'shop',
      instances: [],
      buildpack: 'static',
    });
    expect([...cli.node.view().apps.values()][0]).toMatchObject({
      name: 'shop',
      stopped: true,
      scale: { web: 3 },
      memoryBytes: 64 * 1024 ** 2,
      diskBytes: 128 * 1024 ** 2,
      routes: ['shop.example.org/buy', 'www.example.org'],
      health: { kind: 'http', path: '/up', timeoutMs: 5_000 },
      strategy: 'recreate',
      partition: 'fence',
      maxUnavailable: 2,
      maxSurge: 0,
      release: { processes: { web: 'exec ./serve --port 1' } },
    });
    expect(await cli.json(['push', folder, '--name', 'bare', '--no-route'])).toMatchObject({ routes: [] });
  });

  it('says with --json whether the same may succeed later, as the node does', async () => {
    const { stdout } = await cli.run(['app', 'nobody', '--json']);
    expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'not_found', retry: 'no' } });
  });

  it('fails with one line that says why, and as JSON with --json', async () => {
    cli.node.fate = () => ({ state: 'crashed', reason: 'exited with status 3' });
    const plain = await cli.run(['push', folder]);
    expect(plain).toMatchObject({ status: 1, stdout: '' });
    expect(plain.stderr.trim().split('\n').at(-1)).toBe('peer: web/0 keeps crashing on alpha: exited with status 3');
    const json = await cli.run(['push', folder, '--name', 'other', '--json']);
    expect(json.status).toBe(1);
    expect(JSON.parse(json.stdout)).toEqual({
      error: { code: 'crashed', message: 'web/0 keeps crashing on alpha: exited with status 3' },
    });
  });

  it('refuses what is no folder, or an empty one, before it asks the node', async () => {
    const staged = cli.node.staged.length;
    mkdirSync(join(cli.home, 'empty', '.git'), { recursive: true });
    expect(await cli.run(['push', join(cli.home, 'empty')])).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('has no files to push'),
    });
    expect(await cli.run(['push', join(folder, 'index.html')])).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('it is not a folder'),
    });
    expect(await cli.run(['push', join(cli.home, 'nowhere')])).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('there is no such folder'),
    });
    expect(await cli.run(['push', 'my-app'])).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('there is no such folder; an app is named with --name: peer push --name my-app'),
    });
    expect(cli.node.staged).toHaveLength(staged);
  });

  it('is told when another push of the app is in progress', async () => {
    let release = () => {};
    cli.node.onStage = () => new Promise<void>((resolve) => (release = resolve));
    const staged = vi.fn(cli.node.onStage);
    cli.node.onStage = staged;
    const first = cli.run(['push', folder, '--json']);
    await vi.waitFor(() => expect(staged).toHaveBeenCalled(), 20_000);
    expect(await cli.run(['push', folder])).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('another push of hello-world is in progress'),
    });
    release();
    expect((await first).status).toBe(0);
  });
});

describe('push with a manifest', () => {
  /** A folder for each text: apps `web` and `api` in folders of their own, and a manifest beside them. */
  const project = (manifest: string): string => {
    const path = mkdtempSync(join(cli.home, 'project-'));
    for (const app of ['web', 'api']) {
      mkdirSync(join(path, app));
      writeFileSync(join(path, app, 'index.html'), app);
    }
    writeFileSync(join(path, 'manifest.yml'), manifest);
    return path;
  };
  const TWO =
    'applications:\n- name: web\n  path: web\n  memory: ((mem))\n- name: api\n  path: api\n  no-route: true\n';

  it('pushes all its apps in order, and prints an array', async () => {
    const path = project(TWO);
    expect(await cli.json(['push', path, '--var', 'mem=32M'])).toMatchObject([
      { app: 'web', release: 'v1', routes: ['web.localhost'] },
      { app: 'api', release: 'v1', routes: [] },
    ]);
    writeFileSync(join(path, 'vars.yml'), 'mem: 64M');
    expect(await cli.json(['push', '-f', path, '--vars-file', join(path, 'vars.yml'), '--name', 'web'])).toMatchObject({
      app: 'web',
      release: 'v2',
      instances: [{ memoryBytes: 64 * 1024 ** 2 }],
    });
    const plain = await cli.run(['push', path, '--var', 'mem=32M', '--no-start']);
    expect(plain.stdout.split('\n')).toEqual([
      expect.stringMatching(/^web v3: /),
      expect.stringMatching(/^api v2: /),
      '',
    ]);
  });

  it('lets flags win over it, and leaves it out with --no-manifest', async () => {
    const path = project('applications:\n- name: web\n  path: web\n  instances: 2\n  env: {A: 1, B: 2}\n');
    const flags = ['--name', 'copy', '--instances', '1', '--env', 'B=3'];
    expect((await cli.json(['push', path, ...flags])).instances).toHaveLength(1);
    expect(cli.node.envOf('copy')).toEqual({ A: '1', B: '3' });
    expect(await cli.json(['push', path, '--no-manifest', '--name', 'plain'])).toMatchObject({ app: 'plain' });
  });

  it('scales and commands other process types', async () => {
    const manifest =
      'applications:\n- name: web\n  path: web\n  processes:\n  - type: worker\n    command: ./work\n    instances: 2\n';
    const path = project(manifest);
    for (const release of ['v1', 'v2']) {
      const pushed = await cli.json(['push', path]);
      expect(pushed).toMatchObject({ release });
      expect(pushed.instances.map((one: { process: string }) => one.process).sort()).toEqual([
        'web',
        'worker',
        'worker',
      ]);
    }
    expect([...cli.node.view().apps.values()][0]?.release?.processes).toEqual({ web: './start', worker: './work' });
  });

  it('stops at the first failure, and says what was done', async () => {
    const path = project(TWO.replace('((mem))', '32M'));
    cli.node.onStage = ({ app }) => {
      if (app.name === 'web') throw new StagingFailure('compile_failed', 'the compiler is out of ink');
    };
    expect(await cli.run(['push', path])).toMatchObject({
      status: 1,
      stdout: '',
      stderr: expect.stringContaining(
        'peer: web: the compiler is out of ink (nothing was pushed before it; not tried: api)\n',
      ),
    });
    cli.node.onStage = ({ app }) => {
      if (app.name === 'api') throw new StagingFailure('compile_failed', 'the compiler is out of ink');
    };
    const json = await cli.run(['push', path, '--json']);
    expect(JSON.parse(json.stdout)).toEqual({
      error: { code: 'compile_failed', message: 'api: the compiler is out of ink (pushed before it: web)' },
    });
  });

  it('refuses what is wrong with one line, before it asks the node', async () => {
    const staged = cli.node.staged.length;
    const refused: [manifest: string, flags: string[], message: string][] = [
      [TWO, [], 'manifest.yml: applications/0/memory: ((mem)) has no value'],
      [TWO, ['--var', 'mem=1M'], 'manifest.yml: applications/0/memory: should be a size from 16M to 64G'],
      [TWO, ['--var', 'mem=32M', '--instances', '2'], 'the manifest holds 2 apps'],
      [TWO, ['--no-manifest', '--var', 'a=b'], '--var and --vars-file need a manifest'],
      ['applications: [', [], 'manifest.yml:1:16: '],
    ];
    for (const [manifest, flags, message] of refused) {
      const ran = await cli.run(['push', project(manifest), ...flags]);
      expect(ran).toMatchObject({ stdout: '', stderr: expect.stringContaining(`peer: ${message}`) });
      expect(ran.stderr.trim().split('\n')).toHaveLength(1);
    }
    expect(await cli.run(['push', '-f', join(folder, 'nothing.yml')])).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('there is no such file'),
    });
    expect(cli.node.staged).toHaveLength(staged);
  });

  it('says that a Compose file beside an app is not used, and uses one that is alone', async () => {
    const path = mkdtempSync(join(cli.home, 'project-'));
    writeFileSync(join(path, 'compose.yaml'), 'services: {web: {build: ., volumes: [./a:/a]}}');
    expect(await cli.run(['push', path])).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/^peer: compose.yaml: not supported: services.web.volumes \(/),
    });
    writeFileSync(join(path, 'index.html'), 'an app');
    const pushed = await cli.run(['push', path, '--name', 'beside']);
    expect(pushed).toMatchObject({ status: 0, stderr: expect.stringContaining('compose.yaml is not used') });
  });
});

describe('apps', () => {
  it('are shown with how they roll out and what they do in a partition', async () => {
    const modes = ['--strategy', 'recreate', '--partition', 'fence'];
    await cli.json(['push', folder, '--name', 'ledger', ...modes]);
    expect((await cli.run(['app', 'ledger'])).stdout).toMatch(/^rollout {4}recreate\npartition {2}fence$/m);
    await cli.json(['delete', 'ledger']);
  });

  it('are listed and shown, as tables and in the JSON that others rely on', async () => {
    await cli.json(['push', folder, '--name', 'hello', '--instances', '2']);
    const app = await cli.json(['app', 'hello'], { role: 'viewer' });
    expect(app).toMatchObject({ name: 'hello', release: 'v1', desired: { web: 2 }, routes: ['hello.localhost'] });
    expect(Object.keys(app.instances[0])).toEqual(
      expect.arrayContaining(['id', 'process', 'index', 'node', 'release', 'state', 'restarts', 'sinceMs']),
    );
    expect(await cli.json(['apps'])).toMatchObject([{ name: 'hello', ready: 2, desired: { web: 2 } }]);
    const table = await cli.run(['apps']);
    expect(table.stdout).toBe(
      'NAME   READY  RELEASE  MEMORY  ROUTES\nhello  2/2    v1         256M  hello.localhost\n',
    );
    expect((await cli.run(['app', 'hello'])).stdout).toMatch(/web\/1 +ready +0s +beta +v1 +- +- +- +0/);
    cli.node.used = { memoryBytes: 48 * 1024 * 1024, cpu: 0.25 };
    expect((await cli.run(['app', 'hello'])).stdout).toMatch(/web\/1 +ready +0s +beta +v1 +25% +48M +- +0/);
    const used = await cli.json(['app', 'hello'], { role: 'viewer' });
    expect(used.instances.map(({ usage }: { usage: object }) => usage)).toEqual([
      { memoryBytes: 48 * 1024 * 1024, cpu: 0, diskBytes: null },
      { memoryBytes: 48 * 1024 * 1024, cpu: 0.25, diskBytes: null },
    ]);
    cli.node.used = undefined;
    expect(await cli.run(['app', 'nothing'])).toMatchObject({
      status: 1,
      stderr: 'peer: there is no app nothing: see peer apps\n',
    });
  });

  it('are scaled, restarted, stopped, started and deleted', async () => {
    await cli.json(['push', folder, '--name', 'hello']);
    expect((await cli.json(['scale', 'hello', '3'])).instances).toHaveLength(3);
    expect((await cli.json(['scale', 'hello', 'web=1', '--memory', '32M'])).instances).toMatchObject([
      { memoryBytes: 32 * 1024 ** 2 },
    ]);
    const before = (await cli.json(['app', 'hello'])).instances[0].id;
    const one = (await cli.json(['restart', 'hello/0'])).instances[0].id;
    expect(one).not.toBe(before);
    expect((await cli.json(['restart', 'hello'])).instances[0].id).not.toBe(one);
    expect((await cli.json(['stop-app', 'hello'])).instances).toEqual([]);
    expect((await cli.json(['start-app', 'hello'])).instances).toHaveLength(1);
    expect(await cli.json(['delete', 'hello'])).toMatchObject({ app: 'hello', deleted: true });
    expect(await cli.json(['apps'])).toEqual([]);
  });

  it('go back to earlier releases', async () => {
    await cli.json(['push', folder, '--name', 'hello']);
    await cli.json(['push', folder, '--name', 'hello']);
    expect(await cli.json(['rollback', 'hello'])).toMatchObject({ release: 'v3' });
    expect(await cli.json(['rollback', 'hello', 'v2'])).toMatchObject({ release: 'v4' });
    expect((await cli.json(['releases', 'hello'])).map((one: { release: string }) => one.release)).toEqual([
      'v4',
      'v3',
      'v2',
      'v1',
    ]);
    expect((await cli.run(['releases', 'hello'])).stdout).toMatch(/^RELEASE +STATE.*\nv4 +current/);
  });

  it('have an environment', async () => {
    await cli.json(['push', folder, '--name', 'hello']);
    expect(await cli.json(['env', 'set', 'hello', 'A=1', 'B=x=y'])).toMatchObject({ release: 'v2' });
    expect((await cli.run(['env', 'hello', '--show'])).stdout).toBe('A=1\nB=x=y\n');
    expect((await cli.run(['env', 'hello'])).stdout).toBe('A=(hidden: see --show)\nB=(hidden: see --show)\n');
    expect(await cli.json(['env', 'hello'])).toMatchObject({ env: { A: null, B: null } });
    expect((await cli.run(['env', 'hello', '--show'], { role: 'viewer' })).stdout).not.toContain('x=y');
    expect(await cli.json(['env', 'unset', 'hello', 'A'])).toMatchObject({ release: 'v3' });
    expect(await cli.json(['env', 'hello', '--show'])).toEqual({ app: 'hello', env: { B: 'x=y' }, refused: [] });
  });

  it('take the values of variables from elsewhere than the arguments, which ps shows', async () => {
    await cli.json(['push', folder, '--name', 'hello']);
    expect(await cli.run(['env', 'set', 'hello', 'KEY'], { input: 'hunter2\n' })).toMatchObject({ status: 0 });
    expect(await cli.run(['push', folder, '--name', 'other', '--env', 'CERT=-'], { input: 'a\nb\n' })).toMatchObject({
      status: 0,
    });
    expect(cli.node.envOf('hello')).toEqual({ KEY: 'hunter2' });
    expect(cli.node.envOf('other')).toEqual({ CERT: 'a\nb' });
  });

  it('show a change that was called off as refused, and what runs as it was', async () => {
    await cli.json(['push', folder, '--name', 'hello', '--env', 'A=1']);
    await cli.json(['env', 'set', 'hello', 'D=hunter2']);
    const { id, release } = [...cli.node.view().apps.values()][0]!;
    await cli.node.write([{ change: 'failRelease', app: id, release: release!.id, reason: 'exit 1' }], 'tests');
    expect((await cli.run(['env', 'hello', '--show'])).stdout).toBe('A=1\n# refused: v2 (D): exit 1\n');
    expect((await cli.run(['app', 'hello'])).stdout).toContain('refused    v2 (env D): exit 1\n');
    expect((await cli.run(['releases', 'hello'])).stdout).toMatch(/v2 +failed .* env: D; refused env D: exit 1\n/);
  });

  it('have routes', async () => {
    await cli.json(['push', folder, '--name', 'hello']);
    expect(await cli.json(['map', 'hello', 'www.example.org/shop'])).toMatchObject({ route: 'www.example.org/shop' });
    expect(await cli.json(['routes'])).toEqual([
      { route: 'hello.localhost', app: 'hello', hostApp: 'hello' },
      { route: 'www.example.org/shop', app: 'hello', hostApp: 'hello' },
    ]);
    await cli.json(['unmap', 'hello', 'www.example.org/shop']);
    expect((await cli.run(['routes'])).stdout).toBe('ROUTE            APP\nhello.localhost  hello\n');
  });

  it('show a route that they lost to another app, and give it up', async () => {
    for (const name of ['hello', 'other']) await cli.json(['push', folder, '--name', name]);
    const other = [...cli.node.view().apps.values()].find(({ name }) => name === 'other')!.id;
    cli.node.arrive((doc) => {
      doc.routes[`hello.localhost ${other}`] = { createdAtMs: 9e12, right: 'host' };
    });
    expect((await cli.run(['routes'])).stdout).toMatch(
      /^hello\.localhost +hello\nhello\.localhost +other +hello\nother\.localhost +other\n\n.*peer unmap other hello\.localhost/m,
    );
    expect((await cli.run(['app', 'other'])).stdout).toContain(
      'lost       hello.localhost, which hello has: peer unmap other hello.localhost gives it up\n',
    );
    expect((await cli.run(['unmap', 'other', 'hello.localhost'])).stdout).toBe(
      'other claims hello.localhost no more, which hello has\n',
    );
    expect((await cli.run(['status'])).stdout).not.toContain('conflict');
  });

  it('end with 2 for a route, a name or a size that is wrong in itself, whoever finds out', async () => {
    await cli.json(['push', folder, '--name', 'hello']);
    const wrong = [
      ['map', 'hello', 'bad host'],
      ['push', folder, '--name', 'hello', '--image', 'bad image'],
      ['env', 'set', 'hello', 'PORT=web'],
      ['invite', '--ttl', '1000d'],
      ['nodes', 'label', 'alpha', 'zone=two\nlines'],
      ['delete', '..'],
    ];
    await Promise.all(
      wrong.map(async (args) => {
        const ran = await cli.run(args);
        expect([args, ran.status, ran.stdout]).toEqual([args, 2, '']);
        expect(ran.stderr.trim().split('\n').at(-1)).toMatch(/^peer: .{10,}/);
      }),
    );
    expect((await cli.run(['map', 'other', 'a.b'])).status).toBe(1);
  });
});

describe('logs and events', () => {
  it('are tagged lines, or one JSON document', async () => {
    await cli.json(['push', folder, '--name', 'hello']);
    const [app] = cli.node.view().apps.keys();
    cli.node.say(app!, 'first');
    cli.node.say(app!, 'second');
    expect((await cli.run(['logs', 'hello', '--lines', '1'])).stdout).toBe(
      '2023-11-14T22:13:20.000Z [APP/web/0] OUT second\n',
    );
    expect(await cli.json(['logs', 'hello'])).toMatchObject([{ text: 'first' }, { text: 'second' }]);
    cli.node.recorded.push({ atMs: 0, node: cli.node.self.id, name: 'member.alive', message: 'node beta is alive' });
    expect((await cli.run(['events'])).stdout).toBe('1970-01-01T00:00:00.000Z alpha member.alive node beta is alive\n');
    expect(await cli.json(['events', 'hello'])).toEqual([]);
  });

  it('are followed until the command is ended', async () => {
    await cli.json(['push', folder, '--name', 'hello']);
    const [app] = cli.node.view().apps.keys();
    const { child, stdout } = cli.follow(['logs', 'hello', '--follow', '--lines', '0']);
    try {
      await vi.waitFor(() => expect(cli.node.listenersCount()).toBe(1), 20_000);
      cli.node.say(app!, 'live');
      await vi.waitFor(() => expect(stdout()).toBe('2023-11-14T22:13:20.000Z [APP/web/0] OUT live\n'));
    } finally {
      child.kill('SIGINT');
    }
    await vi.waitFor(() => expect(cli.node.listenersCount()).toBe(0));
  });
});

describe('names for completion', () => {
  it('are those of apps, slots and nodes', async () => {
    await cli.json(['push', folder, '--name', 'hello', '--instances', '2']);
    expect((await cli.run(['completions', 'apps'])).stdout).toBe('hello\n');
    expect((await cli.run(['completions', 'slots'])).stdout).toBe('hello/0\nhello/1\n');
    expect(await cli.json(['completions', 'nodes'])).toEqual(['alpha', 'beta']);
  });

  it('are none, in silence and soon, where no daemon says any', async () => {
    const silent = createServer(() => {});
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const { port } = silent.address() as AddressInfo;
    try {
      for (const env of [
        { PEER_API: `http://127.0.0.1:${port}` },
        { PEER_API: 'http://127.0.0.1:1' },
        { PEER_API: '' },
        { PEER_API: 'foo' },
        { PEER_TOKEN: 'wrong' },
      ]) {
        expect(await cli.run(['completions', 'apps'], { env })).toEqual({ status: 0, stdout: '', stderr: '' });
      }
    } finally {
      silent.close();
    }
  });
});

describe('nodes and people', () => {
  it('are listed and changed', async () => {
    expect(await cli.json(['nodes'])).toMatchObject([
      { name: 'alpha', status: 'alive', runtimes: ['process'], instances: 0, address: '10.0.0.1' },
      { name: 'beta' },
    ]);
    cli.node.pressures.set('beta', [{ resource: 'disk', level: 'full', free: 12 * 1024 ** 2, total: 64 * 1024 ** 2 }]);
    const told = 'beta has no room left on its disk (12 MiB of 64 MiB free), so it takes no new instances: ';
    expect((await cli.run(['nodes'])).stdout).toContain(`\n\n${told}`);
    expect((await cli.run(['nodes'])).stdout).toMatch(/DISK FREE/);
    expect((await cli.run(['status'])).stdout).toContain(`warning    ${told}`);
    cli.node.pressures.clear();
    await cli.json(['nodes', 'drain', 'beta']);
    expect((await cli.run(['nodes'])).stdout).toMatch(/beta +alive, draining/);
    await cli.json(['nodes', 'undrain', 'beta']);
    await cli.json(['nodes', 'label', 'beta', 'zone=cellar']);
    expect((await cli.json(['nodes']))[1].labels).toEqual({ zone: 'cellar' });
    expect(await cli.run(['nodes', 'drian', 'beta'])).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('did you mean drain?'),
    });
  });

  it('get tokens and invites, alone on stdout', async () => {
    const added = await cli.run(['users', 'add', 'ada', '--role', 'viewer']);
    expect(added.stdout).toMatch(/^peer_[0-9a-f]{64}\n$/);
    const asAda = await cli.run(['status', '--json'], { env: { PEER_TOKEN: added.stdout.trim() } });
    expect(JSON.parse(asAda.stdout)).toMatchObject({ user: { name: 'ada', role: 'viewer' } });
    expect((await cli.json(['users'])).map((user: { name: string }) => user.name)).toContain('ada');
    await cli.json(['users', 'remove', 'ada']);
    expect((await cli.run(['invite', '--ttl', '5m', '--uses', '2'])).stdout).toBe('peer-invite-2\n');
  });

  it('work on apps in teams once an admin says so, and share apps and hosts', async () => {
    for (const name of ['bea', 'cid']) await cli.json(['users', 'add', name, '--role', 'developer']);
    await cli.json(['push', folder, '--name', 'shop'], { role: 'developer' });
    await cli.json(['push', folder, '--name', 'blog'], { role: 'developer' });
    const isolated = await cli.run(['users', 'isolate', 'on']);
    expect(isolated.stdout).toContain('an app is for its owner, its members');
    expect((await cli.run(['apps', 'share', 'shop', 'bea'], { role: 'developer' })).stdout).toBe('bea works on shop\n');
    await cli.json(['apps', 'give', 'shop', 'cid'], { role: 'developer' });
    expect((await cli.run(['app', 'shop'])).stdout).toContain('owner      cid, shared with bea\n');
    expect(await cli.run(['env', 'shop'], { role: 'developer' })).toMatchObject({
      status: 1,
      stderr:
        'peer: shop belongs to cid, and the-developer is not of its team: ask cid or an admin for peer apps share shop the-developer\n',
    });
    const map = () => cli.run(['map', 'blog', 'shop.localhost/blog'], { role: 'developer' });
    expect((await map()).stderr).toContain('let shop share it with `peer routes share shop.localhost blog`');
    await cli.json(['routes', 'share', 'shop.localhost', 'blog']);
    expect((await map()).status).toBe(0);
    expect((await cli.run(['routes'])).stdout).toMatch(/shop\.localhost\/blog +blog +shop\n/);
    await cli.json(['users', 'isolate', 'off']);
    expect(await cli.run(['apps', 'lend', 'shop', 'bea'])).toMatchObject({ status: 2 });
  });

  it('are refused what their role may not do, in one line', async () => {
    expect(await cli.run(['invite'], { role: 'developer' })).toEqual({
      status: 1,
      stdout: '',
      stderr: 'peer: this needs the role admin, and the-developer is a developer: ask an admin\n',
    });
  });

  it('stop a node, and wait until it no longer answers', async () => {
    const other = await TestCli.start(new MemoryNode({ pid: 2 ** 22 + 1 }));
    other.node.onShutdown = () => void setImmediate(() => other.stop());
    expect(await other.json(['stop'])).toMatchObject({ name: 'alpha', stopped: true, left: false });
    expect(other.node.shutdowns).toEqual([{ leave: false }]);
  });
});
