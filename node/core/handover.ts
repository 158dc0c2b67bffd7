// Handover: how a copy of a slot goes for the sake of another copy elsewhere, without both going at once. Two nodes whose views
// differ for a moment may each take the other's copy for the one that stays. So a ready copy first offers to go, in its node's
// report; a ready copy that does not offer to go itself promises to stay, in the report of its node; only then the first one
// ends. Decides neither which copy is to go nor when another replaces it (reconcile.ts).

import type { Holder } from './placement.ts';
import type { CoreState, LocalInstance } from './state.ts';
import { compareText } from './state.ts';
import type { InstanceReport } from './types.ts';

/** A promise is bound to one offer: one that was withdrawn and made again needs a new promise. */
const nameOf = (instance: Pick<InstanceReport, 'id' | 'offered'>): string => `${instance.id}@${instance.offered}`;

/** The copy would go; it still serves. */
export function offer(state: CoreState, instance: LocalInstance): void {
  if (instance.offered !== undefined) return;
  instance.offered = `${state.incarnation}.${state.sequence + 1}`;
  instance.covers = undefined;
  state.reportDirty = true;
  // This node's own other copies may promise at once.
  state.decisionDirty = true;
}

export function withdraw(state: CoreState, instance: LocalInstance): void {
  if (instance.offered === undefined) return;
  instance.offered = undefined;
  state.reportDirty = true;
}

/** Whether another ready copy has promised to stay for this offer. */
export function isPromised(instance: LocalInstance, holders: readonly Holder[]): boolean {
  return holders.some(
    ({ instance: other }) =>
      other.id !== instance.id &&
      other.state === 'ready' &&
      other.offered === undefined &&
      other.covers?.includes(nameOf(instance)) === true,
  );
}

/** What this node's ready copies of one slot promise: to stay for every copy elsewhere that offers to go. */
export function promise(state: CoreState, local: readonly LocalInstance[], holders: readonly Holder[]): void {
  for (const instance of local) {
    const stays = instance.state === 'ready' && instance.offered === undefined;
    const covers = stays
      ? holders
          .filter(({ instance: other }) => other.id !== instance.id && other.offered !== undefined)
          .map(({ instance: other }) => nameOf(other))
          .sort(compareText)
      : [];
    if (covers.join() === (instance.covers?.join() ?? '')) continue;
    instance.covers = covers.length === 0 ? undefined : covers;
    state.reportDirty = true;
    // It may have promised to a copy beside it.
    state.decisionDirty = true;
  }
}
