// The end of a node: every part that has to be closed is in one list, in the order in which the parts came to be, and
// is closed in the reverse of it. Nothing else orders a shutdown, of a node that ran and of one that could not start.

import type { Log } from '../lib/log.ts';

/** Whether instances go on, to be adopted by the next start. */
export type Ending = { keepInstances: boolean };

export class Shutdown {
  readonly #log: Log;
  readonly #parts: { name: string; close: (how: Ending) => unknown }[] = [];
  #closing: Promise<void> | undefined;

  constructor(log: Log) {
    this.#log = log;
  }

  /** What came to be is closed before all that was there already. */
  add(name: string, close: (how: Ending) => unknown): void {
    this.#parts.push({ name, close });
  }

  /** Once; later calls wait for the first. A part that cannot be closed keeps no other open. Never fails. */
  close(how: Ending): Promise<void> {
    this.#closing ??= this.#closeAll(how);
    return this.#closing;
  }

  async #closeAll(how: Ending): Promise<void> {
    for (let part = this.#parts.pop(); part !== undefined; part = this.#parts.pop()) {
      try {
        await part.close(how);
      } catch (error) {
        this.#log.error('node.close_failed', { part: part.name, error });
      }
    }
  }
}
