// All checkers of a run, told of everything that happens. Checks nothing itself.

import type { InstanceId } from '../../../crdt/ids.ts';
import type { Effect, Event, InstanceSpec } from '../../../node/core/types.ts';
import type { SimNode } from '../node.ts';
import type { Running } from '../runtime.ts';
import type { World } from '../world.ts';
import { Availability } from './availability.ts';
import { Calm } from './calm.ts';
import type { Checker } from './checker.ts';
import { Durability } from './durability.ts';
import { Fencing } from './fencing.ts';
import { Memory } from './memory.ts';
import { Order } from './order.ts';
import { Routing } from './routing.ts';

export class Checkers implements Required<Omit<Checker, 'name'>> {
  readonly #all: readonly Checker[];

  constructor(world: World) {
    this.#all = [Durability, Calm, Availability, Memory, Routing, Fencing, Order].map((Kind) => new Kind(world));
  }

  stepped(node: SimNode, event: Event, effects: readonly Effect[]): void {
    for (const one of this.#all) one.stepped?.(node, event, effects);
  }

  starting(node: SimNode, spec: InstanceSpec): void {
    for (const one of this.#all) one.starting?.(node, spec);
  }

  stopping(node: SimNode, id: InstanceId, reason: string): void {
    for (const one of this.#all) one.stopping?.(node, id, reason);
  }

  lost(node: SimNode, instance: Running): void {
    for (const one of this.#all) one.lost?.(node, instance);
  }

  desiredChanged(node: SimNode): void {
    for (const one of this.#all) one.desiredChanged?.(node);
  }

  booted(node: SimNode): void {
    for (const one of this.#all) one.booted?.(node);
  }

  acknowledged(hash: string, heldBy: readonly number[]): void {
    for (const one of this.#all) one.acknowledged?.(hash, heldBy);
  }

  cutsChanged(): void {
    for (const one of this.#all) one.cutsChanged?.();
  }

  rested(): void {
    for (const one of this.#all) one.rested?.();
  }
}
