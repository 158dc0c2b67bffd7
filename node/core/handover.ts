// Handover: how a copy goes for the sake of others, without too many going at once: nodes whose views differ for a
// moment may each count on what the other is about to end. So a ready copy first says in its node's report that it
// would go; ready copies that do not say so themselves promise to stay, in the reports of their nodes; only then the
// first one ends.
// - It `offers` to go for another copy of its slot: one promise of such a copy is enough.
// - It `vacates`: its slot would be empty until its replacement runs, so as many other slots as have to stay ready
//   must promise.
// An offer counts for offerValidMs from when it was made; a promise is held for promiseHeldMs from when it was given,
// which is later, also when the other node is not heard of any more. So no promise ends before the offer that it was
// given for, however long messages take, as long as clocks run at about the same rate. Decides neither which copy is
// to go nor when another replaces it (reconcile.ts, rollout.ts).

import type { NodeId } from '../../crdt/ids.ts';
import type { DecisionInstance } from './essence.ts';
import type { Holder } from './holders.ts';
import type { CoreState, LocalInstance, Offer } from './state.ts';
import { compareText } from './text.ts';

/** A promise is bound to one offer: one that was withdrawn and made again needs a new promise. */
const nameOf = (id: string, offer: string): string => `${id}@${offer}`;

/** The copy would go for another one of its slot; it still serves. Not while it has promised to stay. */
export function offer(state: CoreState, instance: LocalInstance, nowMs: number): void {
  instance.offered = offerOf(state, instance, instance.offered, nowMs);
}

export function withdraw(state: CoreState, instance: LocalInstance): void {
  if (instance.offered === undefined) return;
  instance.offered = undefined;
  changed(state);
}

/** The copy would leave its slot empty for a while; it still serves. Not while it has promised to stay. */
export function askToVacate(state: CoreState, instance: LocalInstance, nowMs: number): void {
  instance.vacates = offerOf(state, instance, instance.vacates, nowMs);
}

export function stopVacating(state: CoreState, instance: LocalInstance): void {
  if (instance.vacates === undefined) return;
  instance.vacates = undefined;
  changed(state);
}

/** The offer as it is, or a new one when there is none that still counts. Names are unique among this node's lives. */
function offerOf(state: CoreState, instance: LocalInstance, made: Offer | undefined, nowMs: number): Offer | undefined {
  if (made !== undefined && counts(state, made, nowMs)) return made;
  if (hasPromised(instance)) return undefined;
  changed(state);
  return { name: `${state.incarnation}.${state.sequence + 1}`, madeAtMs: nowMs };
}

const counts = (state: CoreState, { madeAtMs }: Offer, nowMs: number): boolean =>
  nowMs - madeAtMs <= state.config.offerValidMs;

/** When an offer of the copy has to be made anew, ms. */
export function offerEndsAtMs(state: CoreState, { offered, vacates }: LocalInstance): number {
  const madeAtMs = Math.min(
    offered?.madeAtMs ?? Number.POSITIVE_INFINITY,
    vacates?.madeAtMs ?? Number.POSITIVE_INFINITY,
  );
  return madeAtMs + state.config.offerValidMs + 1;
}

const hasPromised = (instance: LocalInstance): boolean => (instance.promises?.size ?? 0) > 0;

/** Whether another ready copy of the slot has promised to stay for this offer. */
export function isPromised(
  state: CoreState,
  instance: LocalInstance,
  holders: readonly Holder[],
  nowMs: number,
): boolean {
  const { offered } = instance;
  return offered !== undefined && counts(state, offered, nowMs) && covers(holders, instance, offered);
}

/** Whether a ready copy among those of another slot has promised to stay while this one's slot is empty. */
export function promisesToStay(
  state: CoreState,
  instance: LocalInstance,
  others: readonly Holder[],
  nowMs: number,
): boolean {
  const { vacates } = instance;
  return vacates !== undefined && counts(state, vacates, nowMs) && covers(others, instance, vacates);
}

const stays = (report: DecisionInstance): boolean =>
  report.state === 'ready' && report.offered === undefined && report.vacates === undefined;

function covers(holders: readonly Holder[], { id }: LocalInstance, { name }: Offer): boolean {
  const promise = nameOf(id, name);
  return holders.some(({ instance: other }) => other.id !== id && stays(other) && other.covers?.includes(promise));
}

/**
 * What this node's ready copies of one slot promise: to stay for every copy of the slot that offers to go, and for
 * every copy of the app that would leave its slot empty. Returns when a promise that is only held ends.
 */
export function promise(
  state: CoreState,
  options: {
    local: readonly LocalInstance[];
    /** All copies of the slot. */
    holders: readonly Holder[];
    /** The app's copies that would leave their slots empty. */
    vacating: readonly Holder[];
    /** Whether the node's reports are heard: what it offers no more is withdrawn. */
    isHeard(node: NodeId): boolean;
    nowMs: number;
  },
): number {
  const { local, holders, vacating, isHeard, nowMs } = options;
  let wakeAtMs = Number.POSITIVE_INFINITY;
  for (const instance of local) {
    const before = instance.promises;
    const after: NonNullable<LocalInstance['promises']> = new Map();
    const give = ({ candidate, instance: other }: Holder, offered: string | undefined): void => {
      if (other.id === instance.id || offered === undefined) return;
      const name = nameOf(other.id, offered);
      after.set(name, before?.get(name) ?? { to: candidate.node, untilMs: nowMs + state.config.promiseHeldMs });
    };
    if (instance.state === 'ready') {
      if (instance.offered === undefined && instance.vacates === undefined) {
        for (const holder of holders) give(holder, holder.instance.offered);
        for (const holder of vacating) give(holder, holder.instance.vacates);
      }
      for (const [name, given] of before ?? []) {
        if (after.has(name) || isHeard(given.to) || nowMs >= given.untilMs) continue;
        after.set(name, given);
        wakeAtMs = Math.min(wakeAtMs, given.untilMs);
      }
    }
    if ([...after.keys()].sort(compareText).join() === [...(before?.keys() ?? [])].sort(compareText).join()) continue;
    instance.promises = after.size === 0 ? undefined : after;
    changed(state);
  }
  return wakeAtMs;
}

/** The names under which its report tells what the copy has promised. */
export const promisesOf = (instance: LocalInstance): string[] | undefined =>
  instance.promises && [...instance.promises.keys()].sort(compareText);

function changed(state: CoreState): void {
  state.reportDirty = true;
  // This node's own other copies may promise, go, or be free of a promise, at once.
  state.decisionDirty = true;
}
