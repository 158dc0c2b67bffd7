// Attends to one command on the node that runs it: frames in, frames out, nothing kept but what is on its way. Decides
// when to give up on a side that has gone silent; knows nothing of where the frames travel.

import type { Readable } from 'node:stream';
import { roomIn } from '../lib/back-pressure.ts';
import {
  dataFrames,
  decodeFrames,
  encodeFrame,
  encodeJsonFrame,
  jsonIn,
  SESSION_BEAT_MS,
  SessionFrameError,
} from '../lib/session-frames.ts';
import type { Attended, CommandExit, TerminalSize } from '../ports/commands.ts';

const SIZE_MAX = 1_000;

export type AttendOptions = {
  command: Attended;
  /** Frames of whoever attends. Its end is theirs: the command ends too. */
  input: AsyncIterable<Uint8Array>;
  /** Aborted when whoever attends has gone. */
  signal: AbortSignal;
  /** Without a byte in either direction for so long, the command is ended; undefined: never. */
  idleMsMax: number | undefined;
  /** However busy it is. */
  durationMsMax: number;
  /** Sees all output. */
  onOutput?: (chunk: Buffer, stream: 'out' | 'err') => void;
  beatMs?: number;
};

export const GONE = 'whoever attended to it has gone';

/**
 * Frames for whoever attends, up to `exit`. When it is left early, the command has ended too, and all that it started.
 */
export async function* attend(options: AttendOptions): AsyncGenerator<Uint8Array, CommandExit> {
  const { command, signal, idleMsMax, durationMsMax, beatMs = SESSION_BEAT_MS } = options;
  const frames = new Handover<Uint8Array>();
  let activeAtMs = performance.now();
  let heardAtMs = activeAtMs;
  const startedAtMs = activeAtMs;
  const onAbort = (): void => command.end(GONE);
  signal.addEventListener('abort', onAbort, { once: true });
  if (signal.aborted) onAbort();
  const timer = setInterval(() => {
    const nowMs = performance.now();
    if (nowMs - heardAtMs > 3 * beatMs) command.end(GONE);
    else if (nowMs - startedAtMs > durationMsMax)
      command.end(`it ran for longer than ${durationMsMax / 60_000} minutes`);
    else if (idleMsMax !== undefined && nowMs - activeAtMs > idleMsMax) {
      command.end(`nothing happened for ${idleMsMax / 60_000} minutes`);
    }
    if (!frames.waiting) void frames.put(encodeFrame('beat'));
  }, beatMs);
  const pass = async (stream: Readable, name: 'out' | 'err'): Promise<void> => {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      activeAtMs = performance.now();
      options.onOutput?.(chunk, name);
      for (const frame of dataFrames(name === 'out' ? 'stdout' : 'stderr', chunk)) await frames.put(frame);
    }
  };
  const feeding = feed(options, () => {
    heardAtMs = performance.now();
    return (isActive: boolean) => {
      if (isActive) activeAtMs = heardAtMs;
    };
  });
  const output = Promise.allSettled([pass(command.stdout, 'out'), pass(command.stderr, 'err')]);
  let exit: CommandExit | undefined;
  const ended = Promise.all([command.exited, output]).then(async ([how]) => {
    exit = how;
    await frames.put(encodeJsonFrame('exit', how));
    frames.end();
  });
  try {
    yield* frames;
    return exit!;
  } finally {
    clearInterval(timer);
    signal.removeEventListener('abort', onAbort);
    command.end(GONE);
    frames.end();
    // Output that nobody takes would keep the command's pipes open.
    command.stdout.destroy();
    command.stderr.destroy();
    command.stdin.destroy();
    await command.exited;
    void feeding;
    await ended.catch(() => {});
  }
}

/** Hands the command what it is sent. Never rejects. */
async function feed({ command, input }: AttendOptions, onFrame: () => (isActive: boolean) => void): Promise<void> {
  const { stdin } = command;
  stdin.on('error', () => {});
  try {
    for await (const frame of decodeFrames(input)) {
      const note = onFrame();
      note(frame.kind !== 'beat');
      switch (frame.kind) {
        case 'stdin':
          // A command that ends while it is waited for closes what it read from.
          if (stdin.writable && !stdin.write(frame.payload)) await roomIn(stdin);
          break;
        case 'end':
          stdin.end();
          break;
        case 'resize': {
          const size = sizeIn(jsonIn(frame));
          if (size !== undefined) command.resize(size);
          break;
        }
        default:
      }
    }
    command.end(GONE);
  } catch (error) {
    command.end(error instanceof SessionFrameError ? error.message : GONE);
  }
}

function sizeIn({ columns, rows }: Record<string, unknown>): TerminalSize | undefined {
  const isFine = (value: unknown): value is number => Number.isInteger(value) && Number(value) > 0;
  if (!isFine(columns) || !isFine(rows)) return undefined;
  return { columns: Math.min(columns, SIZE_MAX), rows: Math.min(rows, SIZE_MAX) };
}

/** One value at a time from several writers to one reader: each writer waits until its value has been taken. */
class Handover<T> implements AsyncIterable<T> {
  readonly #queue: { value: T; taken: () => void }[] = [];
  #ended = false;
  #wake: (() => void) | undefined;

  /** Whether a value waits to be taken. */
  get waiting(): boolean {
    return this.#queue.length > 0;
  }

  put(value: T): Promise<void> {
    if (this.#ended) return Promise.resolve();
    return new Promise((taken) => {
      this.#queue.push({ value, taken });
      this.#wake?.();
    });
  }

  end(): void {
    this.#ended = true;
    for (const { taken } of this.#queue.splice(0)) taken();
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T> {
    for (;;) {
      const next = this.#queue.shift();
      if (next !== undefined) {
        try {
          yield next.value;
        } finally {
          // Also when the reader asks for no more.
          next.taken();
        }
      } else if (this.#ended) return;
      else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }
}
