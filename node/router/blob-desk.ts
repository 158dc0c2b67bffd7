// Serves the blob store's files to other nodes over the link: manifests whole, packs in ranges. It reads what the
// store has made visible and knows nothing of what is in it; who receives it checks every chunk.

import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import {
  BLOB_ANSWER_BYTES_MAX,
  BLOB_FETCHES_MAX,
  BLOB_IDLE_TIMEOUT_MS,
  BLOB_READ_BYTES,
  BLOB_REQUEST_BYTES_MAX,
  BLOB_REQUESTS_AHEAD_MAX,
} from './limits.ts';

/*
 * After the switch of protocols, requests are lines, and answers come in their order:
 *   manifest <64 hex digits>
 *   ranges <32 hex digits>:<offset>+<bytes>,…
 * An answer is one byte (0: as asked, 1: it is not here), the number of bytes that follow (u32), and the bytes.
 */
export const BLOB_PATH = '/blobs';
export const BLOB_PROTOCOL = 'peer-blobs/1';
const MANIFEST = /^manifest ([0-9a-f]{64})$/;
const RANGES = /^ranges (.+)$/;
const RANGE = /^([0-9a-f]{32}):(\d{1,15})\+(\d{1,10})$/;
/** Folders of manifests, in the order in which they are looked at. */
const MANIFEST_FOLDERS = ['manifests', 'passing'];
const ANSWERS = { ok: 0, missing: 1 } as const;

type Range = { path: string; offset: number; bytes: number };

export class BlobDesk {
  readonly #dir: string | undefined;
  #fetches = 0;

  constructor(dir: string | undefined) {
    this.#dir = dir;
  }

  hasRoom(): boolean {
    return this.#dir !== undefined && this.#fetches < BLOB_FETCHES_MAX;
  }

  /** The connection is its own from now on. */
  serve(socket: TLSSocket, head: Buffer): void {
    this.#fetches++;
    socket.once('close', () => this.#fetches--);
    socket.setTimeout(BLOB_IDLE_TIMEOUT_MS, () => socket.destroy());
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: ${BLOB_PROTOCOL}\r\n\r\n`);
    new Fetch(socket, this.#dir!).begin(head);
  }
}

/** One connection: its requests, answered one after the other. */
class Fetch {
  readonly #socket: TLSSocket;
  readonly #dir: string;
  readonly #lines: string[] = [];
  #unread = '';
  #answering = false;
  #file: { path: string; handle: FileHandle } | undefined;
  readonly #buffers = [Buffer.allocUnsafeSlow(BLOB_READ_BYTES), Buffer.allocUnsafeSlow(BLOB_READ_BYTES)];
  /** When each buffer has been sent. */
  readonly #sent: Promise<void>[] = [Promise.resolve(), Promise.resolve()];
  #turn = 0;

  constructor(socket: TLSSocket, dir: string) {
    this.#socket = socket;
    this.#dir = dir;
  }

  begin(head: Buffer): void {
    this.#socket.on('data', (bytes: Buffer) => this.#read(bytes));
    this.#socket.once('end', () => this.#socket.end());
    this.#socket.once('close', () => {
      if (!this.#answering) void this.#closeFile();
    });
    if (head.length > 0) this.#read(head);
    // It was paused when the HTTP server let go of it.
    this.#socket.resume();
  }

  #read(bytes: Buffer): void {
    this.#unread += bytes.toString('latin1');
    const lines = this.#unread.split('\n');
    this.#unread = lines.pop()!;
    this.#lines.push(...lines);
    if (this.#unread.length > BLOB_REQUEST_BYTES_MAX || this.#lines.length > BLOB_REQUESTS_AHEAD_MAX) {
      this.#socket.destroy();
    } else void this.#answerAll();
  }

  async #answerAll(): Promise<void> {
    if (this.#answering) return;
    this.#answering = true;
    try {
      for (let line = this.#lines.shift(); line !== undefined; line = this.#lines.shift()) await this.#answer(line);
    } catch {
      this.#socket.destroy();
    }
    this.#answering = false;
    if (this.#socket.destroyed) await this.#closeFile();
  }

  async #answer(line: string): Promise<void> {
    const ranges = await this.#rangesOf(line);
    const total = ranges?.reduce((sum, { bytes }) => sum + bytes, 0) ?? 0;
    if (total > BLOB_ANSWER_BYTES_MAX) throw new RangeError('more was asked for than one answer may hold');
    const head = Buffer.alloc(5);
    head[0] = ranges === undefined ? ANSWERS.missing : ANSWERS.ok;
    head.writeUInt32BE(total, 1);
    this.#socket.write(head);
    for (const range of ranges ?? []) await this.#send(range);
  }

  /** Undefined: one of the files is not here. Fails when the request makes no sense. */
  async #rangesOf(line: string): Promise<Range[] | undefined> {
    const manifest = MANIFEST.exec(line)?.[1];
    if (manifest !== undefined) {
      for (const folder of MANIFEST_FOLDERS) {
        const path = join(this.#dir, folder, manifest);
        if (!(await this.#open(path))) continue;
        const { size } = await this.#file!.handle.stat();
        return [{ path, offset: 0, bytes: size }];
      }
      return undefined;
    }
    const ranges: Range[] = [];
    for (const text of (RANGES.exec(line)?.[1] ?? '').split(',')) {
      const [, pack, offset, bytes] = RANGE.exec(text) ?? [];
      if (pack === undefined) throw new SyntaxError('not a request');
      ranges.push({ path: join(this.#dir, 'packs', pack), offset: Number(offset), bytes: Number(bytes) });
    }
    for (const { path } of ranges) if (!(await this.#open(path))) return undefined;
    return ranges;
  }

  async #send({ path, offset, bytes }: Range): Promise<void> {
    if (!(await this.#open(path))) throw new Error('the file went while it was being sent');
    for (let done = 0; done < bytes; ) {
      const turn = this.#turn;
      this.#turn = 1 - turn;
      await this.#sent[turn];
      const buffer = this.#buffers[turn]!;
      const { bytesRead } = await this.#file!.handle.read(
        buffer,
        0,
        Math.min(buffer.length, bytes - done),
        offset + done,
      );
      if (bytesRead === 0) throw new RangeError('a range ends beyond its file');
      done += bytesRead;
      this.#sent[turn] = new Promise((resolve, reject) => {
        this.#socket.write(buffer.subarray(0, bytesRead), (error) => (error ? reject(error) : resolve()));
      });
      this.#sent[turn].catch(() => {});
    }
  }

  /** The last file stays open: the next range is most likely of it. */
  async #open(path: string): Promise<boolean> {
    if (this.#file?.path === path) return true;
    await this.#closeFile();
    const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw error;
    });
    if (handle === undefined) return false;
    this.#file = { path, handle };
    return true;
  }

  async #closeFile(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.handle.close();
  }
}
