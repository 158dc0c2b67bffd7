// Reads and writes length-prefixed frames and raw bytes on a libp2p stream, with back-pressure, bounds and time-outs
// in both directions. Knows nothing of what the bytes mean.

import type { Stream, StreamCloseEvent, StreamMessageEvent } from '@libp2p/interface';
import { GossipError } from './errors.ts';
import { WRITE_BYTES_MAX } from './limits.ts';

export type WaitOptions = { signal?: AbortSignal; timeoutMs: number };

const HEADER_BYTES = 4;
/** Received but unread bytes at which the other side is told to pause. */
const READ_AHEAD_BYTES = 256 * 1024;

/**
 * The reading end of a stream. One read at a time. Nothing is lost between reads: bytes wait here, and the sender is
 * paused once READ_AHEAD_BYTES are waiting.
 */
export class StreamReader {
  readonly #stream: Stream;
  readonly #chunks: Uint8Array[] = [];
  #bufferedBytes = 0;
  #ended = false;
  #resuming = false;
  /** What the read in progress waits for; it may be more than the read-ahead. */
  #neededBytes = 0;
  #failure: unknown;
  #wake: (() => void) | undefined;

  constructor(stream: Stream) {
    this.#stream = stream;
    stream.addEventListener('end', () => this.#finish());
    stream.addEventListener('close', (event: StreamCloseEvent) => {
      if (event.error !== undefined) this.#failure ??= event.error;
      // Bytes that were held back by a pause are still to come.
      if (event.error !== undefined || stream.readBufferLength === 0) this.#finish();
    });
    stream.addEventListener('message', (event: StreamMessageEvent) => this.#take(event.data));
    if (stream.readableEnded) this.#finish();
  }

  /** The next frame; undefined when the sender ended properly between two frames. */
  async frame(bytesMax: number, options: WaitOptions): Promise<Uint8Array | undefined> {
    const header = await this.#exactly(HEADER_BYTES, options);
    if (header === undefined) return undefined;
    const bytes = new DataView(header.buffer, header.byteOffset, HEADER_BYTES).getUint32(0);
    if (bytes > bytesMax)
      throw new GossipError(
        'too_large',
        `the other node sent a frame of ${bytes} bytes, at most ${bytesMax} are accepted`,
      );
    const body = await this.#exactly(bytes, options);
    if (body === undefined && bytes > 0) throw cutOff();
    return body ?? new Uint8Array(0);
  }

  /** Exactly `bytesTotal` raw bytes, as they come. The sender is held back while the consumer is busy. */
  async *bytes(bytesTotal: number, options: WaitOptions): AsyncGenerator<Uint8Array> {
    let missing = bytesTotal;
    while (missing > 0) {
      await this.#atLeast(1, options);
      const chunk = this.#chunks.shift();
      if (chunk === undefined) throw cutOff();
      const part = chunk.byteLength > missing ? chunk.subarray(0, missing) : chunk;
      if (part !== chunk) this.#chunks.unshift(chunk.subarray(missing));
      this.#bufferedBytes -= part.byteLength;
      missing -= part.byteLength;
      yield part;
    }
  }

  async #exactly(bytes: number, options: WaitOptions): Promise<Uint8Array | undefined> {
    if (bytes === 0) return new Uint8Array(0);
    await this.#atLeast(bytes, options);
    if (this.#bufferedBytes < bytes) {
      if (this.#bufferedBytes === 0) return undefined;
      throw cutOff();
    }
    const first = this.#chunks[0]!;
    this.#bufferedBytes -= bytes;
    if (first.byteLength > bytes) {
      this.#chunks[0] = first.subarray(bytes);
      return first.subarray(0, bytes);
    }
    if (first.byteLength === bytes) return this.#chunks.shift();
    const whole = new Uint8Array(bytes);
    let filled = 0;
    while (filled < bytes) {
      const chunk = this.#chunks[0]!;
      const part = chunk.subarray(0, bytes - filled);
      whole.set(part, filled);
      filled += part.byteLength;
      if (part.byteLength === chunk.byteLength) this.#chunks.shift();
      else this.#chunks[0] = chunk.subarray(part.byteLength);
    }
    return whole;
  }

  /** Waits until that many bytes are here or none will come any more. */
  async #atLeast(bytes: number, { signal, timeoutMs }: WaitOptions): Promise<void> {
    this.#neededBytes = bytes;
    try {
      while (this.#bufferedBytes < bytes) {
        if (this.#failure !== undefined) throw closed(this.#failure);
        if (this.#ended) return;
        signal?.throwIfAborted();
        this.#resume();
        if (this.#bufferedBytes >= bytes || this.#ended) continue;
        await waitFor(
          (wake) => {
            this.#wake = wake;
          },
          { signal, timeoutMs },
        );
      }
    } finally {
      this.#neededBytes = 0;
    }
  }

  #take(data: Iterable<Uint8Array> | Uint8Array): void {
    for (const chunk of data instanceof Uint8Array ? [data] : data) {
      this.#chunks.push(chunk);
      this.#bufferedBytes += chunk.byteLength;
    }
    this.#pauseIfAhead();
    this.#notify();
  }

  #pauseIfAhead(): void {
    if (this.#resuming || this.#bufferedBytes < Math.max(READ_AHEAD_BYTES, this.#neededBytes)) return;
    if (this.#stream.readStatus === 'readable') this.#stream.pause();
  }

  #resume(): void {
    if (this.#stream.readStatus !== 'paused') return;
    // resume() hands over what was held back and then opens the window again, even if it was paused anew in between;
    // so the next pause has to wait until it returns, or the window would grow without end.
    this.#resuming = true;
    try {
      this.#stream.resume();
    } catch {
      // The connection has gone: what had arrived was handed over first, and the window update has nobody to go to.
    }
    this.#resuming = false;
    this.#pauseIfAhead();
  }

  #finish(): void {
    this.#ended = true;
    this.#notify();
  }

  #notify(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }
}

/** The body behind its length, in one piece. */
export function frameOf(body: Uint8Array): Uint8Array {
  const whole = new Uint8Array(HEADER_BYTES + body.byteLength);
  new DataView(whole.buffer).setUint32(0, body.byteLength);
  whole.set(body, HEADER_BYTES);
  return whole;
}

/** Writes one frame; resolves when the stream may be written to again. */
export async function writeFrame(stream: Stream, body: Uint8Array, options: WaitOptions): Promise<void> {
  if (body.byteLength <= WRITE_BYTES_MAX) {
    await writeBytes(stream, frameOf(body), options);
    return;
  }
  const header = new Uint8Array(HEADER_BYTES);
  new DataView(header.buffer).setUint32(0, body.byteLength);
  await writeBytes(stream, header, options);
  await writeBytes(stream, body, options);
}

/** Writes raw bytes in small parts, waiting whenever the connection is full, so that other streams get their turn. */
export async function writeBytes(stream: Stream, bytes: Uint8Array, options: WaitOptions): Promise<void> {
  for (let from = 0; from < bytes.byteLength; from += WRITE_BYTES_MAX) {
    options.signal?.throwIfAborted();
    let more: boolean;
    try {
      more = stream.send(bytes.subarray(from, from + WRITE_BYTES_MAX));
    } catch (error) {
      throw closed(error);
    }
    if (!more) await drained(stream, options);
  }
}

// The stream's own onDrain() answers at once after the first time (libp2p 3.3), so the event is awaited here.
async function drained(stream: Stream, options: WaitOptions): Promise<void> {
  let wake: (() => void) | undefined;
  let failure: unknown;
  const onDrain = (): void => wake?.();
  const onClose = (event: StreamCloseEvent): void => {
    failure = event.error ?? new Error('the stream was closed');
    wake?.();
  };
  stream.addEventListener('drain', onDrain);
  stream.addEventListener('close', onClose);
  try {
    await waitFor((resolve) => {
      wake = resolve;
    }, options);
    if (failure !== undefined) throw closed(failure);
  } finally {
    stream.removeEventListener('drain', onDrain);
    stream.removeEventListener('close', onClose);
  }
}

/** Waits for the wake-up handed to `arm`; fails with `timeout`, or with the signal's reason. */
function waitFor(arm: (wake: () => void) => void, { signal, timeoutMs }: WaitOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (error?: unknown): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      if (error === undefined) resolve();
      else reject(error);
    };
    const onAbort = (): void => settle(signal!.reason ?? new GossipError('aborted', 'the caller gave up'));
    const timer = setTimeout(() => settle(new GossipError('timeout', `no progress within ${timeoutMs} ms`)), timeoutMs);
    signal?.addEventListener('abort', onAbort, { once: true });
    arm(() => settle());
    if (signal?.aborted) onAbort();
  });
}

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true });

export function encodeJson(value: unknown, bytesMax: number): Uint8Array {
  const bytes = encoder.encode(JSON.stringify(value));
  if (bytes.byteLength > bytesMax)
    throw new GossipError(
      'too_large',
      `a message of ${bytes.byteLength} bytes is larger than the ${bytesMax} that may be sent`,
    );
  return bytes;
}

/** Fails with `protocol` when the bytes are not one JSON object. */
export function decodeJsonObject(bytes: Uint8Array): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(decoder.decode(bytes));
  } catch (error) {
    throw new GossipError('protocol', 'the other node sent something that is not JSON', { cause: error });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new GossipError('protocol', 'the other node sent something that is not a JSON object');
  return value as Record<string, unknown>;
}

const cutOff = (): GossipError => new GossipError('closed', 'the stream ended in the middle of a message');
const closed = (cause: unknown): GossipError =>
  cause instanceof GossipError
    ? cause
    : new GossipError('closed', 'the stream was closed by the other side', { cause });
