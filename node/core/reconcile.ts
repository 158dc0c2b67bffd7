// Reconciliation: from the placement to what this node starts and stops now. Nothing that serves is stopped before its
// replacement is ready, except on the user's word (scale, stop, delete, restart of one slot).

import type { NodeId } from '../../crdt/ids.ts';
import type { AppView, ReleaseView } from '../../crdt/view.ts';
import { minorNewsMs } from './config.ts';
import { fencedUntilMs, hasMajority } from './fencing.ts';
import { askToVacate, isPromised, offer, offerEndsAtMs, promise, stopVacating, withdraw } from './handover.ts';
import { bestHolder, type Holder } from './holders.ts';
import {
  claim,
  forget,
  hasRoom,
  heldBackUntilMs,
  launchWhenFetched,
  type OwnSlot,
  type ReconcileInput,
  stop,
  wantDroplet,
} from './launching.ts';
import { newestFirst } from './lives.ts';
import { leaveVolumes, reconcilePinned } from './pinned.ts';
import { isRestorable, type Pin, pinsOf } from './pins.ts';
import { Rollout } from './rollout.ts';
import { isCurrent, keyedSlotsOf, slotKey } from './slots.ts';
import type { CoreState, LocalInstance } from './state.ts';
import { compareText } from './text.ts';
import type { Effect, Slot } from './types.ts';

/** Appends the effects. Returns when a slot that waits out its backoff, or a download, wants another look. */
export function reconcile(input: ReconcileInput, effects: Effect[]): number {
  const { state, view, placement, nowMs } = input;
  let wakeAtMs = Number.POSITIVE_INFINITY;
  const { holders } = placement;
  const locals = localsBySlot(state);
  const vacating = new Set<LocalInstance>();
  const heard = new Set(input.candidates.map(({ node }) => node));
  const isHeard = (node: NodeId): boolean => heard.has(node);
  const wanted = new Set<string>();
  // Asked for every app, that costs as much as the rest; downloads ahead of time are in no hurry.
  const asksSuccessors = nowMs >= state.successorsAtMs;
  if (asksSuccessors) state.successorsAtMs = nowMs + minorNewsMs(state.config, state.members.size);
  else wakeAtMs = state.successorsAtMs;
  for (const app of [...view.workloads.values()].sort((a, b) => compareText(a.id, b.id))) {
    const release = app.release;
    if (release === undefined) continue;
    const { slots, keys } = keyedSlotsOf(app);
    const pins = pinsOf(app);
    const fenced = app.partition === 'fence' && !hasMajority(state);
    if (fenced) {
      for (const key of keys) wanted.add(key);
      for (const instance of sortedLocal(state)) {
        if (instance.app === app.id && !isOnlyHere(pins?.get(slotKey(instance))))
          stop(state, instance, 'fenced: this side sees no majority of the nodes', nowMs, effects);
      }
      if (pins === undefined) continue;
    }
    const rollout = new Rollout({ app, release, slots, holders, placement });
    for (const [at, slot] of slots.entries()) {
      const key = keys[at]!;
      const pin = pins?.get(key);
      if (fenced && !isOnlyHere(pin)) continue;
      wanted.add(key);
      const local = locals.get(key) ?? NONE;
      if (local.length === 0 && placement.assigned.get(key) !== state.self.node) continue;
      const copies = holders.get(key) ?? [];
      if (pin !== undefined) {
        const own = { app, release, slot, local, rollout, vacating };
        wakeAtMs = Math.min(wakeAtMs, reconcilePinned(input, own, pin, effects));
      } else if (placement.assigned.get(key) === state.self.node) {
        wakeAtMs = Math.min(wakeAtMs, fillSlot(input, { app, release, slot, local, rollout, vacating }, effects));
      } else {
        const owner = placement.assigned.get(key);
        wakeAtMs = Math.min(wakeAtMs, yieldSlot(input, { app, release, slot, local, owner, copies }, effects));
      }
      wakeAtMs = Math.min(
        wakeAtMs,
        promise(state, { local, holders: copies, vacating: rollout.vacating(), isHeard, nowMs }),
      );
    }
    if (
      asksSuccessors &&
      !state.droplets.has(release.droplet.digest) &&
      placement.isSuccessor(app.id, state.self.node)
    ) {
      wakeAtMs = Math.min(wakeAtMs, wantDroplet(input, release, effects));
    }
  }
  // What no slot asks for ends at once: the user said so.
  for (const instance of sortedLocal(state)) {
    if (wanted.has(slotKey(instance))) continue;
    stop(state, instance, 'no longer wanted', nowMs, effects);
  }
  for (const instance of state.local.values()) {
    if (!vacating.has(instance)) stopVacating(state, instance);
    // One that ran out and was not made anew counts no more: left standing, it would call for another look at once.
    if (instance.state === 'ready' && offerEndsAtMs(state, instance) <= nowMs) withdraw(state, instance);
    // What is told to stop, or has crashed, makes no offer anew.
    if (instance.state === 'ready') wakeAtMs = Math.min(wakeAtMs, offerEndsAtMs(state, instance));
  }
  wakeAtMs = Math.min(wakeAtMs, leaveVolumes(input, effects));
  for (const key of [...state.history.keys()]) if (!wanted.has(key)) state.history.delete(key);
  return wakeAtMs;
}

