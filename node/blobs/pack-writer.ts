// Writes chunks into a pack that nobody sees until it is sealed. A pack with a name can be taken up again after a cut:
// a log beside it says what is in it, and what the log says is checked before it counts. Synchronous: for the worker
// only.

import { randomBytes } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fdatasync,
  fstatSync,
  fsync,
  ftruncateSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { openChunk } from './chunk-codec.ts';
import type { Layout } from './layout.ts';
import { CHUNK_BYTES_MAX, FLUSH_BYTES } from './limits.ts';
import { type Chunk, HASH_BYTES, type PackId } from './manifest.ts';

/** Hash, bytes (u32), stored bytes (u32). Offsets follow from the order. */
const LOG_RECORD_BYTES = HASH_BYTES + 8;

export class PackWriter {
  readonly id: PackId = randomBytes(16).toString('hex');
  readonly #layout: Layout;
  readonly #path: string;
  readonly #fd: number;
  readonly #logFd: number | undefined;
  /** What an earlier writer of this name had written, checked. */
  readonly found: Chunk[] = [];
  #bytes = 0;
  #logBytes = 0;
  #flushedBytes = 0;
  #flushing = false;

  /** `resumeAs`: a name, to be found again by; without one it is a pack that a cut loses. */
  constructor(layout: Layout, resumeAs?: string) {
    this.#layout = layout;
    this.#path = join(layout.incoming, `${resumeAs ?? this.id}.pack`);
    if (resumeAs === undefined) {
      this.#fd = openSync(this.#path, 'wx+', 0o600);
      return;
    }
    const logPath = logOf(this.#path);
    const resumes = existsSync(this.#path) && existsSync(logPath);
    this.#fd = openSync(this.#path, resumes ? 'r+' : 'w+', 0o600);
    this.#logFd = openSync(logPath, resumes ? 'r+' : 'w+', 0o600);
    if (resumes) this.#recover();
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Appends chunks whose stored bytes lie next to each other in `stored`; returns where the first one is now. */
  append(stored: Uint8Array, chunks: readonly { hash: Buffer; bytes: number; storedBytes: number }[]): number {
    const offset = this.#bytes;
    writeAll(this.#fd, stored, offset);
    this.#bytes += stored.length;
    if (this.#logFd !== undefined) {
      const records = Buffer.alloc(chunks.length * LOG_RECORD_BYTES);
      for (const [index, chunk] of chunks.entries()) {
        const at = index * LOG_RECORD_BYTES;
        chunk.hash.copy(records, at);
        records.writeUInt32BE(chunk.bytes, at + HASH_BYTES);
        records.writeUInt32BE(chunk.storedBytes, at + HASH_BYTES + 4);
      }
      writeAll(this.#logFd, records, this.#logBytes);
      this.#logBytes += records.length;
    }
    this.#flushSometimes();
    return offset;
  }

  /** On disk under its final name. Empty ones leave nothing. */
  async seal(): Promise<void> {
    if (this.#bytes === 0) {
      this.discard();
      return;
    }
    await promisify(fsync)(this.#fd);
    renameSync(this.#path, this.#layout.pack(this.id));
    await syncFolder(this.#layout.packs);
    this.#close();
    rmSync(logOf(this.#path), { force: true });
  }

  /** Closes it; what was written is there for whoever takes up its name. */
  keep(): void {
    this.#close();
  }

  discard(): void {
    this.#close();
    rmSync(this.#path, { force: true });
    rmSync(logOf(this.#path), { force: true });
  }

  /** The kernel would wait until it has to write everything at once. */
  #flushSometimes(): void {
    if (this.#flushing || this.#bytes - this.#flushedBytes < FLUSH_BYTES) return;
    this.#flushing = true;
    this.#flushedBytes = this.#bytes;
    // What goes wrong here goes wrong again when it is sealed.
    fdatasync(this.#fd, () => {
      this.#flushing = false;
    });
  }

  #recover(): void {
    const log = Buffer.alloc(fstatSync(this.#logFd!).size);
    readSync(this.#logFd!, log, 0, log.length, 0);
    const packBytes = fstatSync(this.#fd).size;
    const buffer = Buffer.alloc(CHUNK_BYTES_MAX);
    for (let at = 0; at + LOG_RECORD_BYTES <= log.length; at += LOG_RECORD_BYTES) {
      const hash = log.subarray(at, at + HASH_BYTES);
      const bytes = log.readUInt32BE(at + HASH_BYTES);
      const storedBytes = log.readUInt32BE(at + HASH_BYTES + 4);
      if (storedBytes > CHUNK_BYTES_MAX || bytes > CHUNK_BYTES_MAX || this.#bytes + storedBytes > packBytes) break;
      readSync(this.#fd, buffer, 0, storedBytes, this.#bytes);
      if (openChunk(buffer.subarray(0, storedBytes), { hash, bytes }) === undefined) break;
      this.found.push({ hash, bytes, storedBytes, pack: this.id, offset: this.#bytes });
      this.#bytes += storedBytes;
      this.#logBytes += LOG_RECORD_BYTES;
    }
    ftruncateSync(this.#fd, this.#bytes);
    ftruncateSync(this.#logFd!, this.#logBytes);
  }

  #closed = false;
  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    // A flush in progress holds the number of the descriptor.
    const close = (): void => {
      if (this.#flushing) setTimeout(close, 10);
      else closeSync(this.#fd);
    };
    close();
    if (this.#logFd !== undefined) closeSync(this.#logFd);
  }
}

const logOf = (packPath: string): string => packPath.replace(/\.pack$/, '.log');

function writeAll(fd: number, bytes: Uint8Array, position: number): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done, bytes.length - done, position + done);
}

/** A rename is durable only when its folder is on disk too. */
export async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
