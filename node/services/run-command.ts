// Runs one command of a kind within the service's instance, to its end: bounded in time and in what it prints. What it
// was given (variables, input) is in no error of it.

import type { Readable } from 'node:stream';
import { finished, pipeline } from 'node:stream/promises';
import type { InstanceId } from '../../crdt/ids.ts';
import { oneLine } from '../../crdt/limits.ts';
import type { CommandRunner } from '../ports/commands.ts';
import type { ServiceCommand } from '../ports/services.ts';

const OUTPUT_BYTES_MAX = 1024 * 1024;
const PROBLEM_LENGTH_MAX = 300;

/** The engine's tool failed, or took too long. `message`: its last line, for people. */
export class CommandFailed extends Error {
  readonly code = 'service_command_failed';
}

export type RunOptions = {
  timeoutMs: number;
  /** Instead of the command's own input; read as fast as the command takes it. */
  input?: AsyncIterable<Uint8Array>;
  /** Takes what it prints, as fast as it can; else it is returned. */
  output?: (chunks: AsyncIterable<Uint8Array>) => Promise<void>;
  signal?: AbortSignal;
};

/** Answers what it printed. Fails with CommandFailed unless it ended with 0. */
export async function runInService(
  runner: Pick<CommandRunner, 'exec'>,
  instance: InstanceId,
  command: ServiceCommand,
  { timeoutMs, input, output, signal }: RunOptions,
): Promise<string> {
  const { argv, env } = command;
  const running = await runner.exec(instance, { argv, ...(env === undefined ? {} : { env }) });
  let ending: string | undefined;
  const end = (why: string): void => {
    ending ??= why;
    running.end(why);
  };
  const timer = setTimeout(() => end(`took longer than ${Math.round(timeoutMs / 1000)} s`), timeoutMs);
  const onAbort = (): void => end('was called off');
  signal?.addEventListener('abort', onAbort, { once: true });
  if (signal?.aborted) onAbort();
  try {
    // One that reads nothing ends its input early; how the command itself ends says whether that was right.
    const feeding = (
      input === undefined ? finishWith(running.stdin, command.stdin) : pipeline(input, running.stdin)
    ).catch(() => {});
    const [printed, problem] = await Promise.all([
      output === undefined ? textOf(running.stdout, end) : taken(output, running.stdout, end),
      textOf(running.stderr, () => {}),
    ]);
    const { code, reason } = await running.exited;
    await feeding;
    if (code === 0 && ending === undefined) return printed;
    throw new CommandFailed(ending ?? (lastLine(problem) || lastLine(printed) || reason || `ended with ${code}`));
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
  }
}

function finishWith(stdin: NodeJS.WritableStream, text: string | undefined): Promise<void> {
  stdin.end(text ?? '');
  return finished(stdin);
}

/** What does not fit ends the command where it is the answer, and is dropped where it is for people. */
async function textOf(stream: Readable, tooMuch: (why: string) => void): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes <= OUTPUT_BYTES_MAX) chunks.push(chunk);
    else tooMuch(`printed more than ${OUTPUT_BYTES_MAX} bytes`);
  }
  return Buffer.concat(chunks).toString();
}

async function taken(
  output: NonNullable<RunOptions['output']>,
  stdout: Readable,
  end: (why: string) => void,
): Promise<string> {
  try {
    await output(stdout as AsyncIterable<Uint8Array>);
    return '';
  } catch (error) {
    end('what it printed could not be taken');
    throw error;
  }
}

const lastLine = (text: string): string => oneLine(text.trim().split('\n').at(-1) ?? '', PROBLEM_LENGTH_MAX);
