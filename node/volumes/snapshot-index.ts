// Which snapshots this node holds, in one file. Their content is in the blob store, which is asked to keep what is
// named here.

import { readFile } from 'node:fs/promises';
import * as v from 'valibot';
import writeFileAtomic from 'write-file-atomic';
import type { Digest, VolumeId } from '../../crdt/ids.ts';
import type { Log } from '../lib/log.ts';
import { volumeSnapshot } from '../ports/methods.ts';
import type { VolumeSnapshot } from '../ports/snapshots.ts';

/** Of all volumes together; beyond it the oldest go. */
export const SNAPSHOTS_MAX = 10_000;
const fileSchema = v.object({ version: v.literal(1), snapshots: v.array(v.unknown()) });

export class SnapshotIndex {
  readonly #path: string;
  readonly #log: Log;
  readonly #snapshots = new Map<string, VolumeSnapshot>();
  /** Writes, one after the other. */
  #writing: Promise<void> = Promise.resolve();

  constructor(path: string, log: Log) {
    this.#path = path;
    this.#log = log;
  }

  /** Of the file. One that cannot be read is as none, and says so: the blobs stay until they are garbage. */
  async open(): Promise<void> {
    const text = await readFile(this.#path, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') this.#log.error('snapshots.index_unreadable', { error });
      return undefined;
    });
    if (text === undefined) return;
    try {
      for (const entry of v.parse(fileSchema, JSON.parse(text)).snapshots) {
        const parsed = v.safeParse(volumeSnapshot, entry);
        if (parsed.success) this.#snapshots.set(parsed.output.id, parsed.output);
      }
    } catch (error) {
      this.#log.error('snapshots.index_unreadable', { error });
    }
  }

  /** Newest first. */
  list(volume?: VolumeId): VolumeSnapshot[] {
    const all = [...this.#snapshots.values()].filter((one) => volume === undefined || one.volume === volume);
    return all.sort((a, b) => b.takenAtMs - a.takenAtMs || (a.id < b.id ? 1 : -1));
  }

  digests(): Set<Digest> {
    return new Set([...this.#snapshots.values()].map(({ digest }) => digest));
  }

  /** On disk when it resolves. */
  async keep(snapshot: VolumeSnapshot): Promise<void> {
    this.#snapshots.set(snapshot.id, snapshot);
    if (this.#snapshots.size > SNAPSHOTS_MAX) {
      for (const surplus of this.list().slice(SNAPSHOTS_MAX)) this.#snapshots.delete(surplus.id);
    }
    await this.#write();
  }

  async forget(ids: readonly string[]): Promise<void> {
    const known = ids.filter((one) => this.#snapshots.delete(one));
    if (known.length > 0) await this.#write();
  }

  #write(): Promise<void> {
    const result = this.#writing.then(() =>
      writeFileAtomic(this.#path, JSON.stringify({ version: 1, snapshots: this.list() }), { mode: 0o600 }),
    );
    this.#writing = result.catch(() => {});
    return result;
  }
}
