// Invariant 1: an acknowledged write is never lost while one of the nodes that acknowledged it survives.
//
// Asserts: a node named in an acknowledgement holds the change whenever its daemon runs, after every change of its
// document and after every recovery from its disk; and once the cluster rests, every node holds every acknowledged
// change of which one such node has kept its disk. A disk that is put back from an earlier copy has not kept what came
// after.

import type { SimNode } from '../node.ts';
import type { World } from '../world.ts';
import type { Checker, Hold } from './checker.ts';

export class Durability implements Checker {
  readonly name = 'durability';
  readonly #world: World;
  /** By node: what it has vouched for. */
  readonly #held = new Map<number, string[]>();
  readonly #acknowledged: { hash: string; heldBy: readonly number[] }[] = [];
  /** By node: the life in which its disk was put back last. */
  readonly #restoredIn = new Map<number, number>();

  constructor(world: World) {
    this.#world = world;
  }

  acknowledged(hash: string, holds: readonly Hold[]): void {
    // What a node said before its disk was put back may be heard after it.
    const heldBy = holds
      .filter(({ index, epoch }) => epoch >= (this.#restoredIn.get(index) ?? 0))
      .map(({ index }) => index);
    this.#acknowledged.push({ hash, heldBy });
    for (const index of heldBy) {
      const list = this.#held.get(index) ?? [];
      list.push(hash);
      this.#held.set(index, list);
      this.#check(this.#world.nodes[index]!);
    }
  }

  /** It no longer vouches for what the copy does not hold. */
  restored(node: SimNode): void {
    this.#restoredIn.set(node.index, node.epoch);
    const has = (hash: string): boolean => node.store!.document.has([hash]);
    this.#held.set(node.index, (this.#held.get(node.index) ?? []).filter(has));
    for (const one of this.#acknowledged) {
      if (one.heldBy.includes(node.index) && !has(one.hash)) {
        one.heldBy = one.heldBy.filter((index) => index !== node.index);
      }
    }
  }

  booted(node: SimNode): void {
    this.#check(node);
  }

  desiredChanged(node: SimNode): void {
    this.#check(node);
  }

  rested(): void {
    const kept: string[] = [];
    for (const { hash, heldBy } of this.#acknowledged) {
      if (heldBy.every((index) => this.#world.nodes[index]!.gone)) continue;
      kept.push(hash);
    }
    for (const node of this.#world.nodes) {
      if (node.store === undefined || node.store.document.has(kept)) continue;
      const lost = kept.find((hash) => !node.store!.document.has([hash]))!;
      this.#world.fail(this.name, `${node.self.name} never got the acknowledged change ${lost.slice(0, 12)}`);
    }
  }

  #check(node: SimNode): void {
    if (node.store === undefined) return;
    const held = this.#held.get(node.index);
    if (held === undefined || node.store.document.has(held)) return;
    for (const hash of held) {
      if (node.store.document.has([hash])) continue;
      this.#world.fail(this.name, `${node.self.name} lost change ${hash.slice(0, 12)}, which it had acknowledged`);
    }
  }
}
