// Follows what a container writes through the engine's log, as lines, no faster than an instance may. The engine keeps the
// log within bounds of its own (container.ts), so a flood is lost there, not held here.

import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Container } from 'dockerode';
import { LineSplitter } from '../lines.ts';
import type { Pace } from '../output.ts';
import { FrameSplitter, sinceOf } from './frames.ts';

const LINES_PER_TURN = 1_000;

export type LogFollower = {
  /** Resolves when the container has ended and its last line was handed over, or the engine went away. */
  readonly ended: Promise<void>;
  /** When the engine noted what was handed over last; undefined before anything was. */
  readonly at: string | undefined;
  detach(): void;
};

export type FollowOptions = {
  container: Container;
  /** What an earlier daemon handed over last. */
  after: string | undefined;
  pace: Pace;
  onLine: (stream: 'out' | 'err', text: string) => void;
  /** A promise while the lines' sink is full. */
  ready: () => Promise<void> | undefined;
  onError: (error: Error) => void;
};

export function followOutput(options: FollowOptions): LogFollower {
  const abort = new AbortController();
  const follower = {
    at: options.after,
    ended: Promise.resolve(),
    detach: () => abort.abort(),
  };
  follower.ended = follow(options, follower, abort.signal).catch((error: Error) => {
    if (!abort.signal.aborted) options.onError(error);
  });
  return follower;
}

async function follow(
  options: FollowOptions,
  position: { at: string | undefined },
  signal: AbortSignal,
): Promise<void> {
  const { container, after, pace, onLine } = options;
  const stream = (await container.logs({
    follow: true,
    stdout: true,
    stderr: true,
    timestamps: true,
    abortSignal: signal,
    ...(after === undefined ? {} : { since: sinceOf(after) as unknown as number }),
  })) as unknown as AsyncIterable<Buffer>;
  const frames = new FrameSplitter();
  const lines = { out: new LineSplitter(), err: new LineSplitter() };
  const flush = (): void => {
    for (const name of ['out', 'err'] as const) {
      const rest = lines[name].flush();
      if (rest !== undefined) onLine(name, rest);
    }
  };
  try {
    for await (const chunk of stream) {
      let count = 0;
      for (const frame of frames.push(chunk)) {
        // Asking for a time includes it.
        if (after !== undefined && frame.at <= after) continue;
        position.at = frame.at;
        for (const line of lines[frame.stream].push(frame.bytes)) {
          onLine(frame.stream, line);
          if (++count % LINES_PER_TURN === 0) await nextTurn();
        }
        if (signal.aborted) return;
      }
      await pace.spend(chunk.length, count);
      await options.ready();
      if (signal.aborted) return;
    }
  } finally {
    flush();
  }
}
