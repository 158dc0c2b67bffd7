// Nodes that hold the cluster's key and dial this one again and again, although it does not know them as members: it
// was removed from among them, they were, or its desired state is an older copy. Judges none of that; remembers a
// bounded number.

import type { NodeId } from '../../crdt/ids.ts';
import { STRANGER_FORGOTTEN_MS, STRANGER_INSISTS_MS, STRANGERS_MAX } from './limits.ts';

export class Strangers {
  readonly #dialled = new Map<NodeId, { firstAtMs: number; lastAtMs: number }>();

  /** It dialled, and was refused. */
  refused(node: NodeId, nowMs: number): void {
    const before = this.#dialled.get(node);
    const firstAtMs = before === undefined || this.#isForgotten(before, nowMs) ? nowMs : before.firstAtMs;
    // The one that dialled last is the last of the map.
    this.#dialled.delete(node);
    this.#dialled.set(node, { firstAtMs, lastAtMs: nowMs });
    if (this.#dialled.size > STRANGERS_MAX) this.#dialled.delete(this.#dialled.keys().next().value!);
  }

  /** A new member may dial before the change that admits it is here: who has insisted for a while is told. Sorted. */
  insisting(nowMs: number): NodeId[] {
    return [...this.#dialled]
      .filter(([, seen]) => !this.#isForgotten(seen, nowMs) && seen.lastAtMs - seen.firstAtMs >= STRANGER_INSISTS_MS)
      .map(([node]) => node)
      .sort();
  }

  /** Those that are members now. */
  forget(nodes: Iterable<NodeId>): void {
    for (const node of nodes) this.#dialled.delete(node);
  }

  #isForgotten({ lastAtMs }: { lastAtMs: number }, nowMs: number): boolean {
    return nowMs - lastAtMs > STRANGER_FORGOTTEN_MS;
  }
}
