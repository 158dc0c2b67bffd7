// What people are told of secrets that are not sealed yet. Decides nothing.

import type { DesiredView } from '../../crdt/view.ts';

const NODES_NAMED_MAX = 3;

/** Names nodes that keep the cluster from sealing, as long as it has no key; at most one line. */
export function unsealedWarnings(view: DesiredView): string[] {
  if (view.keys.size > 0) return [];
  const older = [...view.nodes.values()].filter(({ sealKey }) => sealKey === undefined).map(({ name }) => name);
  if (older.length === 0) return [];
  const more = older.length > NODES_NAMED_MAX ? ` and ${older.length - NODES_NAMED_MAX} more` : '';
  const names = `${older.slice(0, NODES_NAMED_MAX).join(', ')}${more}`;
  return [
    `values of the environment stand in clear in the data directories until all nodes can read sealed ones: upgrade ${names}, or remove what is gone for good (peer nodes remove)`,
  ];
}
