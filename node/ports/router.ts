// Port of the router: its process, as the daemon sees it. Types only; each says what it guarantees and how it fails.

import type { NodeId } from '../../crdt/ids.ts';
import type { RouteTable } from '../core/types.ts';
import type { Unreached } from './gossip.ts';

/** The router process as the daemon sees it. */
export interface RouterHandle {
  /** Addresses it listens on, `host:port`. */
  readonly http: string;
  readonly link: string;
  setTable(table: RouteTable): void;
  /** Calls back with every link that cannot be used, whenever that changes; `link` is its `host:port`. */
  onUnreachable(listener: (links: (Unreached & { link: string })[]) => void): void;
  /** Called when a request to join arrives at the link from a TLS client with the given identity. */
  onJoin(handler: (request: unknown, from: NodeId) => Promise<unknown>): void;
  close(): Promise<void>;
}
