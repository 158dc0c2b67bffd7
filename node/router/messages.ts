// What the daemon and the router process say to each other over IPC. Types only.

import type { NodeId } from '../../crdt/ids.ts';
import type { RouteTable } from '../core/types.ts';
import type { TlsIdentity } from '../identity/identity.ts';
import type { OpenDoor, ServiceTable } from '../ports/router.ts';
import type { LogLine } from './bounded-log.ts';
import type { DownLink } from './down-links.ts';
import type { RouterErrorCode } from './errors.ts';

export type RouterConfig = {
  nodeId: NodeId;
  tls: TlsIdentity;
  /** `host:port`; port 0 means any free port. */
  http: string;
  link: string;
  /** The blob store's folder, to serve from; absent: no blobs are served. */
  blobsDir?: string | undefined;
  /** Threads that accept; each has its own connections. */
  threads: number;
  /** Set for further threads: the first one has taken the ports. */
  portsTaken?: boolean;
};

export type ToRouter =
  /** Comes first, once. */
  | { type: 'start'; config: RouterConfig }
  | { type: 'table'; table: RouteTable }
  | { type: 'services'; table: ServiceTable }
  | { type: 'joinReply'; id: number; reply: unknown }
  | { type: 'joinRefused'; id: number; code: string; message: string }
  /** Finish what is in flight, then exit. */
  | { type: 'close' };

export type FromRouter =
  | { type: 'listening'; http: string; link: string }
  /** It does not listen, and ends. */
  | { type: 'failed'; code: RouterErrorCode; message: string }
  /** Answered by joinReply or joinRefused with the same id. */
  /** Every link that is down, whenever that changes. */
  | { type: 'down'; links: DownLink[] }
  /** Every door that is open, whenever that changes. */
  | { type: 'doors'; doors: OpenDoor[] }
  | { type: 'join'; id: number; request: unknown; from: NodeId; untilMs: number }
  | ({ type: 'log' } & LogLine);
