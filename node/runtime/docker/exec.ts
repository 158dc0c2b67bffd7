// Starts a command in a running container through the engine's exec, and knows how it ends and how to end it. A
// program that is not there is told like a shell tells it.

import { randomBytes } from 'node:crypto';
import { PassThrough } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import type { Container, Exec } from 'dockerode';
import type { AttendedCommand } from '../../ports/commands.ts';
import { TERM } from '../commands/terminal.ts';
import { RuntimeError } from '../errors.ts';
import { notRunning } from '../process/commands.ts';
import { SANDBOX_HOME } from '../sandbox/bwrap.ts';
import { argvInDroplet, argvInImage, NOT_FOUND_STATUS, notInImage } from './command-line.ts';
import type { AttachedRun } from './command-streams.ts';
import { environmentList } from './container.ts';
import { killCommand } from './container-processes.ts';

/** Marks all that a command starts. */
const MARK = 'PEER_SESSION';
/** How often the engine is asked whether an exec has ended whose output has not. */
const LOOK_MS = 500;
const LOOK_AFTER_OUTPUT_MS = 100;
const ENDED_LOOKS_MAX = 50;
/** How long the engine may take to start it: it answers before. */
const START_LOOK_MS = 10;
const START_TIMEOUT_MS = 10_000;
/** 128 + KILL. */
const KILLED = 137;
const NOT_PERMITTED_STATUS = 126;
/** What engines give a command that they could not start: not permitted, not found, and for a reason of their own. */
const NEVER_STARTED_STATUSES = [NOT_PERMITTED_STATUS, NOT_FOUND_STATUS, 128];
const PROBLEM_BYTES_MAX = 1_000;
const GONE_STATUSES = [404, 409];

/** Fails with RuntimeError `not_running`, `spawn_failed`; then nothing was started. */
export async function startExec(
  container: Container,
  command: AttendedCommand,
  options: { image: boolean },
): Promise<AttachedRun> {
  const terminal = command.terminal !== undefined;
  const mark = `${MARK}=${randomBytes(8).toString('hex')}`;
  const argv = options.image ? argvInImage(command) : argvInDroplet(command);
  try {
    const exec = await container.exec({
      AttachStdin: true,
      AttachStdout: true,
      AttachStderr: true,
      Tty: terminal,
      Cmd: argv,
      Env: [...environmentList(command.env ?? {}), mark, ...(terminal ? [`TERM=${TERM}`] : [])],
      ...(options.image ? {} : { WorkingDir: `${SANDBOX_HOME}/app` }),
    });
    const stream: AttachedRun['stream'] = await exec.start({ hijack: true, stdin: true, Tty: terminal });
    const { isStarted, first } = await firstLook(exec);
    if (!isStarted) return neverStarted(argv, await problemIn(stream));
    const resize: AttachedRun['resize'] = ({ columns, rows }) => exec.resize({ w: columns, h: rows });
    if (command.terminal !== undefined) await resize(command.terminal).catch(() => {});
    return {
      stream,
      terminal,
      resize,
      kill: () => killCommand({ container: container.id, mark, ...(first !== undefined && { first }) }),
      wait: () => execEnded(exec, stream),
      // What it left behind has nobody who attends to it.
      cleanUp: () => killCommand({ container: container.id, mark }),
    };
  } catch (error) {
    // It has ended since, or is about to.
    if (GONE_STATUSES.includes((error as { statusCode?: number }).statusCode ?? 0)) throw notRunning(container.id);
    throw new RuntimeError('spawn_failed', `the engine could not start it: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

/** Ends all commands in the container, whoever started them. */
export function endAllExecs(container: Container): Promise<void> {
  return killCommand({ container: container.id, mark: `${MARK}=` });
}

/**
 * Whether the engine started it, and its id on this machine. Podman names no process once it has ended, which a short
 * command may have before the first look: then only the status tells it from one that could not be started.
 */
async function firstLook(exec: Exec): Promise<{ isStarted: boolean; first?: number }> {
  const deadlineMs = performance.now() + START_TIMEOUT_MS;
  for (;;) {
    const { Pid: pid, Running: running, ExitCode: code } = await exec.inspect();
    if (pid > 0) return { isStarted: true, first: pid };
    if (!running && code !== null) return { isStarted: !NEVER_STARTED_STATUSES.includes(code) };
    if (performance.now() > deadlineMs) {
      throw new RuntimeError('spawn_failed', `the engine did not start it within ${START_TIMEOUT_MS / 1000} s`);
    }
    await delay(START_LOOK_MS);
  }
}

/** What the engine says on the stream of a command that it could not start. */
async function problemIn(stream: AttachedRun['stream']): Promise<string> {
  let problem = '';
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      problem += chunk.toString();
      if (problem.length > PROBLEM_BYTES_MAX) break;
    }
  } catch {
    // What has come must do.
  }
  return problem;
}

function neverStarted(argv: readonly string[], problem: string): AttachedRun {
  const isMissing = /no such file|not found/i.test(problem);
  const program = argv[0] ?? '';
  const ended = isMissing
    ? { code: NOT_FOUND_STATUS, note: notInImage(program) }
    : { code: NOT_PERMITTED_STATUS, note: `${program} cannot be run: the engine says ${oneLine(problem)}` };
  return {
    stream: new PassThrough().end(),
    terminal: false,
    resize: async () => {},
    kill: async () => {},
    wait: async () => ended,
    cleanUp: async () => {},
  };
}

/** Without the header of its frame. */
function oneLine(text: string): string {
  const printable = text.replace(/[^\x20-\x7e]+/g, ' ').trim();
  return printable === '' ? 'nothing' : printable.slice(0, PROBLEM_BYTES_MAX);
}

async function execEnded(exec: Exec, stream: AttachedRun['stream']): Promise<{ code: number }> {
  let closed = stream.destroyed || stream.readableEnded;
  const onClosed = new AbortController();
  for (const event of ['end', 'close'] as const) {
    stream.once(event, () => {
      closed = true;
      onClosed.abort();
    });
  }
  for (let looks = 0; ; ) {
    const { Running, ExitCode } = await exec.inspect();
    // Its status is noted a moment after its end.
    if (!Running && (ExitCode !== null || ++looks > ENDED_LOOKS_MAX)) return { code: ExitCode ?? KILLED };
    // Its output has ended: it is about to.
    const options = closed ? {} : { signal: onClosed.signal };
    await delay(closed ? LOOK_AFTER_OUTPUT_MS : LOOK_MS, undefined, options).catch(() => {});
  }
}
