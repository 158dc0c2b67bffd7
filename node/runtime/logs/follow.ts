// Passes lines on to one reader of a log, behind a bounded queue: a reader that is too slow loses the oldest lines and
// is told how many. Never holds up the writer.

import type { LogLine } from '../../ports/logs.ts';

/** Lines that wait for a reader that is busy with an earlier one. */
export const FOLLOW_LINES_MAX = 1_000;

export type Follower = { push(line: LogLine): void; stop(): void };

/**
 * The listener may return a promise; the next line comes when it has settled. `notice` makes the line that says how
 * many were left out.
 */
export function followed(listener: (line: LogLine) => unknown, notice: (dropped: number) => LogLine): Follower {
  const queue: LogLine[] = [];
  let dropped = 0;
  let busy = false;
  let stopped = false;

  const deliver = (): void => {
    while (!busy && !stopped && queue.length > 0) {
      const line = dropped > 0 ? notice(dropped) : queue.shift()!;
      dropped = 0;
      const answer = answerOf(listener, line);
      if (answer instanceof Promise) {
        busy = true;
        const done = (): void => {
          busy = false;
          deliver();
        };
        answer.then(done, done);
      }
    }
  };
  return {
    push(line) {
      if (stopped) return;
      if (queue.length >= FOLLOW_LINES_MAX) {
        queue.shift();
        dropped++;
      }
      queue.push(line);
      deliver();
    },
    stop() {
      stopped = true;
      queue.length = 0;
    },
  };
}

/** A reader that fails loses the line; the writer and the other readers never notice. */
function answerOf(listener: (line: LogLine) => unknown, line: LogLine): unknown {
  try {
    return listener(line);
  } catch {
    return undefined;
  }
}
