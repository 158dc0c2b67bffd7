// The small parts of staging: lines, turns, buildpack names, the stack's name, the build's environment.

import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { cacheKey, parseBuildpackSpec, resolveFolder } from '../../node/staging/buildpack.ts';
import { buildEnvironment } from '../../node/staging/environment.ts';
import { createLineSplitter, LINE_BYTES_MAX } from '../../node/staging/lines.ts';
import { stackName } from '../../node/staging/stack.ts';
import { createStopwatch } from '../../node/staging/stopwatch.ts';
import { createTurns } from '../../node/staging/turns.ts';

describe('lines', () => {
  const split = (...chunks: (string | Buffer)[]): string[] => {
    const lines: string[] = [];
    const splitter = createLineSplitter((text) => lines.push(text));
    for (const chunk of chunks) splitter.push(Buffer.from(chunk as string));
    splitter.end();
    return lines;
  };

  it.each<[string, (string | Buffer)[], string[]]>([
    ['come apart at newlines', ['a\nb\n\nc'], ['a', 'b', '', 'c']],
    ['are put together from chunks', ['a', 'b', '\n', 'c\nd'], ['ab', 'c', 'd']],
    ['lose the carriage return at their end', ['a\r\nb\r\n'], ['a', 'b']],
    ['of a progress bar keep what was seen last', ['10%\r50%\r100%\r\n'], ['100%']],
    [
      'keep characters that chunks cut',
      [Buffer.from('caf\u00e9\n').subarray(0, 4), Buffer.from('caf\u00e9\n').subarray(4)],
      ['caf\u00e9'],
    ],
  ])('%s', (_name, chunks, lines) => {
    expect(split(...chunks)).toEqual(lines);
  });

  it('are cut when too long, and the next one is whole', () => {
    const [long, next] = split('x'.repeat(3 * LINE_BYTES_MAX), `${'x'.repeat(5)}\nnext\n`);
    expect(long).toBe(`${'x'.repeat(LINE_BYTES_MAX)}…`);
    expect(next).toBe('next');
  });

  it('do not depend on how the output is cut into chunks', () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom('a', '\n', '\r', '\u00e9', '\u{1f600}')),
        fc.array(fc.nat(5)),
        (text, cuts) => {
          const bytes = Buffer.from(text.join(''));
          const chunks: Buffer[] = [];
          let at = 0;
          for (const cut of cuts) {
            chunks.push(bytes.subarray(at, at + cut));
            at += cut;
          }
          chunks.push(bytes.subarray(at));
          expect(split(...chunks)).toEqual(split(bytes));
        },
      ),
    );
  });
});

describe('turns', () => {
  const never = new AbortController().signal;
  const taken = (turns: ReturnType<typeof createTurns>, key: string, signal = never) => {
    const state = { key, has: false, waited: false, end: () => {}, failed: undefined as unknown };
    turns.take(key, { signal, onWait: () => (state.waited = true) }).then(
      (end) => Object.assign(state, { has: true, end }),
      (error) => Object.assign(state, { failed: error }),
    );
    return state;
  };
  const settled = () => new Promise((resolve) => setImmediate(resolve));

  it('go to a few at a time, in order', async () => {
    const turns = createTurns({ runningMax: 2, waitingMax: 8 });
    const [a, b, c, d] = ['a', 'b', 'c', 'd'].map((key) => taken(turns, key));
    await settled();
    expect([a, b, c, d].map((turn) => turn!.has)).toEqual([true, true, false, false]);
    expect([a, b, c, d].map((turn) => turn!.waited)).toEqual([false, false, true, true]);
    b!.end();
    await settled();
    expect([c!.has, d!.has]).toEqual([true, false]);
  });

  it('never go to one app twice at a time, and others pass', async () => {
    const turns = createTurns({ runningMax: 2, waitingMax: 8 });
    const first = taken(turns, 'a');
    const again = taken(turns, 'a');
    const other = taken(turns, 'b');
    await settled();
    expect([first.has, again.has, other.has]).toEqual([true, false, true]);
    first.end();
    await settled();
    expect(again.has).toBe(true);
  });

  it('are given up by an abort while waiting', async () => {
    const turns = createTurns({ runningMax: 1, waitingMax: 8 });
    const first = taken(turns, 'a');
    const stop = new AbortController();
    const waiting = taken(turns, 'b', stop.signal);
    const last = taken(turns, 'c');
    stop.abort();
    await settled();
    expect(waiting.failed).toMatchObject({ code: 'aborted' });
    first.end();
    await settled();
    expect([waiting.has, last.has]).toEqual([false, true]);
  });

  it('are refused when too many are inside', () => {
    const turns = createTurns({ runningMax: 1, waitingMax: 1 });
    const first = turns.enter();
    turns.enter();
    expect(() => turns.enter()).toThrow(expect.objectContaining({ code: 'busy' }));
    first.leave();
    turns.enter();
  });
});

