// Simulated time: a queue of what happens when. Time moves only from one event to the next; equal times run in the
// order in which they were asked for.

type Due = { atMs: number; order: number; run: () => void };

export class Clock {
  #nowMs = 0;
  #order = 0;
  /** Binary heap by (atMs, order). */
  readonly #heap: Due[] = [];

  /** Ms since the simulation began. */
  get nowMs(): number {
    return this.#nowMs;
  }

  get waiting(): number {
    return this.#heap.length;
  }

  in(delayMs: number, run: () => void): void {
    this.at(this.#nowMs + delayMs, run);
  }

  at(atMs: number, run: () => void): void {
    // Microseconds are fine enough, and keep sums of fractions out of the trace.
    const due = { atMs: Math.max(this.#nowMs, Math.round(atMs * 1000) / 1000), order: this.#order++, run };
    const heap = this.#heap;
    let at = heap.length;
    heap.push(due);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(due, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = due;
  }

  /** Runs everything due until then, and moves to then. Stops early when `until` says so. */
  runTo(endMs: number, isOver: () => boolean = () => false): void {
    for (let next = this.#heap[0]; next !== undefined && next.atMs <= endMs; next = this.#heap[0]) {
      this.#pop();
      this.#nowMs = next.atMs;
      next.run();
      if (isOver()) return;
    }
    this.#nowMs = endMs;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop()!;
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      const left = 2 * at + 1;
      if (left >= heap.length) break;
      const right = left + 1;
      const child = right < heap.length && isBefore(heap[right]!, heap[left]!) ? right : left;
      if (!isBefore(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
  }
}

const isBefore = (a: Due, b: Due): boolean => a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
