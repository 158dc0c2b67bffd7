// Which pieces of one kind (backups, snapshots) this node holds, in one file. Their content is in the blob store,
// which is asked to keep what is named here.

import { readFile } from 'node:fs/promises';
import * as v from 'valibot';
import writeFileAtomic from 'write-file-atomic';
import type { Digest } from '../../crdt/ids.ts';
import type { Log } from '../lib/log.ts';
import type { CopyEntry } from '../ports/copies.ts';

const fileSchema = v.object({ version: v.literal(1), entries: v.array(v.unknown()) });

export type CopyIndexOptions<Entry> = {
  path: string;
  /** What an entry of the file may be; others are left out. */
  schema: v.GenericSchema<unknown, Entry>;
  /** Beyond it the oldest go. */
  max: number;
  log: Log;
};

export class CopyIndex<Entry extends CopyEntry> {
  readonly #options: CopyIndexOptions<Entry>;
  readonly #entries = new Map<string, Entry>();
  /** Writes, one after the other. */
  #writing: Promise<void> = Promise.resolve();

  constructor(options: CopyIndexOptions<Entry>) {
    this.#options = options;
  }

  /** Reads the file. One that cannot be read is as none, and says so: the blobs stay until they are garbage. */
  async open(): Promise<void> {
    const { path, schema, log } = this.#options;
    const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') log.error('copies.index_unreadable', { path, error });
      return undefined;
    });
    if (text === undefined) return;
    try {
      for (const entry of v.parse(fileSchema, JSON.parse(text)).entries) {
        const parsed = v.safeParse(schema, entry);
        if (parsed.success) this.#entries.set(parsed.output.id, parsed.output);
      }
    } catch (error) {
      log.error('copies.index_unreadable', { path, error });
    }
  }

  get(id: string): Entry | undefined {
    return this.#entries.get(id);
  }

  /** Newest first. */
  list(): Entry[] {
    return [...this.#entries.values()].sort((a, b) => b.takenAtMs - a.takenAtMs || (a.id < b.id ? 1 : -1));
  }

  digests(): Set<Digest> {
    return new Set([...this.#entries.values()].map(({ digest }) => digest));
  }

  /** On disk when it resolves. */
  async keep(entry: Entry): Promise<void> {
    const { max } = this.#options;
    this.#entries.set(entry.id, entry);
    if (this.#entries.size > max) for (const { id } of this.list().slice(max)) this.#entries.delete(id);
    await this.#write();
  }

  async forget(ids: readonly string[]): Promise<void> {
    const known = ids.filter((one) => this.#entries.delete(one));
    if (known.length > 0) await this.#write();
  }

  #write(): Promise<void> {
    const { path } = this.#options;
    const result = this.#writing.then(() =>
      writeFileAtomic(path, JSON.stringify({ version: 1, entries: this.list() }), { mode: 0o600 }),
    );
    this.#writing = result.catch(() => {});
    return result;
  }
}
