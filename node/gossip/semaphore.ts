// Lets at most so many hold a permit at once; the rest wait in order, up to a bound. Knows nothing of what the permits
// are for.

import { GossipError } from './errors.ts';

export class Semaphore {
  readonly #waiters: (() => void)[] = [];
  readonly #waitersMax: number;
  #free: number;

  constructor(permits: number, waitersMax: number) {
    this.#free = permits;
    this.#waitersMax = waitersMax;
  }

  /** A permit at once, or undefined. Call the result to give it back. */
  tryAcquire(): (() => void) | undefined {
    if (this.#free === 0) return undefined;
    this.#free -= 1;
    return this.#release();
  }

  /** Waits for a permit. Fails with `busy` when too many wait already, with the signal's reason when aborted. */
  async acquire(signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted();
    const now = this.tryAcquire();
    if (now !== undefined) return now;
    if (this.#waiters.length >= this.#waitersMax)
      throw new GossipError('busy', `more than ${this.#waitersMax} are waiting already; try again later`);
    return new Promise((resolve, reject) => {
      const wake = (): void => {
        signal.removeEventListener('abort', onAbort);
        resolve(this.#release());
      };
      const onAbort = (): void => {
        this.#waiters.splice(this.#waiters.indexOf(wake), 1);
        reject(signal.reason);
      };
      this.#waiters.push(wake);
      signal.addEventListener('abort', onAbort, { once: true });
    });
  }

  #release(): () => void {
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      const next = this.#waiters.shift();
      if (next === undefined) this.#free += 1;
      else next();
    };
  }
}
