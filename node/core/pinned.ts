// Pinned slots: those with volumes. One instance at a time uses a volume, on the node that it is pinned to: what ran
// before has ended before the next one starts, and what was moved away is left, and said to be. Which node that is, is
// in pins.ts.

import { isCaughtUp } from './caught-up.ts';
import { askToVacate } from './handover.ts';
import {
  claim,
  forget,
  hasRoom,
  heldBackUntilMs,
  launchWhenFetched,
  type OwnSlot,
  type ReconcileInput,
  stop,
} from './launching.ts';
import { isMountedAs, isRestorable, movesIn, type Pin, slotOf } from './pins.ts';
import { isCurrent, slotKey } from './slots.ts';
import type { CoreState, LocalInstance } from './state.ts';
import type { Effect, Slot } from './types.ts';

/** As reconcile() does for other slots. Returns when the slot wants another look. */
export function reconcilePinned(input: ReconcileInput, own: OwnSlot, pin: Pin, effects: Effect[]): number {
  const { state, placement } = input;
  const isHere = pin.kind === 'pinned' && pin.node === state.self.node;
  if (!isHere) return giveUp(input, own, pin, effects);
  // What crashed stays as the record of that where this node cannot start it again, as nobody else can.
  if (placement.assigned.get(slotKey(own.slot)) !== state.self.node) return Number.POSITIVE_INFINITY;
  return fillPinned(input, own, pin, effects);
}

/** Its data is not here, or not all of it: nothing may run on what is left. */
function giveUp({ state, nowMs }: ReconcileInput, own: OwnSlot, pin: Pin, effects: Effect[]): number {
  for (const instance of own.local) {
    if (instance.state === 'crashed') forget(state, instance);
    else stop(state, instance, reasonOf(pin), nowMs, effects);
  }
  return Number.POSITIVE_INFINITY;
}

function reasonOf(pin: Pin): string {
  switch (pin.kind) {
    case 'pinned':
    case 'moving':
      return 'its data is on another node';
    case 'split':
      return 'its volumes are on several nodes';
    case 'noVolume':
      return 'it has no volume';
  }
}

function fillPinned(input: ReconcileInput, own: OwnSlot, pin: Pin, effects: Effect[]): number {
  const { state, nowMs } = input;
  const { app, release, slot, local } = own;
  const running = local.filter((instance) => instance.state !== 'crashed' && instance.state !== 'stopping');
  const mounted = running.filter((instance) => isMountedAs(pin, instance.volumes));
  const best = mounted.find((instance) => isCurrent(instance, app, release));
  const serving = best ?? servingOf(mounted);
  for (const other of running) {
    const reason = mounted.includes(other) ? 'replaced' : 'its data is another now';
    if (other !== serving) stop(state, other, reason, nowMs, effects);
  }
  if (best !== undefined) return keep(input, own, best, effects);
  if (serving !== undefined) {
    makeWay(input, own, serving, effects);
    return Number.POSITIVE_INFINITY;
  }
  // It comes back when that has gone.
  if (!isFree(state, slot)) return Number.POSITIVE_INFINITY;
  if (app.strategy === 'recreate' && own.rollout.oldInstancesRun()) return Number.POSITIVE_INFINITY;
  const heardMs = hearsUntilMs(input, pin);
  if (heardMs !== undefined) return heardMs;
  const heldBackMs = heldBackUntilMs(input, own, running);
  if (heldBackMs !== undefined) return heldBackMs;
  if (state.startFault !== undefined && nowMs < state.startFault.untilMs) return state.startFault.untilMs;
  if (!hasRoom(state, app.memoryBytes)) return Number.POSITIVE_INFINITY;
  const instance = claim(state, { app, release, slot, nowMs });
  for (const crashed of local) if (crashed.state === 'crashed') forget(state, crashed);
  return launchWhenFetched(input, own, instance, effects);
}

/**
 * A node that was away hears first whether its data was restored elsewhere meanwhile, while there is anyone to say so,
 * and no longer than lossDelayMs. Undefined: it may start.
 */
