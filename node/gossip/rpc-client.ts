// Asks other nodes: one request per stream, with a deadline, and streamed replies the caller reads at its own pace.

import type { Stream } from '@libp2p/interface';
import type { NodeId } from '../../crdt/ids.ts';
import type { Dialer } from './dialer.ts';
import { GossipError, RemoteError, reasonOf } from './errors.ts';
import { encodeJson, StreamReader, writeFrame } from './frames.ts';
import {
  RPC_FRAME_TIMEOUT_MS,
  RPC_REPLY_BYTES_MAX,
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

  async request(
    node: NodeId,
    method: string,
    payload: unknown,
    options: { timeoutMs: number; signal?: AbortSignal },
  ): Promise<unknown> {
    // What is left of a longer time is rarely a whole number, and signals take no other.
    const timeoutMs = Math.max(1, Math.ceil(options.timeoutMs));
    const deadline = AbortSignal.timeout(timeoutMs);
    const signal = options.signal === undefined ? deadline : AbortSignal.any([deadline, options.signal]);
    let stream: Stream | undefined;
    try {
      stream = await this.#open(node, { method, payload, stream: false, withinMs: timeoutMs }, signal);
      const frame = await new StreamReader(stream).frame(RPC_REPLY_BYTES_MAX, { signal, timeoutMs });
      if (frame === undefined) throw new GossipError('closed', 'the stream ended without an answer');
      const reply = decodeReply(frame);
      if (reply.kind === 'error') throw failureOf(reply);
      if (reply.kind !== 'value') throw new GossipError('protocol', 'the answer holds no value');
      return reply.value;
    } catch (error) {
      stream?.abort(error as Error);
      throw explained(error, { node, method, deadline, caller: options.signal });
    }
  }

  async *requestStream(
    node: NodeId,
    method: string,
    payload: unknown,
    options: { signal: AbortSignal },
  ): AsyncGenerator<unknown> {
    const opening = AbortSignal.timeout(STREAM_OPEN_TIMEOUT_MS);
    const context = { node, method, deadline: opening, caller: options.signal };
    let stream: Stream | undefined;
    try {
      stream = await this.#open(node, { method, payload, stream: true }, AbortSignal.any([opening, options.signal]));
      const reader = new StreamReader(stream);
      for (;;) {
        const frame = await reader.frame(RPC_REPLY_BYTES_MAX, {
          signal: options.signal,
          timeoutMs: RPC_SILENCE_MAX_MS,
        });
        if (frame === undefined) throw new GossipError('closed', 'the stream ended before the last value');
        const reply = decodeReply(frame);
        if (reply.kind === 'error') throw failureOf(reply);
        if (reply.kind === 'end') return;
        if (reply.kind === 'value') yield reply.value;
      }
    } catch (error) {
      throw explained(error, context);
    } finally {
      // Harmless after a proper end; otherwise it tells the other side to stop.
      stream?.abort(new GossipError('aborted', 'the caller stopped reading'));
    }
  }

  async #open(node: NodeId, request: Request, signal: AbortSignal): Promise<Stream> {
    const body = encodeJson(request, RPC_REQUEST_BYTES_MAX);
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
