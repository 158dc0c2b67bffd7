// Methods of tests, which hold anything up to the bounds of the protocol itself.

import * as v from 'valibot';
import { RPC_ENVELOPE_BYTES, RPC_REPLY_BYTES_MAX, RPC_REQUEST_BYTES_MAX } from '../../node/gossip/limits.ts';
import type { DuplexMethod, Method, StreamMethod } from '../../node/ports/methods.ts';

const SIZES = {
  requestBytesMax: RPC_REQUEST_BYTES_MAX - RPC_ENVELOPE_BYTES,
  replyBytesMax: RPC_REPLY_BYTES_MAX - RPC_ENVELOPE_BYTES,
};

export const anyMethod = (name: string, bounds: Partial<Method<unknown, unknown>> = {}): Method<unknown, unknown> => ({
  name,
  request: v.unknown(),
  reply: v.unknown(),
  timeoutMs: 5_000,
  whileWanted: false,
  ...SIZES,
  ...bounds,
});

export const anyStream = (name: string): StreamMethod<unknown, unknown> => ({
  name,
  request: v.unknown(),
  item: v.unknown(),
  requestBytesMax: SIZES.requestBytesMax,
  itemBytesMax: SIZES.replyBytesMax,
});

export const anyDuplex = (name: string): DuplexMethod<unknown> => ({
  name,
  request: v.unknown(),
  requestBytesMax: SIZES.requestBytesMax,
});
