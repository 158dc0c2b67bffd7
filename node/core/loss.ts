// Loss: data whose node is gone for so long that, as its volumes say (`onLoss: restore`), it is made anew elsewhere of
// its newest snapshot. Says which nodes this one holds for lost, and when it is the one to restore what they had.
// Writes nothing, and moves nothing by itself.

import type { NodeId, VolumeId } from '../../crdt/ids.ts';
import type { AppView, DesiredView, ReleaseView, VolumeView } from '../../crdt/view.ts';
import type { ReportedCandidate } from './candidates.ts';
import { infeasibleReasons } from './feasibility.ts';
import { hasMajority } from './fencing.ts';
import { rendezvousWeights } from './hash.ts';
import { leftBytes } from './pin.ts';
import { isRestorable, type Pin, pinsOf } from './pins.ts';
import { keyedSlotsOf } from './slots.ts';
import type { CoreState } from './state.ts';
import { compareText } from './text.ts';
import type { Effect, MemberStatus, Report, Slot } from './types.ts';

/** Nodes that a report says are lost: more than that at once is no loss, but a disaster that a person looks at. */
export const LOST_MAX = 64;

/** A slot that is asked for, and that may be restored once `holder` is lost. */
export type Restorable = {
  key: string;
  slot: Slot;
  app: AppView;
  release: ReleaseView;
  /** Who has its data: of data on its way, the node that it comes from. */
  holder: NodeId;
  /** All that it mounts, by id: whoever restores writes them in this order. */
  volumes: readonly VolumeView[];
};

/** Views are never changed, and decided on many times. */
const restorableByView = new WeakMap<DesiredView, readonly Restorable[]>();

/** By slot. */
export function restorableSlots(view: DesiredView): readonly Restorable[] {
  let slots = restorableByView.get(view);
  if (slots === undefined) {
    slots = view.volumes.size === 0 ? [] : [...view.apps.values()].flatMap(restorableOf);
    restorableByView.set(view, slots);
  }
  return slots;
}

function restorableOf(app: AppView): Restorable[] {
  const { release } = app;
  const pins = pinsOf(app);
  if (pins === undefined || release === undefined) return [];
  const { slots, keys } = keyedSlotsOf(app);
  return slots.flatMap((slot, at) => {
    const pin = pins.get(keys[at]!);
    if (pin === undefined || !isRestorable(pin)) return [];
    const holder = holderOf(pin);
    if (holder === undefined) return [];
    const volumes = [...pin.volumes].sort((a, b) => compareText(a.id, b.id));
    return [{ key: keys[at]!, slot, app, release, holder, volumes }];
  });
}

const holderOf = (pin: Pin): NodeId | undefined =>
  pin.kind === 'moving' ? pin.from : pin.kind === 'pinned' ? pin.node : undefined;

/**
 * Keeps in mind since when each holder of such data is gone, as seen from a majority without a break, and says of
 * those that have been for lossDelayMs that they are lost. Returns when the next one comes to be.
 */
export function noteLosses(state: CoreState, view: DesiredView, nowMs: number): number {
  const holders = new Set(restorableSlots(view).map(({ holder }) => holder));
  const counts = hasMajority(state);
  for (const node of state.lostSinceMs.keys()) {
    if (!counts || !holders.has(node) || !isGone(state, view, node)) state.lostSinceMs.delete(node);
  }
  let wakeAtMs = Number.POSITIVE_INFINITY;
  const lost: NodeId[] = [];
  for (const node of [...holders].sort(compareText)) {
    if (!counts || !isGone(state, view, node)) continue;
    const sinceMs = state.lostSinceMs.get(node) ?? nowMs;
    state.lostSinceMs.set(node, sinceMs);
    const lostAtMs = sinceMs + state.config.lossDelayMs;
    if (nowMs >= lostAtMs) lost.push(node);
    else wakeAtMs = Math.min(wakeAtMs, lostAtMs);
  }
  const said = lost.slice(0, LOST_MAX);
  if (said.join() !== state.lost.join()) {
    state.lost = said;
    state.reportDirty = true;
  }
  return wakeAtMs;
}

/** One that said that it leaves is expected back; one that a person removed is not. */
function isGone(state: CoreState, view: DesiredView, node: NodeId): boolean {
  if (node === state.self.node) return false;
  if (!view.nodes.has(node)) return true;
  const member = state.members.get(node);
  return member === undefined || member.status === 'dead';
}

