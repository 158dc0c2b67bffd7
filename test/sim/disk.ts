// Twin of a node's disk: files of bytes, an append that takes time to become durable, and what a power cut leaves of
// it. Keeps the promises of crdt/disk.ts; twins.test.ts holds both against each other.

export class DiskFullError extends Error {
  readonly code = 'ENOSPC';
}

type Pending = { path: string; bytes: Uint8Array; at: number };

export class SimDisk {
  readonly #files = new Map<string, Buffer>();
  #pending: Pending | undefined;
  full = false;

  read(path: string): Buffer | undefined {
    const bytes = this.#files.get(path);
    return bytes === undefined ? undefined : Buffer.from(bytes);
  }

  writeSynced(path: string, bytes: Uint8Array): void {
    if (this.full) throw new DiskFullError('no space left on device');
    this.#files.set(path, Buffer.from(bytes));
  }

  /** What a backup made now would hold. */
  copy(): ReadonlyMap<string, Buffer> {
    return new Map([...this.#files].map(([path, bytes]) => [path, Buffer.from(bytes)]));
  }

  /** Nothing but the copy is there then. */
  restore(copy: ReadonlyMap<string, Buffer>): void {
    this.#pending = undefined;
    this.#files.clear();
    for (const [path, bytes] of copy) this.#files.set(path, Buffer.from(bytes));
  }

  /** Until endAppend nothing is promised. One append at a time. */
  beginAppend(path: string, bytes: Uint8Array, at: number): void {
    if (this.#pending !== undefined) throw new Error('the disk twin takes one append at a time');
    this.#pending = { path, bytes, at };
  }

  /** The bytes are on disk when it returns; when it throws, any part of them may be. */
  endAppend(): void {
    const pending = this.#pending!;
    this.#pending = undefined;
    if (this.full) {
      this.#write(pending, 0.5);
      throw new DiskFullError('no space left on device');
    }
    this.#write(pending, 1);
  }

  truncate(path: string, length: number): void {
    this.#files.set(path, Buffer.from(this.#files.get(path)!.subarray(0, length)));
  }

  /** The power goes: of the append under way, a share has reached the disk. */
  crash(tornShare: number): void {
    if (this.#pending !== undefined) this.#write(this.#pending, tornShare);
    this.#pending = undefined;
  }

  #write({ path, bytes, at }: Pending, share: number): void {
    const part = bytes.subarray(0, Math.floor(bytes.length * share));
    const before = this.#files.get(path) ?? Buffer.alloc(0);
    const after = Buffer.alloc(Math.max(before.length, at + part.length));
    before.copy(after);
    after.set(part, at);
    this.#files.set(path, after);
  }
}