/** Nobody else can start what is pinned here, but for what a majority may restore. */
const isOnlyHere = (pin: Pin | undefined): boolean => pin !== undefined && !isRestorable(pin);

/** This node owns the slot: see that the current release runs, then that nothing else does. */
function fillSlot(input: ReconcileInput, own: OwnSlot, effects: Effect[]): number {
  const { state, nowMs } = input;
  const { app, release, slot, local, rollout } = own;
  for (const instance of local) if (!isHandedOver(input, own, instance)) withdraw(state, instance);
  const running = local.filter((instance) => instance.state !== 'crashed' && instance.state !== 'stopping');
  const current = running.filter((instance) => isCurrent(instance, app, release));
  // The newest, ready or not: the others were told to stop before it was started, perhaps by a daemon that has ended
  // since.
  const best = current[0];
  if (best !== undefined) {
    // The record of a copy that crashed beside it says nothing any more, and would seem to need memory.
    for (const crashed of local) if (crashed.state === 'crashed') forget(state, crashed);
    for (const other of running) {
      if (other === best) continue;
      const replaces = best.state === 'ready' || (isCurrent(other, app, release) && other.state === 'starting');
      if (replaces) stop(state, other, 'replaced', nowMs, effects);
    }
    if (best.state === 'unhealthy') {
      const replaceAtMs = best.stateSinceMs + state.config.unhealthyReplaceMs;
      if (nowMs < replaceAtMs) return replaceAtMs;
      stop(state, best, 'unhealthy for too long', nowMs, effects);
    }
    if (best.phase === 'fetching') return launchWhenFetched(input, own, best, effects);
    return Number.POSITIVE_INFINITY;
  }
  // One old copy that serves is enough, and waits for the slot's turn; without one the slot waits for nothing.
  const serving =
    running.find((instance) => instance.state === 'ready') ??
    // Adopted a moment ago: it serves for all that is known.
    running.find((instance) => instance.state === 'starting' && instance.everReady);
  // One that does not answer may do so again before another one is ready, and costs nothing where there is room for
  // both.
  const recovering =
    serving === undefined && app.strategy !== 'recreate' && hasRoom(state, app.memoryBytes)
      ? running.find((instance) => instance.state === 'unhealthy')
      : undefined;
  let serveInstead = 0;
  for (const old of running) {
    if (old === serving && app.strategy !== 'recreate') continue;
    if (old === recovering) continue;
    if (app.strategy !== 'recreate' && serving?.state === 'starting' && mayServeInstead(old, serving)) serveInstead++;
    else stop(state, old, 'replaced', nowMs, effects);
  }
  // The first that is ready is kept, and the slot takes its turn then.
  if (serveInstead > 0) return Number.POSITIVE_INFINITY;
  if (serving !== undefined) {
    if (app.strategy === 'recreate') return Number.POSITIVE_INFINITY;
    if (!rollout.isTurnOf(slot)) return Number.POSITIVE_INFINITY;
    if (app.maxSurge === 0 && !rollout.isLastReady()) {
      vacate(input, own, serving, 'makes way for its replacement', effects);
      return Number.POSITIVE_INFINITY;
    }
  } else if (app.strategy === 'recreate' && rollout.oldInstancesRun()) {
    return Number.POSITIVE_INFINITY;
  }
  const heldBackMs = heldBackUntilMs(input, own, running);
  if (heldBackMs !== undefined) return heldBackMs;
  if (app.partition === 'fence' && serving === undefined && !servesElsewhere(input, slot)) {
    const fencedMs = fencedUntilMs(state, slot);
    if (nowMs < fencedMs) return fencedMs;
  }
  // It owns the slot although it takes nothing new: nobody else can have it, and what runs here stays meanwhile.
  if (state.startFault !== undefined && nowMs < state.startFault.untilMs) return state.startFault.untilMs;
  if (!hasRoom(state, app.memoryBytes)) {
    // Without room for both, the old one goes first where others carry the app meanwhile.
    if (serving !== undefined) vacate(input, own, serving, 'makes room for its replacement', effects);
    return Number.POSITIVE_INFINITY;
  }
  const instance = claim(state, { app, release, slot, nowMs });
  for (const crashed of local) if (crashed.state === 'crashed') forget(state, crashed);
  return launchWhenFetched(input, own, instance, effects);
}

