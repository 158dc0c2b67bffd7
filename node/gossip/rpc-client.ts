// Asks other nodes: one request per stream, with a deadline, and streamed replies the caller reads at its own pace.

import type { Stream } from '@libp2p/interface';
import type { NodeId } from '../../crdt/ids.ts';
import type { Method, StreamMethod } from '../ports/methods.ts';
import { checked } from './checked.ts';
import type { Dialer } from './dialer.ts';
import { GossipError, RemoteError, reasonOf } from './errors.ts';
import { encodeJson, StreamReader, writeFrame } from './frames.ts';
import {
  RPC_ENVELOPE_BYTES as ENVELOPE_BYTES,
  RPC_ERROR_BYTES_MAX,
  RPC_FRAME_TIMEOUT_MS,
  RPC_REQUEST_BYTES_MAX,
  RPC_SILENCE_MAX_MS,
  STREAM_OPEN_TIMEOUT_MS,
} from './limits.ts';
import { decodeReply, failureOf, type Request } from './rpc-frames.ts';

export class RpcClient {
  readonly #dialer: Dialer;
  readonly #protocol: string;

  constructor(dialer: Dialer, protocol: string) {
    this.#dialer = dialer;
    this.#protocol = protocol;
  }

  async request<Asked, Answer>(
    node: NodeId,
    method: Method<Asked, Answer>,
    payload: Asked,
    options: { timeoutMs?: number; signal?: AbortSignal } = {},
  ): Promise<Answer> {
    // What is left of a longer time is rarely a whole number, and signals take no other.
    const timeoutMs = Math.max(1, Math.ceil(options.timeoutMs ?? method.timeoutMs));
    const deadline = AbortSignal.timeout(timeoutMs);
    const signal = options.signal === undefined ? deadline : AbortSignal.any([deadline, options.signal]);
    let stream: Stream | undefined;
    try {
      const request = { method: method.name, payload, stream: false, withinMs: timeoutMs };
      stream = await this.#open(node, request, { bytesMax: method.requestBytesMax, signal });
      const bytesMax = Math.max(method.replyBytesMax + ENVELOPE_BYTES, RPC_ERROR_BYTES_MAX);
      const frame = await new StreamReader(stream).frame(bytesMax, { signal, timeoutMs });
      if (frame === undefined) throw new GossipError('closed', 'the stream ended without an answer');
      const reply = decodeReply(frame);
      if (reply.kind === 'error') throw failureOf(reply);
      if (reply.kind !== 'value') throw new GossipError('protocol', 'the answer holds no value');
      return checked(method.reply, reply.value, 'the answer is not what was asked for');
    } catch (error) {
      stream?.abort(error as Error);
      throw explained(error, { node, method: method.name, deadline, caller: options.signal });
    }
  }

  async *requestStream<Asked, Item>(
    node: NodeId,
    method: StreamMethod<Asked, Item>,
    payload: Asked,
    options: { signal: AbortSignal },
  ): AsyncGenerator<Item> {
    const opening = AbortSignal.timeout(STREAM_OPEN_TIMEOUT_MS);
    const context = { node, method: method.name, deadline: opening, caller: options.signal };
    let stream: Stream | undefined;
    try {
      stream = await this.#open(
        node,
        { method: method.name, payload, stream: true },
        { bytesMax: method.requestBytesMax, signal: AbortSignal.any([opening, options.signal]) },
      );
      const reader = new StreamReader(stream);
      for (;;) {
        const frame = await reader.frame(method.itemBytesMax + ENVELOPE_BYTES, {
          signal: options.signal,
          timeoutMs: RPC_SILENCE_MAX_MS,
        });
        if (frame === undefined) throw new GossipError('closed', 'the stream ended before the last value');
        const reply = decodeReply(frame);
        if (reply.kind === 'error') throw failureOf(reply);
        if (reply.kind === 'end') return;
        if (reply.kind === 'value') yield checked(method.item, reply.value, 'an item is not what was asked for');
      }
    } catch (error) {
      throw explained(error, context);
    } finally {
      // Harmless after a proper end; otherwise it tells the other side to stop.
      stream?.abort(new GossipError('aborted', 'the caller stopped reading'));
    }
  }

  async #open(
    node: NodeId,
    request: Request,
    { bytesMax, signal }: { bytesMax: number; signal: AbortSignal },
  ): Promise<Stream> {
    const body = encodeJson(request, Math.min(bytesMax + ENVELOPE_BYTES, RPC_REQUEST_BYTES_MAX));
    const stream = await this.#dialer.openStream(node, this.#protocol, signal);
    try {
      await writeFrame(stream, body, { signal, timeoutMs: RPC_FRAME_TIMEOUT_MS });
      await stream.close({ signal });
      return stream;
    } catch (error) {
      stream.abort(error as Error);
      throw error;
    }
  }
}

type Context = { node: NodeId; method: string; deadline: AbortSignal; caller: AbortSignal | undefined };

/** The same failure as an error of this module, naming the node and the method. */
function explained(error: unknown, { node, method, deadline, caller }: Context): Error {
  if (error instanceof RemoteError) return error;
  const asked = `${method} on node ${node}`;
  if (caller?.aborted) return new GossipError('aborted', `the caller gave up waiting for ${asked}`, { cause: error });
  if (deadline.aborted) return new GossipError('timeout', `no answer in time to ${asked}`, { cause: error });
  if (error instanceof GossipError) return new GossipError(error.code, `${asked}: ${error.message}`, { cause: error });
  return new GossipError('closed', `${asked}: ${reasonOf(error)}`, { cause: error });
}
