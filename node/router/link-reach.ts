// Knows whether the link of one other node can be dialled. One that could not is left alone by requests and dialled
// here instead, with growing pauses, until it can: so no request pays for another's time-out. Never chooses an
// upstream.

import type { Socket } from 'node:net';
import { LinkError } from './errors.ts';
import { LINK_REDIAL_DELAY_MAX_MS, LINK_REDIAL_DELAY_MIN_MS } from './limits.ts';
import { whyUnreachable } from './link-dial.ts';

type Dial = (callback: (error: Error | null, socket: Socket | null) => void) => void;

/** `sinceMs`: on the clock of performance.now(). */
export type Down = { why: string; sinceMs: number };

export class LinkReach {
  readonly #dial: Dial;
  readonly #heardBytes: () => number;
  readonly #changed: () => void;
  #down: Down | undefined;
  #failures = 0;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  /**
   * `heardBytes` counts all that ever came over the link; `changed` is called when it goes down and when it comes
   * back.
   */
  constructor(dial: Dial, options: { heardBytes: () => number; changed: () => void }) {
    this.#dial = dial;
    this.#heardBytes = options.heardBytes;
    this.#changed = options.changed;
  }

  /** Why no request should be sent there now; undefined while nothing is known against it. */
  get down(): Down | undefined {
    return this.#down;
  }

  /** As the dial that it was made with, and learns from how that ends. */
  dial: Dial = (callback) => {
    const heardBytes = this.#heardBytes();
    this.#dial((error, socket) => {
      if (socket) this.#reached();
      // What answers other requests meanwhile is busy, or this process is; it is not away.
      else if (isAnotherMachine(error) || this.#heardBytes() === heardBytes) this.lost(whyUnreachable(error));
      callback(error, socket);
    });
  };

  lost(why: string): void {
    if (this.#stopped) return;
    const wasUp = this.#down === undefined;
    this.#down = { why, sinceMs: this.#down?.sinceMs ?? performance.now() };
    this.#redialSoon();
    if (wasUp) this.#changed();
  }

  /** No request needs this link any more. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    if (this.#down === undefined) return;
    this.#down = undefined;
    this.#changed();
  }

  #reached(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#failures = 0;
    if (this.#down === undefined) return;
    this.#down = undefined;
    if (!this.#stopped) this.#changed();
  }

  #redialSoon(): void {
    if (this.#timer !== undefined) return;
    const delayMs = Math.min(LINK_REDIAL_DELAY_MAX_MS, LINK_REDIAL_DELAY_MIN_MS * 2 ** this.#failures);
    this.#failures++;
    this.#timer = setTimeout(() => {
      this.#dial((error, socket) => {
        this.#timer = undefined;
        if (this.#stopped) socket?.destroy();
        else if (socket) {
          socket.on('error', () => {});
          socket.destroy();
          this.#reached();
        } else this.lost(whyUnreachable(error));
      });
    }, delayMs).unref();
  }
}

const isAnotherMachine = (error: Error | null): boolean =>
  error instanceof LinkError && error.code === 'wrong_identity';
