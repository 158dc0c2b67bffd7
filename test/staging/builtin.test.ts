// The built-in buildpacks, from an upload to an app that answers.

import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { asAppId } from '../../crdt/ids.ts';
import type { StageRequest } from '../../node/ports.ts';
import { createHarness, type Files, failureOf, type Harness, request, sampleApp } from './harness.ts';
import { createRegistry, type Registry } from './registry.ts';
import { type RunningApp, startApp } from './running.ts';

let harness: Harness;
let registry: Registry;
const apps: RunningApp[] = [];

beforeAll(async () => {
  harness = await createHarness();
  registry = await createRegistry();
});
afterEach(async () => {
  for (const app of apps.splice(0)) await app.stop();
});
afterAll(async () => {
  await registry.close();
  await harness.close();
});

const stage = async (source: string | Files, options: Partial<StageRequest> = {}) => {
  const asked = request(typeof source === 'string' ? source : harness.folder(source), options);
  const stager = await harness.stager({ daemonEnv: { ...process.env, ...registry.env } });
  const droplet = await stager.stage(asked);
  return {
    droplet,
    output: asked.lines.join('\n'),
    content: await harness.unpack(droplet.digest),
  };
};
const failing = async (source: Files) => {
  const stager = await harness.stager({ daemonEnv: { ...process.env, ...registry.env } });
  return failureOf(stager.stage(request(harness.folder(source))));
};
const start = async (
  staged: Awaited<ReturnType<typeof stage>>,
  env: Record<string, string> = {},
): Promise<RunningApp> => {
  const app = await startApp(staged.content.path, staged.droplet.processes.web!, env);
  apps.push(app);
  return app;
};
const json = (value: object): string => JSON.stringify(value);
const get = async (url: string): Promise<string> => (await fetch(url)).text();

