// What is locked is what runs: packages that were published after a lock file was made are in no droplet, whatever is
// built and pruned on the way.

import { createRequire } from 'node:module';
import { describe, expect, it } from 'vitest';
import { asAppId } from '../../../crdt/ids.ts';
import type { Files } from '../harness.ts';
import { type LockOptions, madeLock } from './made-lock.ts';
import { createPacks, json, type Staged } from './packs.ts';

const packs = createPacks();

type Manager = Omit<LockOptions, 'manifest'> & {
  manager: string;
  /** In the names of its packages, which no other app's versions then change. */
  kind: string;
  extra?: Record<string, unknown>;
};

const MANAGERS: Manager[] = [
  {
    manager: 'npm',
    kind: 'npm',
    lock: 'package-lock.json',
    makeLock: ['install', '--package-lock-only', '--ignore-scripts'],
  },
  {
    manager: 'Yarn 1, though "engines" allows a newer one',
    kind: 'classic',
    lock: 'yarn.lock',
    tool: ['yarn', '1.22.22', 'bin/yarn.js'],
    makeLock: ['install', '--non-interactive', '--ignore-scripts'],
    extra: { engines: { yarn: '>=1.10' } },
  },
  {
    manager: 'Yarn 4',
    kind: 'berry',
    lock: 'yarn.lock',
    tool: ['@yarnpkg/cli-dist', '4.18.1', 'bin/yarn.js'],
    makeLock: ['install', '--mode=update-lockfile'],
    extra: { engines: { yarn: 'please use it' } },
  },
  {
    manager: 'pnpm',
    kind: 'pnpm',
    lock: 'pnpm-lock.yaml',
    tool: ['pnpm', '10.34.1', 'bin/pnpm.cjs'],
    makeLock: ['install', '--lockfile-only'],
    extra: { engines: { pnpm: '>=8' } },
  },
];

/** With scripts of its own that need what is only there for development, as starters have. */
const manifest = (kind: string, extra: Record<string, unknown> = {}): Record<string, unknown> => ({
  name: 'a',
  scripts: { prepare: 'build', build: 'build', start: 'node server.js' },
  dependencies: { [`greeting-${kind}`]: '^1.0.0' },
  devDependencies: { [`builder-${kind}`]: '^1.0.0' },
  ...extra,
});

/** A version of what the app of a kind asks for, which asks for another package itself. */
const publish = (kind: string, version: string): void => {
  const dependencies = { [`words-${kind}`]: '^1.0.0' };
  packs.registry.npm(`words-${kind}`, version, { 'index.js': '' });
  packs.registry.npm(`greeting-${kind}`, version, { 'package.json': json({ dependencies }) });
  packs.registry.npm(`builder-${kind}`, version, {
    'package.json': json({ bin: { build: 'b.js' }, dependencies }),
    'b.js': '#!/usr/bin/env node\nrequire("node:fs").writeFileSync("built.js", "");',
  });
};

/** Each package of a droplet with its version, wherever its manager keeps it. */
const packagesOf = ({ content }: Staged): string[] => {
  const found = content
    .files()
    .filter((file) => /^app\/node_modules\/(.*\/)?(words|greeting|builder)-\w+\/package\.json$/.test(file))
    .map((file) => JSON.parse(content.read(file)) as { name: string; version: string });
  return [...new Set(found.map(({ name, version }) => `${name} ${version}`))].sort();
};

describe.each(MANAGERS)('an app locked by $manager', (manager) => {
  const { kind, lock, extra } = manager;

  it('runs with just the packages of its lock file, built and pruned', async () => {
    publish(kind, '1.2.0');
    const files: Files = { 'package.json': json(manifest(kind, extra)), 'server.js': '' };
    files[lock] = await madeLock(packs, { manifest: manifest(kind, extra), ...manager });
    publish(kind, '1.9.0');
    const staged = await packs.stage(files, { app: { id: asAppId(`locked-${kind}`), name: 'a' } });
    expect(packagesOf(staged)).toEqual([`greeting-${kind} 1.2.0`, `words-${kind} 1.2.0`]);
    expect(staged.content.files()).toContain('app/built.js');
    expect(staged.content.read(`app/${lock}`)).toBe(files[lock]);
  });
});

describe('an app without a lock file', () => {
  it('runs with the packages that it was built with', async () => {
    publish('open', '1.2.0');
    // Not what a developer may have told npm to write by default.
    const files = { 'package.json': json(manifest('open')), 'server.js': '', '.npmrc': 'package-lock=false\n' };
    const staged = await packs.stage(files);
    expect(packagesOf(staged)).toEqual(['greeting-open 1.2.0', 'words-open 1.2.0']);
    expect(staged.content.files()).not.toContain('app/package-lock.json');
  });
});

describe('the version of a manager', () => {
  type Choice = { range: string; program: string };
  const { packageManager } = createRequire(import.meta.url)('../../../buildpacks/nodejs/package-manager.cjs') as {
    packageManager(app: object): Choice;
  };
  const choose = (engines: Record<string, unknown>, file: string, text: string): Choice =>
    packageManager({
      manifest: {},
      engines,
      has: (name: string) => name === file,
      read: () => text,
      fail: (why: string) => {
        throw new Error(why);
      },
    });
  const berry = '__metadata:\n  version: 8\n\n';

  it.each<[string, Record<string, unknown>, string, string, Choice]>([
    ['of a lock file alone', {}, 'yarn.lock', '# yarn lockfile v1\n', { range: '1.x', program: 'yarn' }],
    [
      'within what reads the lock file',
      { yarn: '^1.22 || >=3' },
      'yarn.lock',
      '# yarn lockfile v1\n',
      { range: '>=1.22.0 <2.0.0-0 >=1.0.0 <2.0.0-0', program: 'yarn' },
    ],
    [
      'of the newer Yarn',
      { yarn: '*' },
      'yarn.lock',
      berry,
      { range: expect.stringContaining('<4.14.0') as string, program: '@yarnpkg/cli-dist' },
    ],
    [
      'that is none',
      { pnpm: 'use it' },
      'pnpm-lock.yaml',
      "lockfileVersion: '9.0'\n",
      { range: '>=9', program: 'pnpm' },
    ],
  ])('%s', (_name, engines, file, text, chosen) => {
    expect(choose(engines, file, text)).toMatchObject(chosen);
  });

  it('that cannot read the lock file is refused, with what to do', () => {
    expect(() => choose({ yarn: '1.x' }, 'yarn.lock', berry)).toThrow(
      '"engines" in package.json asks for yarn "1.x", and yarn.lock was written by yarn >=4.0.0 <4.14.0: ' +
        'make it again with the yarn that you ask for, or change "engines"',
    );
  });
});
