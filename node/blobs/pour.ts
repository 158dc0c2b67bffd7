// Writes a blob's content into a named pipe, for a program that reads it: unpacking and waiting for the reader happen
// here, and the daemon's own thread sees none of it. For the worker only; each step is one chunk.

import { closeSync, constants, openSync, readSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Digest } from '../../crdt/ids.ts';
import { unpackChunk } from './chunk-codec.ts';
import { BlobError } from './errors.ts';
import { runAt } from './manifest.ts';
import type { Shelf } from './shelf.ts';

export type PourOptions = {
  digest: Digest;
  /** Of a pipe that has a reader. */
  path: string;
  /** What comes after that is left out. */
  bytesMax: number;
};

export class Pour {
  readonly #shelf: Shelf;
  readonly #options: PourOptions;
  #socket: Socket | undefined;
  #aborted = false;

  constructor(shelf: Shelf, options: PourOptions) {
    this.#shelf = shelf;
    this.#options = options;
  }

  /** `onOpen`: the reader has a writer from now on. Fails when the reader goes before the end. */
  async run(onOpen: () => void): Promise<{ bytes: number }> {
    const { digest, path, bytesMax } = this.#options;
    const manifest = this.#shelf.manifest(digest, 'kept');
    if (manifest === undefined) throw new BlobError('not_held', `this node does not hold ${digest}`);
    const fd = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
    const socket = new Socket({ fd, readable: false, writable: true });
    this.#socket = socket;
    // Whoever writes next is told.
    socket.on('error', () => {});
    onOpen();
    let pack: { id: string; fd: number } | undefined;
    let bytes = 0;
    try {
      // One chunk is unpacked while the one before it is taken.
      let taken = Promise.resolve();
      for (let next = 0; next < manifest.chunks && bytes < bytesMax; ) {
        const run = runAt(manifest, next);
        if (pack?.id !== run.pack) {
          if (pack !== undefined) closeSync(pack.fd);
          pack = undefined;
          pack = { id: run.pack, fd: openSync(this.#shelf.layout.pack(run.pack), 'r') };
        }
        const stored = Buffer.allocUnsafeSlow(run.bytes);
        if (readSync(pack.fd, stored, 0, run.bytes, run.offset) < run.bytes) {
          throw new BlobError('corrupt', `the copy of ${digest} on this node is cut short`);
        }
        for (const chunk of run.chunks) {
          const from = chunk.offset - run.offset;
          const content = unpackChunk(stored.subarray(from, from + chunk.storedBytes), chunk.bytes);
          await taken;
          if (this.#aborted) throw new BlobError('aborted', 'nobody waits for the content any more');
          taken = write(socket, content.subarray(0, bytesMax - bytes));
          taken.catch(() => {});
          bytes += content.length;
          if (bytes >= bytesMax) break;
        }
        next += run.chunks.length;
      }
      await taken;
      return { bytes: Math.min(bytes, bytesMax) };
    } finally {
      if (pack !== undefined) closeSync(pack.fd);
      socket.destroy();
    }
  }

  abort(): void {
    this.#aborted = true;
    this.#socket?.destroy();
  }
}

const write = (socket: Socket, bytes: Uint8Array): Promise<void> =>
  new Promise((resolve, reject) => {
    socket.write(bytes, (error) => (error ? reject(error) : resolve()));
  });