describe('nodejs', () => {
  it('makes an app without dependencies ready at once: no npm, no Node in the droplet', async () => {
    const staged = await stage(sampleApp('hello-node'));
    expect(staged.droplet).toMatchObject({ buildpack: 'nodejs', processes: { web: 'node server.js' } });
    expect(staged.output).toContain('No packages to install');
    expect(staged.droplet.sizeBytes).toBeLessThan(30_000);
    const app = await start(staged, { CF_INSTANCE_INDEX: '2' });
    expect(await get(app.url)).toBe('hello from index 2 version v1\n');
    expect(await get(`${app.url}/json`)).toContain(process.version);
    expect(await app.stop()).toBe(0);
  });

  it('runs the sample app with a WebSocket', async () => {
    const app = await start(await stage(sampleApp('ws-echo')));
    const socket = new WebSocket(`ws://127.0.0.1:${app.port}`);
    const answers: unknown[] = [];
    socket.onmessage = ({ data }) => answers.push(data);
    await new Promise((resolve) => (socket.onopen = resolve));
    const long = randomBytes(70_000).toString('hex');
    for (const text of ['hello', 'x'.repeat(300), long]) socket.send(text);
    await expect.poll(() => answers).toEqual(['hello', 'x'.repeat(300), long]);
    const closed = new Promise((resolve) => (socket.onclose = resolve));
    socket.close();
    await closed;
  });

  describe('with packages', () => {
    beforeAll(() => {
      registry.npm('greeting', '1.2.0', {
        'package.json': json({ bin: { greet: 'cli.js' } }),
        'index.js': 'module.exports = "hello from a package";',
        'cli.js':
          '#!/usr/bin/env node\nrequire("node:http").createServer((q, s) => s.end(require("./index.js"))).listen(process.env.PORT);',
      });
      registry.npm('builder', '1.0.0', {
        'package.json': json({ bin: { build: 'b.js' } }),
        'b.js': `#!/usr/bin/env node\nrequire("node:fs").writeFileSync("built.js", 'module.exports = "built for ' + process.env.TARGET + '"');`,
      });
    });
    const lock = (): string =>
      json({
        name: 'a',
        lockfileVersion: 3,
        requires: true,
        packages: {
          '': { name: 'a', dependencies: { greeting: '^1.0.0' } },
          'node_modules/greeting': { version: '1.2.0', bin: { greet: 'cli.js' } },
        },
      });
    const app = { id: asAppId('with-packages'), name: 'a' };
    const files = (): Files => ({
      'package.json': json({ name: 'a', scripts: { start: 'greet' }, dependencies: { greeting: '^1.0.0' } }),
      'package-lock.json': lock(),
    });

    it('installs what the lock file says, and starts what the packages bring', async () => {
      const staged = await stage(files(), { app });
      expect(staged.output).toContain('npm ci');
      expect(staged.droplet.processes).toEqual({ web: 'greet' });
      expect(await get((await start(staged)).url)).toBe('hello from a package');
    });

    it('takes the same packages from the cache the next time, into the same droplet', async () => {
      const first = await stage(files(), { app });
      registry.requests.length = 0;
      const again = await stage(files(), { app });
      expect(again.output).toContain('Packages from the cache');
      expect(registry.requests).toEqual([]);
      expect(again.droplet).toEqual(first.droplet);
    });

    it('installs anew when what is asked for has changed', async () => {
      const changed = {
        ...files(),
        'package.json': json({
          name: 'a',
          description: 'changed',
          scripts: { start: 'greet' },
          dependencies: { greeting: '^1.0.0' },
        }),
      };
      expect((await stage(changed, { app })).output).toContain('npm ci');
    });

    it('installs without a lock file too', async () => {
      const staged = await stage({ 'package.json': json({ dependencies: { greeting: '1' } }), 'server.js': '' });
      expect(staged.output).toContain('npm install');
      expect(staged.content.files()).toContain('app/node_modules/greeting/index.js');
      expect(staged.content.files()).not.toContain('app/package-lock.json');
    });

    it('runs the build script with what it needs and the config vars, and leaves out development packages', async () => {
      const manifest = {
        scripts: { build: 'build', start: 'node x.js' },
        devDependencies: { builder: '1.0.0' },
        dependencies: { greeting: '1.2.0' },
      };
      const { content, output } = await stage(
        { 'package.json': json(manifest) },
        { env: { TARGET: 'production use' } },
      );
      expect(output).toContain('Running the build script');
      expect(content.read('app/built.js')).toContain('built for production use');
      expect(existsSync(join(content.path, 'app/node_modules/greeting'))).toBe(true);
      expect(existsSync(join(content.path, 'app/node_modules/builder'))).toBe(false);
    });

    it('fails with what npm says when a package does not exist', async () => {
      const failure = await failing({ 'package.json': json({ dependencies: { 'no-such-package-here': '1' } }) });
      expect(failure).toMatchObject({ code: 'compile_failed', message: expect.stringMatching(/npm error/) });
    });
  });

  describe('with a Node of its own', () => {
    const arch = `node-linux-${process.arch}`;
    const script = (version: string): string =>
      `#!/bin/bash\ncase $1 in --version) echo v${version};; *) exec ${process.execPath} "$@";; esac\n`;
    beforeAll(() => {
      for (const version of ['20.1.0', '22.3.0', '22.11.0'])
        registry.npm(arch, version, { 'bin/node': script(version) });
    });

    it('is given the newest version that matches, downloaded once', async () => {
      const app = { id: asAppId('own-node'), name: 'a' };
      const files = { 'package.json': json({ engines: { node: '22.x' } }), 'server.js': '' };
      const { content, output } = await stage(files, { app });
      expect(output).toContain('Node 22.11.0: downloading');
      expect(content.read('app/.peer/node/bin/node')).toContain('v22.11.0');
      expect(content.read('app/.profile.d/nodejs.sh')).toContain('$HOME/.peer/node/bin');
      expect((await stage(files, { app })).output).not.toContain('downloading');
    });

    it('is told which there are when none matches', async () => {
      const failure = await failing({ 'package.json': json({ engines: { node: '21.x' } }), 'server.js': '' });
      expect(failure).toMatchObject({
        code: 'compile_failed',
        message: expect.stringMatching(/no Node satisfies "21\.x".*22\.11\.0, 20\.1\.0/),
      });
    });
  });

  it.each<[string, Files, string | undefined]>([
    ['a start script', { 'package.json': json({ scripts: { start: 'node a.js --x' } }) }, 'node a.js --x'],
    ['a prestart script too', { 'package.json': json({ scripts: { prestart: 'a; b', start: 'c' } }) }, '(a; b) && c'],
    ['server.js', { 'package.json': '{}', 'server.js': '' }, 'node server.js'],
    ['main', { 'package.json': json({ main: 'lib/my app.js' }), 'lib/my app.js': '' }, "node 'lib/my app.js'"],
    ['index.js', { 'package.json': '{}', 'index.js': '' }, 'node index.js'],
    ['the Procfile', { 'package.json': '{}', Procfile: 'web: x\nworker: y' }, 'x'],
  ])('starts %s', async (_name, files, command) => {
    expect((await stage(files)).droplet.processes.web).toBe(command);
  });

  it.each<[string, string, RegExp]>([
    ['no JSON', '{', /package\.json is not valid JSON/],
    ['no object', '[]', /must hold a JSON object/],
    ['a Node version that is none', json({ engines: { node: "it's new" } }), /"it's new" is not a range of versions/],
  ])('refuses a package.json that has %s', async (_name, text, message) => {
    expect(await failing({ 'package.json': text })).toMatchObject({
      code: 'compile_failed',
      message: expect.stringMatching(message),
    });
  });

  it('has no start command for a package.json alone', async () => {
    expect((await failing({ 'package.json': '{}' })).code).toBe('no_start_command');
  });
});

