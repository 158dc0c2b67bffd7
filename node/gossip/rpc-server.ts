// Answers the requests of other admitted nodes with the handlers registered here. Bounded per node in number, size and
// time; a handler that fails costs its caller an error and nobody else anything.

import type { Connection, Stream } from '@libp2p/interface';
import type { NodeId } from '../../crdt/ids.ts';
import type { Log } from '../lib/log.ts';
import type { Standstill } from '../lib/standstill.ts';
import type { RpcHandler, RpcStreamHandler } from '../ports/gossip.ts';
import { GossipError, reasonOf } from './errors.ts';
import { encodeJson, StreamReader, type WaitOptions, writeFrame } from './frames.ts';
import {
  RPC_BEAT_INTERVAL_MS,
  RPC_FRAME_TIMEOUT_MS,
  RPC_INBOUND_PER_NODE_MAX,
  RPC_REPLY_BYTES_MAX,
  RPC_REQUEST_BYTES_MAX,
} from './limits.ts';
import { decodeRequest, type Reply, type Request, replyOf } from './rpc-frames.ts';
import { onlyWanted } from './wanted.ts';

export class RpcServer {
  readonly #log: Log;
  readonly #standstill: Pick<Standstill, 'recentMs'> | undefined;
  readonly #handlers = new Map<string, { handler: RpcHandler; whileWanted: boolean }>();
  readonly #streamHandlers = new Map<string, RpcStreamHandler>();
  readonly #running = new Map<NodeId, number>();

  constructor(log: Log, standstill?: Pick<Standstill, 'recentMs'>) {
    this.#log = log;
    this.#standstill = standstill;
  }

  handle(method: string, handler: RpcHandler, { whileWanted = false }: { whileWanted?: boolean } = {}): void {
    this.#handlers.set(method, { handler, whileWanted });
  }

  handleStream(method: string, handler: RpcStreamHandler): void {
    this.#streamHandlers.set(method, handler);
  }

  /** Never throws. */
  async serve(stream: Stream, connection: Connection): Promise<void> {
    const from = connection.remotePeer.toString() as NodeId;
    const gone = new AbortController();
    stream.addEventListener('close', () => gone.abort(new GossipError('closed', 'the caller went away')), {
      once: true,
    });
    const running = this.#running.get(from) ?? 0;
    this.#running.set(from, running + 1);
    const wait: WaitOptions = { signal: gone.signal, timeoutMs: RPC_FRAME_TIMEOUT_MS };
    try {
      if (running >= RPC_INBOUND_PER_NODE_MAX)
        throw new GossipError(
          'busy',
          `more than ${RPC_INBOUND_PER_NODE_MAX} requests of this node are running already; try again later`,
        );
      const frame = await new StreamReader(stream).frame(RPC_REQUEST_BYTES_MAX, wait);
      if (frame === undefined) throw new GossipError('protocol', 'a stream was opened without a request');
      const request = decodeRequest(frame);
      if (request.stream) await this.#answerStream(request, from, stream, gone.signal);
      else await this.#answer(request, from, stream, wait);
      await stream.close({ signal: AbortSignal.timeout(RPC_FRAME_TIMEOUT_MS) });
    } catch (error) {
      await this.#fail(stream, error, wait);
    } finally {
      gone.abort();
      const left = (this.#running.get(from) ?? 1) - 1;
      if (left === 0) this.#running.delete(from);
      else this.#running.set(from, left);
    }
  }

  async #answer(request: Request, from: NodeId, stream: Stream, wait: WaitOptions): Promise<void> {
    const known = this.#handlers.get(request.method);
    if (known === undefined) throw unknownMethod(request.method);
    const signal = wait.signal!;
    if (known.whileWanted) await onlyWanted(request, { signal, standstill: this.#standstill });
    const value = await known.handler(request.payload, from, signal);
    await send(stream, { kind: 'value', value }, wait);
  }

  async #answerStream(request: Request, from: NodeId, stream: Stream, signal: AbortSignal): Promise<void> {
    const handler = this.#streamHandlers.get(request.method);
    if (handler === undefined) throw unknownMethod(request.method);
    // A caller that reads slowly holds the handler back; one that stops reading at all is given up.
    const wait: WaitOptions = { signal, timeoutMs: RPC_FRAME_TIMEOUT_MS * 4 };
    const values = handler(request.payload, from, signal)[Symbol.asyncIterator]();
    try {
      for (;;) {
        const next = await this.#beatUntil(values.next(), stream, wait);
        if (next.done) break;
        await send(stream, { kind: 'value', value: next.value }, wait);
      }
    } finally {
      if (signal.aborted) void Promise.resolve(values.return?.()).catch(() => undefined);
    }
    await send(stream, { kind: 'end' }, wait);
  }

  /** Waits for the handler's next value, telling the caller from time to time that it is still being served. */
  async #beatUntil<T>(pending: Promise<T>, stream: Stream, wait: WaitOptions): Promise<T> {
    pending.catch(() => undefined);
    for (;;) {
      const { promise: woken, resolve, reject } = Promise.withResolvers<undefined>();
      const onAbort = (): void => reject(wait.signal?.reason);
      const timer = setTimeout(() => resolve(undefined), RPC_BEAT_INTERVAL_MS);
      wait.signal?.addEventListener('abort', onAbort, { once: true });
      if (wait.signal?.aborted) onAbort();
      try {
        const first = await Promise.race([pending.then((value) => ({ value })), woken]);
        if (first !== undefined) return first.value;
      } finally {
        clearTimeout(timer);
        wait.signal?.removeEventListener('abort', onAbort);
      }
      await send(stream, { kind: 'beat' }, wait);
    }
  }

  async #fail(stream: Stream, error: unknown, wait: WaitOptions): Promise<void> {
    if (wait.signal?.aborted) return;
    try {
      await send(stream, replyOf(error), wait);
      await stream.close({ signal: AbortSignal.timeout(RPC_FRAME_TIMEOUT_MS) });
    } catch (failure) {
      this.#log.debug('gossip.reply_failed', { reason: reasonOf(failure) });
      stream.abort(failure as Error);
    }
  }
}

async function send(stream: Stream, reply: Reply, wait: WaitOptions): Promise<void> {
  await writeFrame(stream, encodeJson(reply, RPC_REPLY_BYTES_MAX), wait);
}

const unknownMethod = (method: string): GossipError =>
  new GossipError('unknown_method', `this node has no method ${method}; is it an older version?`);
