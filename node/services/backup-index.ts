// Which backups this node holds, in one file: what each is of, and whether it was proven. Their content is in the blob
// store, which is asked to keep what is named here.

import { readFile } from 'node:fs/promises';
import * as v from 'valibot';
import writeFileAtomic from 'write-file-atomic';
import type { Digest, ServiceId } from '../../crdt/ids.ts';
import type { Log } from '../lib/log.ts';
import type { Backup } from '../ports/backups.ts';
import { backup as backupSchema } from '../ports/methods.ts';

/** Of all services together; beyond it the oldest of those with the most go. */
export const BACKUPS_MAX = 2_000;
const fileSchema = v.object({ version: v.literal(1), backups: v.array(v.unknown()) });

export class BackupIndex {
  readonly #path: string;
  readonly #log: Log;
  readonly #backups = new Map<string, Backup>();
  /** Writes, one after the other. */
  #writing: Promise<void> = Promise.resolve();

  constructor(path: string, log: Log) {
    this.#path = path;
    this.#log = log;
  }

  /** Of the file. One that cannot be read is as none, and says so: the blobs stay until they are garbage. */
  async open(): Promise<void> {
    const text = await readFile(this.#path, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') this.#log.error('backups.index_unreadable', { error });
      return undefined;
    });
    if (text === undefined) return;
    try {
      for (const entry of v.parse(fileSchema, JSON.parse(text)).backups) {
        const parsed = v.safeParse(backupSchema, entry);
        if (parsed.success) this.#backups.set(parsed.output.id, parsed.output);
      }
    } catch (error) {
      this.#log.error('backups.index_unreadable', { error });
    }
  }

  /** Newest first. */
  list(service?: ServiceId): Backup[] {
    const all = [...this.#backups.values()].filter((one) => service === undefined || one.service === service);
    return all.sort((a, b) => b.takenAtMs - a.takenAtMs || (a.id < b.id ? 1 : -1));
  }

  digests(): Set<Digest> {
    return new Set([...this.#backups.values()].map(({ digest }) => digest));
  }

  /** On disk when it resolves. A proof that is known is not forgotten. */
  async keep(backup: Backup): Promise<void> {
    const before = this.#backups.get(backup.id);
    this.#backups.set(backup.id, { ...backup, proof: backup.proof ?? before?.proof });
    for (const surplus of this.list().slice(BACKUPS_MAX)) this.#backups.delete(surplus.id);
    await this.#write();
  }

  async forget(ids: readonly string[]): Promise<void> {
    const known = ids.filter((one) => this.#backups.delete(one));
    if (known.length > 0) await this.#write();
  }

  #write(): Promise<void> {
    const result = this.#writing.then(() =>
      writeFileAtomic(this.#path, JSON.stringify({ version: 1, backups: this.list() }), { mode: 0o600 }),
    );
    this.#writing = result.catch(() => {});
    return result;
  }
}

/**
 * Of backups of one service, newest first, those that are to be kept: the newest `kept`, and whatever their number the
 * newest proven one. @param kept at least 1
 */
export function worthKeeping(backups: readonly Backup[], kept: number): Backup[] {
  const sound = backups.filter(({ proof }) => proof?.state !== 'failed');
  const newest = sound.slice(0, kept);
  const proven = sound.find(({ proof }) => proof?.state === 'proven');
  return proven === undefined || newest.includes(proven) ? newest : [...newest, proven];
}
