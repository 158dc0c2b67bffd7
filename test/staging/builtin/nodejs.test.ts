// The nodejs buildpack, from an upload to an app that answers.

import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { asAppId } from '../../../crdt/ids.ts';
import type { Files } from '../harness.ts';
import { type LockOptions, madeLock } from './made-lock.ts';
import { createPacks, json } from './packs.ts';

const packs = createPacks();

describe('nodejs', () => {
  it('makes an app without dependencies ready at once: no npm, no Node in the droplet', async () => {
    const staged = await packs.stage('hello-node');
    expect(staged.droplet).toMatchObject({ buildpack: 'nodejs', processes: { web: 'node server.js' } });
    expect(staged.output).toContain('No packages to install');
    expect(staged.droplet.sizeBytes).toBeLessThan(30_000);
    const app = await packs.start(staged, { CF_INSTANCE_INDEX: '2' });
    expect(await packs.get(app.url)).toBe('hello from index 2 version v1\n');
    expect(await packs.get(`${app.url}/json`)).toContain(process.version);
    expect(await app.stop()).toBe(0);
  });

  it('runs the sample app with a WebSocket', async () => {
    const app = await packs.start(await packs.stage('ws-echo'));
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
    beforeAll(() => publishPackages());
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
      const staged = await packs.stage(files(), { app });
      expect(staged.output).toContain('npm ci');
      expect(staged.droplet.processes).toEqual({ web: 'greet' });
      expect(await packs.get((await packs.start(staged)).url)).toBe('hello from a package');
    });

    it('takes the same packages from the cache the next time, into the same droplet', async () => {
      const first = await packs.stage(files(), { app });
      packs.registry.requests.length = 0;
      const again = await packs.stage(files(), { app });
      expect(again.output).toContain('Packages from the cache');
      expect(packs.registry.requests).toEqual([]);
      expect(again.droplet).toEqual(first.droplet);
    });

    it('does so as long as the lock file and what it must agree with stay, whatever else changes', async () => {
      const manifest = {
        name: 'a',
        description: 'changed',
        scripts: { start: 'greet' },
        dependencies: { greeting: '^1.0.0' },
      };
      const changed = { ...files(), 'package.json': json(manifest), 'other.js': '' };
      expect((await packs.stage(changed, { app })).output).toContain('Packages from the cache');
    });

    it('keeps what a build script changes in the packages out of the cache', async () => {
      const own = { id: asAppId('changes-packages'), name: 'a' };
      const manifest = {
        name: 'a',
        scripts: { build: 'echo // changed >>node_modules/greeting/index.js', start: 'greet' },
        dependencies: { greeting: '^1.0.0' },
      };
      const changing = { ...files(), 'package.json': json(manifest) };
      for (const says of ['npm ci', 'Packages from the cache', 'Packages from the cache']) {
        const staged = await packs.stage(changing, { app: own });
        expect(staged.output).toContain(says);
        expect(staged.content.read('app/node_modules/greeting/index.js').match(/changed/g)).toHaveLength(1);
      }
    });

    it('refuses a lock file that does not fit, cache or not', async () => {
      const changed = { ...files(), 'package.json': json({ dependencies: { greeting: '^9.0.0' } }) };
      expect(await packs.failing(changed, { app })).toMatchObject({
        code: 'compile_failed',
        message: expect.stringMatching(/npm error/),
      });
    });

    it('installs without a lock file too', async () => {
      const staged = await packs.stage({ 'package.json': json({ dependencies: { greeting: '1' } }), 'server.js': '' });
      expect(staged.output).toContain('npm install');
      expect(staged.content.files()).toContain('app/node_modules/greeting/index.js');
      expect(staged.content.files()).not.toContain('app/package-lock.json');
    });

    it('serves the files that a build leaves, where nothing else starts, without the packages', async () => {
      const made = 'mkdir -p dist/assets && echo "<p>page" >dist/index.html && echo 1 >dist/assets/a.js';
      const manifest = { scripts: { build: made, dev: 'vite' }, dependencies: { greeting: '1.2.0' } };
      const staged = await packs.stage({ 'package.json': json(manifest), 'index.html': 'a source' });
      expect(staged.output).toContain('Serving the files in dist');
      expect(staged.output).toContain('Leaving the packages out');
      expect(staged.content.files().some((path) => path.includes('node_modules'))).toBe(false);
      const app = await packs.start(staged);
      for (const path of ['', '/deep/link']) expect(await packs.get(app.url + path)).toBe('<p>page\n');
      expect(await packs.get(`${app.url}/assets/a.js`)).toBe('1\n');
    });

    it('starts the server that a build leaves, and keeps the packages for a Procfile', async () => {
      const server = 'require("http").createServer((_, r) => r.end(require("greeting")())).listen(process.env.PORT)';
      const made = `mkdir -p .output/server && echo 'import { createRequire } from "module"; const require = createRequire(import.meta.url); ${server}' >.output/server/index.mjs`;
      const manifest = { scripts: { build: made }, dependencies: { greeting: '1.2.0' } };
      const files = { 'package.json': json(manifest), Procfile: 'worker: greet\n' };
      const staged = await packs.stage(files);
      expect(staged.droplet.processes).toEqual({ web: 'node .output/server/index.mjs', worker: 'greet' });
      expect(staged.content.files()).toContain('app/node_modules/greeting/index.js');
      const alone = await packs.stage({ 'package.json': json(manifest) });
      expect(alone.content.files()).not.toContain('app/node_modules/greeting/index.js');
    });

    it('is not guessed at when a build leaves nothing to start', async () => {
      const files = { 'package.json': json({ scripts: { build: 'mkdir dist' }, main: 'dist/app.js' }) };
      expect(await packs.failing(files)).toMatchObject({ code: 'no_start_command' });
    });

    it('runs the build script with what it needs and the config vars, and leaves out development packages', async () => {
      const manifest = {
        scripts: { build: 'build', start: 'node x.js' },
        devDependencies: { builder: '1.0.0' },
        dependencies: { greeting: '1.2.0' },
      };
      const { content, output } = await packs.stage(
        { 'package.json': json(manifest) },
        { env: { TARGET: 'production use' } },
      );
      expect(output).toContain('Running the script "build"');
      expect(content.read('app/built.js')).toContain('built for production use');
      expect(existsSync(join(content.path, 'app/node_modules/greeting'))).toBe(true);
      expect(existsSync(join(content.path, 'app/node_modules/builder'))).toBe(false);
    });

    it('fails with what npm says when a package does not exist', async () => {
      const failure = await packs.failing({ 'package.json': json({ dependencies: { 'no-such-package-here': '1' } }) });
      expect(failure).toMatchObject({ code: 'compile_failed', message: expect.stringMatching(/npm error/) });
    });
  });

  describe.each<{ manager: string } & Required<Omit<LockOptions, 'manifest'>>>([
    {
      manager: 'Yarn 1.22.22',
      lock: 'yarn.lock',
      tool: ['yarn', '1.22.22', 'bin/yarn.js'],
      makeLock: ['install', '--non-interactive'],
    },
    {
      manager: 'Yarn 4.18.1',
      lock: 'yarn.lock',
      tool: ['@yarnpkg/cli-dist', '4.18.1', 'bin/yarn.js'],
      makeLock: ['install', '--mode=update-lockfile'],
    },
    {
      manager: 'pnpm 10.34.1',
      lock: 'pnpm-lock.yaml',
      tool: ['pnpm', '10.34.1', 'bin/pnpm.cjs'],
      makeLock: ['install', '--lockfile-only'],
    },
  ])('with $manager', ({ manager, lock, tool, makeLock }) => {
    const app = { id: asAppId(manager.replace(/\W/g, '-')), name: 'a' };
    const manifest = {
      name: 'a',
      scripts: { build: 'build', start: 'greet' },
      dependencies: { greeting: '^1.0.0' },
      devDependencies: { builder: '1.0.0' },
    };
    let files: Files;
    beforeAll(async () => {
      publishPackages();
      files = { 'package.json': json(manifest), [lock]: await madeLock(packs, { manifest, lock, tool, makeLock }) };
    });

    it('installs what its lock file says, builds, and prunes; the next time from the cache', async () => {
      const first = await packs.stage(files, { app });
      expect(first.output).toContain(`Installing packages with ${manager}`);
      expect(first.content.read('app/built.js')).toContain('built for');
      expect(existsSync(join(first.content.path, 'app/node_modules/builder'))).toBe(false);
      expect(await packs.get((await packs.start(first)).url)).toBe('hello from a package');
      const again = await packs.stage(files, { app });
      expect(again.output).toContain('Packages from the cache');
      expect(existsSync(join(again.content.path, 'app/node_modules/builder'))).toBe(false);
      expect(await packs.get((await packs.start(again)).url)).toBe('hello from a package');
    });

    it('refuses a lock file that does not fit', async () => {
      const changed = { ...files, 'package.json': json({ name: 'a', dependencies: { greeting: '^9.0.0' } }) };
      expect((await packs.failing(changed, { app })).code).toBe('compile_failed');
    });
  });

  describe('with a Node of its own', () => {
    const arch = `node-linux-${process.arch}`;
    const script = (version: string): string =>
      `#!/bin/bash\ncase $1 in --version) echo v${version};; *) exec ${process.execPath} "$@";; esac\n`;
    beforeAll(() => {
      for (const version of ['20.1.0', '22.3.0', '22.11.0'])
        packs.registry.npm(arch, version, { 'bin/node': script(version) });
    });

    it('is given the newest version that matches, downloaded once', async () => {
      const app = { id: asAppId('own-node'), name: 'a' };
      const files = { 'package.json': json({ engines: { node: '22.x' } }), 'server.js': '' };
      const { content, output } = await packs.stage(files, { app });
      expect(output).toContain('Node 22.11.0: downloading');
      expect(content.read('app/.peer/node/bin/node')).toContain('v22.11.0');
      expect(content.read('app/.profile.d/nodejs.sh')).toContain('$HOME/.peer/node/bin');
      expect((await packs.stage(files, { app })).output).not.toContain('downloading');
    });

    it.each<[string, Files, string]>([
      ['.node-version', { '.node-version': 'v20\n' }, 'Node 20.1.0'],
      ['.nvmrc, by a code name', { '.nvmrc': 'lts/jod\n' }, 'Node 22.11.0'],
      [
        '"engines" before both',
        { '.nvmrc': '20\n', 'package.json': json({ engines: { node: '22.3.x' } }) },
        'Node 22.3.0',
      ],
    ])('reads %s', async (_name, files, said) => {
      expect((await packs.stage({ 'package.json': '{}', 'server.js': '', ...files })).output).toContain(said);
    });

    it('keeps to the one it has when the registry does not answer', async () => {
      const app = { id: asAppId('offline-node'), name: 'a' };
      const files = { 'package.json': json({ engines: { node: '22.3.x' } }), 'server.js': '' };
      await packs.stage(files, { app });
      const offline = await packs.offline(files, { app });
      expect(offline.output).toContain('Node 22.3.0');
    });

    it('is told which there are when none matches', async () => {
      const failure = await packs.failing({ 'package.json': json({ engines: { node: '21.x' } }), 'server.js': '' });
      expect(failure).toMatchObject({
        code: 'compile_failed',
        message: expect.stringMatching(/no Node satisfies "21\.x".*22\.11\.0, 20\.1\.0/),
      });
    });
  });

  it('carries npm when a process calls it', async () => {
    const files = { 'package.json': json({ scripts: { serve: 'node server.js' } }), Procfile: 'web: npm run serve\n' };
    const staged = await packs.stage({
      ...files,
      'server.js': 'require("node:http").createServer((q, s) => s.end("by npm")).listen(process.env.PORT)',
    });
    expect(await packs.get((await packs.start(staged)).url)).toBe('by npm');
  });

  it.each<[string, Files, string | undefined]>([
    ['a start script', { 'package.json': json({ scripts: { start: 'node a.js --x' } }) }, 'node a.js --x'],
    ['a prestart script too', { 'package.json': json({ scripts: { prestart: 'a; b', start: 'c' } }) }, '(a; b) && c'],
    ['server.js', { 'package.json': '{}', 'server.js': '' }, 'node server.js'],
    ['main', { 'package.json': json({ main: 'lib/my app.js' }), 'lib/my app.js': '' }, "node 'lib/my app.js'"],
    ['index.js', { 'package.json': '{}', 'index.js': '' }, 'node index.js'],
    ['the Procfile', { 'package.json': '{}', Procfile: 'web: x\nworker: y' }, 'x'],
  ])('starts %s', async (_name, files, command) => {
    expect((await packs.stage(files)).droplet.processes.web).toBe(command);
  });

  it.each<[string, string, RegExp]>([
    ['no JSON', '{', /package\.json is not valid JSON/],
    ['no object', '[]', /must hold a JSON object/],
    [
      'a package manager that is none',
      json({ packageManager: 'yarn@latest' }),
      /"yarn@latest" is not one of npm, pnpm/,
    ],
    ['a Node version that is none', json({ engines: { node: "it's new" } }), /"it's new" is not a range of versions/],
  ])('refuses a package.json that has %s', async (_name, text, message) => {
    expect(await packs.failing({ 'package.json': text })).toMatchObject({
      code: 'compile_failed',
      message: expect.stringMatching(message),
    });
  });

  it('has no start command for a package.json alone', async () => {
    expect((await packs.failing({ 'package.json': '{}' })).code).toBe('no_start_command');
  });
});

/** What the sample lock files name. */
const publishPackages = (): void => {
  packs.registry.npm('greeting', '1.2.0', {
    'package.json': json({ bin: { greet: 'cli.js' } }),
    'index.js': 'module.exports = "hello from a package";',
    'cli.js':
      '#!/usr/bin/env node\nrequire("node:http").createServer((q, s) => s.end(require("./index.js"))).listen(process.env.PORT);',
  });
  packs.registry.npm('builder', '1.0.0', {
    'package.json': json({ bin: { build: 'b.js' } }),
    'b.js': `#!/usr/bin/env node\nrequire("node:fs").writeFileSync("built.js", 'module.exports = "built for ' + process.env.TARGET + '"');`,
  });
};
