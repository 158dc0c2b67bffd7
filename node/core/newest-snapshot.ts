// Which snapshot a lost volume is restored from, and whether enough nodes were heard to say so. Asks nobody, restores
// nothing.

import type { LineageId, VolumeId } from '../../crdt/ids.ts';
import type { VolumeView } from '../../crdt/view.ts';
import { compareText } from './text.ts';

type SnapshotFacts = { id: string; volume: VolumeId; lineage: LineageId; takenAtMs: number };

/**
 * The newest of the volume's own lineage; without one the snapshot that the lineage was made of, or the newest before
 * that: what is later belongs to a history that was given up. Undefined: there is none.
 */
export function newestSnapshot<S extends SnapshotFacts>(
  volume: Pick<VolumeView, 'id' | 'lineage' | 'base'>,
  held: readonly S[],
): S | undefined {
  const { id, lineage, base } = volume;
  const all = held
    .filter((one) => one.volume === id)
    .sort((a, b) => b.takenAtMs - a.takenAtMs || compareText(a.id, b.id));
  return (
    all.find((one) => one.lineage === lineage) ??
    all.find((one) => base === undefined || one.id === base.id || one.takenAtMs < base.takenAtMs)
  );
}

/**
 * - `minority`: fewer than a majority answered: this node may be cut off, and has not noticed yet.
 * - `silent`: a living node did not answer, and may hold a newer one.
 * - `none`: nobody who answered holds one of each volume.
 */
export type Wait = { wait: 'minority' | 'silent' | 'none' };

/**
 * @param answered how many nodes said what they hold, this one included; of `living`, all that should.
 * @param patient whether there is still time to ask again those that did not answer.
 */
export function restorePlan<S extends SnapshotFacts>(
  volumes: readonly VolumeView[],
  held: readonly S[],
  asked: { answered: number; living: number; admitted: number; patient: boolean },
): S[] | Wait {
  const { answered, living, admitted, patient } = asked;
  if (2 * answered <= admitted) return { wait: 'minority' };
  if (answered < living && patient) return { wait: 'silent' };
  const found = volumes.flatMap((volume) => newestSnapshot(volume, held) ?? []);
  return found.length === volumes.length ? found : { wait: 'none' };
}
