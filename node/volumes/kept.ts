// Which snapshots of this node are beyond what their volumes keep, and which are held by too few. Removes nothing.

import type { VolumeId } from '../../crdt/ids.ts';
import type { VolumeView } from '../../crdt/view.ts';

/** Taken on demand, of a volume that says nothing of how many it keeps. */
const KEPT_DEFAULT = 10;
/** Of a volume that was deleted, the snapshots stay so long. */
const DELETED_KEPT_MS = 14 * 24 * 60 * 60_000;

type SnapshotFacts = { id: string; volume: VolumeId; takenAtMs: number };
type Volumes = ReadonlyMap<VolumeId, Pick<VolumeView, 'snapshotsKept'>>;

/** @param snapshots newest first. */
function keptOf<S extends SnapshotFacts>(snapshots: readonly S[], volumes: Volumes, nowMs: number): S[] {
  return [...Map.groupBy(snapshots, ({ volume }) => volume)].flatMap(([id, ofVolume]) => {
    const volume = volumes.get(id);
    if (volume === undefined) return ofVolume.filter(({ takenAtMs }) => nowMs - takenAtMs < DELETED_KEPT_MS);
    return ofVolume.slice(0, volume.snapshotsKept === 0 ? KEPT_DEFAULT : volume.snapshotsKept);
  });
}

/** Those beyond their volume's number, or of one that has been gone for long. @param snapshots newest first. */
export function surplusOf<S extends SnapshotFacts>(snapshots: readonly S[], volumes: Volumes, nowMs: number): S[] {
  const kept = new Set(keptOf(snapshots, volumes, nowMs));
  return snapshots.filter((one) => !kept.has(one));
}

/**
 * Of the volumes that are on this node, what is kept and held by fewer than are to, as nodes have died since.
 * @param held of all nodes that answer, newest first.
 */
export function thinOf<S extends SnapshotFacts & { holders: readonly string[] }>(
  held: readonly S[],
  volumes: Volumes,
  asked: { isHere: (volume: VolumeId) => boolean; isSpread: (holders: S['holders']) => boolean; nowMs: number },
): S[] {
  const here = held.filter(({ volume }) => volumes.has(volume) && asked.isHere(volume));
  return keptOf(here, volumes, asked.nowMs).filter(({ holders }) => !asked.isSpread(holders));
}
