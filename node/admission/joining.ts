// Joining a cluster: what a new node shows with its invite, and what a member checks, writes and answers. Both sides;
// the transport (mutual TLS on the link, which proves the new node's identity) is passed in.

import * as v from 'valibot';
import type { NamedChange } from '../../crdt/change.ts';
import { asNodeId, type NodeId } from '../../crdt/ids.ts';
import { SEAL_KEY_PATTERN } from '../../crdt/sealed.ts';
import type { DesiredView } from '../../crdt/view.ts';
import { checkInvite, type Invite, InviteError } from './invite.ts';

const requestSchema = v.strictObject({
  cluster: v.pipe(v.string(), v.maxLength(64)),
  invite: v.pipe(v.string(), v.maxLength(64)),
  secret: v.pipe(v.string(), v.maxLength(128)),
  name: v.pipe(v.string(), v.maxLength(63)),
  operatorTokenHash: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
  /** Absent from a node of an older version, which could read no secret. */
  sealKey: v.optional(v.pipe(v.string(), v.regex(SEAL_KEY_PATTERN))),
});
export type JoinRequest = v.InferOutput<typeof requestSchema>;

const replySchema = v.object({
  snapshot: v.pipe(v.string(), v.base64()),
  addresses: v.record(v.string(), v.array(v.string())),
});
export type JoinReply = v.InferOutput<typeof replySchema>;

/** No member named in the invite let this node in. Nothing was kept; joining may be tried again. */
export class JoinFailedError extends Error {
  readonly code = 'join_failed';
}

export type JoinAnswering = {
  view(): DesiredView;
  write(changes: NamedChange[], by: string): Promise<unknown>;
  /** What gives the node the keys of secrets that this one has. */
  wrapsFor(node: NodeId, sealKey: string): NamedChange[];
  snapshot(): Uint8Array;
  /** libp2p addresses of members, this one included. */
  addresses(): Record<string, string[]>;
};

/**
 * A member's side. `from` is proven by the transport. Fails with InviteError, ChangeRejected or a line that says what
 * was malformed.
 */
export async function answerJoin(member: JoinAnswering, payload: unknown, from: NodeId): Promise<JoinReply> {
  const parsed = v.safeParse(requestSchema, payload);
  if (!parsed.success) throw new InviteError('invite_unreadable', 'the request to join is malformed');
  const { cluster, invite, secret, name, operatorTokenHash, sealKey } = parsed.output;
  checkInvite(member.view(), { cluster, id: invite, secret, node: from }, Date.now());
  const isReader = sealKey !== undefined || member.view().nodes.get(from)?.sealKey !== undefined;
  if (!isReader && member.view().keys.size > 0) {
    throw new InviteError(
      'invite_unreadable',
      'this cluster keeps its secrets sealed, which the version of this node cannot read: upgrade it, then join again',
    );
  }
  // A member asks again when the answer was lost, or what it had: its operator's token is a new one then. What is so
  // already changes nothing.
  const admitted: NamedChange = { change: 'admitNode', node: from, name, invite, operatorTokenHash };
  const changes: NamedChange[] =
    sealKey === undefined ? [admitted] : [{ ...admitted, sealKey }, ...member.wrapsFor(from, sealKey)];
  await member.write(changes, `invite ${invite}`);
  return { snapshot: Buffer.from(member.snapshot()).toString('base64'), addresses: member.addresses() };
}

export type JoinTransport = (link: string, expectedNode: NodeId, request: JoinRequest) => Promise<unknown>;

/** The new node's side: asks the members of the invite in turn. Fails with JoinFailedError, naming what each said. */
export async function joinCluster(
  invite: Invite,
  options: { name: string; operatorTokenHash: string; sealKey: string; ask: JoinTransport },
): Promise<{ snapshot: Uint8Array; addresses: Map<NodeId, string[]> }> {
  const { name, operatorTokenHash, sealKey } = options;
  const older = { cluster: invite.cluster, invite: invite.id, secret: invite.secret, name, operatorTokenHash };
  const request = { ...older, sealKey };
  const failures: string[] = [];
  for (const node of invite.nodes) {
    try {
      const ask = (one: JoinRequest): Promise<unknown> => options.ask(node.link, node.id, one);
      // A member of an older version takes the key for a fault. Then the node writes it down when it has joined.
      const answer = await ask(request).catch((error) => (isUnread(error) ? ask(older) : Promise.reject(error)));
      const reply = v.parse(replySchema, answer);
      const addresses = Object.entries(reply.addresses).map(([id, list]) => [asNodeId(id), list] as const);
      return { snapshot: new Uint8Array(Buffer.from(reply.snapshot, 'base64')), addresses: new Map(addresses) };
    } catch (error) {
      const { message } = error as Error;
      // A refusal is final: the other members would refuse too, and the user should see why, not a list.
      if (isRefusal(error)) throw new JoinFailedError(`cannot join: ${message}`);
      failures.push(`${node.link}: ${message}`);
    }
  }
  throw new JoinFailedError(
    `cannot join: no member could be reached (${failures.join('; ')}); check the network, or make a new invite with peer invite`,
  );
}

/** Codes of answers from a member that checked the invite, as opposed to failures on the way. */
const REFUSALS = new Set([
  'invite_unreadable',
  'invite_unknown',
  'invite_expired',
  'invite_used_up',
  'node_removed',
  'node_name_taken',
  'invalid_name',
]);
const isUnread = (error: unknown): boolean => (error as { code?: unknown }).code === 'invite_unreadable';
const isRefusal = (error: unknown): boolean => REFUSALS.has(String((error as { code?: unknown }).code));
