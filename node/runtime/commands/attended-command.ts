// Runs one command that a person attends to: its pipes, its terminal, its end. What it is confined to is decided
// elsewhere; when it has exited, nothing that it started is left.

import type { ChildProcess } from 'node:child_process';
import { constants } from 'node:os';
import type { Duplex, Readable, Writable } from 'node:stream';
import { spawnChild } from '../../lib/spawn-child.ts';
import type { Attended, AttendedCommand, CommandExit, TerminalSize } from '../../ports/commands.ts';
import { RuntimeError } from '../errors.ts';
import { encodeLoad, JOIN, LOAD_FD, type Load, SHELL, startCommand } from '../sandbox/scripts.ts';
import { attendedArgv, quoted, SIZES_FD, sizeLine } from './terminal.ts';

/** After all has been killed, how long its pipes may stay open. */
const PIPES_TIMEOUT_MS = 5_000;
/** Sizes that wait to be read; a window is dragged faster than a busy machine follows. */
const SIZES_BYTES_MAX = 4 * 1024;

export type AttendedRun = {
  /** Command line up to and including the loader. */
  confined: readonly string[];
  /** Folders of the control groups to join. */
  groups: readonly string[];
  cwd: string;
  env: Readonly<Record<string, string>>;
  command: AttendedCommand;
  /** Whether the app's profile scripts come first; in a running instance they did already. */
  withProfile?: true;
  /** Kills what the process itself does not take along; called until it has ended, and once after. */
  killAll(child: ChildProcess): void;
  /** When nothing runs any more: removes what was made for it. Its answer, if any, is the reason of the end. */
  cleanUp(): Promise<string | undefined>;
};

/** Resolves once the process runs. Fails with RuntimeError, having cleaned up. */
export async function startAttended(run: AttendedRun): Promise<AttendedProcess> {
  const { groups, confined, command } = run;
  let child: ChildProcess;
  try {
    child = spawnChild(SHELL, ['-c', JOIN, 'peer', String(groups.length), ...groups, ...confined], {
      cwd: '/',
      env: { PATH: '/usr/bin:/bin' },
      detached: true,
      stdio: ['pipe', 'pipe', 'pipe', 'pipe', 'pipe', 'pipe'],
    });
  } catch (cause) {
    await run.cleanUp();
    throw new RuntimeError('spawn_failed', `could not start a process: ${(cause as Error).message}`, { cause });
  }
  const attended = new AttendedProcess(run, child);
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', (error) =>
      reject(new RuntimeError('spawn_failed', `could not start a process: ${error.message}`, { cause: error })),
    );
  }).catch(async (error) => {
    await run.cleanUp();
    throw error;
  });
  const attendedCommand = attendedArgv(command.argv, command.terminal);
  const argv = run.withProfile ? startCommand(`exec ${attendedCommand.map(quoted).join(' ')}`) : attendedCommand;
  const load: Load = { cwd: run.cwd, argv, env: { ...run.env, ...command.env } };
  pipeOf(child, LOAD_FD)?.end(encodeLoad(load));
  if (command.terminal === undefined) pipeOf(child, SIZES_FD)?.destroy();
  return attended;
}

/** The types of Node know of five. */
const pipeOf = (child: ChildProcess, fd: number): Duplex | undefined =>
  ((child.stdio as readonly unknown[])[fd] ?? undefined) as Duplex | undefined;

export class AttendedProcess implements Attended {
  readonly stdin: Writable;
  readonly stdout: Readable;
  readonly stderr: Readable;
  readonly exited: Promise<CommandExit>;
  readonly #run: AttendedRun;
  readonly #child: ChildProcess;
  #reason: string | undefined;
  #over = false;

  constructor(run: AttendedRun, child: ChildProcess) {
    this.#run = run;
    this.#child = child;
    this.stdin = child.stdin!;
    this.stdout = child.stdout!;
    this.stderr = child.stderr!;
    // Whoever stops reading or writing sees it in the exit.
    for (const stream of child.stdio) stream?.on('error', () => {});
    this.exited = this.#exit();
  }

  /** As the machine numbers it. */
  get pid(): number {
    return this.#child.pid!;
  }

  resize(size: TerminalSize): void {
    const sizes = pipeOf(this.#child, SIZES_FD);
    if (sizes === undefined || sizes.destroyed || sizes.writableLength > SIZES_BYTES_MAX) return;
    sizes.write(sizeLine(size));
  }

  end(reason: string): void {
    if (this.#over) return;
    this.#reason ??= reason;
    this.#run.killAll(this.#child);
  }

  async #exit(): Promise<CommandExit> {
    const child = this.#child;
    const ended = await new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) => {
      child.once('exit', (code, signal) => resolve({ code, signal }));
      child.once('error', () => resolve({ code: 127, signal: null }));
    });
    this.#over = true;
    // What the command left behind has nobody who attends to it.
    this.#run.killAll(child);
    const timer = setTimeout(() => {
      this.stdout.destroy();
      this.stderr.destroy();
    }, PIPES_TIMEOUT_MS);
    timer.unref();
    const cleanUpReason = await this.#run.cleanUp();
    this.stdin.destroy();
    for (const fd of [LOAD_FD, LOAD_FD + 1, SIZES_FD]) pipeOf(child, fd)?.destroy();
    const reason = this.#reason ?? cleanUpReason;
    const code = ended.code ?? 128 + (constants.signals[ended.signal ?? 'SIGKILL'] ?? 0);
    return { code, ...(reason === undefined ? {} : { reason }) };
  }
}
