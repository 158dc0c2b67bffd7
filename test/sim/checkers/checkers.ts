// All checkers of a run, told of everything that happens. Checks nothing itself.

import type { NamedChange } from '../../../crdt/change.ts';
import type { InstanceId, NodeId } from '../../../crdt/ids.ts';
import type { Effect, Event } from '../../../node/core/types.ts';
import type { LossOrder } from '../../../node/volumes/restorer.ts';
import type { World } from '../world.ts';
import { Anew } from './anew.ts';
import { Availability } from './availability.ts';
import { Blame } from './blame.ts';
import { Calm } from './calm.ts';
import type { Checker, Hold } from './checker.ts';
import { Data } from './data.ts';
import { Durability } from './durability.ts';
import type { NodeFacts, RestoreFacts, RunningFacts, SnapshotFacts, SpecFacts } from './facts.ts';
import { Fencing } from './fencing.ts';
import { Loss } from './loss.ts';
import { Memory } from './memory.ts';
import { Order } from './order.ts';
import { Rest } from './rest.ts';
import { Routing } from './routing.ts';
import { Steady } from './steady.ts';

export class Checkers implements Required<Omit<Checker, 'name'>> {
  readonly #all: readonly Checker[];

  constructor(world: World) {
    this.#all = [
      Durability,
      Calm,
      Anew,
      Availability,
      Memory,
      Rest,
      Routing,
      Fencing,
      Order,
      Steady,
      Blame,
      Data,
      Loss,
    ].map((Kind) => new Kind(world));
  }

  stepped(node: NodeFacts, event: Event, effects: readonly Effect[]): void {
    for (const one of this.#all) one.stepped?.(node, event, effects);
  }

  starting(node: NodeFacts, spec: SpecFacts): void {
    for (const one of this.#all) one.starting?.(node, spec);
  }

  stopping(node: NodeFacts, id: InstanceId, reason: string): void {
    for (const one of this.#all) one.stopping?.(node, id, reason);
  }

  lost(node: NodeFacts, instance: RunningFacts): void {
    for (const one of this.#all) one.lost?.(node, instance);
  }

  desiredChanged(node: NodeFacts): void {
    for (const one of this.#all) one.desiredChanged?.(node);
  }

  booted(node: NodeFacts): void {
    for (const one of this.#all) one.booted?.(node);
  }

  restored(node: NodeFacts): void {
    for (const one of this.#all) one.restored?.(node);
  }

  asked(changes: readonly NamedChange[]): void {
    for (const one of this.#all) one.asked?.(changes);
  }

  snapshotTaken(snapshot: SnapshotFacts, holders: readonly NodeId[]): void {
    for (const one of this.#all) one.snapshotTaken?.(snapshot, holders);
  }

  restoring(node: NodeFacts, order: LossOrder, restore: RestoreFacts): void {
    for (const one of this.#all) one.restoring?.(node, order, restore);
  }

  acknowledged(hash: string, heldBy: readonly Hold[]): void {
    for (const one of this.#all) one.acknowledged?.(hash, heldBy);
  }

  cutsChanged(): void {
    for (const one of this.#all) one.cutsChanged?.();
  }

  shookHands(node: NodeFacts): void {
    for (const one of this.#all) one.shookHands?.(node);
  }

  lostConnection(node: NodeFacts, other: number): void {
    for (const one of this.#all) one.lostConnection?.(node, other);
  }

  rested(): void {
    for (const one of this.#all) one.rested?.();
  }

  atEnd(): void {
    for (const one of this.#all) one.atEnd?.();
  }
}