describe('buildpack names', () => {
  const builtins = ['nodejs', 'static'];
  it.each<[string, object]>([
    ['nodejs', { kind: 'builtin', name: 'nodejs' }],
    ['/srv/packs/mine', { kind: 'folder', path: '/srv/packs/mine' }],
    ['https://example.org/pack.git', { kind: 'git', url: 'https://example.org/pack.git', ref: undefined }],
    ['https://example.org/pack#v1.2/x', { kind: 'git', url: 'https://example.org/pack', ref: 'v1.2/x' }],
    ['git://example.org/pack#0123abc', { kind: 'git', ref: '0123abc' }],
    [
      'https://user:secret@example.org/pack',
      {
        kind: 'git',
        name: 'https://example.org/pack',
        url: 'https://example.org/pack',
        credentials: { username: 'user', password: 'secret' },
      },
    ],
    [
      'https://token@example.org/pack@2.git#v1',
      {
        kind: 'git',
        name: 'https://example.org/pack@2.git#v1',
        url: 'https://example.org/pack@2.git',
        credentials: { username: 'token', password: '' },
      },
    ],
    [
      'https://a%40b:s%3Ae@c@example.org/pack.tgz?signature=abc',
      {
        kind: 'archive',
        name: 'https://example.org/pack.tgz',
        url: 'https://example.org/pack.tgz?signature=abc',
        credentials: { username: 'a@b', password: 's:e@c' },
      },
    ],
  ])('%s is understood', (text, spec) => {
    expect(parseBuildpackSpec(text, builtins)).toMatchObject(spec);
  });

  it.each([
    '',
    'ruby',
    '../x',
    'file:///srv/pack',
    'ext::sh -c x',
    '-u https://x',
    'https://',
    'https://x y',
    'https://x/y#',
    'https://x/y#--upload-pack=x',
    'https://x/y#a..b',
    'https://x/y#a b',
    'ssh://x/y',
    'a\nb',
  ])('%j is refused', (text) => {
    expect(() => parseBuildpackSpec(text, builtins)).toThrow(expect.objectContaining({ code: 'buildpack_unknown' }));
  });

  it.each([
    'https://user:hunter2@example.org/pack.zip',
    'https://user:hunter2@example.org/pack#a..b',
    'https://user:hunt/er2@example.org/pack',
    'https://user:hunter2%0Ahost=evil@example.org/pack',
    'https://user:hunter2%@example.org/pack',
    'ssh://user:hunter2@example.org/pack',
    'https://example.org/pack.zip?signature=hunter2',
    'https://user:x@hunter2@example.org/pack.zip',
  ])('%j is refused without a word of its secrets', (text) => {
    expect(() => parseBuildpackSpec(text, builtins)).toThrow(
      expect.objectContaining({ code: 'buildpack_unknown', message: expect.not.stringMatching(/hunt|er2|evil|%0A/) }),
    );
  });

  it('never show a password, and give different sources different caches', () => {
    const specs = ['nodejs', '/a', '/b', 'https://x/a', 'https://x/a#b'].map((text) =>
      parseBuildpackSpec(text, builtins),
    );
    expect(new Set(specs.map(cacheKey)).size).toBe(5);
    for (const spec of specs) expect(cacheKey(spec)).toMatch(/^[a-z0-9-]+$/);
    expect(() => parseBuildpackSpec('https://user:secret@x/#..', builtins)).toThrow(/^((?!secret).)*$/);
  });

  describe('that are folders', () => {
    let dir: string;
    beforeEach(() => {
      dir = mkdtempSync(join(tmpdir(), 'peer-packs-'));
      for (const name of ['pack/bin', 'none', 'data/pack/bin']) mkdirSync(join(dir, name), { recursive: true });
      for (const name of ['pack', 'data/pack']) writeFileSync(join(dir, name, 'bin/compile'), '');
      symlinkSync(join(dir, 'data/pack'), join(dir, 'link'));
    });
    afterEach(() => rmSync(dir, { recursive: true, force: true }));

    it('must hold a buildpack, and never be one of the node itself', async () => {
      const forbidden = [join(dir, 'data')];
      expect(await resolveFolder({ path: join(dir, 'pack') }, forbidden)).toBe(join(dir, 'pack'));
      for (const name of ['none', 'missing', 'data/pack', 'data', 'link', '.']) {
        await expect(resolveFolder({ path: join(dir, name) }, forbidden)).rejects.toMatchObject({
          code: 'buildpack_unknown',
        });
      }
      await expect(resolveFolder({ path: '/' }, forbidden)).rejects.toMatchObject({ code: 'buildpack_unknown' });
    });
  });
});

