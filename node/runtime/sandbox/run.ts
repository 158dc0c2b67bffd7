// Runs one confined command to its end, attached to the daemon: it ends when the daemon does. Everything it started is
// gone when the run resolves.

import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { spawnChild } from '../../lib/spawn-child.ts';
import type { Bind, SandboxResult, SandboxRun } from '../../ports/sandbox.ts';
import { INSTANCE_FILES_MAX } from '../environment.ts';
import { RuntimeError } from '../errors.ts';
import { signalOfStatus } from '../exits.ts';
import type { OwnNetwork } from '../network/networks.ts';
import { watchMemory } from '../watch.ts';
import type { ControlGroup } from './cgroup.ts';
import {
  confinedCommand,
  type Isolation,
  RUN_GROUP_PREFIX,
  sandboxUser,
  scratchFolder,
  writeAccounts,
} from './confinement.ts';
import { checkDevices } from './devices.ts';
import { encodeLoad, JOIN, LOAD_FD, SHELL } from './scripts.ts';

/** Largest single file a run may write. */
const RUN_FILE_BYTES_MAX = 8 * 1024 ** 3;
/** Held by the sandbox's first process, and by nothing once all in it has gone. */
const ALIVE_FD = 4;
/** After a kill, how long its pipes may stay open: something outside of the sandbox would have to hold them. */
const PIPES_TIMEOUT_MS = 10_000;

export type AttachedRun = Omit<SandboxRun, 'stdin' | 'network' | 'reach'> & {
  uid: number;
  /** As in Confinement. */
  network: OwnNetwork | 'none' | undefined;
  /** A stream, or an open file descriptor that stays the caller's. */
  stdin?: NodeJS.ReadableStream | number;
};

export async function runAttached(isolation: Isolation, run: AttachedRun): Promise<SandboxResult> {
  if (!/^[A-Za-z0-9-]{1,100}$/.test(run.name)) {
    throw new RuntimeError(
      'invalid_name',
      `a run's name has letters, digits and dashes only, not ${JSON.stringify(run.name)}`,
    );
  }
  const end: RunEnd = { timedOut: false, outOfMemory: false, aborted: run.signal?.aborted === true, truncated: false };
  if (end.aborted) return { code: null, signal: null, ...end };
  if (isolation.bwrap !== undefined) await checkDevices(isolation.devices);
  const folder = join(scratchFolder(isolation), `${run.name}-${randomBytes(4).toString('hex')}`);
  const group = await isolation.groups?.create(`${RUN_GROUP_PREFIX}${run.name}`, run);
  try {
    const user = sandboxUser(isolation, run.uid);
    await writeAccounts(folder, { user, hostname: run.name });
    const command = confinedCommand(isolation, {
      user,
      hostname: run.name,
      accounts: folder,
      binds: run.binds,
      links: [],
      memoryBytes: run.memoryBytes,
      network: run.network,
      limits: { pidsMax: run.pidsMax, filesMax: INSTANCE_FILES_MAX, fileBytesMax: RUN_FILE_BYTES_MAX },
      extra: ['--sync-fd', String(ALIVE_FD)],
    });
    const exit = await attend(isolation, run, end, command, group);
    end.outOfMemory ||= ((await group?.outOfMemoryKills()) ?? 0) > 0 && exit.status !== 0;
    const signal = exit.status === null ? exit.signal : signalOfStatus(exit.status);
    return { code: exit.status, signal: signal === undefined || signal === null ? null : longName(signal), ...end };
  } finally {
    if ((await group?.remove()) === false) isolation.log.warn('runtime.group_stuck', { run: run.name });
    await rm(folder, { recursive: true, force: true });
  }
}

type RunEnd = Omit<SandboxResult, 'code' | 'signal'>;
type Exit = { status: number | null; signal: string | null };

