// What the store takes on disk, and what each blob that might go would free of it: chunks are shared, so that depends
// on what went before. Reads only; synchronous: for the worker only.

import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Digest } from '../../crdt/ids.ts';
import type { Stay } from './layout.ts';
import type { PackId } from './manifest.ts';
import type { Shelf } from './shelf.ts';

export type Candidate = { digest: Digest; stay: Stay };
/**
 * `freesBytes`: for each candidate, in their order. `unneededBytes`: in packs, of chunks that nothing refers to any
 * more.
 */
export type Weights = { usedBytes: number; unneededBytes: number; freesBytes: number[] };

export function weigh(shelf: Shelf, candidates: readonly Candidate[]): Weights {
  const { layout } = shelf;
  /**
   * How often each stored chunk is referred to: by its pack, then its offset. Numbers, because there may be millions.
   */
  const references = new Map<PackId, Map<number, number>>();
  let neededBytes = 0;
  for (const [, manifest] of shelf.manifests()) {
    for (let index = 0; index < manifest.chunks; index++) {
      const { pack, offset, storedBytes } = manifest.chunk(index);
      const inPack = references.get(pack) ?? new Map<number, number>();
      references.set(pack, inPack);
      const count = inPack.get(offset) ?? 0;
      if (count === 0) neededBytes += storedBytes;
      inPack.set(offset, count + 1);
    }
  }
  const freesBytes = candidates.map(({ digest, stay }) => {
    const manifest = shelf.manifest(digest, stay);
    let freed = 0;
    for (let index = 0; index < (manifest?.chunks ?? 0); index++) {
      const { pack, offset, storedBytes } = manifest!.chunk(index);
      const inPack = references.get(pack)!;
      const left = inPack.get(offset)! - 1;
      inPack.set(offset, left);
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

function folderBytes(path: string): number {
  let bytes = 0;
  for (const name of readdirSync(path)) bytes += statSync(join(path, name), { throwIfNoEntry: false })?.size ?? 0;
  return bytes;
}
