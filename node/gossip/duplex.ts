// Bytes in both directions between two admitted nodes, over a stream of their own: a request, an answer, then frames
// until either side ends. Bounded in size and number, held back in both directions; a side that is silent for too long
// is given up.

import type { Connection, Stream } from '@libp2p/interface';
import type { NodeId } from '../../crdt/ids.ts';
import type { Log } from '../lib/log.ts';
import type { Standstill } from '../lib/standstill.ts';
import type { DuplexHandler } from '../ports/gossip.ts';
import type { DuplexMethod } from '../ports/methods.ts';
import { checked } from './checked.ts';
import type { Dialer } from './dialer.ts';
import { GossipError, reasonOf } from './errors.ts';
import { encodeJson, StreamReader, type WaitOptions, writeFrame } from './frames.ts';
import {
  DUPLEX_FRAME_BYTES_MAX,
  DUPLEX_SILENCE_MAX_MS,
  RPC_ENVELOPE_BYTES,
  RPC_FRAME_TIMEOUT_MS,
  RPC_REQUEST_BYTES_MAX,
  STREAM_OPEN_TIMEOUT_MS,
} from './limits.ts';
import { decodeReply, decodeRequest, failureOf, type Reply, replyOf } from './rpc-frames.ts';
import { onlyWanted } from './wanted.ts';

export class DuplexServer {
  readonly #log: Log;
  readonly #standstill: Pick<Standstill, 'recentMs'> | undefined;
  readonly #handlers = new Map<string, DuplexHandler<unknown>>();

  constructor(log: Log, standstill?: Pick<Standstill, 'recentMs'>) {
    this.#log = log;
    this.#standstill = standstill;
  }

  handle<Asked>(method: DuplexMethod<Asked>, handler: DuplexHandler<Asked>): void {
    const { name, request } = method;
    this.#handlers.set(name, (payload, ...rest) =>
      handler(checked(request, payload, `a request of ${name} is not as it should be`), ...rest),
    );
  }

  /** Never throws. */
  async serve(stream: Stream, connection: Connection): Promise<void> {
    const from = connection.remotePeer.toString() as NodeId;
    const gone = new AbortController();
    stream.addEventListener('close', () => gone.abort(new GossipError('closed', 'the caller went away')), {
      once: true,
    });
    const wait: WaitOptions = { signal: gone.signal, timeoutMs: RPC_FRAME_TIMEOUT_MS };
    let answered = false;
    try {
      const reader = new StreamReader(stream);
      const frame = await reader.frame(RPC_REQUEST_BYTES_MAX, wait);
      if (frame === undefined) throw new GossipError('protocol', 'a stream was opened without a request');
      const request = decodeRequest(frame);
      const { method, payload } = request;
      const handler = this.#handlers.get(method);
      if (handler === undefined) {
        throw new GossipError('unknown_method', `this node has no method ${method}; is it an older version?`);
      }
      await onlyWanted(request, { signal: gone.signal, standstill: this.#standstill });
      const values = handler(payload, from, framesOf(reader, gone.signal), gone.signal)[Symbol.asyncIterator]();
      try {
        for (let next = await values.next(); next.done !== true; next = await values.next()) {
          // The first value shows that the handler has accepted.
          if (!answered) await writeReply(stream, { kind: 'value', value: null }, wait);
          answered = true;
          await writeFrame(stream, next.value, { signal: gone.signal, timeoutMs: DUPLEX_SILENCE_MAX_MS });
        }
      } finally {
        await values.return?.();
      }
      await stream.close({ signal: AbortSignal.timeout(RPC_FRAME_TIMEOUT_MS) });
    } catch (error) {
      if (answered || gone.signal.aborted) {
        this.#log.debug('gossip.duplex_ended', { from, reason: reasonOf(error) });
        stream.abort(error as Error);
        return;
      }
      await this.#refuse(stream, error, wait);
    } finally {
      gone.abort();
    }
  }

  async #refuse(stream: Stream, error: unknown, wait: WaitOptions): Promise<void> {
    try {
      await writeReply(stream, replyOf(error), wait);
      await stream.close({ signal: AbortSignal.timeout(RPC_FRAME_TIMEOUT_MS) });
    } catch (failure) {
      stream.abort(failure as Error);
    }
  }
}

export class DuplexClient {
  readonly #dialer: Dialer;
  readonly #protocol: string;

  constructor(dialer: Dialer, protocol: string) {
    this.#dialer = dialer;
    this.#protocol = protocol;
  }

  async *request<Asked>(
    node: NodeId,
    method: DuplexMethod<Asked>,
    payload: Asked,
    options: { input: AsyncIterable<Uint8Array>; signal: AbortSignal },
  ): AsyncGenerator<Uint8Array> {
    const ended = new AbortController();
    const signal = AbortSignal.any([options.signal, ended.signal]);
    const opening = AbortSignal.any([AbortSignal.timeout(STREAM_OPEN_TIMEOUT_MS), options.signal]);
    let stream: Stream | undefined;
    try {
      stream = await this.#dialer.openStream(node, this.#protocol, opening);
      const request = encodeJson(
        { method: method.name, payload, stream: true, withinMs: DUPLEX_SILENCE_MAX_MS },
        method.requestBytesMax + RPC_ENVELOPE_BYTES,
      );
      await writeFrame(stream, request, { signal, timeoutMs: RPC_FRAME_TIMEOUT_MS });
      const reader = new StreamReader(stream);
      void send(stream, options.input, signal);
      const first = await reader.frame(RPC_REQUEST_BYTES_MAX, { signal, timeoutMs: DUPLEX_SILENCE_MAX_MS });
      if (first === undefined) throw new GossipError('closed', 'the stream ended without an answer');
      const reply = decodeReply(first);
      if (reply.kind === 'error') throw failureOf(reply);
      yield* framesOf(reader, signal);
    } catch (error) {
      if (options.signal.aborted) throw new GossipError('aborted', 'the caller went away', { cause: error });
      if (error instanceof GossipError) {
        throw new GossipError(error.code, `${method.name} on node ${node}: ${error.message}`, { cause: error });
      }
      throw error;
    } finally {
      ended.abort();
      // Harmless after a proper end; otherwise it tells the other side to stop.
      stream?.abort(new GossipError('aborted', 'the caller stopped reading'));
    }
  }
}

/** Sends the input to its end, then closes that direction. An input that fails ends the stream. */
async function send(stream: Stream, input: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void> {
  try {
    for await (const chunk of input) {
      for (let from = 0; from < chunk.byteLength; from += DUPLEX_FRAME_BYTES_MAX) {
        const part = chunk.subarray(from, from + DUPLEX_FRAME_BYTES_MAX);
        await writeFrame(stream, part, { signal, timeoutMs: DUPLEX_SILENCE_MAX_MS });
      }
    }
    if (!signal.aborted) await stream.close({ signal: AbortSignal.timeout(RPC_FRAME_TIMEOUT_MS) });
  } catch (error) {
    stream.abort(error as Error);
  }
}

async function* framesOf(reader: StreamReader, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  for (;;) {
    const frame = await reader.frame(DUPLEX_FRAME_BYTES_MAX, { signal, timeoutMs: DUPLEX_SILENCE_MAX_MS });
    if (frame === undefined) return;
    yield frame;
  }
}

async function writeReply(stream: Stream, reply: Reply, wait: WaitOptions): Promise<void> {
  await writeFrame(stream, encodeJson(reply, RPC_REQUEST_BYTES_MAX), wait);
}
