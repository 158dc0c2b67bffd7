// The named changes by which nodes come by cluster keys: a new one for all, and those that there are for one node.

import type { NamedChange } from '../../crdt/change.ts';
import type { NodeId } from '../../crdt/ids.ts';
import type { DesiredView } from '../../crdt/view.ts';
import type { Keyring } from './keyring.ts';
import { newClusterKey } from './seal.ts';
import { wrapKey } from './wrap.ts';

type Member = { id: NodeId; sealKey: string | undefined };

/** A new key, wrapped to each of the nodes that has a key of its own. */
export function newKeyFor(nodes: Iterable<Member>): NamedChange {
  const key = newClusterKey();
  const wraps: Record<NodeId, string> = {};
  for (const { id, sealKey } of nodes) if (sealKey !== undefined) wraps[id] = wrapKey(key, id, sealKey);
  return { change: 'addKey', key: key.id, wraps };
}

/** What gives a node the keys that it lacks and this one has; nothing when it lacks none. */
export function wrapsFor(node: Member, view: DesiredView, keyring: Keyring): NamedChange[] {
  const { id, sealKey } = node;
  if (sealKey === undefined) return [];
  const wraps: Record<string, string> = {};
  for (const key of view.keys.values()) {
    const opened = Object.hasOwn(key.wraps, id) ? undefined : keyring.keyOf(key.id, view);
    if (opened !== undefined) wraps[key.id] = wrapKey(opened, id, sealKey);
  }
  return Object.keys(wraps).length === 0 ? [] : [{ change: 'wrapKeys', node: id, wraps }];
}
