// Staging as a whole, on a real sandbox: what a build sees, caches, limits, and what happens when something goes
// wrong. The rules of the buildpack APIs are tables of their own (buildpacks.test.ts).

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { asAppId } from '../../crdt/ids.ts';
import { createHarness, failureOf, type Harness, request, sampleApp, tarOf } from './harness.ts';

const MIB = 1024 * 1024;

let harness: Harness;
beforeAll(async () => {
  harness = await createHarness();
});
afterAll(async () => {
  await harness.close();
});

/** A folder with one file, which no built-in buildpack recognises. */
const app = (files: Record<string, string> = {}): string => harness.folder({ 'readme.txt': 'hello', ...files });
const web = (command: string): string => `echo 'default_process_types: { web: "${command}" }'`;

describe('compile', () => {
  const staged = async (scripts: Parameters<Harness['pack']>[0]) => {
    const asked = request(app(), { buildpacks: [harness.pack({ release: web('x'), ...scripts })] });
    const droplet = await (await harness.stager()).stage(asked);
    return { ...asked, droplet, content: await harness.unpack(droplet.digest) };
  };

  it('builds in the app folder, and what it makes is in the droplet', async () => {
    const { content, droplet } = await staged({
      compile: 'echo built >"$1/made"; mkdir "$1/sub"; echo x >"$1/sub/y"; chmod +x "$1/made"',
    });
    expect(content.files()).toEqual(['app/made', 'app/readme.txt', 'app/sub/y', 'staging_info.json']);
    expect(JSON.parse(content.read('staging_info.json'))).toEqual({
      buildpack: droplet.buildpack,
      processes: { web: 'x' },
    });
    for (const folder of ['app', 'logs', 'tmp', 'profile.d']) expect(existsSync(join(content.path, folder))).toBe(true);
  });

  it('of the sample buildpack that fails, fails', async () => {
    const asked = request(sampleApp('compile-fails'), { buildpacks: [sampleApp('buildpacks/compile-fails')] });
    expect((await failureOf((await harness.stager()).stage(asked))).code).toBe('compile_failed');
  });

  it('is told the stack, and has a home, a language and a path', async () => {
    const { content, droplet } = await staged({
      compile: 'env >"$1/env"; touch "$HOME/x" "$TMPDIR/y" && id -u >"$1/uid"',
    });
    const env = content.read('app/env');
    for (const line of [`STACK=${droplet.stack}`, `CF_STACK=${droplet.stack}`, 'LANG=C.UTF-8'])
      expect(env.split('\n')).toContain(line);
    expect(env).toMatch(/^PATH=\/opt\/peer\/node\/bin:/m);
    expect(content.read('app/uid').trim()).not.toBe('0');
  });

  it('cannot see the node: no data directory, no other user, no cluster secrets', async () => {
    const { content } = await staged({
      compile: `ls ${harness.dataDir} >"$1/seen" 2>&1; ls /root /home >>"$1/seen" 2>&1; cat /etc/shadow >>"$1/seen" 2>&1; true`,
    });
    expect(content.read('app/seen')).not.toMatch(/^(blobs|staging|staging-cache)$|root:/m);
  });

  it('prints live', async () => {
    const stager = await harness.stager();
    const gate = join(harness.dir, 'never-there');
    const seen: string[] = [];
    const stop = new AbortController();
    const pack = harness.pack({ compile: `echo first; while [ ! -e ${gate} ]; do sleep 0.05; done` });
    const staging = stager.stage(
      request(app(), { buildpacks: [pack], signal: stop.signal, onLine: (text) => void seen.push(text) }),
    );
    staging.catch(() => {});
    await expect.poll(() => seen, { timeout: 20_000 }).toContain('first');
    stop.abort();
    expect((await failureOf(staging)).code).toBe('aborted');
  });

  it('keeps file names in UTF-8, executable bits and links', async () => {
    const folder = app({ 'caf\u00e9/\u65e5\u672c\u8a9e.txt': 'ja', 'run*': '#!/bin/sh\n' });
    symlinkSync('run', join(folder, 'link'));
    const pack = harness.pack({
      compile: 'cat "$1/caf\u00e9/\u65e5\u672c\u8a9e.txt"; [ -x "$1/run" ] && [ -L "$1/link" ]',
      release: web('x'),
    });
    const droplet = await (await harness.stager()).stage(request(folder, { buildpacks: [pack] }));
    const content = await harness.unpack(droplet.digest);
    expect(content.read('app/caf\u00e9/\u65e5\u672c\u8a9e.txt')).toBe('ja');
    expect(
      execFileSync('stat', ['-c', '%A', join(content.path, 'app/run'), join(content.path, 'app/link')], {
        encoding: 'utf8',
      }),
    ).toBe('-rwxr-xr-x\nlrwxrwxrwx\n');
  });
});

