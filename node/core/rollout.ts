// The order and pace of a roll-out: whose turn it is, and which slot may be without an instance for a while. Starts
// and stops nothing (reconcile.ts).

import type { AppView, ReleaseView } from '../../crdt/view.ts';
import type { DecisionInstance } from './essence.ts';
import { promisesToStay } from './handover.ts';
import type { Holder } from './holders.ts';
import type { Placement } from './placed.ts';
import { isCurrent, slotKey } from './slots.ts';
import type { CoreState, LocalInstance } from './state.ts';
import type { Slot } from './types.ts';

/** The order in which an app's slots take a new release, as far as this node has heard. */
export class Rollout {
  readonly #app: AppView;
  readonly #slots: readonly Slot[];
  readonly #holders: Placement['holders'];
  readonly #release: ReleaseView;
  readonly #placement: Placement;
  #vacating: readonly Holder[] | undefined;

  constructor(options: {
    app: AppView;
    release: ReleaseView;
    slots: readonly Slot[];
    holders: Placement['holders'];
    placement: Placement;
  }) {
    this.#app = options.app;
    this.#release = options.release;
    this.#slots = options.slots;
    this.#holders = options.holders;
    this.#placement = options.placement;
  }

  /** Slots upgrade in order: it is a slot's turn when fewer of those before it are under way than maxSurge allows. */
  isTurnOf(slot: Slot): boolean {
    return this.#underWayBefore(slot) < Math.max(1, this.#app.maxSurge);
  }

  /** How many slots before it are not ready on the current release. One that no node has room for holds nobody up. */
  #underWayBefore(slot: Slot): number {
    const key = slotKey(slot);
    let underWay = 0;
    for (const earlier of this.#slots) {
      const earlierKey = slotKey(earlier);
      if (earlierKey === key) break;
      const ready = (this.#holders.get(earlierKey) ?? []).some(
        ({ instance }) => instance.state === 'ready' && isCurrent(instance, this.#app, this.#release),
      );
      if (!ready && this.#placement.assigned.has(earlierKey)) underWay++;
    }
    return underWay;
  }

  #readySlots(): Slot[] {
    return this.#slots.filter((slot) =>
      (this.#holders.get(slotKey(slot)) ?? []).some(({ instance }) => instance.state === 'ready'),
    );
  }

  /** Whether at most one slot of the app is served. */
  isLastReady(): boolean {
    return this.#readySlots().length <= 1;
  }

  /**
   * Whether the slot may be empty for a while, as far as this node has heard: never the last ready one, and strictly
   * in order, so that two nodes never take down one each.
   */
  mayTakeDown(slot: Slot): boolean {
    return this.#underWayBefore(slot) === 0 && this.#readySlots().length > this.#neededReady();
  }

  /**
   * How many slots have to stay ready: all but maxUnavailable of those that can be filled, and one at least. Slots
   * that no node has room for do not count: the others would never be upgraded.
   */
  #neededReady(): number {
    return Math.max(1, this.#fillable().length - this.#app.maxUnavailable);
  }

  #fillable(): string[] {
    const ready = new Set(this.#readySlots().map(slotKey));
    return this.#slots.map(slotKey).filter((key) => ready.has(key) || this.#placement.assigned.has(key));
  }

  /** Whether it is the only one that can be filled at all: then nothing can serve meanwhile. */
  isOnlySlot(slot: Slot): boolean {
    return this.#fillable().every((key) => key === slotKey(slot));
  }

  /** Whether so many other slots have promised to stay ready that this copy may go. */
  mayVacate(instance: LocalInstance, state: CoreState, nowMs: number): boolean {
    const key = slotKey(instance);
    const promised = this.#slots.map(slotKey).filter((other) => {
      return other !== key && promisesToStay(state, instance, this.#holders.get(other) ?? [], nowMs);
    });
    return promised.length >= this.#neededReady();
  }

  /** The app's copies that ask to leave their slots empty for a while. */
  vacating(): readonly Holder[] {
    this.#vacating ??= this.#slots
      .flatMap((slot) => this.#holders.get(slotKey(slot)) ?? [])
      .filter(({ instance }) => instance.vacates !== undefined);
    return this.#vacating;
  }

  /**
   * While every copy of a process type has crashed, its first slot is tried before the others: one start shows as much
   * as many.
   * @see Cloud Foundry's Health Manager: when all instances crashed, only index 0 is started
   */
  waitsForFirst({ process, index }: Slot, crashes: number): boolean {
    if (index === 0) return false;
    let first: DecisionInstance | undefined;
    for (const slot of this.#slots) {
      if (slot.process !== process) continue;
      for (const { instance } of this.#holders.get(slotKey(slot)) ?? []) {
        if (instance.state === 'ready') return false;
        if (slot.index === 0 && isCurrent(instance, this.#app, this.#release)) first = instance;
      }
    }
    return first?.state === 'starting' || (first?.state === 'crashed' && first.crashes <= crashes);
  }

  oldInstancesRun(): boolean {
    for (const slot of this.#slots) {
      for (const { instance } of this.#holders.get(slotKey(slot)) ?? []) {
        if (instance.state !== 'crashed' && !isCurrent(instance, this.#app, this.#release)) return true;
      }
    }
    return false;
  }
}
