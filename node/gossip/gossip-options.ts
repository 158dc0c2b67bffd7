// What the control plane of a node is made with.

import type { PrivateKey } from '@libp2p/interface';
import type { ClusterId, NodeId } from '../../crdt/ids.ts';
import type { Log } from '../lib/log.ts';
import type { Standstill } from '../lib/standstill.ts';
import type { SyncSource } from './sync.ts';

export type GossipOptions = {
  identity: { nodeId: NodeId; privateKey: PrivateKey };
  clusterId: ClusterId;
  /** libp2p swarm key text, or the 32 bytes of the key. */
  psk: string | Uint8Array;
  /** `HOST:PORT`; port 0 means any free one. */
  listen: string;
  /** Host names or addresses others should try first; asked whenever this node's addresses are told. */
  advertise?: () => readonly string[];
  /** Known addresses of other nodes are kept there, in peers.json. */
  dataDir: string;
  desired: SyncSource;
  log: Log;
  /** How long this process may not have read what it was asked. */
  standstill?: Pick<Standstill, 'recentMs'>;
  /** Announce and find nodes on the local network; default: whenever the listener is reachable from it. */
  discovery?: boolean;
};