describe('several buildpacks', () => {
  it.each([[['/no/such/folder']], [Array.from({ length: 9 }, () => 'nodejs')]])(
    'that are unknown or too many are refused: %j',
    async (buildpacks) => {
      expect((await failureOf((await harness.stager()).stage(request(app(), { buildpacks })))).code).toBe(
        'buildpack_unknown',
      );
    },
  );

  it('never come from the folders of the node', async () => {
    const folder = join(harness.dataDir, 'secret');
    mkdirSync(join(folder, 'bin'), { recursive: true });
    execFileSync('touch', [join(folder, 'bin/compile')]);
    expect((await failureOf((await harness.stager()).stage(request(app(), { buildpacks: [folder] })))).code).toBe(
      'buildpack_unknown',
    );
  });
});

describe('cache', () => {
  const counting = () =>
    harness.pack({
      compile: 'n=$(cat "$2/n" 2>/dev/null || echo 0); echo $((n + 1)) | tee "$2/n" >"$1/n"',
      release: web('x'),
    });
  const id = (name: string) => asAppId(name);

  it('of the first staging is seen by the second, of the same app and buildpack only', async () => {
    const stager = await harness.stager();
    const [pack, other] = [counting(), counting()];
    const staging = async (name: string, buildpack: string): Promise<string> => {
      const droplet = await stager.stage(request(app(), { app: { id: id(name), name }, buildpacks: [buildpack] }));
      return (await harness.unpack(droplet.digest)).read('app/n').trim();
    };
    expect(await staging('a', pack)).toBe('1');
    expect(await staging('a', pack)).toBe('2');
    expect(await staging('b', pack)).toBe('1');
    expect(await staging('a', other)).toBe('1');
    await stager.removeCache(id('a'));
    expect(await staging('a', pack)).toBe('1');
  });

  it('that grows over its bound is dropped, and said so', async () => {
    const stager = await harness.stager({ limits: { appBytesMax: MIB } });
    const pack = harness.pack({ compile: 'ls "$2"; head -c 2000000 /dev/urandom >"$2/big"', release: web('x') });
    const [first, second] = [1, 2].map(() =>
      request(app(), { app: { id: id('big'), name: 'big' }, buildpacks: [pack] }),
    );
    await stager.stage(first!);
    await stager.tidied();
    expect(first!.lines.at(-1)).toMatch(/cache grew too large/);
    await stager.stage(second!);
    expect(second!.lines).not.toContain('big');
  });

  it('is kept for the apps staged last', async () => {
    const stager = await harness.stager({ limits: { appsMax: 2 } });
    const pack = counting();
    for (const name of ['first', 'second', 'third']) {
      await stager.stage(request(app(), { app: { id: id(name), name }, buildpacks: [pack] }));
    }
    await stager.tidied();
    expect(readdirSync(join(harness.dataDir, 'staging-cache')).sort()).toEqual(['second', 'third']);
  });
});

