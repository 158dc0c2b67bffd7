// Handover: how a copy goes for the sake of others, without too many going at once: nodes whose views differ for a moment may
// each count on what the other is about to end. So a ready copy first says in its node's report that it would go; ready copies
// that do not say so themselves promise to stay, in the reports of their nodes; only then the first one ends.
// - It `offers` to go for another copy of its slot: one promise of such a copy is enough.
// - It `vacates`: its slot would be empty until its replacement runs, so as many other slots as have to stay ready must promise.
// Decides neither which copy is to go nor when another replaces it (reconcile.ts, rollout.ts).

import type { Holder } from './placement.ts';
import type { CoreState, LocalInstance } from './state.ts';
import { compareText } from './state.ts';
import type { InstanceReport } from './types.ts';

/** A promise is bound to one offer: one that was withdrawn and made again needs a new promise. */
const nameOf = (id: string, offer: string): string => `${id}@${offer}`;

/** Unique among the offers of this node's lives. */
const newOffer = (state: CoreState): string => `${state.incarnation}.${state.sequence + 1}`;

/** The copy would go for another one of its slot; it still serves. */
export function offer(state: CoreState, instance: LocalInstance): void {
  if (instance.offered !== undefined) return;
  instance.offered = newOffer(state);
  instance.covers = undefined;
  changed(state);
}

export function withdraw(state: CoreState, instance: LocalInstance): void {
  if (instance.offered === undefined) return;
  instance.offered = undefined;
  state.reportDirty = true;
}

/** The copy would leave its slot empty for a while; it still serves. Never of one that has promised to stay. */
export function askToVacate(state: CoreState, instance: LocalInstance): void {
  if (instance.vacates !== undefined) return;
  instance.vacates = newOffer(state);
  changed(state);
}

export function stopVacating(state: CoreState, instance: LocalInstance): void {
  if (instance.vacates === undefined) return;
  instance.vacates = undefined;
  state.reportDirty = true;
}

const stays = (instance: Pick<InstanceReport, 'state'> & Pick<LocalInstance, 'offered' | 'vacates'>): boolean =>
  instance.state === 'ready' && instance.offered === undefined && instance.vacates === undefined;

/** Whether another ready copy of the slot has promised to stay for this offer. */
export function isPromised(instance: LocalInstance, holders: readonly Holder[]): boolean {
  return instance.offered !== undefined && covers(holders, instance, instance.offered);
}

/** Whether a ready copy among those of another slot has promised to stay while this one's slot is empty. */
export function promisesToStay(instance: LocalInstance, others: readonly Holder[]): boolean {
  return instance.vacates !== undefined && covers(others, instance, instance.vacates);
}

function covers(holders: readonly Holder[], { id }: LocalInstance, offer: string): boolean {
  const name = nameOf(id, offer);
  return holders.some(
    ({ instance: other }) => other.id !== id && stays(other) && other.covers?.includes(name) === true,
  );
}

/**
 * What this node's ready copies of one slot promise: to stay for every copy of the slot that offers to go, and for every copy
 * of the app that would leave its slot empty.
 */
export function promise(
  state: CoreState,
  local: readonly LocalInstance[],
  holders: readonly Holder[],
  vacating: readonly Holder[],
): void {
  for (const instance of local) {
    const promised: string[] = [];
    if (stays(instance)) {
      for (const { instance: other } of holders) {
        if (other.id !== instance.id && other.offered !== undefined) promised.push(nameOf(other.id, other.offered));
      }
      for (const { instance: other } of vacating) {
        if (other.id !== instance.id && other.vacates !== undefined) promised.push(nameOf(other.id, other.vacates));
      }
    }
    promised.sort(compareText);
    if (promised.join() === (instance.covers?.join() ?? '')) continue;
    instance.covers = promised.length === 0 ? undefined : promised;
    // It may have promised to a copy beside it.
    changed(state);
  }
}

function changed(state: CoreState): void {
  state.reportDirty = true;
  // This node's own other copies may promise, or go, at once.
  state.decisionDirty = true;
}
