// The daemon as a process of this machine: starting it, knowing when it is ready, knowing when it has gone.
// Never talks to it but through node.json.

import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { mkdir, open, readFile, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { NodeFile } from '../node/daemon/data-dir.ts';
import type { SecretOptions, StartOptions } from '../node/daemon/options.ts';
import { CliError } from './errors.ts';

export type { NodeFile };

const DAEMON = fileURLToPath(new URL('../node/main.ts', import.meta.url));
/**
 * The daemon is idle most of the time and does nothing hot in WebAssembly: compiling Automerge's module a second time,
 * for speed, costs 40 MB that it never earns back, and a large young generation another ten.
 */
const DAEMON_FLAGS = ['--no-wasm-tier-up', '--no-wasm-dynamic-tiering', '--max-semi-space-size=2'];
/** Among its arguments: an invite and a passphrase come on its stdin (node/daemon/options.ts). */
const FROM_STDIN = '-';
const READY_POLL_MS = 50;
/** Joining copies the desired state over a possibly slow line. */
export const READY_TIMEOUT_MS = 120_000;
const LOG_TAIL_BYTES = 16 * 1024;

export const defaultDataDir = (): string => {
  const home = process.env.XDG_DATA_HOME;
  return join(home?.startsWith('/') ? home : join(homedir(), '.local', 'share'), 'peer');
};

export const resolveDataDir = (given: string | undefined): string =>
  given === undefined ? defaultDataDir() : resolve(given);

export const logPath = (dataDir: string): string => join(dataDir, 'daemon.log');

/** In the foreground its words go to stderr; detached, to D/daemon.log. */
export async function spawnDaemon(options: StartOptions, detached: boolean): Promise<ChildProcess> {
  const { join: invite, unlock, ...rest } = options;
  const given: StartOptions = {
    ...rest,
    ...(invite === undefined ? {} : { join: FROM_STDIN }),
    ...(unlock === undefined ? {} : { unlock: FROM_STDIN }),
  };
  const secrets: SecretOptions | undefined =
    invite === undefined && unlock === undefined
      ? undefined
      : { ...(invite !== undefined && { join: invite }), ...(unlock !== undefined && { unlock }) };
  const args = [...DAEMON_FLAGS, DAEMON, JSON.stringify(given)];
  // What the daemon was started with can be read for as long as it lives: neither secret is for it.
  const { PEER_INVITE: _, PEER_TOKEN: __, ...env } = process.env;
  const start = (stdio: [number, number], more: SpawnOptions = {}): ChildProcess => {
    const daemon = spawn(process.execPath, args, {
      ...more,
      stdio: [secrets === undefined ? 'ignore' : 'pipe', ...stdio],
      env,
    });
    // It may end before it reads; what it says then is what counts.
    daemon.stdin?.on('error', () => {});
    daemon.stdin?.end(JSON.stringify(secrets));
    return daemon;
  };
  if (!detached) return start([2, 2]);
  try {
    await mkdir(options.dataDir, { recursive: true, mode: 0o700 });
  } catch (error) {
    const message = `cannot make the data directory ${options.dataDir}: ${(error as Error).message}`;
    throw new CliError('data_dir', message, { cause: error });
  }
  const log = await open(logPath(options.dataDir), 'a', 0o600);
  try {
    // Its own session: it outlives this terminal.
    return start([log.fd, log.fd], { detached: true, cwd: options.dataDir });
  } finally {
    await log.close();
  }
}

/**
 * node.json of exactly this daemon, as soon as it is there: it is written when the node is ready. Undefined: it ended
 * before.
 */
export async function readyNode(
  daemon: ChildProcess,
  dataDir: string,
  timeoutMs: number,
): Promise<NodeFile | 'ended' | 'timeout'> {
  const deadlineMs = performance.now() + timeoutMs;
  while (performance.now() < deadlineMs) {
    const file = await readNodeFile(dataDir);
    if (file !== undefined && file.pid === daemon.pid) return file;
    if (daemon.exitCode !== null || daemon.signalCode !== null) return 'ended';
    await sleep(READY_POLL_MS);
  }
  return 'timeout';
}

/** Undefined when there is none, so when no daemon runs there. */
export async function readNodeFile(dataDir: string): Promise<NodeFile | undefined> {
  try {
    return JSON.parse(await readFile(join(dataDir, 'node.json'), 'utf8')) as NodeFile;
  } catch {
    return undefined;
  }
}

/** What the daemon said last since the position `fromBytes`, one line. */
export async function lastLogLine(dataDir: string, fromBytes: number): Promise<string | undefined> {
  const file = await open(logPath(dataDir), 'r').catch(() => undefined);
  if (file === undefined) return undefined;
  try {
    const { size } = await file.stat();
    const start = Math.max(fromBytes, size - LOG_TAIL_BYTES);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(Math.max(0, size - start)), 0, size - start, start);
    const lines = buffer.subarray(0, bytesRead).toString('utf8').split('\n');
    return lines.map((line) => line.trim()).findLast((line) => line !== '');
  } finally {
    await file.close();
  }
}

export async function logBytes(dataDir: string): Promise<number> {
  return stat(logPath(dataDir)).then(
    ({ size }) => size,
    () => 0,
  );
}

/**
 * Whether the process is a daemon of that data directory on this machine: pids are used again, and the API may be
 * remote.
 */
export async function isLocalDaemon(pid: number, dataDir: string): Promise<boolean> {
  const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  return command.includes('main.ts') && command.includes(JSON.stringify(dataDir));
}

/** Resolves with whether it has gone within the time. */
export async function waitUntilGone(isThere: () => Promise<boolean>, timeoutMs: number): Promise<boolean> {
  const deadlineMs = performance.now() + timeoutMs;
  while (await isThere()) {
    if (performance.now() >= deadlineMs) return false;
    await sleep(READY_POLL_MS);
  }
  return true;
}
