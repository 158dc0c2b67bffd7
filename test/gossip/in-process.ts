// Requests between nodes of one process: checked as the control plane checks them, and carried as JSON.

import * as v from 'valibot';
import type { NodeId } from '../../crdt/ids.ts';
import type { Gossip, RpcHandler, RpcStreamHandler } from '../../node/ports/gossip.ts';
import type { Method, StreamMethod } from '../../node/ports/methods.ts';

type Requesting = Pick<Gossip, 'handle' | 'handleStream' | 'request' | 'requestStream'>;

const NEVER = new AbortController().signal;

export class InProcessRequests {
  readonly #handlers = new Map<string, RpcHandler<unknown, unknown>>();
  readonly #streams = new Map<string, RpcStreamHandler<unknown, unknown>>();

  of(self: NodeId): Requesting {
    const key = (node: NodeId, { name }: { name: string }): string => `${node} ${name}`;
    const over = <T>(schema: v.GenericSchema<unknown, T>, value: unknown): T =>
      v.parse(schema, JSON.parse(JSON.stringify(value)));
    const streams = this.#streams;
    return {
      handle: (method, handler) => void this.#handlers.set(key(self, method), handler as RpcHandler<unknown, unknown>),
      handleStream: (method, handler) =>
        void this.#streams.set(key(self, method), handler as RpcStreamHandler<unknown, unknown>),
      request: async <Request, Reply>(node: NodeId, method: Method<Request, Reply>, payload: Request) =>
        over(method.reply, await this.#handlers.get(key(node, method))!(over(method.request, payload), self, NEVER)),
      async *requestStream<Request, Item>(node: NodeId, method: StreamMethod<Request, Item>, payload: Request) {
        const items = streams.get(key(node, method))!(over(method.request, payload), self, NEVER);
        for await (const item of items) yield over(method.item, item);
      },
    };
  }
}
