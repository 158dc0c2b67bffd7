// What runs once an app with a package.json is built: its own start script or main, or what a framework's build left.

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { json } from './packs.ts';

const OUTCOME = join(import.meta.dirname, '../../../buildpacks/outcome.cjs');
const folders: string[] = [];
afterEach(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true });
});

type Manifest = { start?: string; main?: string; uses?: string[]; scripts?: Record<string, string> };

/** Which web process it gets, and what the pack is told, without what is empty. */
async function outcome({ start, main, uses = [], scripts = {} }: Manifest, files: readonly string[]) {
  const folder = await mkdtemp(join(tmpdir(), 'peer-outcome-'));
  folders.push(folder);
  const manifest = {
    scripts: { ...scripts, ...(start === undefined ? {} : { start }) },
    ...(main === undefined ? {} : { main }),
    devDependencies: Object.fromEntries(uses.map((name) => [name, '*'])),
  };
  for (const file of ['package.json', ...files]) {
    await mkdir(dirname(join(folder, file)), { recursive: true });
    const content = file === 'Procfile' ? 'web: mine\n' : '';
    await writeFile(join(folder, file), file === 'package.json' ? json(manifest) : content);
  }
  const printed = execFileSync(process.execPath, [OUTCOME, folder], { encoding: 'utf8' });
  const told = Object.fromEntries(
    printed
      .trim()
      .split('\n')
      .map((line) => line.split(/=(.*)/s).slice(0, 2))
      .map(([name, value]) => [name, value!.slice(1, -1)])
      .filter(([, value]) => value !== ''),
  );
  const release = JSON.parse(readFileSync(join(folder, '.peer/release.yml'), 'utf8'));
  return { web: release.default_process_types?.web, ...told };
}

const SERVED = 'node .peer/static/server.mjs';

describe('what runs of an app that is built', () => {
  it.each<[what: string, Manifest, files: string[], Record<string, unknown>]>([
    ['its start script', { start: 'node x.js' }, ['dist/index.html'], { web: 'node x.js' }],
    ['with what comes before it', { start: 'a', scripts: { prestart: 'b' } }, [], { web: '(b) && a' }],
    ['server.js', {}, ['server.js', 'index.js'], { web: 'node server.js' }],
    ['its main', { main: 'lib/app' }, ['lib/app.js'], { web: 'node lib/app' }],
    ['a main that the build made', { main: 'dist/app.js' }, ['dist/app.js'], { web: 'node dist/app.js' }],
    ['nothing, where there is nothing', { main: 'dist/app.js' }, [], { web: undefined }],
    ['nothing of a server for development', { start: 'react-scripts start' }, [], { web: undefined }],
  ])('is %s', async (_, manifest, files, expected) => {
    const { start, ...found } = await outcome(manifest, files);
    expect(found).toEqual(expected);
    expect(start).toBe(expected.web);
  });

  const page = (folder: string): Record<string, unknown> => ({
    web: SERVED,
    site: folder,
    site_fallback: 'index.html',
    is_site: 'yes',
    is_whole: 'yes',
  });
  it.each<[what: string, Manifest, files: string[], Record<string, unknown>]>([
    ['Vite', { uses: ['vite'] }, ['index.html', 'dist/index.html', 'dist/assets/a.js'], page('dist')],
    ['Create React App', { start: 'react-scripts start' }, ['public/index.html', 'build/index.html'], page('build')],
    ['Vue CLI', { scripts: { serve: 'vue-cli-service serve' } }, ['dist/index.html'], page('dist')],
    ['Angular', { start: 'ng serve', uses: ['@angular/core'] }, ['dist/a/browser/index.html'], page('dist/a/browser')],
    [
      'Docusaurus, which has many pages',
      { start: 'docusaurus start' },
      ['build/index.html', 'build/docs/a/index.html', 'build/404.html'],
      { ...page('build'), site_fallback: undefined },
    ],
    [
      'Nuxt, generated',
      { uses: ['nuxt'] },
      ['.output/public/index.html', '.output/public/200.html', '.output/public/404.html'],
      { ...page('.output/public'), site_fallback: '200.html' },
    ],
    ['Next, exported', { start: 'next start', uses: ['next'] }, ['.next/BUILD_ID', 'out/index.html'], page('out')],
    [
      'VitePress',
      { uses: ['vitepress'] },
      ['docs/.vitepress/dist/index.html'],
      { ...page('docs/.vitepress/dist'), site_fallback: undefined },
    ],
  ])('are the files that %s made', async (_, manifest, files, expected) => {
    const found = await outcome(manifest, files);
    expect(found).toEqual(Object.fromEntries(Object.entries(expected).filter(([, value]) => value !== undefined)));
  });

  it.each<[what: string, Manifest, files: string[], web: string, rest: Record<string, unknown>]>([
    ['Nuxt', { uses: ['nuxt'] }, ['.output/server/index.mjs'], 'node .output/server/index.mjs', { is_whole: 'yes' }],
    ['SvelteKit', { uses: ['@sveltejs/kit'] }, ['build/index.js'], 'node build', {}],
    ['Astro', { start: 'astro dev', uses: ['astro'] }, ['dist/server/entry.mjs'], 'node dist/server/entry.mjs', {}],
    ['Nest', { start: 'nest start', uses: ['@nestjs/core'] }, ['dist/main.js'], 'node dist/main', {}],
    ['Next', { start: 'next start', uses: ['next'] }, ['.next/BUILD_ID'], 'next start', {}],
    [
      'Angular',
      { uses: ['@angular/core'] },
      ['dist/a/server/server.mjs', 'dist/a/browser/index.html'],
      'node dist/a/server/server.mjs',
      {},
    ],
    [
      'Next, alone',
      { uses: ['next'] },
      ['.next/BUILD_ID', '.next/standalone/server.js'],
      'HOSTNAME=$HOST node .next/standalone/server.js',
      { is_whole: 'yes', is_next: 'yes' },
    ],
  ])('is the server that %s made', async (_, manifest, files, web, rest) => {
    const { start, ...found } = await outcome(manifest, files);
    expect(found).toEqual({ web, ...rest });
  });

  it('is what a Procfile says, and nothing is looked for then', async () => {
    const found = await outcome({ uses: ['vite'] }, ['Procfile', 'dist/index.html']);
    expect(found).toEqual({});
    expect(await outcome({ start: 'npm run x' }, ['Procfile'])).toMatchObject({ manager_called: 'npm' });
  });

  it('is what a Staticfile says to serve', async () => {
    const found = await outcome({ uses: ['vite'] }, ['Staticfile', 'index.html', 'public/index.html']);
    expect(found).toMatchObject({ web: SERVED, is_site: 'yes' });
  });

  it('is an adapter to be chosen where SvelteKit made nothing', async () => {
    expect(await outcome({ uses: ['@sveltejs/kit'] }, ['.svelte-kit/output/x'])).toMatchObject({
      wants_adapter: 'yes',
    });
  });
});
