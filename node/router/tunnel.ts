// Joins two connections into one byte stream in each direction, until both directions have ended or one side breaks.
// Keeps half-closed ones going, with bounds; never looks at the bytes.

import type { Duplex } from 'node:stream';
import { TUNNEL_FLUSH_TIMEOUT_MS, TUNNEL_HALF_CLOSED_IDLE_MS, TUNNEL_KEEP_ALIVE_MS } from './limits.ts';

/** What net.Socket and tls.TLSSocket have beyond a Duplex. */
type Connection = Duplex & {
  setTimeout?(timeoutMs: number, listener?: () => void): unknown;
  setKeepAlive?(enable: boolean, delayMs: number): unknown;
  setNoDelay?(): unknown;
};

/** `onClosed` is called once, when both are closed. */
export function joinConnections(a: Connection, b: Connection, onClosed: () => void): void {
  let open = 2;
  for (const [side, other] of [
    [a, b],
    [b, a],
  ] as const) {
    side.setTimeout?.(0);
    side.setNoDelay?.();
    side.setKeepAlive?.(true, TUNNEL_KEEP_ALIVE_MS);
    side.on('error', () => other.destroy());
    side.once('end', () => side.setTimeout?.(TUNNEL_HALF_CLOSED_IDLE_MS, () => side.destroy()));
    side.once('close', () => {
      // What a side had sent before it ended in order is still delivered; a side that broke takes the other with it.
      if (side.readableEnded && !other.destroyed) {
        other.end();
        other.setTimeout?.(TUNNEL_FLUSH_TIMEOUT_MS, () => other.destroy());
      } else other.destroy();
      if (--open === 0) onClosed();
    });
    side.pipe(other);
  }
  // A side that closed before it was joined tells nobody any more.
  if (a.destroyed) b.destroy();
  if (b.destroyed) a.destroy();
}
