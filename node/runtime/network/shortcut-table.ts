// The shortcuts between apps and services of this node that are loaded: changes them element by element, builds them
// anew where that fails, and goes without where the kernel has no such rules. Decides nothing about who may call.

import type { Log } from '../../lib/log.ts';
import type { Call } from './calls.ts';
import { loadRules } from './nft.ts';
import {
  changeShortcuts,
  type ShortcutNet,
  type Shortcuts,
  shortcutRules,
  shortcutsOf,
  shortcutTable,
} from './shortcuts.ts';

export class ShortcutTable {
  readonly #net: ShortcutNet;
  readonly #log: Log;
  /** Undefined: not known, as another daemon or nobody has loaded it. */
  #loaded: Shortcuts | undefined;
  #isMissing = false;

  constructor(net: ShortcutNet, log: Log) {
    this.#net = net;
    this.#log = log;
  }

  /**
   * Call when the rules of the long way have been loaded. Never fails: without shortcuts everything goes that way. Not
   * to be called again before it has resolved.
   */
  async set(calls: readonly Call[], services: ReadonlySet<number>): Promise<void> {
    const { key } = this.#net;
    const now = shortcutsOf(this.#net, calls, services);
    const before = this.#loaded;
    if (before === undefined && now.elements.size === 0 && this.#isMissing) return;
    this.#loaded = undefined;
    try {
      await (before === undefined ? this.#build(now) : this.#change(before, now));
      this.#loaded = now;
      this.#isMissing = false;
    } catch (error) {
      await loadRules(`table netdev ${shortcutTable(key)}\ndelete table netdev ${shortcutTable(key)}\n`).catch(
        () => {},
      );
      if (!this.#isMissing) this.#log.info('runtime.no_shortcuts', { error });
      this.#isMissing = true;
    }
  }

  async #change(before: Shortcuts, now: Shortcuts): Promise<void> {
    const rules = changeShortcuts(this.#net.key, before, now);
    if (rules === '') return;
    // Somebody else may have changed the table.
    await loadRules(rules).catch(() => this.#build(now));
  }

  async #build(now: Shortcuts): Promise<void> {
    await loadRules(shortcutRules(this.#net.key, now));
  }
}
