// Logs what goes wrong on the data plane without letting a flood of failures become a flood of lines. Never blocks a
// request.

import { LOG_LINES_BURST, LOG_LINES_PER_SECOND } from './limits.ts';
import { TokenBucket } from './token-bucket.ts';

export type LogLine = { level: 'info' | 'warn' | 'error'; event: string; fields: object };

export class BoundedLog {
  readonly #write: (line: LogLine) => void;
  readonly #rate = new TokenBucket({
    perSecond: LOG_LINES_PER_SECOND,
    burst: LOG_LINES_BURST,
    nowMs: performance.now(),
  });
  /** Lines left out since the last one. */
  #dropped = 0;

  constructor(write: (line: LogLine) => void) {
    this.#write = write;
  }

  warn(event: string, fields: object): void {
    if (!this.#rate.take(performance.now())) {
      this.#dropped++;
      return;
    }
    this.#write({ level: 'warn', event, fields: this.#dropped > 0 ? { ...fields, dropped: this.#dropped } : fields });
    this.#dropped = 0;
  }
}
