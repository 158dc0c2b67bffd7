// Which nodes a node keeps a connection to: all of them in a small cluster, a stable pseudo-random few in a large one.
// Pure.

import { createHash } from 'node:crypto';
import type { NodeId } from '../../crdt/ids.ts';
import { FULL_MESH_NODES_MAX, NEIGHBOURS } from './limits.ts';

/**
 * Rendezvous hashing on the unordered pair, so that both ends rank their pair alike, and a node that joins or leaves
 * changes few choices of others. A connection exists when either end chose it.
 */
export function neighboursOf(self: NodeId, others: readonly NodeId[]): NodeId[] {
  if (others.length < FULL_MESH_NODES_MAX) return [...others];
  return others
    .map((node) => ({ node, weight: pairWeight(self, node) }))
    .sort((a, b) => (a.weight < b.weight ? 1 : a.weight > b.weight ? -1 : 0))
    .slice(0, NEIGHBOURS)
    .map(({ node }) => node);
}

function pairWeight(a: NodeId, b: NodeId): string {
  const [small, large] = a < b ? [a, b] : [b, a];
  return createHash('sha256').update(small).update(' ').update(large).digest('hex');
}
