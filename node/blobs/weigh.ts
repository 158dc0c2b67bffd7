// What the store takes on disk, and what each blob that might go would free of it: chunks are shared, so that depends on what
// went before. Reads only; synchronous: for the worker only.

import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Digest } from '../../crdt/ids.ts';
import type { Stay } from './layout.ts';
import type { Shelf } from './shelf.ts';

export type Candidate = { digest: Digest; stay: Stay };
/** `freesBytes`: for each candidate, in their order. `unneededBytes`: in packs, of chunks that nothing refers to any more. */
export type Weights = { usedBytes: number; unneededBytes: number; freesBytes: number[] };

export function weigh(shelf: Shelf, candidates: readonly Candidate[]): Weights {
  const { layout } = shelf;
  /** Manifests that refer to each stored chunk, by where it is. */
  const references = new Map<string, number>();
  let neededBytes = 0;
  for (const [, manifest] of shelf.manifests()) {
    for (const [place, storedBytes] of placesIn(manifest)) {
      const count = references.get(place) ?? 0;
      if (count === 0) neededBytes += storedBytes;
      references.set(place, count + 1);
    }
  }
  const freesBytes = candidates.map(({ digest, stay }) => {
    const manifest = shelf.manifest(digest, stay);
    if (manifest === undefined) return 0;
    let freed = 0;
    for (const [place, storedBytes] of placesIn(manifest)) {
      const left = (references.get(place) ?? 1) - 1;
      references.set(place, left);
      if (left === 0) freed += storedBytes;
    }
    return freed;
  });
  const packBytes = folderBytes(layout.packs);
  const otherBytes = [layout.incoming, ...Object.values(layout.manifests)].map(folderBytes);
  return {
    usedBytes: packBytes + otherBytes.reduce((sum, bytes) => sum + bytes, 0),
    unneededBytes: Math.max(0, packBytes - neededBytes),
    freesBytes,
  };
}

/** A blob may have a chunk more than once. */
function placesIn(manifest: NonNullable<ReturnType<Shelf['manifest']>>): Map<string, number> {
  const places = new Map<string, number>();
  for (let index = 0; index < manifest.chunks; index++) {
    const { pack, offset, storedBytes } = manifest.chunk(index);
    places.set(`${pack} ${offset}`, storedBytes);
  }
  return places;
}

function folderBytes(path: string): number {
  let bytes = 0;
  for (const name of readdirSync(path)) bytes += statSync(join(path, name), { throwIfNoEntry: false })?.size ?? 0;
  return bytes;
}
