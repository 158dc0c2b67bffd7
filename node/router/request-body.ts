// The body of a client's request, offered to one upstream after the other. Streams with back-pressure; keeps only the
// start (REPLAY_BYTES_MAX), so that a small body can be sent again when an upstream turned out to be dead.

import type { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import { stream } from './builtin.ts';
import { REPLAY_BYTES_MAX } from './limits.ts';
import { isDiscarded } from './reply.ts';

export class RequestBody {
  readonly #req: IncomingMessage;
  /** Everything read so far; undefined once it grew too large. */
  #replay: Buffer[] | undefined = [];
  #replayBytes = 0;
  #current: Readable | undefined;
  #attached = false;
  #ended = false;

  constructor(req: IncomingMessage) {
    this.#req = req;
  }

  /** False once more was read than is kept: the request can go to no other upstream. */
  get canReplay(): boolean {
    return this.#replay !== undefined;
  }

  /**
   * A stream of the whole body. Reading starts when the upstream's connection is there. The stream before it gets
   * nothing more.
   */
  open(): Readable {
    if (!this.#replay) throw new Error('the body cannot be sent again');
    const replay = [...this.#replay];
    this.#current = undefined;
    let replayed = 0;
    const readable: Readable = new stream.Readable({
      read: () => {
        while (replayed < replay.length) {
          if (!readable.push(replay[replayed++])) return;
        }
        if (this.#ended) {
          readable.push(null);
          return;
        }
        this.#current = readable;
        this.#attach();
        this.#req.resume();
      },
      destroy: (error, callback) => {
        // The client's connection stays: it still gets an answer.
        if (this.#current === readable) this.#current = undefined;
        if (!this.#ended && this.#attached && !isDiscarded(this.#req)) this.#req.pause();
        callback(error);
      },
    });
    // undici may let go of it before it destroys it.
    readable.on('error', () => {});
    return readable;
  }

  /** The response has begun: the body will not be sent again. */
  forget(): void {
    this.#replay = undefined;
  }

  #attach(): void {
    if (this.#attached) return;
    this.#attached = true;
    this.#req.on('data', (chunk: Buffer) => this.#push(chunk));
    this.#req.once('end', () => {
      this.#ended = true;
      this.#current?.push(null);
    });
    this.#req.once('close', () => {
      if (!this.#ended) this.#current?.destroy(new Error('the client went away'));
    });
  }

  #push(chunk: Buffer): void {
    if (isDiscarded(this.#req)) return;
    if (this.#replay) {
      this.#replayBytes += chunk.length;
      if (this.#replayBytes > REPLAY_BYTES_MAX) this.#replay = undefined;
      else this.#replay.push(chunk);
    }
    if (this.#current && !this.#current.push(chunk)) this.#req.pause();
  }
}