/** Starts the command, feeds it, passes its output on, ends it when it has to end, and waits until it has gone. */
async function attend(
  isolation: Isolation,
  run: AttachedRun,
  end: RunEnd,
  command: string[],
  group: ControlGroup | undefined,
): Promise<Exit> {
  const confined = isolation.bwrap !== undefined;
  const folders = group?.folders ?? [];
  const child = spawnChild(SHELL, ['-c', JOIN, 'peer', String(folders.length), ...folders, ...command], {
    cwd: '/',
    env: { PATH: '/usr/bin:/bin' },
    detached: true,
    stdio: [stdinOf(run), 'pipe', 'pipe', 'pipe', 'pipe'],
  });
  const kill = (): void => killAll(child, confined, group);
  const stops: (() => void)[] = [];
  try {
    const exited = new Promise<Exit>((resolve, reject) => {
      child.once('exit', (status, signal) => resolve({ status, signal }));
      child.once('error', (error) =>
        reject(
          new RuntimeError('spawn_failed', `could not start a process for ${run.name}: ${error.message}`, {
            cause: error,
          }),
        ),
      );
    });
    exited.catch(() => {});
    feed(run, child);
    const load = child.stdio[LOAD_FD] as import('node:stream').Duplex;
    load.on('error', () => {});
    load.end(encodeLoad(confined ? run : withoutMounts(run)));

    const timer = setTimeout(() => {
      end.timedOut = true;
      kill();
    }, run.timeoutMs);
    stops.push(() => clearTimeout(timer));
    const onAbort = (): void => {
      end.aborted = true;
      kill();
    };
    run.signal?.addEventListener('abort', onAbort, { once: true });
    // It may have come while the group and the accounts were made: no event tells of that any more.
    if (run.signal?.aborted === true) onAbort();
    stops.push(() => run.signal?.removeEventListener('abort', onAbort));
    if (group === undefined && child.pid !== undefined) {
      const watch = watchMemory({
        ancestor: child.pid,
        memoryBytes: run.memoryBytes,
        onExceeded: () => {
          end.outOfMemory = true;
          kill();
        },
      });
      stops.push(watch.stop);
    }

    const output = passOutput(run, end, child);
    // A caller that cannot take the output ends the run; the error reaches it below.
    output.catch(kill);
    const alive = drained(child.stdio[ALIVE_FD] as Readable);
    const exit = await exited;
    // What the command left behind has no purpose any more.
    kill();
    const pipes = Promise.all([output, ...(confined ? [alive] : [])]);
    await Promise.race([pipes, after(PIPES_TIMEOUT_MS, stops)]);
    return exit;
  } finally {
    for (const stop of stops) stop();
    for (const stream of child.stdio) stream?.destroy();
  }
}

function stdinOf(run: AttachedRun): 'ignore' | 'pipe' | number {
  if (typeof run.stdin === 'number') return run.stdin;
  return run.stdin === undefined ? 'ignore' : 'pipe';
}

function feed(run: AttachedRun, child: ChildProcess): void {
  if (run.stdin === undefined || typeof run.stdin === 'number' || child.stdin === null) return;
  // A command need not read all it is given.
  child.stdin.on('error', () => {});
  run.stdin.once('error', () => child.stdin?.destroy());
  run.stdin.pipe(child.stdin);
}

async function passOutput(run: AttachedRun, end: RunEnd, child: ChildProcess): Promise<void> {
  let leftBytes = run.outputBytesMax;
  const pass = async (stream: Readable, name: 'out' | 'err'): Promise<void> => {
    // Iterating pauses the command while what it wrote is being handled.
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      const part = chunk.subarray(0, leftBytes);
      leftBytes -= part.length;
      if (part.length < chunk.length) end.truncated = true;
      if (part.length > 0) await run.onOutput?.(part, name);
    }
  };
  await Promise.all([pass(child.stdout!, 'out').catch(ignoreClosed), pass(child.stderr!, 'err').catch(ignoreClosed)]);
}

/** A stream that was destroyed under its reader has nothing more to say; anything else is the caller's own error. */
function ignoreClosed(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ERR_STREAM_PREMATURE_CLOSE' && error.name !== 'AbortError') throw error;
}

function drained(stream: Readable): Promise<void> {
  return new Promise((resolve) => {
    stream.on('error', () => resolve());
    stream.once('close', () => resolve());
    stream.once('end', () => resolve());
    stream.resume();
  });
}

/**
 * The end of a sandbox's outer process ends everything inside. Unconfined, what can be found is killed: the group, and
 * the process's own group and descendants.
 */
function killAll(child: ChildProcess, confined: boolean, group: ControlGroup | undefined): void {
  if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
  if (confined || child.pid === undefined) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // None left.
  }
  if (group !== undefined) void group.remove();
}

function after(timeoutMs: number, stops: (() => void)[]): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, timeoutMs);
    stops.push(() => clearTimeout(timer));
  });
}

function longName(signal: string): string {
  return signal.startsWith('SIG') ? signal : `SIG${signal}`;
}

/** Without a sandbox nothing can be mounted: paths that should appear elsewhere are replaced by where they are. */
export function withoutMounts(run: {
  cwd: string;
  argv: string[];
  env: Record<string, string>;
  binds: readonly Bind[];
}): {
  cwd: string;
  argv: string[];
  env: Record<string, string>;
} {
  const one = (path: string): string => {
    const bind = run.binds.find(({ to }) => path === to || path.startsWith(`${to}/`));
    return bind === undefined ? path : bind.from + path.slice(bind.to.length);
  };
  const list = (text: string): string => text.split(':').map(one).join(':');
  const env = Object.fromEntries(Object.entries(run.env).map(([name, value]) => [name, list(value)]));
  return { cwd: one(run.cwd), argv: run.argv.map(one), env };
}
