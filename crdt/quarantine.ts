// Changes that were refused, kept for people to look at: a bounded list in memory and on disk. Nothing is ever applied
// from it; once a node is upgraded, sync brings a change again that only the old version refused.

import { join } from 'node:path';
import type { Disk } from './disk.ts';
import type { Quarantined } from './errors.ts';

/** When it is full, further changes are only counted: a flood must not cost disk writes. */
const ENTRIES_MAX = 100;
/** Bytes of one change that are kept. */
const BYTES_KEPT_MAX = 8 * 1024;
const FILE_BYTES_MAX = 4 * 1024 * 1024;

export type QuarantineEntry = { hash: string; reason: string; sizeBytes: number; base64: string };

export class Quarantine {
  readonly #disk: Disk;
  readonly #path: string;
  readonly #entries = new Map<string, QuarantineEntry>();
  #dropped = 0;
  #unsaved = false;

  private constructor(disk: Disk, dir: string) {
    this.#disk = disk;
    this.#path = join(dir, 'desired.quarantine');
  }

  /** A file that cannot be read is forgotten: it is there for people only. */
  static async open(disk: Disk, dir: string): Promise<Quarantine> {
    const quarantine = new Quarantine(disk, dir);
    const bytes = await disk.read(quarantine.#path).catch(() => undefined);
    if (bytes === undefined || bytes.length > FILE_BYTES_MAX) return quarantine;
    try {
      const entries: unknown = JSON.parse(bytes.toString('utf8'));
      for (const entry of Array.isArray(entries) ? entries.slice(0, ENTRIES_MAX) : []) {
        if (isEntry(entry)) quarantine.#entries.set(entry.hash, entry);
      }
    } catch {
      return quarantine;
    }
    return quarantine;
  }

  /** Answers the ones not seen before. */
  add(refused: readonly Quarantined[]): Quarantined[] {
    const fresh = refused.filter((one) => !this.#entries.has(one.hash));
    for (const { hash, reason, bytes } of fresh) {
      if (this.#entries.size >= ENTRIES_MAX) {
        this.#dropped += 1;
        continue;
      }
      const base64 = Buffer.from(bytes.subarray(0, BYTES_KEPT_MAX)).toString('base64');
      this.#entries.set(hash, { hash, reason, sizeBytes: bytes.length, base64 });
      this.#unsaved = true;
    }
    return fresh;
  }

  list(): { entries: QuarantineEntry[]; dropped: number } {
    return { entries: [...this.#entries.values()], dropped: this.#dropped };
  }

  /** Writes the list down if it has grown. */
  async save(): Promise<void> {
    if (!this.#unsaved) return;
    this.#unsaved = false;
    await this.#disk.writeSynced(this.#path, Buffer.from(JSON.stringify([...this.#entries.values()])));
  }
}

function isEntry(value: unknown): value is QuarantineEntry {
  const { hash, reason, sizeBytes, base64 } = (value ?? {}) as Record<string, unknown>;
  return (
    typeof hash === 'string' &&
    typeof reason === 'string' &&
    typeof sizeBytes === 'number' &&
    typeof base64 === 'string'
  );
}