function hearsUntilMs({ state, nowMs }: ReconcileInput, pin: Pin): number | undefined {
  const untilMs = state.startedAtMs + state.config.lossDelayMs;
  if (!isRestorable(pin) || state.aliveCount === 0 || nowMs >= untilMs || isCaughtUp(state)) return undefined;
  return Math.min(untilMs, nowMs + state.config.caughtUpLookMs);
}

/** One that serves, or was adopted a moment ago and serves for all that is known. */
const servingOf = (running: readonly LocalInstance[]): LocalInstance | undefined =>
  running.find(({ state }) => state === 'ready') ??
  running.find(({ state, everReady }) => state === 'starting' && everReady);

/** The wanted copy runs: launched once the slot is free, and replaced when it does not recover. */
function keep(input: ReconcileInput, own: OwnSlot, best: LocalInstance, effects: Effect[]): number {
  const { state, nowMs } = input;
  for (const crashed of own.local) if (crashed.state === 'crashed') forget(state, crashed);
  if (best.state === 'unhealthy') {
    const replaceAtMs = best.stateSinceMs + state.config.unhealthyReplaceMs;
    if (nowMs < replaceAtMs) return replaceAtMs;
    stop(state, best, 'unhealthy for too long', nowMs, effects);
  }
  if (best.phase !== 'fetching' || !isFree(state, own.slot, best)) return Number.POSITIVE_INFINITY;
  return launchWhenFetched(input, own, best, effects);
}

/** Whether nothing else of the slot is left here, not even to be stopped: two would write to one volume. */
function isFree(state: CoreState, slot: Slot, but?: LocalInstance): boolean {
  const key = slotKey(slot);
  for (const instance of state.local.values()) {
    if (instance !== but && instance.state !== 'crashed' && slotKey(instance) === key) return false;
  }
  return true;
}

/**
 * An old copy that serves goes before the new one starts, when it is the slot's turn: with the promise of as many
 * others as have to stay ready, or at once where it is the only one.
 */
function makeWay(input: ReconcileInput, own: OwnSlot, serving: LocalInstance, effects: Effect[]): void {
  const { state, nowMs } = input;
  const { app, slot, rollout } = own;
  const reason = 'makes way for its replacement';
  if (app.strategy === 'recreate') stop(state, serving, reason, nowMs, effects);
  if (app.strategy === 'recreate' || !rollout.isTurnOf(slot)) return;
  if (rollout.isOnlySlot(slot)) {
    stop(state, serving, reason, nowMs, effects);
  } else if (rollout.mayTakeDown(slot)) {
    askToVacate(state, serving, nowMs);
    own.vacating.add(serving);
    if (rollout.mayVacate(serving, state, nowMs)) stop(state, serving, reason, nowMs, effects);
  }
}

/**
 * Says of each volume that was moved away from here that nothing runs on it any more, once that is so, until the
 * desired state says it too: nobody else uses it before. What is pinned elsewhere is not started here again.
 */
export function leaveVolumes({ state, view, nowMs }: ReconcileInput, effects: Effect[]): number {
  let wakeAtMs = Number.POSITIVE_INFINITY;
  const moves = movesIn(view).filter(({ movedFrom }) => movedFrom === state.self.node);
  for (const id of [...state.leaves.keys()]) if (!moves.some((volume) => volume.id === id)) state.leaves.delete(id);
  for (const volume of moves) {
    if (!isFree(state, slotOf(volume))) continue;
    const sayAtMs = state.leaves.get(volume.id) ?? nowMs;
    if (nowMs >= sayAtMs) {
      state.leaves.set(volume.id, nowMs + state.config.verdictRepeatMs);
      effects.push({ type: 'leaveVolume', volume: volume.id });
    }
    wakeAtMs = Math.min(wakeAtMs, state.leaves.get(volume.id) ?? Number.POSITIVE_INFINITY);
  }
  return wakeAtMs;
}
