// The calls to services that are loaded in one nftables table: changes them element by element, so that connections
// which begin meanwhile are not lost, and ends the open ones of those that are taken back. Decides nothing about who
// may call.

import { runCommand } from '../../lib/program.ts';
import { addCalls, type Call, changeCalls, endCalls, endedCalls, parseCalls } from './calls.ts';
import { loadRules } from './nft.ts';

export type CallTableOptions = {
  table: string;
  /** Loads the whole table anew, with `rules` of this: what is loaded is not what it should be. */
  reload(): Promise<void>;
  /** How to run a command where the callers' sockets are: one prefix for each place. */
  placesOf(from: string): Promise<readonly string[][]>;
  /** Loads the shortcuts of these calls, and no others. Never fails. */
  shorten?(calls: readonly Call[]): Promise<void>;
};

export class CallTable {
  readonly #options: CallTableOptions;
  #loaded: readonly Call[] = [];

  constructor(options: CallTableOptions) {
    this.#options = options;
  }

  get calls(): readonly Call[] {
    return this.#loaded;
  }

  /** To be loaded with the rest of the table. */
  get rules(): string {
    return addCalls(this.#options.table, this.#loaded);
  }

  /** Takes over what an earlier daemon had loaded: connections are open because of it. */
  async takeOver(): Promise<void> {
    const { table } = this.#options;
    const json = await runCommand(['nft', '-j', 'list', 'map', 'inet', table, 'calls']).catch(() => '{}');
    this.#loaded = parseCalls(json);
  }

  /** Not to be called again before it has resolved. */
  async set(now: readonly Call[]): Promise<void> {
    const { table, reload, shorten } = this.#options;
    const change = { before: this.#loaded, now };
    this.#loaded = now;
    try {
      await load(changeCalls(table, change));
      // While their packets still pass, so that both ends hear of it.
      await this.#endConnections(endedCalls(change));
      await load(endCalls(table, change));
    } catch {
      // Somebody else changed the table.
      await reload();
    } finally {
      await shorten?.(now);
    }
  }

  /** At once where the kernel can; else they end with their next packet. */
  async #endConnections(ended: readonly Call[]): Promise<void> {
    for (const { from, address, port } of ended) {
      for (const place of await this.#options.placesOf(from)) {
        const kill = ['ss', '--kill', '--tcp', '--numeric', 'dst', `${address}:${port}`];
        await runCommand([...place, ...kill]).catch(() => {});
      }
    }
  }
}

async function load(rules: string): Promise<void> {
  if (rules !== '') await loadRules(rules);
}
