// How the control plane fails: one class for failures between two nodes, one for what the other node's handler
// answered.

/**
 * - `unreachable`: no connection, and none could be made. Nothing was sent; a retry is safe.
 * - `timeout`: no answer in time. The other node may have acted.
 * - `aborted`: the caller gave up. The other node may have acted.
 * - `closed`: the connection ended before the answer. The other node may have acted.
 * - `too_large`: a bound of limits.ts was exceeded. Nothing changed here.
 * - `protocol`: the other side sent what it must not. Nothing changed here.
 * - `busy`: the other side runs as much as it may; it did nothing. A retry later is safe.
 * - `unknown_method`: the other side has no such handler (another version). It did nothing.
 * - `blob_missing`: that node does not hold the blob.
 * - `blob_unavailable`: no holder delivered the blob whole. Nothing was stored; a retry is safe.
 */
export type GossipErrorCode =
  | 'unreachable'
  | 'timeout'
  | 'aborted'
  | 'closed'
  | 'too_large'
  | 'protocol'
  | 'busy'
  | 'unknown_method'
  /** It had waited while the other node stood still, for longer than its caller waits; nothing was done. */
  | 'late'
  | 'blob_missing'
  | 'blob_unavailable';

export class GossipError extends Error {
  readonly code: GossipErrorCode;

  constructor(code: GossipErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'GossipError';
    this.code = code;
  }
}

/**
 * The other node's handler threw; code and message are its own. Whether it changed something is the handler's to say.
 */
export class RemoteError extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.name = 'RemoteError';
    this.code = code;
  }
}

/** One line about anything thrown. */
export function reasonOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return error.errors.map(reasonOf).join('; ');
  const text = error instanceof Error ? error.message || error.name : String(error);
  return text.replaceAll(/\s+/g, ' ').slice(0, 500);
}
