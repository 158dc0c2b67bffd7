// What the worker knows of the store's folder: every blob's manifest, every chunk that is there and where, and how a
// new manifest appears. Synchronous reads: for the worker only.

import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Digest } from '../../crdt/ids.ts';
import { digestOfName, type Layout, type Stay } from './layout.ts';
import { type Location, Manifest } from './manifest.ts';
import { syncFolder } from './pack-writer.ts';

const STAYS: readonly Stay[] = ['kept', 'passing'];

export class Shelf {
  readonly layout: Layout;
  /** By path. */
  #manifests = new Map<string, Manifest>();
  #chunks = new Map<string, Location & { bytes: number }>();

  constructor(layout: Layout) {
    this.layout = layout;
  }

  /** Takes note of manifests that came and went since the last time. */
  refresh(): void {
    const paths = new Set(
      STAYS.flatMap((stay) =>
        readdirSync(this.layout.manifests[stay])
          .filter((name) => digestOfName(name) !== undefined)
          .map((name) => join(this.layout.manifests[stay], name)),
      ),
    );
    const gone = [...this.#manifests.keys()].filter((path) => !paths.has(path));
    for (const path of gone) this.#manifests.delete(path);
    if (gone.length > 0) this.#chunks = new Map();
    for (const path of paths) {
      const known = this.#manifests.get(path);
      if (known === undefined) this.#read(path);
      else if (gone.length > 0) this.#note(known);
    }
  }

  forget(): void {
    this.#manifests = new Map();
    this.#chunks = new Map();
  }

  find(key: string): (Location & { bytes: number }) | undefined {
    return this.#chunks.get(key);
  }

  manifest(digest: Digest, stay: Stay): Manifest | undefined {
    return this.#manifests.get(this.layout.manifest(digest, stay));
  }

  manifests(): IterableIterator<[path: string, manifest: Manifest]> {
    return this.#manifests.entries();
  }

  /** The blob is there from now on. Its packs have to be on disk already. */
  async publish(manifest: Manifest, stay: Stay): Promise<void> {
    await writeManifest(this.layout, this.layout.manifest(manifest.digest, stay), manifest.bytes);
  }

  holds(digest: Digest, stay: Stay): boolean {
    return existsSync(this.layout.manifest(digest, stay));
  }

  #read(path: string): void {
    try {
      const manifest = new Manifest(readFileSync(path));
      if (manifest.digest !== digestOfName(basename(path))) return;
      this.#manifests.set(path, manifest);
      this.#note(manifest);
    } catch {
      // Removed meanwhile, or damaged: then none of its chunks counts.
    }
  }

  #note(manifest: Manifest): void {
    for (let index = 0; index < manifest.chunks; index++) {
      const { bytes, pack, offset, storedBytes } = manifest.chunk(index);
      this.#chunks.set(manifest.key(index), { bytes, pack, offset, storedBytes });
    }
  }
}

export async function writeManifest(layout: Layout, path: string, bytes: Buffer): Promise<void> {
  const temporary = join(layout.incoming, `${randomBytes(12).toString('hex')}.manifest`);
  try {
    const file = await open(temporary, 'wx', 0o600);
    try {
      await file.writeFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    await syncFolder(dirname(path));
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

export type Stored = { digest: Digest; sizeBytes: number };
