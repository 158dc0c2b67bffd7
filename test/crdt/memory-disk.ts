// A disk in memory that can fail and crash: what was not synced is lost, or partly lost, as on a real one. For tests
// only.

import type { Disk, LogFile } from '../../crdt/disk.ts';

export type Fault = (operation: string, path: string) => Error | undefined;

export class Crash extends Error {}

export const errno = (code: string): Error => Object.assign(new Error(`${code}: simulated`), { code });

type Content = { bytes: Buffer };

/**
 * Every primitive is counted, so that a test can end the power at each of them: `crashAt` n ends it in the middle of
 * the n-th. `survivors` is what a restart finds then.
 */
export class MemoryDisk implements Disk {
  fault: Fault = () => undefined;
  crashAt = Number.POSITIVE_INFINITY;
  operations: string[] = [];
  /** Share of an interrupted write that reached the disk, 0 to 1. */
  tornShare = 0.5;
  syncs = 0;
  #files: Map<string, Content>;
  /** Names as they are on disk: renames reach it when the directory is synced. */
  #durableNames: Map<string, Content>;
  #dead = false;

  constructor(files: ReadonlyMap<string, Buffer> = new Map()) {
    this.#files = new Map([...files].map(([path, bytes]) => [path, { bytes: Buffer.from(bytes) }]));
    this.#durableNames = new Map(this.#files);
  }

  /** What is on disk after a crash; `keepRenames` decides about renames whose directory was not synced. */
  afterCrash(keepRenames: boolean): Map<string, Buffer> {
    const names = keepRenames ? this.#files : this.#durableNames;
    return new Map([...names].map(([path, { bytes }]) => [path, Buffer.from(bytes)]));
  }

  file(path: string): Buffer | undefined {
    return this.#files.get(path)?.bytes;
  }

  async makeDirectory(): Promise<void> {
    this.#step('makeDirectory', '');
  }

  async read(path: string): Promise<Buffer | undefined> {
    if (this.#dead) throw new Crash();
    const bytes = this.#files.get(path)?.bytes;
    return bytes === undefined ? undefined : Buffer.from(bytes);
  }

  async writeSynced(path: string, bytes: Uint8Array): Promise<void> {
    const content: Content = { bytes: Buffer.alloc(0) };
    this.#files.set(path, content);
    // A new file's name may reach the disk early.
    if (!this.#durableNames.has(path)) this.#durableNames.set(path, content);
    this.#step('write', path, () => {
      content.bytes = Buffer.from(bytes.subarray(0, Math.floor(bytes.length * this.tornShare)));
    });
    content.bytes = Buffer.from(bytes);
    this.syncs += 1;
  }

  async rename(from: string, to: string): Promise<void> {
    this.#step('rename', to);
    this.#files.set(to, this.#files.get(from)!);
    this.#files.delete(from);
  }

  async syncDirectory(path: string): Promise<void> {
    this.#step('syncDirectory', path);
    this.#durableNames = new Map(this.#files);
  }

  async remove(path: string): Promise<void> {
    this.#step('remove', path);
    this.#files.delete(path);
    this.#durableNames.delete(path);
  }

  async openLog(path: string): Promise<LogFile> {
    const content = this.#files.get(path);
    if (content === undefined) throw errno('ENOENT');
    return {
      append: async (bytes, at) => {
        const write = (share: number) => {
          const part = bytes.subarray(0, Math.floor(bytes.length * share));
          const grown = Buffer.alloc(Math.max(content.bytes.length, at + part.length));
          content.bytes.copy(grown);
          grown.set(part, at);
          content.bytes = grown;
        };
        this.#step('append', path, () => write(this.tornShare));
        write(1);
        this.syncs += 1;
      },
      truncate: async (length) => {
        this.#step('truncate', path);
        content.bytes = content.bytes.subarray(0, length);
        this.syncs += 1;
      },
      close: async () => {},
    };
  }

  #step(operation: string, path: string, partly: () => void = () => {}): void {
    if (this.#dead) throw new Crash();
    this.operations.push(`${operation} ${path.split('/').at(-1)}`);
    if (this.operations.length >= this.crashAt) {
      this.#dead = true;
      partly();
      throw new Crash('power lost');
    }
    const error = this.fault(operation, path);
    if (error === undefined) return;
    partly();
    throw error;
  }
}
