// Makes an invite of this cluster: writes its hash down, and names members that a new node can ask, this one first.

import type { NamedChange } from '../../crdt/change.ts';
import type { ClusterId, NodeId } from '../../crdt/ids.ts';
import type { NodeService, ObservedView } from '../ports/node-service.ts';
import { encodeInvite, INVITE_NODES_MAX, newInviteSecret } from './invite.ts';

export function inviting(options: {
  self: NodeId;
  cluster: ClusterId;
  psk: string;
  observed: () => ObservedView;
  write: (changes: NamedChange[], by: string) => Promise<unknown>;
}): NodeService['createInvite'] {
  const { self, cluster, psk } = options;
  return async ({ ttlMs, uses }, by) => {
    const { id, secret, secretHash } = newInviteSecret();
    const expiresAtMs = Date.now() + ttlMs;
    await options.write([{ change: 'createInvite', id, secretHash, expiresAtMs, usesMax: uses }], by);
    const nodes: { id: NodeId; link: string }[] = [];
    for (const member of options.observed().members) {
      if (member.report === undefined || member.status !== 'alive') continue;
      const entry = { id: member.id, link: member.report.link };
      if (member.id === self) nodes.unshift(entry);
      else nodes.push(entry);
    }
    const invite = encodeInvite({ cluster, psk, id, secret, nodes: nodes.slice(0, INVITE_NODES_MAX) });
    return { invite, expiresAtMs };
  };
}
