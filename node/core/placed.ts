// What placement answers: which node fills which slot, why others do not, and who holds droplets ahead of time.

import type { AppId, NodeId } from '../../crdt/ids.ts';
import type { Infeasible } from './feasibility.ts';
import type { Holder } from './holders.ts';

export type Placement = {
  /** Keyed by slot: the node that fills it. A slot that no node may fill is missing here. */
  assigned: Map<string, NodeId>;
  /** Keyed by slot: why each node was refused. */
  unplaceable: Map<string, { node: NodeId; reasons: Infeasible[] }[]>;
  /** Nodes that should hold an app's droplet ahead of time, best first. Worked out when it is asked for. */
  successorsOf: (app: AppId) => NodeId[];
  /** Whether the node is one of them; far cheaper than all of them. */
  isSuccessor: (app: AppId, node: NodeId) => boolean;
  /** As holdersBySlot of the candidates says. */
  holders: ReadonlyMap<string, readonly Holder[]>;
};
