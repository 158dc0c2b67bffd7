// What is begun is finished: once faults are over, an instance that starts is not stopped before it is ready, but for a
// few whose news crossed.
//
// Asserts for slots of apps whose release can become ready. A decision that goes to and fro, with the ups and downs of
// another app say, starts a copy, and stops it, for as long as those last.

import type { InstanceId } from '../../../crdt/ids.ts';
import { slotKey } from '../../../node/core/slots.ts';
import type { SimNode } from '../node.ts';
import type { World } from '../world.ts';
import type { Checker } from './checker.ts';
import { isRequired } from './convergence.ts';

/** Nodes that hear of things in another order begin what others then call off. */
const IN_VAIN_MAX = 3;

export class Steady implements Checker {
  readonly name = 'steady';
  readonly #world: World;
  /** Since the last fault, by slot: started and called off. */
  readonly #inVain = new Map<string, Set<InstanceId>>();

  constructor(world: World) {
    this.#world = world;
  }

  stopping(node: SimNode, id: InstanceId, reason: string): void {
    const one = node.runtime.running.get(id);
    if (!this.#world.faultsOver || one === undefined || one.everReady) return;
    const { spec } = one;
    const app = node.core?.desired?.workloads.get(spec.app.id);
    if (app === undefined || !isRequired(this.#world, app) || app.release?.id !== spec.release.id) return;
    const key = slotKey({ app: spec.app.id, process: spec.process, index: spec.index });
    const ids = this.#inVain.get(key) ?? new Set();
    this.#inVain.set(key, ids.add(id));
    if (ids.size <= IN_VAIN_MAX) return;
    this.#world.fail(
      this.name,
      `${app.name}/${spec.index} is started and called off ${ids.size} times since the last fault: ${reason}`,
    );
  }
}
