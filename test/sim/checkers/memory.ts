// Invariant 5: no node's placements exceed its memory budget.
//
// Asserts, whenever a core starts an instance: it and everything that still runs on the machine, stopping instances
// included, fit the budget that the daemon was started with.

import type { InstanceSpec } from '../../../node/core/types.ts';
import type { SimNode } from '../node.ts';
import { MIB } from '../users.ts';
import type { World } from '../world.ts';
import type { Checker } from './checker.ts';

export class Memory implements Checker {
  readonly name = 'memory';
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  starting(node: SimNode, spec: InstanceSpec): void {
    const usedBytes = node.runtime.memoryBytes() + spec.memoryBytes;
    if (usedBytes <= node.memoryBytes) return;
    this.#world.fail(
      this.name,
      `${node.self.name} starts ${spec.id}: ${usedBytes / MIB} MiB of ${node.memoryBytes / MIB} MiB would be used`,
    );
  }
}
