// Pins: which slots can run on one node alone, as their data is there. Places nothing, starts nothing.

import type { NodeId } from '../../crdt/ids.ts';
import type { AppView, DesiredView, VolumeView } from '../../crdt/view.ts';
import { keyedSlotsOf, slotKey } from './slots.ts';
import type { Slot, VolumeMount } from './types.ts';

/**
 * - `pinned`: its volumes are on the node.
 * - `moving`: they were moved there, and the node before has not yet said that nothing runs on them any more.
 * - `split`: they are on several nodes, so it can run nowhere.
 * - `noVolume`: other slots of the process type have volumes, and this one has none.
 */
export type Pin =
  | { kind: 'pinned'; node: NodeId; volumes: readonly VolumeView[] }
  | { kind: 'moving'; node: NodeId; from: NodeId; volumes: readonly VolumeView[] }
  | { kind: 'split'; nodes: readonly NodeId[]; volumes: readonly VolumeView[] }
  | { kind: 'noVolume'; volumes: readonly VolumeView[] };

type Pins = ReadonlyMap<string, Pin>;
/** Views are never changed, and decided on many times. */
const pinsByApp = new WeakMap<AppView, Pins>();

/** Keyed by slot; slots that may run anywhere are missing. Undefined for an app without volumes. */
export function pinsOf(app: AppView): Pins | undefined {
  if (app.volumes.length === 0) return undefined;
  let pins = pinsByApp.get(app);
  if (pins === undefined) {
    pins = listPins(app);
    pinsByApp.set(app, pins);
  }
  return pins;
}

function listPins(app: AppView): Pins {
  const volumes = new Map<string, VolumeView[]>();
  for (const volume of app.volumes) {
    const key = slotKey(slotOf(volume));
    volumes.set(key, [...(volumes.get(key) ?? []), volume]);
  }
  const processes = new Set(app.volumes.map(({ process }) => process));
  const pins = new Map<string, Pin>();
  const { slots, keys } = keyedSlotsOf(app);
  for (const [at, { process }] of slots.entries()) {
    if (processes.has(process)) pins.set(keys[at]!, pinOf(volumes.get(keys[at]!) ?? []));
  }
  return pins;
}

function pinOf(volumes: readonly VolumeView[]): Pin {
  const [node, ...others] = [...new Set(volumes.map((volume) => volume.node))];
  if (node === undefined) return { kind: 'noVolume', volumes };
  if (others.length > 0) return { kind: 'split', nodes: [node, ...others], volumes };
  const from = volumes.find(({ movedFrom }) => movedFrom !== undefined)?.movedFrom;
  return from === undefined ? { kind: 'pinned', node, volumes } : { kind: 'moving', node, from, volumes };
}

export const slotOf = ({ owner, process, index }: VolumeView): Slot => ({ app: owner, process, index });

/** Whether its data is made anew elsewhere when its node is lost: all of it may be, or none is. */
export const isRestorable = (pin: Pin): boolean =>
  pin.volumes.length > 0 && pin.volumes.every(({ onLoss }) => onLoss === 'restore');

/** What an instance of the slot mounts. */
export const mountsOf = (pin: Pick<Pin, 'volumes'>): VolumeMount[] =>
  pin.volumes.map(({ id, lineage, path, sizeBytes, hardQuota }) => ({
    ...{ id, lineage, path, sizeBytes },
    ...(hardQuota ? { hardQuota } : {}),
  }));

/** Whether the instance mounts just these lineages; one that was adopted without a word on that is believed to. */
export function isMountedAs(pin: Pin, mounted: readonly Pick<VolumeMount, 'id' | 'lineage'>[] | undefined): boolean {
  if (mounted === undefined) return true;
  return (
    mounted.length === pin.volumes.length &&
    pin.volumes.every(({ id, lineage }) => mounted.some((one) => one.id === id && one.lineage === lineage))
  );
}

/** Views are never changed, and decided on many times. */
const movesByView = new WeakMap<DesiredView, readonly VolumeView[]>();

/** Volumes that their node before has not left yet. */
export function movesIn(view: DesiredView): readonly VolumeView[] {
  let moves = movesByView.get(view);
  if (moves === undefined) {
    moves = [...view.volumes.values()].filter(({ movedFrom }) => movedFrom !== undefined);
    movesByView.set(view, moves);
  }
  return moves;
}
