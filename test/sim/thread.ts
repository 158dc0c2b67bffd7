// Twin of a daemon's one thread: work takes time on it, and while it is busy, or stands still, everything else waits:
// timers that are due first, then what has arrived, in order, as in Node's event loop. Without costs everything runs
// at once.

import type { Clock } from './clock.ts';

/**
 * What work takes on a machine of a shape with workScale 1, ms. What is cheap is cheap by far: it is the handshakes of
 * connections that come in storms.
 */
const COSTS_MS = {
  /** Of a connection, on either side: key exchange, the multiplexer, what is negotiated on it. */
  handshake: 8,
  /** A gossiped message that is new here: its signature, its content. */
  message: 0.3,
  /** One that was heard before. */
  duplicate: 0.05,
  /** What is published is signed, and sealed for each neighbour. */
  publish: 0.3,
  send: 0.05,
  /** One frame of a request, an answer or a probe. */
  frame: 0.1,
  /** An event that the core takes. */
  step: 0.05,
  /** A placement, and what follows from it. */
  decision: 0.5,
};
export type Work = keyof typeof COSTS_MS;

/** Processors that several threads share: with more of them busy than there are processors, each is slower. */
export class Processors {
  readonly #count: number;
  readonly #threads: Thread[] = [];

  /** Infinity: each thread has one to itself. */
  constructor(count: number) {
    this.#count = count;
  }

  add(thread: Thread): void {
    this.#threads.push(thread);
  }

  /** By how much longer work takes that begins now. */
  slowdown(): number {
    if (this.#count >= this.#threads.length) return 1;
    let busy = 1;
    for (const thread of this.#threads) if (thread.isBusy) busy++;
    return Math.max(1, busy / this.#count);
  }
}

export class Thread {
  readonly #clock: Clock;
  readonly #scale: number;
  readonly #processors: Processors;
  /** Work takes so many times as long for now. */
  slowness = 1;
  #busyUntilMs = 0;
  #stopped = false;
  #timers: (() => void)[] = [];
  #arrived: (() => void)[] = [];
  /** Of a round: the timers that were due when it began, then what had arrived by then. */
  #round: (() => void)[] = [];
  #resumesAtMs = Number.POSITIVE_INFINITY;

  constructor(options: { clock: Clock; scale: number; processors: Processors }) {
    this.#clock = options.clock;
    this.#scale = options.scale;
    this.#processors = options.processors;
    this.#processors.add(this);
  }

  get isBusy(): boolean {
    return this.#clock.nowMs < this.#busyUntilMs;
  }

  /** A timer has become due. */
  ring(run: () => void): void {
    if (this.#isFree()) run();
    else this.#wait(this.#timers, run);
  }

  /** Something has arrived: a message, an answer, the end of a process. */
  arrive(run: () => void): void {
    if (this.#isFree()) run();
    else this.#wait(this.#arrived, run);
  }

  /** What runs now takes this long. Returns when it will be done, in ms from now. */
  work(kind: Work): number {
    const { nowMs } = this.#clock;
    const tookMs = COSTS_MS[kind] * this.#scale * this.slowness;
    if (tookMs === 0) return 0;
    const untilMs = Math.max(nowMs, this.#busyUntilMs) + tookMs * this.#processors.slowdown();
    // As fine as the clock is.
    this.#busyUntilMs = Math.ceil(untilMs * 1000) / 1000;
    return this.#busyUntilMs - nowMs;
  }

  stop(): void {
    this.#stopped = true;
  }

  go(): void {
    this.#stopped = false;
    this.#resume();
  }

  /** The process has ended, and with it all that waited. */
  clear(): void {
    this.#timers = [];
    this.#arrived = [];
    this.#round = [];
    this.#busyUntilMs = 0;
    this.#stopped = false;
  }

  #isFree(): boolean {
    return !this.#stopped && !this.isBusy && this.#round.length + this.#timers.length + this.#arrived.length === 0;
  }

  #wait(queue: (() => void)[], run: () => void): void {
    queue.push(run);
    if (!this.#stopped) this.#resumeLater();
  }

  #resumeLater(): void {
    const atMs = Math.max(this.#clock.nowMs, this.#busyUntilMs);
    if (atMs >= this.#resumesAtMs) return;
    this.#resumesAtMs = atMs;
    this.#clock.at(atMs, () => {
      if (this.#resumesAtMs !== atMs) return;
      this.#resumesAtMs = Number.POSITIVE_INFINITY;
      this.#resume();
    });
  }

  #resume(): void {
    while (!this.#stopped && !this.isBusy) {
      const next = this.#next();
      if (next === undefined) return;
      next();
    }
    if (!this.#stopped) this.#resumeLater();
  }

  #next(): (() => void) | undefined {
    if (this.#round.length === 0) {
      // Either kind comes to its turn, however much there is of the other.
      this.#round = [...this.#timers, ...this.#arrived];
      this.#timers = [];
      this.#arrived = [];
    }
    return this.#round.shift();
  }
}