/** How many living nodes say of the holder that it is lost, and how many have to. */
export function wordsOf(
  view: DesiredView,
  candidates: readonly { status: MemberStatus; report: Pick<Report, 'lost'> }[],
  holder: NodeId,
): { said: number; needed: number } {
  const said = candidates.filter(({ status, report }) => status === 'alive' && report.lost?.includes(holder)).length;
  return { said, needed: Math.floor(view.nodes.size / 2) + 1 };
}

/**
 * Whether the slot's data may be restored: this node, among a majority that says the same, has held its holder for
 * lost for long enough, and the volumes still are what they were when that was decided.
 */
export function mayRestore(state: CoreState, candidates: readonly ReportedCandidate[], order: RestoreOrder): boolean {
  const view = state.desired;
  if (view === undefined || !state.settled || state.leaving) return false;
  const slot = restorableSlots(view).find(
    ({ holder, volumes }) => holder === order.lost && textOf(volumes) === textOf(order.volumes),
  );
  return slot !== undefined && isAgreed(state, view, candidates, slot.holder);
}

export type RestoreOrder = Pick<Extract<Effect, { type: 'restoreVolumes' }>, 'lost' | 'volumes'>;

const textOf = (volumes: readonly { id: VolumeId; lineage: string }[]): string =>
  volumes.map(({ id, lineage }) => `${id} ${lineage}`).join();

function isAgreed(
  state: CoreState,
  view: DesiredView,
  candidates: readonly ReportedCandidate[],
  holder: NodeId,
): boolean {
  if (!state.lost.includes(holder) || !hasMajority(state)) return false;
  const { said, needed } = wordsOf(view, candidates, holder);
  return said >= needed;
}

/** Where each slot whose holder is lost is restored; undefined: no node can take it. */
export type Restorer = { slot: Restorable; node: NodeId | undefined };

/**
 * One node for each such slot, the same on all nodes that see the same. Among those that can: the fewest volumes of
 * the same app, then the highest weight, which no load changes while a restore runs. Two that see different things
 * may both restore: of what they write one wins.
 */
export function restorersOf(state: CoreState, view: DesiredView, candidates: readonly ReportedCandidate[]): Restorer[] {
  const due = restorableSlots(view).filter(({ holder }) => isAgreed(state, view, candidates, holder));
  if (due.length === 0) return [];
  const freeBytes = new Map(candidates.map(({ node, report }) => [node, leftBytes(view, report)]));
  const counts = new Map<string, number>();
  for (const { owner, node } of view.volumes.values()) {
    counts.set(`${owner} ${node}`, (counts.get(`${owner} ${node}`) ?? 0) + 1);
  }
  return due.map((slot) => {
    const { app, release, key, volumes } = slot;
    const weightOf = rendezvousWeights(key);
    const countAt = (node: NodeId): string => `${app.id} ${node}`;
    const [best] = candidates
      .filter((one) => {
        const asked = { ...one, freeBytes: freeBytes.get(one.node) ?? 0 };
        return one.node !== slot.holder && infeasibleReasons(asked, app, release).length === 0;
      })
      .map(({ node }) => ({ node, count: counts.get(countAt(node)) ?? 0, weight: weightOf(node) }))
      .sort((a, b) => a.count - b.count || b.weight - a.weight || compareText(a.node, b.node));
    if (best === undefined) return { slot, node: undefined };
    freeBytes.set(best.node, freeBytes.get(best.node)! - app.memoryBytes);
    counts.set(countAt(best.node), best.count + volumes.length);
    return { slot, node: best.node };
  });
}

/** Has this node restore what it is to, again and again until the desired state says that somebody did. */
export function restoreLost(
  {
    state,
    view,
    candidates,
    nowMs,
  }: { state: CoreState; view: DesiredView; candidates: ReportedCandidate[]; nowMs: number },
  effects: Effect[],
): number {
  let wakeAtMs = Number.POSITIVE_INFINITY;
  const mine = restorersOf(state, view, candidates).filter(({ node }) => node === state.self.node);
  for (const key of state.restores.keys()) if (!mine.some(({ slot }) => slot.key === key)) state.restores.delete(key);
  for (const { slot } of mine) {
    if (nowMs >= (state.restores.get(slot.key) ?? nowMs)) {
      state.restores.set(slot.key, nowMs + state.config.lossRetryMs);
      const volumes = slot.volumes.map(({ id, lineage }) => ({ id, lineage }));
      effects.push({ type: 'restoreVolumes', slot: slot.slot, lost: slot.holder, volumes });
    }
    wakeAtMs = Math.min(wakeAtMs, state.restores.get(slot.key)!);
  }
  return wakeAtMs;
}
