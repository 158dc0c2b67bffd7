// Attends to a command that runs on a node: what is typed or piped in goes there, what it says comes out here, its
// terminal is this one. Resolves with how it ended.

import { once } from 'node:events';
import { PassThrough, type Writable } from 'node:stream';
import {
  dataFrames,
  decodeFrames,
  encodeFrame,
  encodeJsonFrame,
  type Frame,
  jsonIn,
  SESSION_BEAT_MS,
} from '../node/lib/session-frames.ts';
import type { Client } from './client.ts';
import { CliError } from './errors.ts';

/** What is on its way to the node before the keyboard or the pipe has to wait. */
const UNSENT_BYTES_MAX = 256 * 1024;
/** Of a command that a signal ended: 128 + the number, as shells have it. */
const EXIT_INTERRUPTED = 130;

export type AttendRequest = {
  path: string;
  /** As the API takes them. */
  options: { argv: readonly string[]; [option: string]: unknown };
  /** Whether it may have a terminal, when this is one. */
  mayHaveTerminal: boolean;
  stdout: Writable;
  stderr: Writable;
  onStarted?: (started: Record<string, unknown>) => void;
};

export type Ending = { code: number; reason?: string; cancelled: boolean };

export async function attend(client: Client, request: AttendRequest): Promise<Ending> {
  const { stdin, stdout } = process;
  const isTerminal = request.mayHaveTerminal && stdin.isTTY === true && stdout.isTTY === true;
  const size = () => ({ columns: stdout.columns, rows: stdout.rows });
  const body = new PassThrough({ highWaterMark: UNSENT_BYTES_MAX });
  // The request has ended; nobody reads it any more.
  body.on('error', () => {});
  const cancel = new AbortController();
  const send = (frame: Uint8Array): boolean => (body.writable ? body.write(frame) : true);
  const options = { ...request.options, ...(isTerminal ? { terminal: size() } : {}) };
  const stops: (() => void)[] = [];
  let ending: Ending | undefined;
  // The request is not sent before there is something of its body.
  send(encodeFrame('beat'));
  try {
    const chunks = await client.duplex(request.path, {
      headers: {
        'content-type': 'application/octet-stream',
        'x-peer-session': Buffer.from(JSON.stringify(options)).toString('base64url'),
      },
      body,
      signal: cancel.signal,
    });
    const beat = setInterval(() => send(encodeFrame('beat')), SESSION_BEAT_MS);
    stops.push(() => clearInterval(beat));
    const onSignal = (): void => cancel.abort();
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.once(signal, onSignal);
      stops.push(() => process.removeListener(signal, onSignal));
    }
    for await (const frame of decodeFrames(chunks)) {
      if (frame.kind === 'started') {
        request.onStarted?.(jsonIn(frame));
        stops.push(...forward(send, body, isTerminal, size));
      } else if (frame.kind === 'exit' || frame.kind === 'failed') {
        ending = endingIn(frame);
        break;
      } else await show(frame, request);
    }
  } catch (error) {
    if (!cancel.signal.aborted) throw error;
    return { code: EXIT_INTERRUPTED, cancelled: true };
  } finally {
    for (const stop of stops) stop();
    body.destroy();
    cancel.abort();
  }
  if (ending !== undefined) return ending;
  throw new CliError('connection_lost', 'the connection to the node was lost: what ran there has been ended');
}

/** From the keyboard or the pipe to the node. */
function forward(
  send: (frame: Uint8Array) => boolean,
  body: PassThrough,
  isTerminal: boolean,
  size: () => { columns: number; rows: number },
): (() => void)[] {
  const { stdin, stdout } = process;
  const onData = (chunk: Buffer): void => {
    let hasRoom = true;
    for (const frame of dataFrames('stdin', chunk)) hasRoom = send(frame);
    if (hasRoom) return;
    stdin.pause();
    body.once('drain', () => stdin.resume());
  };
  const onEnd = (): void => void send(encodeFrame('end'));
  const onResize = (): void => void send(encodeJsonFrame('resize', size()));
  if (isTerminal) {
    stdin.setRawMode(true);
    stdout.on('resize', onResize);
    // It may have changed since it was asked for.
    onResize();
  }
  // A keyboard without a terminal on the other side would keep a command waiting that reads to the end.
  if (stdin.isTTY === true && !isTerminal) onEnd();
  else {
    stdin.on('data', onData);
    stdin.once('end', onEnd);
    stdin.on('error', onEnd);
  }
  return [
    () => {
      if (isTerminal) stdin.setRawMode(false);
      stdout.removeListener('resize', onResize);
      stdin.removeListener('data', onData);
      stdin.pause();
      stdin.unref?.();
    },
  ];
}

async function show({ kind, payload }: Frame, { stdout, stderr }: AttendRequest): Promise<void> {
  const stream = kind === 'stdout' ? stdout : kind === 'stderr' ? stderr : undefined;
  if (stream === undefined || stream.destroyed || stream.write(payload)) return;
  await once(stream, 'drain');
}

function endingIn(frame: Frame): Ending {
  const { code, reason, message } = jsonIn(frame);
  if (frame.kind === 'failed') throw new CliError(String(code), String(message));
  return {
    code: typeof code === 'number' ? code : 1,
    ...(typeof reason === 'string' ? { reason } : {}),
    cancelled: false,
  };
}

/** One word that holds a shell's signs is a line for a shell; several are a command as it is. */
export function argvOf(words: readonly string[]): string[] {
  const [line] = words;
  return words.length === 1 && line !== undefined && /[\s|&;<>$`"'*?()]/.test(line)
    ? ['/bin/sh', '-c', line]
    : [...words];
}
