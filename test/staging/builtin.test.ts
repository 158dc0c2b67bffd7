// Every built-in buildpack on the sample apps: found by detect, staged, and served on a bare stack, where nothing is but
// what the droplet carries.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { asAppId } from '../../crdt/ids.ts';
import { DETECT_ORDER } from '../../node/staging/stager.ts';
import { createPacks, json } from './builtin/packs.ts';
import { SAMPLES, sampleFolder } from './builtin/samples.ts';
import { type Files, sampleApp } from './harness.ts';

const packs = createPacks();

const GO_MOD = 'module example.org/m\n';
const GO_MAIN = 'package main\nfunc main() {}\n';

describe('sample apps', () => {
  beforeAll(() => {
    for (const { publish } of SAMPLES) publish?.(packs.registry);
  });

  it.each(SAMPLES)('$pack stages and serves $app', async (sample) => {
    const folder = await sampleFolder(sample, join(packs.harness.dir, `sample-${SAMPLES.indexOf(sample)}`));
    // As pushes of one app: what its first has downloaded and made is there for the next.
    const staged = await packs.stage(folder, { app: { id: asAppId(`samples-${sample.pack}`), name: sample.pack } });
    expect(staged.droplet.buildpack).toBe(sample.pack);
    expect(await packs.get((await packs.start(staged)).url)).toMatch(sample.says);
  });

  it('are two or more for each buildpack', () => {
    const count = (pack: string): number => SAMPLES.filter((sample) => sample.pack === pack).length;
    expect(DETECT_ORDER.filter((pack) => count(pack) < 2)).toEqual([]);
  });

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