describe('limits', () => {
  it('end an endless compile, with all it started', async () => {
    // Long enough to begin on a busy machine.
    const stager = await harness.stager({ limits: { timeLimitMs: 3_000 } });
    const marker = `sleep-${process.pid}-${Date.now()}`;
    const pack = harness.pack({
      compile: `echo going; (exec -a ${marker} sleep 1000) & setsid bash -c 'exec -a ${marker} sleep 1000' & while :; do sleep 1; done`,
    });
    const failure = await failureOf(stager.stage(request(app(), { buildpacks: [pack] })));
    expect(failure).toMatchObject({ code: 'time_limit', message: expect.stringContaining('going') });
    expect(running(marker)).toBe(0);
    expect(await harness.leftovers()).toEqual([]);
  });

  it('end a compile that is stopped', async () => {
    const stop = new AbortController();
    const marker = `sleep-${process.pid}-${Date.now()}`;
    const pack = harness.pack({ compile: `exec -a ${marker} sleep 1000` });
    const staging = (await harness.stager()).stage(request(app(), { buildpacks: [pack], signal: stop.signal }));
    staging.catch(() => {});
    await expect.poll(() => running(marker), { timeout: 20_000 }).toBeGreaterThan(0);
    stop.abort();
    expect((await failureOf(staging)).code).toBe('aborted');
    expect(running(marker)).toBe(0);
    expect(await harness.leftovers()).toEqual([]);
  });

  it('cut endless output, say so, and keep memory flat', async () => {
    const stager = await harness.stager({ limits: { outputBytesMax: 5 * MIB } });
    const pack = harness.pack({
      compile: 'yes "a line of output that is printed again and again" | head -c 20000000; head -c 20000000 /dev/zero',
      release: web('x'),
    });
    let lines = 0;
    let longest = 0;
    let last = '';
    await stager.stage(
      request(app(), {
        buildpacks: [pack],
        onLine: (text) => {
          lines++;
          longest = Math.max(longest, text.length);
          last = text;
        },
      }),
    );
    expect(last).toMatch(/printed more than 5 MiB/);
    expect(lines).toBeLessThan(120_000);
    expect(longest).toBeLessThanOrEqual(16 * 1024 + 1);
  });

  it('end a build that takes too much memory', async () => {
    const stager = await harness.stager({ limits: { memoryBytes: 64 * MIB } });
    const pack = harness.pack({ compile: `exec /usr/bin/perl -e '$x = "a" x 300000000; sleep 60'` });
    expect((await failureOf(stager.stage(request(app(), { buildpacks: [pack] })))).code).toBe('out_of_memory');
  });

  it('refuse a droplet that is too large', async () => {
    const stager = await harness.stager({ limits: { dropletBytesMax: MIB } });
    const pack = harness.pack({ compile: 'head -c 3000000 /dev/urandom >"$1/big"', release: web('x') });
    const failure = await failureOf(stager.stage(request(app(), { buildpacks: [pack] })));
    expect(failure).toMatchObject({ code: 'too_large', message: expect.stringContaining('droplet') });
    expect(await harness.leftovers()).toEqual([]);
  });

  it('end a staging when the disk runs low', async () => {
    const stager = await harness.stager({ limits: { diskFreeBytesMin: Number.MAX_SAFE_INTEGER } });
    expect((await failureOf(stager.stage(request(app(), { buildpacks: ['procfile'] })))).code).toBe('disk_full');
  });

  it('refuse an upload that is bad, before anything runs', async () => {
    const stager = await harness.stager();
    expect((await failureOf(stager.stage(request(Buffer.from('no archive'))))).code).toBe('bad_archive');
    expect((await failureOf(stager.stage(request(tarOf(harness.folder({})))))).code).toBe('empty_folder');
    expect(await harness.leftovers()).toEqual([]);
  });

  it('let a few run at a time and refuse what is too many', async () => {
    const stager = await harness.stager({ limits: { runningMax: 1, waitingMax: 1 } });
    const stop = new AbortController();
    const pack = harness.pack({ compile: 'sleep 1000' });
    const [first, second] = [1, 2].map(() => request(app(), { buildpacks: [pack], signal: stop.signal }));
    const stagings = [first!, second!].map((asked) => stager.stage(asked));
    for (const staging of stagings) staging.catch(() => {});
    await expect
      .poll(() => [...first!.lines, ...second!.lines], { timeout: 20_000 })
      .toContain('-----> Waiting for other stagings on this node');
    expect((await failureOf(stager.stage(request(app(), { buildpacks: [pack] })))).code).toBe('busy');
    stop.abort();
    for (const staging of stagings) expect((await failureOf(staging)).code).toBe('aborted');
  });

  it('clear what an earlier daemon left, and stop all at close', async () => {
    mkdirSync(join(harness.dataDir, 'staging', 'old', 'x'), { recursive: true });
    const stager = await harness.stager();
    expect(await harness.leftovers()).toEqual([]);
    const asked = request(app(), { buildpacks: [harness.pack({ compile: 'echo started; sleep 1000' })] });
    const staging = stager.stage(asked);
    staging.catch(() => {});
    await expect.poll(() => asked.lines, { timeout: 20_000 }).toContain('started');
    await stager.close();
    expect((await failureOf(staging)).code).toBe('aborted');
    expect(await harness.leftovers()).toEqual([]);
  });
});

describe('droplet', () => {
  it('is the same for the same input, whoever stages it and when', async () => {
    const stager = await harness.stager();
    const pack = harness.pack({
      compile: 'for i in $(seq 50); do echo $i >"$1/file-$i"; done; ln "$1/file-1" "$1/hard"',
      release: web('x'),
    });
    const folder = app({ 'b/c': 'x', 'a/d': 'y' });
    const first = await stager.stage(request(folder, { buildpacks: [pack] }));
    execFileSync('find', [folder, '-exec', 'touch', '-d', '2001-01-01', '{}', '+']);
    expect(await stager.stage(request(folder, { buildpacks: [pack] }))).toEqual(first);
  });
});

/** Processes of this name on the machine, those in sandboxes included. */
const running = (name: string): number =>
  readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'latin1').startsWith(name);
      } catch {
        return false;
      }
    }).length;
