// How long this process has just stood still: stopped by a signal, frozen with its control group, asleep with its
// machine. What was asked of it meanwhile waited unseen in buffers, so whoever asked may have given up since. Never
// judges what to do.

import { setImmediate } from 'node:timers/promises';

const TICK_MS = 1_000;
/** Less than this is a busy machine, and no request is too old by it. */
export const STANDSTILL_MIN_MS = 3_000;
/** So long after it the buffers that filled meanwhile may still be read. */
const AFTERMATH_MS = 5_000;
/**
 * A read may stop before the end that came in behind it; that comes with the next turn, over TLS with the one after.
 */
const TURNS = 4;

export type Clocks = {
  /** Goes on while a process is stopped, but not while a machine sleeps. */
  steadyMs(): number;
  /** Goes on while a machine sleeps, but may be set. */
  wallMs(): number;
};

const realClocks: Clocks = { steadyMs: () => performance.now(), wallMs: () => Date.now() };

export class Standstill {
  readonly #clocks: Clocks;
  readonly #timer: NodeJS.Timeout | undefined;
  #steadyAtMs: number;
  #wallAtMs: number;
  #last = { stoodMs: 0, endedAtMs: Number.NEGATIVE_INFINITY };

  /** `ticking`: looks by itself; else only when it is asked. */
  constructor(options: { clocks?: Clocks; ticking?: boolean } = {}) {
    this.#clocks = options.clocks ?? realClocks;
    this.#steadyAtMs = this.#clocks.steadyMs();
    this.#wallAtMs = this.#clocks.wallMs();
    if (options.ticking !== false) this.#timer = setInterval(() => this.look(), TICK_MS).unref();
  }

  /** Notes that the process runs now. */
  look(): void {
    const steadyMs = this.#clocks.steadyMs();
    const wallMs = this.#clocks.wallMs();
    const stoodMs = Math.max(steadyMs - this.#steadyAtMs, wallMs - this.#wallAtMs);
    this.#steadyAtMs = steadyMs;
    this.#wallAtMs = wallMs;
    if (stoodMs < STANDSTILL_MIN_MS) return;
    const isGoingOn = steadyMs - this.#last.endedAtMs < AFTERMATH_MS;
    this.#last = { stoodMs: Math.max(stoodMs, isGoingOn ? this.#last.stoodMs : 0), endedAtMs: steadyMs };
  }

  /**
   * The longest time that what is read now may have waited for this process to go on; 0 when it did not stand still of
   * late.
   * @param sinceMs steady time from when on it could be read: what came over a connection that was taken only
   * afterwards has not waited for that.
   */
  recentMs(sinceMs = Number.NEGATIVE_INFINITY): number {
    this.look();
    const { stoodMs, endedAtMs } = this.#last;
    return this.#steadyAtMs - endedAtMs < AFTERMATH_MS && endedAtMs > sinceMs ? stoodMs : 0;
  }

  /** Steady time; when it has stood still until now, that ends with it. */
  nowMs(): number {
    this.look();
    return this.#steadyAtMs;
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}

/**
 * Resolves once the event loop has read whatever had come in behind what it reads now, such as the end of a
 * connection.
 */
export async function readWhatCameIn(): Promise<void> {
  for (let turn = 0; turn < TURNS; turn++) await setImmediate();
}
