// The shape of requests and replies between nodes: one request per stream, then one reply or a stream of them. Encodes
// and decodes only.

import { GossipError, RemoteError } from './errors.ts';
import { decodeJsonObject } from './frames.ts';
import { RPC_ERROR_CHARS_MAX, RPC_METHOD_BYTES_MAX } from './limits.ts';

/** `withinMs`: for how long its sender waits; absent in those of an older version. */
export type Request = { method: string; payload: unknown; stream: boolean; withinMs?: number };

/**
 * - `value`: the reply, or one of a streamed reply.
 * - `end`: no more values.
 * - `beat`: nothing to say yet, but still there.
 * - `error`: instead of a reply, or after some values.
 */
export type Reply =
  | { kind: 'value'; value: unknown }
  | { kind: 'end' }
  | { kind: 'beat' }
  | { kind: 'error'; code: string; message: string };

export function decodeRequest(bytes: Uint8Array): Request {
  const { method, payload, stream, withinMs } = decodeJsonObject(bytes);
  if (typeof method !== 'string' || method.length === 0 || method.length > RPC_METHOD_BYTES_MAX) {
    throw new GossipError('protocol', 'a request must name its method');
  }
  const within = typeof withinMs === 'number' && withinMs > 0 ? { withinMs } : {};
  return { method, payload, stream: stream === true, ...within };
}

export function decodeReply(bytes: Uint8Array): Reply {
  const frame = decodeJsonObject(bytes);
  switch (frame.kind) {
    case 'value':
      return { kind: 'value', value: frame.value };
    case 'end':
    case 'beat':
      return { kind: frame.kind };
    case 'error':
      return {
        kind: 'error',
        code: shortText(frame.code, 'failed'),
        message: shortText(frame.message, 'the other node failed'),
      };
    default:
      throw new GossipError('protocol', 'the other node sent a reply of an unknown kind');
  }
}

/** Codes of this protocol itself; everything else a handler fails with is a RemoteError. */
const OWN_CODES = ['busy', 'unknown_method', 'too_large', 'protocol', 'late'] as const;

export function failureOf(reply: { code: string; message: string }): Error {
  const own = OWN_CODES.find((code) => reply.code === `gossip.${code}`);
  return own === undefined ? new RemoteError(reply.code, reply.message) : new GossipError(own, reply.message);
}

/** What the caller is told of an error: its code and message, never a stack. */
export function replyOf(error: unknown): Reply {
  if (error instanceof GossipError && OWN_CODES.some((code) => code === error.code)) {
    return { kind: 'error', code: `gossip.${error.code}`, message: error.message };
  }
  const code = (error as { code?: unknown } | undefined)?.code;
  const message = error instanceof Error ? error.message : String(error);
  return { kind: 'error', code: shortText(code, 'failed'), message: message.slice(0, RPC_ERROR_CHARS_MAX) };
}

const shortText = (value: unknown, otherwise: string): string =>
  typeof value === 'string' && value.length > 0 ? value.slice(0, RPC_ERROR_CHARS_MAX) : otherwise;
