// Frees what no blob needs: packs that no manifest refers to go, and packs of which little is needed are written anew.
// For the worker only, while no other job runs.

import { closeSync, openSync, readdirSync, readSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Layout } from './layout.ts';
import { PACK_LIVE_SHARE_MIN, PACK_LIVE_SHARE_PRESSED, PARTIAL_AGE_MAX_MS, PARTIALS_MAX } from './limits.ts';
import { type Chunk, encodeManifest, Manifest, type PackId } from './manifest.ts';
import { PackWriter } from './pack-writer.ts';
import { type Shelf, writeManifest } from './shelf.ts';

/** Chunks of one pack that some manifest refers to, by their offset. */
type Live = Map<number, Chunk>;

export async function sweep(shelf: Shelf, { pressed }: { pressed: boolean }): Promise<{ freedBytes: number }> {
  const { layout } = shelf;
  const liveShareMin = pressed ? PACK_LIVE_SHARE_PRESSED : PACK_LIVE_SHARE_MIN;
  shelf.refresh();
  const live = new Map<PackId, Live>();
  for (const [, manifest] of shelf.manifests()) {
    for (let index = 0; index < manifest.chunks; index++) {
      const chunk = manifest.chunk(index);
      const pack = live.get(chunk.pack) ?? new Map();
      pack.set(chunk.offset, chunk);
      live.set(chunk.pack, pack);
    }
  }
  let freedBytes = 0;
  for (const pack of readdirSync(layout.packs)) {
    const chunks = live.get(pack);
    const { size } = statSync(layout.pack(pack));
    const neededBytes = chunks === undefined ? 0 : [...chunks.values()].reduce((sum, one) => sum + one.storedBytes, 0);
    if (chunks !== undefined && neededBytes >= size * liveShareMin) continue;
    if (chunks !== undefined) await rewrite(shelf, pack, chunks);
    // Whoever reads it has it open; whoever opens it next reads the new manifest.
    rmSync(layout.pack(pack), { force: true });
    freedBytes += size - neededBytes;
  }
  dropPartials(layout, pressed ? 0 : PARTIALS_MAX);
  shelf.forget();
  return { freedBytes };
}

/**
 * Copies what is needed of the pack, then changes the manifests that refer to it, one after the other: each is whole
 * at all times.
 */
async function rewrite(shelf: Shelf, pack: PackId, chunks: Live): Promise<void> {
  const { layout } = shelf;
  const writer = new PackWriter(layout);
  const moved = new Map<number, number>();
  const from = openSync(layout.pack(pack), 'r');
  try {
    for (const [offset, chunk] of [...chunks].sort(([a], [b]) => a - b)) {
      const bytes = Buffer.alloc(chunk.storedBytes);
      readSync(from, bytes, 0, bytes.length, offset);
      moved.set(offset, writer.append(bytes, [chunk]));
    }
    await writer.seal();
  } catch (error) {
    writer.discard();
    throw error;
  } finally {
    closeSync(from);
  }
  for (const [path, manifest] of shelf.manifests()) {
    if (!manifest.packs.includes(pack)) continue;
    const now = Array.from({ length: manifest.chunks }, (_, index): Chunk => {
      const chunk = manifest.chunk(index);
      return chunk.pack === pack ? { ...chunk, pack: writer.id, offset: moved.get(chunk.offset)! } : chunk;
    });
    await writeManifest(layout, path, new Manifest(encodeManifest(now)).bytes);
  }
}

/** Downloads that nobody has gone on with. */
function dropPartials(layout: Layout, partialsMax: number): void {
  const partials = readdirSync(layout.incoming)
    .map((name) => ({ path: join(layout.incoming, name), changedMs: statSync(join(layout.incoming, name)).mtimeMs }))
    .sort((a, b) => b.changedMs - a.changedMs);
  const oldestMs = Date.now() - PARTIAL_AGE_MAX_MS;
  // Each has a pack and a log.
  for (const [index, { path, changedMs }] of partials.entries()) {
    if (index >= 2 * partialsMax || changedMs < oldestMs) rmSync(path, { force: true });
  }
}
