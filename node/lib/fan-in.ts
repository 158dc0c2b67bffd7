// Fan-in: many sources that each push or stream items, read as one bounded stream. Knows nothing of what the items
// are.

/** Items waiting for a slow reader beyond this are lost, oldest first: a stuck terminal must not grow the daemon. */
const QUEUE_ITEMS_MAX = 10_000;

/** A queue that several sources push into and one reader drains until the signal ends it. */
export class FanIn<T> {
  #items: T[] = [];
  #wake: (() => void) | undefined;
  #sources = 0;
  readonly #signal: AbortSignal;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
    signal.addEventListener('abort', () => this.#wake?.(), { once: true });
  }

  push(item: T): void {
    if (this.#items.length >= QUEUE_ITEMS_MAX) this.#items.shift();
    this.#items.push(item);
    this.#wake?.();
  }

  /** Reads the stream in the background; its failure ends this source alone. */
  addStream(stream: AsyncIterable<T>): void {
    this.#sources++;
    void (async () => {
      try {
        for await (const item of stream) {
          if (this.#signal.aborted) break;
          this.push(item);
        }
      } catch {
        // The other node went away; what it sent stands.
      } finally {
        this.#sources--;
        this.#wake?.();
      }
    })();
  }

  /** Ends with the signal, or when `open` is false and every stream has ended. */
  async *read(options: { open: boolean }): AsyncIterable<T> {
    while (!this.#signal.aborted) {
      while (this.#items.length > 0) {
        yield this.#items.shift()!;
        if (this.#signal.aborted) return;
      }
      if (!options.open && this.#sources === 0) return;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        if (this.#items.length > 0 || this.#signal.aborted) resolve();
      });
      this.#wake = undefined;
    }
  }
}
