// Which of the built-in buildpacks takes an app. That each serves its sample apps is in e2e/samples.test.ts.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createPacks, json } from './builtin/packs.ts';
import { type Files, sampleApp } from './harness.ts';

const packs = createPacks();

const GO_MOD = 'module example.org/m\n';
const GO_MAIN = 'package main\nfunc main() {}\n';

describe('sample apps', () => {
  it.each(['never-listens', 'exits-at-once', 'wrong-port'])('%s can be staged', async (name) => {
    expect(Object.keys((await packs.stage(name)).droplet.processes)).toEqual(['web']);
  });

  it('have lock files that name no registry', () => {
    expect(readFileSync(join(sampleApp('express-node'), 'package-lock.json'), 'utf8')).not.toContain('"resolved"');
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
    ['php before static', { 'index.php': '', 'index.html': '' }, 'php'],
    [
      'go before nodejs, whose package.json is for the assets',
      { 'go.mod': GO_MOD, 'm.go': GO_MAIN, 'package.json': '{}' },
      'go',
    ],
    ['static before procfile', { 'index.html': '', Procfile: 'worker: x' }, 'static'],
  ])('is %s', async (_name, files, buildpack) => {
    expect((await packs.stage(files)).droplet.buildpack).toBe(buildpack);
  });
});

describe('text files as people have them', () => {
  const utf16 = (text: string): Buffer => Buffer.from(`\ufeff${text}`, 'utf16le');

  it('are read alike: byte order marks, UTF-16, CRLF, no newline at the end', async () => {
    const { droplet, content, output } = await packs.stage({
      Procfile: Buffer.from('\ufeffweb: node a.js\r\nworker: node b.js'),
      'package.json': utf16(json({ name: 'a' })),
      '.nvmrc': utf16(`${process.versions.node.split('.')[0]}\r\n`),
      'a.js': '\ufeff// as it was\r\n',
    });
    expect(droplet.processes).toEqual({ web: 'node a.js', worker: 'node b.js' });
    expect(output).toContain('package.json is UTF-16, and is read as if it were UTF-8');
    expect(JSON.parse(content.read('app/package.json'))).toEqual({ name: 'a' });
    expect(content.read('app/a.js')).toBe('\ufeff// as it was\r\n');
  });

  it('say what to serve', async () => {
    const { content } = await packs.stage({
      Staticfile: Buffer.from('\ufeffroot: public\r\nfallback: index.html'),
      'public/index.html': 'the site',
      'secret.txt': 'not the site',
    });
    expect(content.read('app/.profile.d/static.sh')).toContain('STATIC_ROOT="$HOME"/public\n');
    expect(content.read('app/.profile.d/static.sh')).toContain('STATIC_FALLBACK=index.html\n');
  });
});
