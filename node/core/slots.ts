// The slots that an app asks for, and which instances are what it wants now. Says nothing about where they are.

import type { ReleaseId } from '../../crdt/ids.ts';
import type { AppView, ReleaseView } from '../../crdt/view.ts';
import { compareText } from './text.ts';
import type { Slot } from './types.ts';

export const slotKey = (slot: Slot): string => `${slot.app}/${slot.process}/${slot.index}`;

/** The slots an app wants, in roll-out order: process types by name, then index. */
export function slotsOf(app: AppView): readonly Slot[] {
  return keyedSlotsOf(app).slots;
}

type KeyedSlots = { slots: readonly Slot[]; keys: readonly string[] };
/** Views are never changed, and decided on many times. */
const slotsByApp = new WeakMap<AppView, KeyedSlots>();

/** The same slots, with their keys in the same order. */
export function keyedSlotsOf(app: AppView): KeyedSlots {
  let known = slotsByApp.get(app);
  if (known === undefined) {
    const slots = listSlots(app);
    known = { slots, keys: slots.map(slotKey) };
    slotsByApp.set(app, known);
  }
  return known;
}

function listSlots(app: AppView): Slot[] {
  if (app.stopped || app.release === undefined) return [];
  const slots: Slot[] = [];
  for (const process of Object.keys(app.release.processes).sort(compareText)) {
    const count = app.scale[process] ?? (process === 'web' ? 1 : 0);
    for (let index = 0; index < count; index++) slots.push({ app: app.id, process, index });
  }
  return slots;
}

/** Whether the instance is what the app wants now. */
export function isCurrent(
  instance: { release: ReleaseId; restartCount: number },
  app: AppView,
  release: ReleaseView,
): boolean {
  return instance.release === release.id && instance.restartCount >= app.restartCount;
}
