// Answers the requests of other admitted nodes with the handlers registered here. Bounded per node in number, size and
// time; a handler that fails costs its caller an error and nobody else anything.

import type { Connection, Stream } from '@libp2p/interface';
import type { NodeId } from '../../crdt/ids.ts';
import type { Log } from '../lib/log.ts';
import type { Standstill } from '../lib/standstill.ts';
import type { RpcHandler, RpcStreamHandler } from '../ports/gossip.ts';
import type { Method, StreamMethod } from '../ports/methods.ts';
import { checked } from './checked.ts';
import { GossipError, reasonOf } from './errors.ts';
import { encodeJson, StreamReader, type WaitOptions, writeFrame } from './frames.ts';
import {
  RPC_BEAT_INTERVAL_MS,
  RPC_ENVELOPE_BYTES,
  RPC_ERROR_BYTES_MAX,
  RPC_FRAME_TIMEOUT_MS,
  RPC_INBOUND_PER_NODE_MAX,
  RPC_REQUEST_BYTES_MAX,
} from './limits.ts';
import { decodeRequest, type Reply, type Request, replyOf } from './rpc-frames.ts';
import { onlyWanted } from './wanted.ts';

export class RpcServer {
  readonly #log: Log;
  readonly #standstill: Pick<Standstill, 'recentMs'> | undefined;
  readonly #handlers = new Map<string, Handled>();
  readonly #streamHandlers = new Map<string, StreamHandled>();
  readonly #running = new Map<NodeId, number>();

  constructor(log: Log, standstill?: Pick<Standstill, 'recentMs'>) {
    this.#log = log;
    this.#standstill = standstill;
  }

  handle<Asked, Answer>(method: Method<Asked, Answer>, handler: RpcHandler<Asked, Answer>): void {
    const answer: Handled['answer'] = (payload, ...rest) => handler(checkedRequest(method, payload), ...rest);
    this.#handlers.set(method.name, { method, answer });
  }

  handleStream<Asked, Item>(method: StreamMethod<Asked, Item>, handler: RpcStreamHandler<Asked, Item>): void {
    const answer: StreamHandled['answer'] = (payload, ...rest) => handler(checkedRequest(method, payload), ...rest);
    this.#streamHandlers.set(method.name, { method, answer });
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
      expectSize(frame, this.#requestBytesMax(request));
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
    const { whileWanted, replyBytesMax } = known.method;
    if (whileWanted) await onlyWanted(request, { signal, standstill: this.#standstill });
    const value = await known.answer(request.payload, from, signal);
    await send(stream, { kind: 'value', value }, replyBytesMax, wait);
  }

  #requestBytesMax({ method, stream }: Request): number {
    return (
      (stream ? this.#streamHandlers : this.#handlers).get(method)?.method.requestBytesMax ?? RPC_REQUEST_BYTES_MAX
    );
  }

  async #answerStream(request: Request, from: NodeId, stream: Stream, signal: AbortSignal): Promise<void> {
    const known = this.#streamHandlers.get(request.method);
    if (known === undefined) throw unknownMethod(request.method);
    const { itemBytesMax } = known.method;
    // A caller that reads slowly holds the handler back; one that stops reading at all is given up.
    const wait: WaitOptions = { signal, timeoutMs: RPC_FRAME_TIMEOUT_MS * 4 };
    const values = known.answer(request.payload, from, signal)[Symbol.asyncIterator]();
    try {
      for (;;) {
        const next = await this.#beatUntil(values.next(), stream, wait);
        if (next.done) break;
        await send(stream, { kind: 'value', value: next.value }, itemBytesMax, wait);
      }
    } finally {
      if (signal.aborted) void Promise.resolve(values.return?.()).catch(() => undefined);
    }
    await send(stream, { kind: 'end' }, 0, wait);
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
      await send(stream, { kind: 'beat' }, 0, wait);
    }
  }

  async #fail(stream: Stream, error: unknown, wait: WaitOptions): Promise<void> {
    if (wait.signal?.aborted) return;
    try {
      await send(stream, replyOf(error), RPC_ERROR_BYTES_MAX, wait);
      await stream.close({ signal: AbortSignal.timeout(RPC_FRAME_TIMEOUT_MS) });
    } catch (failure) {
      this.#log.debug('gossip.reply_failed', { reason: reasonOf(failure) });
      stream.abort(failure as Error);
    }
  }
}

type Handled = {
  method: Pick<Method<never, never>, 'whileWanted' | 'requestBytesMax' | 'replyBytesMax'>;
  answer: RpcHandler<unknown, unknown>;
};
type StreamHandled = {
  method: Pick<StreamMethod<never, never>, 'requestBytesMax' | 'itemBytesMax'>;
  answer: RpcStreamHandler<unknown, unknown>;
};

const checkedRequest = <Asked>(
  { name, request }: Pick<Method<Asked, never>, 'name' | 'request'>,
  payload: unknown,
): Asked => checked(request, payload, `a request of ${name} is not as it should be`);

function expectSize(frame: Uint8Array, bytesMax: number): void {
  if (frame.byteLength > bytesMax + RPC_ENVELOPE_BYTES)
    throw new GossipError('too_large', `a request of ${frame.byteLength} bytes, of at most ${bytesMax}`);
}

async function send(stream: Stream, reply: Reply, bytesMax: number, wait: WaitOptions): Promise<void> {
  await writeFrame(stream, encodeJson(reply, bytesMax + RPC_ENVELOPE_BYTES), wait);
}

const unknownMethod = (method: string): GossipError =>
  new GossipError('unknown_method', `this node has no method ${method}; is it an older version?`);
