// Joins two connections into one byte stream in each direction, until both directions have ended or one side breaks.
// Keeps half-closed ones going, with bounds; never looks at the bytes.

import type { Duplex } from 'node:stream';
import { net, tls } from './builtin.ts';
import { TUNNEL_FLUSH_TIMEOUT_MS, TUNNEL_HALF_CLOSED_IDLE_MS, TUNNEL_KEEP_ALIVE_MS } from './limits.ts';

/** What net.Socket and tls.TLSSocket have beyond a Duplex. */
type Connection = Duplex & {
  setTimeout?(timeoutMs: number, listener?: () => void): unknown;
  setKeepAlive?(enable: boolean, delayMs: number): unknown;
  setNoDelay?(): unknown;
};

type Joined = {
  /** Called once, when both are closed. */
  onClosed: () => void;
  /** How the other one ends of a side that broke; without a word of it by default. */
  onBroken?: (other: Duplex) => void;
};

/** Ends it so that its other side hears that it broke, where that can be said: TLS knows no word for it. */
export function breakOff(connection: Duplex): void {
  if (connection instanceof net.Socket && !(connection instanceof tls.TLSSocket)) connection.resetAndDestroy();
  else connection.destroy();
}

export function joinConnections(a: Connection, b: Connection, { onClosed, onBroken }: Joined): void {
  let open = 2;
  for (const [side, other] of [
    [a, b],
    [b, a],
  ] as const) {
    side.setTimeout?.(0);
    side.setNoDelay?.();
    side.setKeepAlive?.(true, TUNNEL_KEEP_ALIVE_MS);
    side.on('error', () => (onBroken === undefined ? other.destroy() : onBroken(other)));
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
