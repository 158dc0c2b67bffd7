// Invites: what a new node needs to find the cluster and to prove that it may join. Encodes, decodes and checks them;
// the desired state keeps only a hash of the secret.

import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { asNodeId, type ClusterId, type NodeId } from '../../crdt/ids.ts';
import type { DesiredView, InviteView } from '../../crdt/view.ts';

export type Invite = {
  cluster: string;
  /** Key of the private network, 32 bytes in hex. */
  psk: string;
  id: string;
  secret: string;
  /** Members to ask, each by its identity and its link's `host:port`. */
  nodes: { id: NodeId; link: string }[];
};

/** The invite cannot be read, or does not admit. Nothing changed. */
export class InviteError extends Error {
  readonly code: 'invite_unreadable' | 'invite_unknown' | 'invite_expired' | 'invite_used_up' | 'node_removed';
  constructor(code: InviteError['code'], message: string) {
    super(message);
    this.name = 'InviteError';
    this.code = code;
  }
}

const PREFIX = 'peer-invite-1.';
const INVITE_LENGTH_MAX = 8_192;
/** Members named in an invite: enough that some of them will be up. */
export const INVITE_NODES_MAX = 8;

export function newInviteSecret(): { id: string; secret: string; secretHash: string } {
  const secret = randomBytes(32).toString('hex');
  return { id: randomBytes(8).toString('hex'), secret, secretHash: hashSecret(secret) };
}

export const hashSecret = (secret: string): string => createHash('sha256').update(secret).digest('hex');

export function encodeInvite(invite: Invite): string {
  return PREFIX + Buffer.from(JSON.stringify(invite)).toString('base64url');
}

/** Fails with InviteError `invite_unreadable`. */
export function decodeInvite(text: string): Invite {
  const unreadable = new InviteError(
    'invite_unreadable',
    'the invite cannot be read: copy it whole, as peer invite printed it',
  );
  const trimmed = text.trim();
  if (!trimmed.startsWith(PREFIX) || trimmed.length > INVITE_LENGTH_MAX) throw unreadable;
  let value: Partial<Invite>;
  try {
    value = JSON.parse(Buffer.from(trimmed.slice(PREFIX.length), 'base64url').toString('utf8')) as Partial<Invite>;
  } catch {
    throw unreadable;
  }
  const { cluster, psk, id, secret, nodes } = value;
  const isComplete =
    typeof cluster === 'string' &&
    /^[0-9a-f]{32}$/.test(cluster) &&
    typeof psk === 'string' &&
    /^[0-9a-f]{64}$/.test(psk) &&
    typeof id === 'string' &&
    typeof secret === 'string' &&
    Array.isArray(nodes) &&
    nodes.length > 0;
  if (!isComplete) throw unreadable;
  const readable = nodes.filter((node) => typeof node?.id === 'string' && typeof node.link === 'string');
  return {
    cluster,
    psk,
    id,
    secret,
    nodes: readable.slice(0, INVITE_NODES_MAX).map((node) => ({ id: asNodeId(node.id), link: node.link })),
  };
}

/** Checks what a joining node shows against the desired state. Fails with InviteError. */
export function checkInvite(
  view: DesiredView,
  claim: { cluster: ClusterId | string; id: string; secret: string; node: NodeId },
  nowMs: number,
): InviteView {
  const invite = view.invites.get(claim.id);
  const shown = Buffer.from(hashSecret(claim.secret));
  const wanted = Buffer.from(invite?.secretHash ?? hashSecret(''));
  const matches = shown.length === wanted.length && timingSafeEqual(shown, wanted);
  if (view.cluster.id !== claim.cluster || invite === undefined || !matches) {
    throw new InviteError('invite_unknown', 'the invite is not one of this cluster: make a new one with peer invite');
  }
  if (view.removedNodes.has(claim.node)) {
    throw new InviteError('node_removed', 'this node was removed from the cluster: join with a fresh --data-dir');
  }
  if (nowMs >= invite.expiresAtMs) {
    throw new InviteError('invite_expired', 'the invite has expired: make a new one with peer invite');
  }
  if (!invite.usedBy.includes(claim.node) && invite.usedBy.length >= invite.usesMax) {
    throw new InviteError(
      'invite_used_up',
      `the invite was good for ${invite.usesMax} node${invite.usesMax === 1 ? '' : 's'} and is used up: make a new one with peer invite`,
    );
  }
  return invite;
}