describe('stack', () => {
  it.each([
    ['ID=debian\nVERSION_ID="12"\n', 'x64', 'debian12-x64'],
    ['NAME="Ubuntu"\nVERSION_ID="24.04"\nID=ubuntu\nID_LIKE=debian\n', 'arm64', 'ubuntu24.04-arm64'],
    ['ID=arch\n', 'x64', 'arch-x64'],
    ["ID='alpine'\nVERSION_ID=3.20.1", 'x64', 'alpine3.20.1-x64'],
    ['', 'x64', 'linux-x64'],
  ])('of %j on %s is %s', (osRelease, arch, stack) => {
    expect(stackName(osRelease, arch)).toBe(stack);
  });
});

describe('build environment', () => {
  const of = (daemonEnv: Record<string, string>) =>
    buildEnvironment({ daemonEnv, stack: 'debian12-x64', home: '/h', tmp: '/t' });

  it('says the stack, and hands on how to reach the world but nothing else of the daemon', () => {
    const { env } = of({
      https_proxy: 'http://proxy:3128',
      npm_config_registry: 'http://r',
      PEER_TOKEN: 'secret',
      HOME: '/root',
    });
    expect(env).toMatchObject({
      STACK: 'debian12-x64',
      CF_STACK: 'debian12-x64',
      HOME: '/h',
      LANG: 'C.UTF-8',
      https_proxy: 'http://proxy:3128',
      npm_config_registry: 'http://r',
    });
    expect(JSON.stringify(env)).not.toContain('secret');
    expect(env.PATH).toMatch(/^\/opt\/peer\/node\/bin:/);
  });

  it('shows certificates that lie where a build cannot see them', () => {
    const dir = mkdtempSync(join(tmpdir(), 'peer-ca-'));
    try {
      writeFileSync(join(dir, 'ca.pem'), '');
      const { env, binds } = of({
        SSL_CERT_FILE: join(dir, 'ca.pem'),
        NODE_EXTRA_CA_CERTS: '/etc/ssl/certs',
        CURL_CA_BUNDLE: '/missing',
      });
      expect(env.SSL_CERT_FILE).toBe('/opt/peer/ca/SSL_CERT_FILE');
      expect(binds).toContainEqual({ from: join(dir, 'ca.pem'), to: '/opt/peer/ca/SSL_CERT_FILE', writable: false });
      expect(env.NODE_EXTRA_CA_CERTS).toBe('/etc/ssl/certs');
      expect(env.CURL_CA_BUNDLE).toBeUndefined();
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });
});

describe('stopwatch', () => {
  it('gives each part the time since the last one ended, in their order; times of one part add up', () => {
    const times = [100, 110.4, 130, 131, 180];
    const { lap, laps } = createStopwatch(() => times.shift()!);
    for (const part of ['upload', 'build', 'upload', 'pack']) lap(part);
    expect(Object.entries(laps())).toEqual([
      ['uploadMs', 11],
      ['buildMs', 20],
      ['packMs', 49],
    ]);
  });
});
