// What is said of data whose node is gone: what it waits for, what it was restored from, and how old that is. Pure.

import type { AppView, DesiredView, VolumeView } from '../../crdt/view.ts';
import { wordsOf } from '../core/loss.ts';
import { newestSnapshot } from '../core/newest-snapshot.ts';
import { pinsOf } from '../core/pins.ts';
import { slotKey } from '../core/slots.ts';
import { compareText } from '../core/text.ts';
import type { Slot } from '../core/types.ts';
import { ageText } from '../lib/age-text.ts';
import type { ObservedView } from '../ports/node-service.ts';
import type { HeldSnapshot } from '../ports/snapshots.ts';
import type { WhyDataShape } from './data-shapes.ts';
import { isWanted, nodeName, restoredShape, statusOf } from './placed-data.ts';

type Known = { view: DesiredView; observed: ObservedView };

/** A restore by itself is told so long. */
const RESTORED_TOLD_MS = 24 * 60 * 60_000;

/** Whether the data of the slot is on a node that is not there: only then is asked who holds snapshots of it. */
export function isWithoutData(app: AppView, slot: Slot, known: Known): boolean {
  const pin = pinsOf(app)?.get(slotKey(slot));
  return pin?.volumes.some(({ node, movedFrom }) => !isThere(movedFrom ?? node, known)) ?? false;
}

const isThere = (node: VolumeView['node'], known: Known): boolean =>
  ['alive', 'suspect'].includes(statusOf(node, known));

/** Undefined of a slot without data. `snapshots`: of its volumes, where they were asked for. */
export function whyDataShape(
  app: AppView,
  slot: Slot,
  known: Known,
  snapshots: readonly HeldSnapshot[] | undefined,
): WhyDataShape | null {
  const pin = pinsOf(app)?.get(slotKey(slot));
  if (pin === undefined || pin.volumes.length === 0) return null;
  const { view, observed } = known;
  const nowMs = Date.now();
  const newestOf = (volume: VolumeView): WhyDataShape['volumes'][number]['newest'] => {
    const newest = snapshots === undefined ? undefined : newestSnapshot(volume, snapshots);
    if (newest === undefined) return null;
    const holders = newest.holders.map((node) => nodeName(view, node)).sort(compareText);
    return { id: newest.id, ageMs: Math.max(0, nowMs - newest.takenAtMs), holders };
  };
  const holder = pin.kind === 'moving' ? pin.from : pin.volumes[0]!.node;
  const living = observed.members.flatMap(({ id: node, status, report }) =>
    report === undefined ? [] : [{ node, status, report }],
  );
  return {
    volumes: pin.volumes.map((volume) => ({
      id: volume.id,
      path: volume.path,
      node: nodeName(view, volume.node),
      nodeStatus: statusOf(volume.node, known),
      onLoss: volume.onLoss,
      restored: restoredShape(volume, view),
      newest: newestOf(volume),
    })),
    asked: snapshots !== undefined,
    loss: pin.volumes.every(({ onLoss }) => onLoss === 'restore') ? wordsOf(view, living, holder) : null,
  };
}

/** Slots that wait for their data, and those that were restored by themselves of late: a line each. */
export function lossWarnings(known: Known, nowMs: number): string[] {
  const { view } = known;
  return [...view.volumes.values()].flatMap((volume) => {
    const { restored, base, node, movedFrom } = volume;
    if (!isWanted(volume, view) || !view.apps.has(volume.owner)) return [];
    const name = `${volume.path} of ${slotText(volume, view)}`;
    const holder = movedFrom ?? node;
    if (!isThere(holder, known)) {
      const what = volume.onLoss === 'restore' ? 'is restored elsewhere once most nodes agree' : 'waits for it';
      return [
        `${name} is on ${nodeName(view, holder)}, which is ${statusOf(holder, known)}, and ${what}: peer why ${slotText(volume, view)}`,
      ];
    }
    if (restored === undefined || nowMs - restored.atMs > RESTORED_TOLD_MS) return [];
    const age = base === undefined ? '' : `, ${ageText(restored.atMs - base.takenAtMs)} old then,`;
    return [
      `${name} was restored from a snapshot${age} ${ageText(nowMs - restored.atMs)} ago, as ${nodeName(view, restored.lost)} was lost: what it had written since is there alone`,
    ];
  });
}

const slotText = ({ owner, process, index }: VolumeView, view: DesiredView): string =>
  `${view.workloads.get(owner)?.name ?? owner}/${process === 'web' ? '' : `${process}/`}${index}`;
