// Waits until a stream takes more, or will take nothing any more. Leaves no listener behind.

import type { Writable } from 'node:stream';

/** After a write() that answered false. Never rejects: a stream that has failed shows it elsewhere. */
export function roomIn(stream: Writable): Promise<void> {
  if (stream.destroyed || !stream.writableNeedDrain) return Promise.resolve();
  return new Promise((resolve) => {
    const done = (): void => {
      for (const event of ['drain', 'close', 'error'] as const) stream.removeListener(event, done);
      resolve();
    };
    for (const event of ['drain', 'close', 'error'] as const) stream.once(event, done);
  });
}
