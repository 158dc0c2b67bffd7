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
