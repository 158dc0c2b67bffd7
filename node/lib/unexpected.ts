// What becomes of an error that nobody caught. The node lives on: its apps, its API and its place in the cluster are
// worth more than what was cut short, and what did it (a record, a message) would be there again after the next start.
// Only a flood of them ends it, for whoever starts it anew.

import type { Log } from './log.ts';

/** So many within UNEXPECTED_WITHIN_MS are no accident: something turns in circles. */
export const UNEXPECTED_MAX = 100;
export const UNEXPECTED_WITHIN_MS = 60_000;

export type UnexpectedOptions = {
  log: Log;
  nowMs: () => number;
  /** Ends the process; there are too many of them. */
  giveUp: () => void;
};

/** Answers what takes the errors, for `uncaughtException` and `unhandledRejection`. Never throws. */
export function survivor({ log, nowMs, giveUp }: UnexpectedOptions): (error: unknown) => void {
  let recentMs: number[] = [];
  return (error) => {
    const atMs = nowMs();
    recentMs = [...recentMs.filter((one) => atMs - one < UNEXPECTED_WITHIN_MS), atMs];
    const { stack } = error instanceof Error ? error : { stack: undefined };
    log.error('node.unexpected', {
      reason: String(error),
      stack,
      message: 'an error that nothing was prepared for; the node goes on: please report this line',
    });
    if (recentMs.length < UNEXPECTED_MAX) return;
    log.error('node.gave_up', {
      message: `${UNEXPECTED_MAX} such errors within a minute: the node ends, start it again`,
    });
    giveUp();
  };
}
