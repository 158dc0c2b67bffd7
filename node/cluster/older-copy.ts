// Whether this node's desired state may be an older copy: then members that came later are strangers to it, which it
// refuses, and nobody can bring it up to date but an invite, which proves that they are members.

import type { NodeId } from '../../crdt/ids.ts';
import type { DesiredView } from '../../crdt/view.ts';

/** @param insisting nodes with the cluster's key that dial and are refused. One line for people, or none. */
export function olderCopyWarnings(view: DesiredView, insisting: readonly NodeId[]): string[] {
  const unknown = insisting.filter((node) => !view.removedNodes.has(node));
  if (unknown.length === 0) return [];
  const [who, is] =
    unknown.length === 1
      ? [`the node ${unknown[0]} has`, 'is']
      : [`${unknown.length} nodes, such as ${unknown[0]}, have`, 'are'];
  return [
    `${who} this cluster's key and ${is} refused, being unknown here: the desired state of this node may be an older copy; ` +
      'stop it, and start it again with an invite from another node (peer start --join -)',
  ];
}
