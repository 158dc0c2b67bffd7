// Sandbox.run: one command, confined, to its end, with nothing left of it.

import { chmod, mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Sandbox, SandboxResult, SandboxRun } from '../../node/ports/sandbox.ts';
import type { Isolation } from '../../node/runtime/sandbox/confinement.ts';
import { closeIsolation, prepareIsolation } from '../../node/runtime/sandbox/isolation.ts';
import { withoutMounts } from '../../node/runtime/sandbox/run.ts';
import { createSandbox } from '../../node/runtime/sandbox/staging-sandbox.ts';
import { checkNothingLeft, silent, type TestNode, testNode } from './harness.ts';

const MIB = 1024 * 1024;
const fine = { code: 0, signal: null, timedOut: false, outOfMemory: false, aborted: false, truncated: false };

describe.each([
  { groups: 'with control groups', sampled: false },
  { groups: 'by sampling', sampled: true },
])('sandbox run, limits $groups', ({ sampled }) => {
  let node: TestNode;
  let sandbox: Sandbox;
  let isolation: Isolation;
  let output: string;

  beforeEach(async () => {
    node = await testNode();
    isolation = await prepareIsolation({ ...node, log: silent });
    sandbox = createSandbox(sampled ? { ...isolation, groups: undefined } : isolation);
    output = '';
  });
  afterEach(async () => {
    await checkNothingLeft(node);
    await closeIsolation(isolation, { keepInstances: false });
    await node.dispose();
  });

  function run(script: string, changes: Partial<SandboxRun> = {}): Promise<SandboxResult> {
    return sandbox.run({
      name: 'build-1',
      argv: ['bash', '-c', script],
      cwd: '/',
      env: { PATH: '/usr/bin:/bin' },
      binds: [],
      memoryBytes: 256 * MIB,
      pidsMax: 64,
      timeoutMs: 20_000,
      outputBytesMax: MIB,
      onOutput: (chunk, stream) => {
        output += `${stream}:${chunk}`;
      },
      ...changes,
    });
  }

  it('passes arguments, environment, input, output and status on', async () => {
    const result = await run('echo "$1 $GREETING"; cat; echo oops >&2; exit 3', {
      argv: ['bash', '-c', 'echo "$1 $GREETING"; cat; sleep 0.05; echo oops >&2; exit 3', 'sh', 'a  b'],
      env: { PATH: '/usr/bin:/bin', GREETING: 'hi "there"\n$x' },
      stdin: Readable.from([Buffer.from('from '), Buffer.from('outside\n')]),
    });
    expect(result).toEqual({ ...fine, code: 3 });
    expect(output.replaceAll('out:', '')).toBe('a  b hi "there"\n$x\nfrom outside\nerr:oops\n');
  });

  it('shows what is bound, and lets it be written only where that was said', async () => {
    const work = join(node.dataDir, 'work');
    const given = join(node.dataDir, 'given');
    await mkdir(join(work, 'deep'), { recursive: true });
    await mkdir(given);
    await writeFile(join(given, 'file'), 'text');
    await sandbox.giveTo(work);
    await chmod(work, 0o700);
    const result = await run('pwd; cat /given/it/file; echo made >made; ! echo x 2>/dev/null >/given/it/file', {
      cwd: '/home/vcap/work/deep',
      binds: [
        { from: work, to: '/home/vcap/work', writable: true },
        { from: given, to: '/given/it', writable: false },
      ],
    });
    // Both lines may come in one piece.
    expect(output.replaceAll('out:', '')).toBe('/home/vcap/work/deep\ntext');
    expect(result).toEqual(fine);
    expect(await readFile(join(work, 'deep', 'made'), 'utf8')).toBe('made\n');
    expect((await stat(join(work, 'deep', 'made'))).uid).toBe((await stat(work)).uid);
  });

  it('ends a command that takes too long, with its children', async () => {
    const startMs = performance.now();
    const result = await run('setsid sleep 1000 & (trap "" TERM; sleep 1000) & sleep 1000', { timeoutMs: 500 });
    expect(result).toEqual({ ...fine, code: null, signal: 'SIGKILL', timedOut: true });
    expect(performance.now() - startMs).toBeLessThan(3_000);
  });

  it('resolves when the command ends, with what it left running gone', async () => {
    const startMs = performance.now();
    expect(await run('setsid sleep 1000 & sleep 1000 & exit 4')).toEqual({ ...fine, code: 4 });
    expect(performance.now() - startMs).toBeLessThan(3_000);
  });

  it('bounds the output, and lets the command run on', async () => {
    const result = await run('head -c 5000000 /dev/zero; exit 2', { outputBytesMax: 1000 });
    expect(result).toEqual({ ...fine, code: 2, truncated: true });
    expect(output.replaceAll('out:', '').length).toBe(1000);
  });

  it('makes the command wait while its output is being handled', async () => {
    let handled = 0;
    let most = 0;
    let busy = 0;
    const result = await run('head -c 1000000 /dev/zero', {
      outputBytesMax: 10 * MIB,
      onOutput: async (chunk) => {
        most = Math.max(most, ++busy);
        await nextTurn();
        busy--;
        handled += chunk.length;
      },
    });
    expect(result).toEqual(fine);
    expect(handled).toBe(1_000_000);
    expect(most).toBe(1);
  });

  it('can be aborted, before and during', async () => {
    expect(await run('true', { signal: AbortSignal.abort() })).toEqual({ ...fine, code: null, aborted: true });
    const controller = new AbortController();
    const running = run('echo started; sleep 1000', {
      signal: controller.signal,
      onOutput: () => controller.abort(),
    });
    expect(await running).toEqual({ ...fine, code: null, signal: 'SIGKILL', aborted: true });
  });

  it('can be aborted while it is being prepared', async () => {
    const controller = new AbortController();
    const running = run('sleep 1000', { signal: controller.signal });
    controller.abort();
    // With a signal when it came to run at all.
    expect(await running).toMatchObject({ code: null, aborted: true, timedOut: false });
  });

  it('tells a command that ran out of memory from others', async () => {
    const eat = 'x=$(head -c 400000000 /dev/zero | tr "\\0" x); sleep 5; exit 1';
    const result = await run(eat, { memoryBytes: 96 * MIB });
    expect(result).toMatchObject({ outOfMemory: true, timedOut: false });
    expect(result.code).not.toBe(0);
  });

  it('fails with the error of a caller that cannot take the output', async () => {
    const failing = run('echo x; sleep 1000', {
      onOutput: () => {
        throw new Error('the user has gone');
      },
    });
    await expect(failing).rejects.toThrow('the user has gone');
  });

  it('refuses a name that would reach outside', async () => {
    await expect(run('true', { name: '../x' })).rejects.toMatchObject({ code: 'invalid_name' });
  });
});

it('replaces mounted paths by real ones where nothing can be mounted', () => {
  const run = {
    cwd: '/work/app',
    argv: ['/packs/bin/compile', '/work/app', '/workshop'],
    env: { PATH: '/usr/bin:/packs/bin', OTHER: '/work' },
    binds: [
      { from: '/data/w', to: '/work', writable: true },
      { from: '/p', to: '/packs', writable: false },
    ],
  };
  expect(withoutMounts(run)).toEqual({
    cwd: '/data/w/app',
    argv: ['/p/bin/compile', '/data/w/app', '/workshop'],
    env: { PATH: '/usr/bin:/p/bin', OTHER: '/data/w' },
  });
});