describe('static', () => {
  let app: RunningApp;
  const serve = async (files: Files | string) => start(await stage(files));

  it('serves the sample app: index, types, folders, names in UTF-8, its own 404 page', async () => {
    app = await serve(sampleApp('hello-static'));
    const index = await fetch(app.url);
    expect([index.status, index.headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8']);
    expect(await index.text()).toContain('hello from static files');
    expect((await fetch(`${app.url}/style.css`)).headers.get('content-type')).toBe('text/css; charset=utf-8');
    expect(await get(`${app.url}/caf%C3%A9.html`)).toContain('un café');
    const moved = await fetch(`${app.url}/docs?a=b`, { redirect: 'manual' });
    expect([moved.status, moved.headers.get('location')]).toEqual([301, '/docs/?a=b']);
    expect(await get(`${app.url}/docs/`)).toContain('the index of a folder');
    const missing = await fetch(`${app.url}/nowhere`);
    expect([missing.status, await missing.text()]).toEqual([404, expect.stringContaining('there is no such page')]);
  });

  it('answers again only when the content has changed', async () => {
    app = await serve(sampleApp('hello-static'));
    const first = await fetch(app.url);
    await first.text();
    const etag = first.headers.get('etag')!;
    const again = await fetch(app.url, { headers: { 'if-none-match': `"other", W/${etag}` } });
    expect([again.status, await again.text(), again.headers.get('etag')]).toEqual([304, '', etag]);
    expect((await fetch(app.url, { headers: { 'if-none-match': '"other"' } })).status).toBe(200);
  });

  it('answers HEAD without a body, parts of a file, and nothing but reading', async () => {
    app = await serve({ 'index.html': '0123456789', empty: '' });
    const head = await fetch(app.url, { method: 'HEAD' });
    expect([head.status, head.headers.get('content-length'), await head.text()]).toEqual([200, '10', '']);
    const range = async (value: string) => {
      const part = await fetch(`${app.url}/index.html`, { headers: { range: value } });
      return [part.status, await part.text(), part.headers.get('content-range')];
    };
    expect(await range('bytes=2-4')).toEqual([206, '234', 'bytes 2-4/10']);
    expect(await range('bytes=7-')).toEqual([206, '789', 'bytes 7-9/10']);
    expect(await range('bytes=-3')).toEqual([206, '789', 'bytes 7-9/10']);
    expect(await range('bytes=0-99')).toEqual([206, '0123456789', 'bytes 0-9/10']);
    expect(await range('bytes=10-')).toEqual([416, expect.any(String), 'bytes */10']);
    expect(await range('lines=1-2')).toEqual([200, '0123456789', null]);
    expect(await get(`${app.url}/empty`)).toBe('');
    expect((await fetch(app.url, { method: 'POST', body: 'x' })).status).toBe(405);
  });

  it('never shows what lies outside, what is hidden, or where links lead out', async () => {
    const staged = await stage({
      'index.html': 'x',
      '.env': 'SECRET=1',
      'a/.git/config': 'SECRET',
      Procfile: 'web: node .peer/static/server.mjs',
      '.well-known/security.txt': 'mail us',
    });
    writeFileSync(join(staged.content.path, 'outside.txt'), 'SECRET');
    symlinkSync('../outside.txt', join(staged.content.path, 'app/link.txt'));
    app = await start(staged);
    const paths = [
      '/../outside.txt',
      '/%2e%2e/outside.txt',
      '/..%2foutside.txt',
      '/a/../../outside.txt',
      '//etc/passwd',
      '/link.txt',
      '/.env',
      '/a/.git/config',
      '/.peer/static/server.mjs',
      '/.profile.d/static.sh',
      '/Procfile',
      '/%00',
      '/%',
      '/a%5c..%5c..%5coutside.txt',
    ];
    for (const path of paths) {
      const answer = await raw(app.port, path);
      expect(answer, path).toMatch(/^HTTP\/1\.1 404 /);
      expect(answer, path).not.toContain('SECRET');
    }
    expect(await get(`${app.url}/.well-known/security.txt`)).toBe('mail us');
  });

  it('serves another folder and a fallback when the Staticfile says so', async () => {
    app = await serve({
      Staticfile: 'root: dist/web\nfallback: index.html\n',
      'dist/web/index.html': 'the app',
      'secret.txt': 'SECRET',
    });
    expect(await get(`${app.url}/some/route`)).toBe('the app');
    expect(await get(`${app.url}/secret.txt`)).toBe('the app');
  });

  it('refuses a Staticfile that names a folder that is not there', async () => {
    expect(await failing({ Staticfile: 'root: missing\n' })).toMatchObject({
      code: 'compile_failed',
      message: expect.stringContaining('"missing" does not exist'),
    });
  });
});

describe('python', () => {
  it("runs the sample app with the stack's Python", async () => {
    const staged = await stage(sampleApp('hello-python'));
    expect(staged.droplet).toMatchObject({ buildpack: 'python', processes: { web: 'python3 app.py' } });
    expect(staged.output).toContain('No packages to install');
    expect(await get((await start(staged, { CF_INSTANCE_INDEX: '1' })).url)).toBe('hello from python, index 1\n');
  });

  it('installs requirements into the droplet, and takes them from the cache the next time', async () => {
    registry.python('made-up', '1.5', { 'made_up.py': 'VALUE = "hello from a package"\n' });
    const files = {
      'main.py':
        'import made_up, os\nfrom http.server import *\nclass H(BaseHTTPRequestHandler):\n  def do_GET(self):\n    self.send_response(200); self.end_headers(); self.wfile.write(made_up.VALUE.encode())\nHTTPServer(("127.0.0.1", int(os.environ["PORT"])), H).serve_forever()\n',
      'requirements.txt': '# pinned\nmade-up==1.5\n',
    };
    const app = { id: asAppId('python-packages'), name: 'a' };
    const first = await stage(files, { app });
    expect(first.output).toContain('Installing packages');
    expect(await get((await start(first)).url)).toBe('hello from a package');
    registry.requests.length = 0;
    const again = await stage(files, { app });
    expect(again.output).toContain('Packages from the cache');
    expect(registry.requests).toEqual([]);
    expect(again.droplet).toEqual(first.droplet);
  });

  it('fails with what pip says when a package does not exist', async () => {
    const failure = await failing({ 'app.py': '', 'requirements.txt': 'no-such-package==1.0\n' });
    expect(failure).toMatchObject({ code: 'compile_failed', message: expect.stringContaining('no-such-package') });
  });

  it('says when the app asks for another Python, and goes on', async () => {
    expect((await stage({ 'app.py': '', '.python-version': '2.7' })).output).toMatch(
      /asks for Python 2\.7; this stack has 3\./,
    );
  });
});

describe('procfile', () => {
  it('runs any folder with a Procfile', async () => {
    const staged = await stage(sampleApp('hello-procfile'));
    expect(staged.droplet).toMatchObject({
      buildpack: 'procfile',
      processes: { web: 'perl server.pl', worker: expect.any(String) },
    });
    expect(await get((await start(staged)).url)).toBe('hello from perl, index 0\n');
  });
});

describe('order', () => {
  it.each<[string, Files, string]>([
    [
      'nodejs before python',
      { 'package.json': json({ scripts: { start: 'x' } }), 'requirements.txt': '', 'index.html': '' },
      'nodejs',
    ],
    ['python before static', { 'app.py': '', 'index.html': '' }, 'python'],
    ['static before procfile', { 'index.html': '', Procfile: 'worker: x' }, 'static'],
  ])('is %s', async (_name, files, buildpack) => {
    expect((await stage(files)).droplet.buildpack).toBe(buildpack);
  });
});

describe('sample apps', () => {
  it.each(['never-listens', 'exits-at-once', 'wrong-port'])('%s can be staged', async (name) => {
    expect(Object.keys((await stage(sampleApp(name))).droplet.processes)).toEqual(['web']);
  });

  it('have lock files that name no registry', () => {
    expect(readFileSync(join(sampleApp('express-node'), 'package-lock.json'), 'utf8')).not.toContain('"resolved"');
  });
});

/** The answer to a path sent exactly as it is. */
const raw = (port: number, path: string): Promise<string> =>
  new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () =>
      socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`),
    );
    let answer = '';
    socket.on('data', (chunk) => (answer += chunk));
    socket.on('close', () => resolve(answer));
    socket.on('error', reject);
  });
