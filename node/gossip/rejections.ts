// Counts messages and connections that were refused, per reason, and logs each reason at most once in a while. A flood
// of bad input costs a counter, not a log.

import type { Log } from '../lib/log.ts';
import { REJECTION_LOG_INTERVAL_MS } from './limits.ts';

export type Rejections = {
  /** `kind` is one of a few fixed words; `fields` describe the first one of each interval. */
  count(kind: string, fields: object): void;
  readonly totals: ReadonlyMap<string, number>;
};

export function createRejections(log: Log, now: () => number = () => performance.now()): Rejections {
  const totals = new Map<string, number>();
  const logged = new Map<string, { atMs: number; total: number }>();
  return {
    totals,
    count(kind, fields) {
      const total = (totals.get(kind) ?? 0) + 1;
      totals.set(kind, total);
      const last = logged.get(kind);
      if (last !== undefined && now() - last.atMs < REJECTION_LOG_INTERVAL_MS) return;
      logged.set(kind, { atMs: now(), total });
      log.warn('gossip.rejected', { kind, count: total - (last?.total ?? 0), ...fields });
    },
  };
}