/**
 * Whether a node on this side runs a ready copy: then a dead member that may hold the slot has been waited for
 * already.
 */
const servesElsewhere = ({ state, placement }: ReconcileInput, slot: Slot): boolean =>
  (placement.holders.get(slotKey(slot)) ?? []).some(
    ({ candidate, instance }) =>
      candidate.node !== state.self.node && candidate.status === 'alive' && instance.state === 'ready',
  );

/**
 * Of two copies adopted a moment ago, of different releases, either may be the one that serves: the other was perhaps
 * still starting. Of one release it is the newest.
 */
const mayServeInstead = (one: LocalInstance, serving: LocalInstance): boolean =>
  one.state === 'starting' &&
  one.everReady &&
  (one.release !== serving.release || one.restartCount !== serving.restartCount);

/**
 * Whether another node runs a ready copy of the slot that is as new as can be: one that drains, say, and has the new
 * release already. An old copy here that is in the way of a new one goes for it.
 */
function isHandedOver({ placement }: ReconcileInput, own: OwnSlot, instance: LocalInstance): boolean {
  const { app, release, slot } = own;
  if (isCurrent(instance, app, release)) return false;
  return (placement.holders.get(slotKey(slot)) ?? []).some(
    ({ instance: other }) =>
      other.id !== instance.id &&
      other.state === 'ready' &&
      other.offered === undefined &&
      isCurrent(other, app, release),
  );
}

/** Ends a copy that serves before its replacement runs: once enough others have promised to stay meanwhile. */
function vacate(input: ReconcileInput, own: OwnSlot, serving: LocalInstance, reason: string, effects: Effect[]): void {
  const { state, nowMs } = input;
  if (isHandedOver(input, own, serving)) {
    offer(state, serving, nowMs);
    const copies = input.placement.holders.get(slotKey(own.slot)) ?? [];
    if (isPromised(state, serving, copies, nowMs)) stop(state, serving, reason, nowMs, effects);
    return;
  }
  if (!own.rollout.mayTakeDown(own.slot)) return;
  askToVacate(state, serving, nowMs);
  own.vacating.add(serving);
  if (own.rollout.mayVacate(serving, state, nowMs)) stop(state, serving, reason, nowMs, effects);
}

