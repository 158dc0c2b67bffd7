// Invariant 8: a fenced slot is never ready on both sides of a partition once the fencing delay has passed.
//
// Asserts after every step, for every app that is fenced in some running node's view, slots with volumes that wait for
// their node left out: when a set of nodes has been cut off from the rest, in both directions, without a change for
// FENCING_MS, no slot of the app has ready instances in two such sets whose daemons run. A frozen daemon cannot act;
// its node is left out until a little after it runs again.

import { slotKey } from '../../../node/core/slots.ts';
import type { Checker } from './checker.ts';
import type { ClusterFacts, NodeFacts, SpecFacts } from './facts.ts';

const FENCING_MS = 16_000;
const AWAKE_MS = 5_000;

export class Fencing implements Checker {
  readonly name = 'fencing';
  readonly #world: ClusterFacts;
  #sides: number[] | undefined;
  #sinceMs = 0;

  constructor(world: ClusterFacts) {
    this.#world = world;
  }

  cutsChanged(): void {
    const sides = this.#sidesNow();
    if (sides?.join() !== this.#sides?.join()) this.#sinceMs = this.#world.clock.nowMs;
    this.#sides = sides;
  }

  stepped(): void {
    const sides = this.#sides;
    const { nowMs } = this.#world.clock;
    if (sides === undefined || nowMs - this.#sinceMs < FENCING_MS) return;
    const sideOfSlot = new Map<string, number>();
    for (const node of this.#world.nodes) {
      if (!this.#canAct(node)) continue;
      for (const one of node.runtime.running.values()) {
        // Nobody else starts data that waits for its node, and a recovery is a person's word.
        if (!this.#isFenced(node, one.spec.volumes)) continue;
        if (one.state !== 'ready' || node.core?.desired?.apps.get(one.spec.app.id)?.partition !== 'fence') continue;
        const key = slotKey({ app: one.spec.app.id, process: one.spec.process, index: one.spec.index });
        const side = sides[node.index]!;
        const other = sideOfSlot.get(key);
        if (other !== undefined && other !== side) {
          this.#world.fail(
            this.name,
            `fenced slot ${one.spec.app.name}/${one.spec.index} is ready on both sides of a partition`,
          );
        }
        sideOfSlot.set(key, side);
      }
    }
  }

  /** Also with data, where a majority may restore that. */
  #isFenced(node: NodeFacts, volumes: SpecFacts['volumes'] = []): boolean {
    return volumes.every(({ id }) => node.core?.desired?.volumes.get(id)?.onLoss === 'restore');
  }

  #canAct(node: NodeFacts): boolean {
    const awakeMs = this.#world.clock.nowMs - Math.max(node.thawedAtMs, node.bootedAtMs);
    return node.daemonUp && !node.frozen && awakeMs > AWAKE_MS;
  }

  /** By node, the smallest index that it can be reached from; undefined while everyone reaches everyone. */
  #sidesNow(): number[] | undefined {
    const { nodes, network } = this.#world;
    const sides = nodes.map((node) => node.index);
    // One-way cuts join, so that a side is only what is cut off for sure.
    const joined = (a: number, b: number): boolean => !network.isCut(a, b) || !network.isCut(b, a);
    for (let changed = true; changed; ) {
      changed = false;
      for (const a of nodes) {
        for (const b of nodes) {
          const smaller = Math.min(sides[a.index]!, sides[b.index]!);
          if (!joined(a.index, b.index) || sides[a.index] === sides[b.index]) continue;
          sides[a.index] = smaller;
          sides[b.index] = smaller;
          changed = true;
        }
      }
    }
    return sides.every((side) => side === sides[0]) ? undefined : sides;
  }
}
