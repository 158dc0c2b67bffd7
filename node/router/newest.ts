// Hands the newest of something over to another process: while one is on its way, only the newest waits.

export class Newest<T> {
  readonly #send: (value: T, sent: () => void) => void;
  #value: T | undefined;
  /** Raised when whoever takes it is another one: what it was sent before does not count. */
  #receiver = 0;
  #open = false;
  #sending = false;
  #waits = false;

  /** `send` calls back once when it has been handed over, or lost with its receiver. */
  constructor(send: (value: T, sent: () => void) => void) {
    this.#send = send;
  }

  get value(): T | undefined {
    return this.#value;
  }

  set(value: T): void {
    this.#value = value;
    this.#waits = true;
    this.#pass();
  }

  /** A receiver is there, which knows nothing yet. */
  open(): void {
    this.#receiver++;
    this.#open = true;
    this.#sending = false;
    this.#waits = this.#value !== undefined;
    this.#pass();
  }

  close(): void {
    this.#open = false;
  }

  #pass(): void {
    if (!this.#open || this.#sending || !this.#waits) return;
    this.#waits = false;
    this.#sending = true;
    const receiver = this.#receiver;
    this.#send(this.#value as T, () => {
      if (this.#receiver !== receiver) return;
      this.#sending = false;
      this.#pass();
    });
  }
}
