// Reads what an instance writes to its FIFOs, as lines, no faster than it may: a flood waits in the instance, not in
// the daemon. Never blocks a thread on a silent instance.

import { Socket } from 'node:net';
import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises';
import { LineSplitter } from '../../lib/lines.ts';

/** How much of an instance's output is taken per second; more makes it wait, like a slow terminal. */
export const OUTPUT_BYTES_PER_SECOND_MAX = 8 * 1024 * 1024;
/** Short lines cost as much as long ones. */
export const OUTPUT_LINES_PER_SECOND_MAX = 100_000;
/** Lines handled before other work of the daemon gets its turn. */
const LINES_PER_TURN = 1_000;
const PACE_WINDOW_MS = 100;

/** Shared by the streams of one instance. */
export class Pace {
  #windowStartMs = 0;
  #bytes = 0;
  #lines = 0;

  /** Resolves when this much more may be taken. */
  async spend(bytes: number, lines: number): Promise<void> {
    const nowMs = performance.now();
    if (nowMs - this.#windowStartMs > PACE_WINDOW_MS) {
      this.#windowStartMs = nowMs;
      this.#bytes = 0;
      this.#lines = 0;
    }
    this.#bytes += bytes;
    this.#lines += lines;
    const neededMs =
      1000 * Math.max(this.#bytes / OUTPUT_BYTES_PER_SECOND_MAX, this.#lines / OUTPUT_LINES_PER_SECOND_MAX);
    const elapsedMs = nowMs - this.#windowStartMs;
    if (neededMs > PACE_WINDOW_MS) await delay(neededMs - elapsedMs);
  }
}

export type OutputReader = {
  /** Resolves when every writer has closed and the last line was handed over. */
  readonly ended: Promise<void>;
  /** Hands over what has been read and stops; what has not been read stays in the FIFO for another reader. */
  detach(): void;
};

/**
 * Takes over the descriptor: a FIFO opened for reading without blocking. `ready` holds reading up while the lines'
 * sink is full.
 */
export function readOutput(
  descriptor: number,
  options: { pace: Pace; onLine: (text: string, goesOn: boolean) => void; ready: () => Promise<void> | undefined },
): OutputReader {
  const socket = new Socket({ fd: descriptor, readable: true, writable: false });
  const splitter = new LineSplitter();
  let detached = false;
  const { promise: ended, resolve } = Promise.withResolvers<void>();
  // The chunk in hand: taken line by line, so that detaching can take the rest of it at once.
  let lines: Iterator<string> = [][Symbol.iterator]();

  const finish = (): void => {
    const rest = splitter.flush();
    if (rest !== undefined) options.onLine(rest, false);
    resolve();
  };
  const take = async (chunk: Buffer): Promise<void> => {
    let count = 0;
    lines = splitter.push(chunk);
    for (let line = lines.next(); line.done !== true; line = lines.next()) {
      options.onLine(line.value, splitter.goesOn);
      if (++count % LINES_PER_TURN === 0) await nextTurn();
      if (detached) return;
    }
    await options.pace.spend(chunk.length, count);
    await options.ready();
  };
  let taking: Promise<void> = Promise.resolve();
  socket.on('data', (chunk: Buffer) => {
    socket.pause();
    taking = take(chunk).then(() => {
      if (!detached) socket.resume();
    });
  });
  socket.on('error', () => socket.destroy());
  socket.once('close', () => {
    void taking.then(() => {
      if (!detached) finish();
    });
  });
  return {
    ended,
    detach() {
      if (detached) return;
      detached = true;
      for (let line = lines.next(); line.done !== true; line = lines.next()) {
        options.onLine(line.value, splitter.goesOn);
      }
      socket.removeAllListeners('data');
      socket.pause();
      for (let chunk = socket.read(); chunk !== null; chunk = socket.read()) {
        for (const line of splitter.push(chunk)) options.onLine(line, splitter.goesOn);
      }
      socket.destroy();
      finish();
    },
  };
}
