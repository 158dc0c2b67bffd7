// Who may stage now: a few at a time, one per app, first come first served, and a bounded number in all. Never looks
// at what a staging does.

import { StagingError } from './errors.ts';

export type Turns = {
  /**
   * Counts a staging in; throws `busy` when there are too many. The caller leaves when it is over, whatever came of
   * it.
   */
  enter(): { leave(): void };
  /**
   * Resolves with the function that ends the turn. Fails with `aborted`. `onWait` is called when it does not come at
   * once.
   */
  take(key: string, options: { signal: AbortSignal; onWait: () => void }): Promise<() => void>;
};

type Waiting = { key: string; go: () => void };

export const createTurns = (limits: { runningMax: number; waitingMax: number }): Turns => {
  const running = new Set<string>();
  const waiting: Waiting[] = [];
  let inside = 0;

  const admit = (): void => {
    while (running.size < limits.runningMax) {
      const at = waiting.findIndex(({ key }) => !running.has(key));
      if (at === -1) return;
      const [next] = waiting.splice(at, 1);
      running.add(next!.key);
      next!.go();
    }
  };

  return {
    enter() {
      if (inside >= limits.runningMax + limits.waitingMax) {
        throw new StagingError(
          'busy',
          `${inside} stagings run or wait on this node already: try again later, or push to another node`,
        );
      }
      inside += 1;
      return {
        leave: () => {
          inside -= 1;
        },
      };
    },
    take: (key, { signal, onWait }) =>
      new Promise((resolve, reject) => {
        const stop = (): void => {
          const at = waiting.indexOf(entry);
          if (at !== -1) waiting.splice(at, 1);
          reject(new StagingError('aborted', 'staging was stopped'));
        };
        const entry: Waiting = {
          key,
          go: () => {
            signal.removeEventListener('abort', stop);
            resolve(() => {
              running.delete(key);
              admit();
            });
          },
        };
        if (signal.aborted) return stop();
        signal.addEventListener('abort', stop, { once: true });
        waiting.push(entry);
        admit();
        if (waiting.includes(entry)) onWait();
      }),
  };
};
