// Where data is, in words for people: its node, what that is, whether anybody asks for it, what it was restored from.
// Pure.

import type { NodeId } from '../../crdt/ids.ts';
import type { DesiredView, VolumeView } from '../../crdt/view.ts';
import type { ObservedView } from '../ports/node-service.ts';
import type { RestoredShape, VolumeShape } from './data-shapes.ts';

type Known = { view: DesiredView; observed: ObservedView };

/** What the name of a node says to people; the id of one that is gone. */
export const nodeName = (view: DesiredView, node: NodeId): string => view.nodes.get(node)?.name ?? node;

export function statusOf(node: NodeId, { view, observed }: Known): VolumeShape['nodeStatus'] {
  if (!view.nodes.has(node)) return 'removed';
  return observed.members.find(({ id }) => id === node)?.status ?? 'unknown';
}

export function restoredShape({ restored, base }: VolumeView, view: DesiredView): RestoredShape | null {
  if (restored === undefined) return null;
  return {
    lost: nodeName(view, restored.lost),
    atMs: restored.atMs,
    snapshot: base?.id ?? null,
    snapshotAgeMs: base === undefined ? null : Math.max(0, restored.atMs - base.takenAtMs),
  };
}

/** Whether its slot is asked for, also by an app that has no release yet. */
export function isWanted(volume: VolumeView, view: DesiredView): boolean {
  const owner = view.workloads.get(volume.owner);
  if (owner === undefined || owner.stopped || !volume.mounted) return false;
  return volume.index < (owner.scale[volume.process] ?? (volume.process === 'web' ? 1 : 0));
}
