// A part that another one calls back, and that can only be made after it.

export class Late<T> {
  readonly #name: string;
  #value: { it: T } | undefined;

  /** @param name for the error of a call that comes too early. */
  constructor(name: string) {
    this.#name = name;
  }

  /** Called once. */
  is(value: T): void {
    if (this.#value !== undefined) throw new Error(`${this.#name} is there already`);
    this.#value = { it: value };
  }

  get it(): T {
    if (this.#value === undefined) throw new Error(`${this.#name} is not there yet`);
    return this.#value.it;
  }
}
