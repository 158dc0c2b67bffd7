// What a buildpack lends from its cache to the app instead of copying it: the droplet is the same as if it had been
// built anew, the cache is as it was, and whatever goes wrong costs time and nothing else.

import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type AppId, asAppId, asDigest } from '../../crdt/ids.ts';
import { createLentFolders, parseLent } from '../../node/staging/lent-folders.ts';
import type { LocalStager } from '../../node/staging/stager.ts';
import { createHarness, type Files, failureOf, type Harness, request } from './harness.ts';

/**
 * Makes a folder of packages (many, long names, a link, an empty folder, a program, another one right after it by
 * name), or takes the one in its cache.
 */
const COMPILE = `
if [ -d "$2/pkgs" ]; then
  echo from the cache
  if [ -n "\${PEER_LENT-}" ]; then mv -T "$PEER_LEND_FROM/pkgs" "$PEER_LEND_TO/pkgs"; else cp -a "$2/pkgs" "$1/pkgs"; fi
else
  echo made
  long=$(printf 'l%.0s' {1..90})
  mkdir -p "$1/pkgs/$long/$long" "$1/pkgs/empty" && echo deep >"$1/pkgs/$long/$long/$long"
  for n in {1..40}; do seq $((n * 1000)) $((n * 1500)) >"$1/pkgs/file-$n"; done
  ln -s file-1 "$1/pkgs/link"
  printf '#!/bin/sh\\n' >"$1/pkgs/run" && chmod 755 "$1/pkgs/run"
  [ -n "\${PEER_LENT-}" ] || cp -a "$1/pkgs" "$2/pkgs"
fi
if [ -n "\${PEER_LENT-}" ]; then echo lends; echo pkgs >"$PEER_LENT"; fi
`;
const RELEASE = "echo 'default_process_types: { web: run }'";