/**
 * Another node owns the slot: what runs here goes once the owner's copy is ready and promises to stay. When nobody can
 * own it (every node that runs it drains, say), all copies go for the best one, which stays where it is. Returns when
 * one that has time to answer will have had it.
 */
function yieldSlot(
  input: ReconcileInput,
  own: {
    app: AppView;
    release: ReleaseView;
    slot: Slot;
    local: LocalInstance[];
    owner: NodeId | undefined;
    copies: readonly Holder[];
  },
  effects: Effect[],
): number {
  let wakeAtMs = Number.POSITIVE_INFINITY;
  const { state, nowMs } = input;
  const { app, release, slot, owner, copies } = own;
  const best = owner === undefined ? bestHolder(copies, app, release, slotKey(slot)) : undefined;
  const stays = ({ candidate, instance }: Holder): boolean =>
    owner === undefined ? instance.id === best?.instance.id : candidate.node === owner;
  for (const instance of own.local) {
    const current = isCurrent(instance, app, release);
    // A copy of an old release is as good as any other such copy, and no better than a new one.
    const replaced = copies.some(
      (holder) =>
        stays(holder) &&
        holder.instance.id !== instance.id &&
        holder.instance.state === 'ready' &&
        holder.instance.offered === undefined &&
        (!current || isCurrent(holder.instance, app, release)),
    );
    if (app.strategy === 'recreate' && !current && instance.state !== 'crashed') {
      // The first new copy waits until no old one is left.
      stop(state, instance, 'replaced', nowMs, effects);
    } else if (instance.state === 'crashed') {
      // Where nobody can have the slot, it stays as the record of its crashes.
      if (owner === undefined) continue;
      forget(state, instance);
    } else if (instance.phase === 'fetching' && owner !== undefined) {
      // It would wait here for ever, and keep the memory: only the owner launches.
      stop(state, instance, 'another node fills the slot', nowMs, effects);
    } else if (!replaced) {
      withdraw(state, instance);
    } else if (current && nowMs < answersUntilMs(state, app, instance)) {
      // As good as the other for all that is known: which of them stays is decided when it serves.
      wakeAtMs = Math.min(wakeAtMs, answersUntilMs(state, app, instance));
    } else if (instance.state !== 'ready') {
      stop(state, instance, 'another node fills the slot', nowMs, effects);
    } else {
      offer(state, instance, nowMs);
      if (isPromised(state, instance, copies, nowMs))
        stop(state, instance, 'another node fills the slot', nowMs, effects);
    }
  }
  return wakeAtMs;
}

/**
 * Until when a copy that was adopted a moment ago may yet turn out to serve. One of an app that must not run twice
 * goes at once.
 */
function answersUntilMs({ config }: CoreState, app: AppView, instance: LocalInstance): number {
  const waits = instance.everReady && instance.state === 'starting' && app.partition !== 'fence';
  return waits ? instance.stateSinceMs + config.adoptedAnswersMs : Number.NEGATIVE_INFINITY;
}

const sortedLocal = (state: CoreState): LocalInstance[] =>
  [...state.local.values()].sort((a, b) => compareText(a.id, b.id));

const NONE: LocalInstance[] = [];

/**
 * This node's instances by slot, each slot's with the newest first. A slot is looked at once, so what is added or goes
 * meanwhile is not missed.
 */
function localsBySlot(state: CoreState): Map<string, LocalInstance[]> {
  const bySlot = new Map<string, LocalInstance[]>();
  for (const instance of sortedLocal(state)) {
    const key = slotKey(instance);
    const list = bySlot.get(key);
    if (list === undefined) bySlot.set(key, [instance]);
    else list.push(instance);
  }
  for (const list of bySlot.values()) list.sort((a, b) => newestFirst(a.id, b.id));
  return bySlot;
}