describe('a folder that the cache lends to the app', () => {
  let harness: Harness;
  let stager: LocalStager;
  let lender: string;
  beforeAll(async () => {
    harness = await createHarness();
    stager = await harness.stager();
    lender = harness.pack({ compile: COMPILE, release: RELEASE });
  });
  afterAll(() => harness.close());

  const app = (version: string): Files => ({ 'a.txt': version, 'pkgs-and-more.txt': 'x', 'z.txt': version });
  const stage = async (id: string, files: Files, options: { buildpacks?: string[]; signal?: AbortSignal } = {}) => {
    const asked = request(harness.folder(files), {
      app: { id: asAppId(id), name: id },
      buildpacks: [lender],
      ...options,
    });
    const droplet = await stager.stage(asked);
    return { ...droplet, said: asked.lines.join(' ') };
  };
  const cached = (id: string): string[] => {
    const caches = join(harness.dataDir, 'staging-cache', id);
    return readdirSync(caches).flatMap((pack) => readdirSync(join(caches, pack)).sort());
  };

  it('is in a droplet that is the same, byte for byte, as one that is built and packed anew', async () => {
    const first = await stage('one', app('v1'));
    const second = await stage('one', app('v2'));
    const third = await stage('one', app('v3 is longer'));
    expect([first.said, second.said, third.said]).toEqual([
      expect.stringContaining('made lends'),
      expect.stringContaining('from the cache lends'),
      expect.stringContaining('from the cache lends'),
    ]);
    const anew = [await stage('two', app('v2')), await stage('three', app('v3 is longer'))];
    expect([second, third].map(({ digest, sizeBytes }) => ({ digest, sizeBytes }))).toEqual(
      anew.map(({ digest, sizeBytes }) => ({ digest, sizeBytes })),
    );
    const content = await harness.unpack(third.digest);
    expect(content.read('app/a.txt')).toBe('v3 is longer');
    expect(content.read('app/pkgs/link')).toBe(content.read('app/pkgs/file-1'));
    expect(existsSync(join(content.path, 'app/pkgs/empty'))).toBe(true);
  });

  it('is in the cache again when the droplet is packed', async () => {
    await stage('back', app('v1'));
    expect(cached('back')).toEqual(['pkgs', 'pkgs.mark']);
    await stage('back', app('v2'));
    expect(cached('back')).toEqual(['pkgs', 'pkgs.mark']);
  });

  it('is packed anew by a daemon that has not packed it before', async () => {
    const first = await stage('restart', app('v1'));
    stager = await harness.stager();
    expect(await stage('restart', app('v1'))).toMatchObject({
      digest: first.digest,
      said: expect.stringMatching(/cache/),
    });
  });

  it('is packed anew when the droplet that it was in has gone', async () => {
    const first = await stage('gone', app('v1'));
    await harness.blobs.remove(first.digest);
    const { digest } = await stage('gone', app('v2'));
    expect((await harness.unpack(digest)).read('app/pkgs/file-2')).toMatch(/^2000\n/);
  });

  it('is never lent when a later buildpack may change it: the cache stays as it was', async () => {
    const vandal = harness.pack({
      compile: 'echo changed >"$1/pkgs/file-1"; rm -rf "$1/pkgs/file-2"; chmod 700 "$1/pkgs/run"',
      release: RELEASE,
    });
    const clean = await stage('poison', app('v1'));
    const changed = await stage('poison', app('v1'), { buildpacks: [lender, vandal] });
    expect(changed.said).toContain('from the cache');
    expect(changed.said).not.toContain('lends');
    expect((await harness.unpack(changed.digest)).read('app/pkgs/file-1')).toBe('changed\n');
    expect(await stage('poison', app('v1'))).toMatchObject({
      digest: clean.digest,
      said: expect.stringMatching(/lends/),
    });
  });

  it('is lost with a staging that is ended while it is lent, and made again by the next', async () => {
    const own = harness.pack({
      compile: `${COMPILE}\nif [ -e "$1/wait" ]; then echo stuck; exec sleep 1000; fi`,
      release: RELEASE,
    });
    const first = await stage('killed', app('v1'), { buildpacks: [own] });
    const stop = new AbortController();
    const asked = request(harness.folder({ ...app('v1'), wait: '' }), {
      app: { id: asAppId('killed'), name: 'killed' },
      buildpacks: [own],
      signal: stop.signal,
    });
    const staging = stager.stage(asked);
    staging.catch(() => {});
    await expect.poll(() => asked.lines, { timeout: 20_000 }).toContain('stuck');
    stop.abort();
    expect((await failureOf(staging)).code).toBe('aborted');
    expect(await harness.leftovers()).toEqual([]);
    const next = await stage('killed', app('v1'), { buildpacks: [own] });
    expect(next).toMatchObject({ digest: first.digest, said: expect.stringContaining('made') });
  });

  it('that a build makes up is no way to the content of others', async () => {
    const secret = await stage('victim', app('secret'));
    const liar = (lent: string, mark: string): string =>
      harness.pack({
        compile: `mkdir -p "$1/pkgs" && echo mine >"$1/pkgs/own"; printf '%s\\n' '${lent}' >"$PEER_LENT"; printf '%s\\n' '${mark}' >"$2/pkgs.mark"`,
        release: RELEASE,
      });
    for (const [lent, mark] of [
      ['pkgs', secret.digest],
      ['pkgs', 'f'.repeat(32)],
      ['../../../etc', 'f'.repeat(32)],
      ['', ''],
    ] as const) {
      const { digest } = await stage('liar', app('x'), { buildpacks: [liar(lent, mark)] });
      const content = await harness.unpack(digest);
      expect(content.files().filter((name) => name.startsWith('app/'))).toEqual([
        'app/a.txt',
        'app/pkgs-and-more.txt',
        'app/pkgs/own',
        'app/z.txt',
      ]);
    }
  });
});

describe('lent folders', () => {
  const range = { digest: asDigest(`sha256:${'0'.repeat(64)}`), from: 1, to: 2 };
  const mark = 'a'.repeat(32);
  const id = (name: string): AppId => asAppId(name);

  it('are known by app, name and mark together, the last of each app', () => {
    const folders = createLentFolders({ appsMax: 2 });
    folders.remember(id('a'), { name: 'n', mark }, range);
    expect(folders.packed(id('a'), { name: 'n', mark })).toEqual(range);
    for (const [app, name, other] of [
      ['b', 'n', mark],
      ['a', 'm', mark],
      ['a', 'n', 'b'.repeat(32)],
      ['a', 'n', undefined],
    ] as const) {
      expect(folders.packed(id(app), { name, mark: other })).toBeUndefined();
    }
    folders.remember(id('b'), { name: 'n', mark }, range);
    folders.remember(id('c'), { name: 'n', mark }, range);
    expect(folders.packed(id('a'), { name: 'n', mark })).toBeUndefined();
    folders.forget(id('c'));
    expect(folders.packed(id('c'), { name: 'n', mark })).toBeUndefined();
  });

  it.each([
    ['node_modules\n', { name: 'node_modules', mark: undefined }],
    [`node_modules ${mark}\n`, { name: 'node_modules', mark }],
    ['node_modules nonsense\n', { name: 'node_modules', mark: undefined }],
    [undefined, undefined],
    ['', undefined],
    ['../x', undefined],
    ['..', undefined],
    ['a/b', undefined],
    [`${'x'.repeat(101)}`, undefined],
  ])('are told by the runner: %j', (text, lent) => {
    expect(parseLent(text)).toEqual(lent);
  });
});
