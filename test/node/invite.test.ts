// Invites and joining, both sides, without a network.

import { describe, expect, it } from 'vitest';
import type { NamedChange } from '../../crdt/change.ts';
import { asNodeId, type NodeId } from '../../crdt/ids.ts';
import type { DesiredView } from '../../crdt/view.ts';
import {
  checkInvite,
  decodeInvite,
  encodeInvite,
  type Invite,
  InviteError,
  newInviteSecret,
} from '../../node/admission/invite.ts';
import { answerJoin, joinCluster } from '../../node/admission/joining.ts';
import { desired } from '../core/little-cluster.ts';

const [a, b] = ['a', 'b'].map(asNodeId) as [ReturnType<typeof asNodeId>, ReturnType<typeof asNodeId>];
const cluster = 'c'.repeat(32);
const { id, secret, secretHash } = newInviteSecret();
const invite: Invite = { cluster, psk: 'f'.repeat(64), id, secret, nodes: [{ id: a, link: '127.0.0.1:1' }] };

function viewWith(options: { expiresAtMs?: number; usedBy?: string[]; removed?: string[] } = {}): DesiredView {
  const entry = {
    id,
    secretHash,
    expiresAtMs: options.expiresAtMs ?? Number.MAX_SAFE_INTEGER,
    usesMax: 1,
    usedBy: (options.usedBy ?? []).map(asNodeId),
  };
  return desired([a], [], {
    cluster: { id: cluster as never, name: 'test', domain: 'localhost', teams: 'flat' },
    invites: new Map([[id, entry]]),
    removedNodes: new Set((options.removed ?? []).map(asNodeId)),
  });
}

describe('an invite', () => {
  it('survives being copied, also with white space around it', () => {
    expect(decodeInvite(`\n ${encodeInvite(invite)} \n`)).toEqual(invite);
  });

  it.each([
    ['nothing', ''],
    ['another text', 'hello'],
    ['one cut short', encodeInvite(invite).slice(0, -20)],
    ['one without members', encodeInvite({ ...invite, nodes: [] })],
    ['one with a short key', encodeInvite({ ...invite, psk: 'ff' })],
    ['a flood', `peer-invite-1.${'A'.repeat(10_000)}`],
  ])('is refused when it is %s', (_what, text) => {
    expect(() => decodeInvite(text)).toThrow(expect.objectContaining({ code: 'invite_unreadable' }));
  });

  const claim = { cluster, id, secret, node: b };
  it.each([
    ['its secret is wrong', viewWith(), { ...claim, secret: 'x' }, 'invite_unknown'],
    ['nobody made it', viewWith(), { ...claim, id: 'x' }, 'invite_unknown'],
    ['it is of another cluster', viewWith(), { ...claim, cluster: 'd'.repeat(32) }, 'invite_unknown'],
    ['it has expired', viewWith({ expiresAtMs: 5 }), claim, 'invite_expired'],
    ['another node has used it up', viewWith({ usedBy: ['x'] }), claim, 'invite_used_up'],
    ['the node was removed', viewWith({ removed: ['b'] }), claim, 'node_removed'],
  ])('admits nobody when %s', (_what, view, shown, code) => {
    expect(() => checkInvite(view, shown, 5)).toThrow(expect.objectContaining({ code }));
  });

  it('is good again for the node that used it: its answer may have been lost', () => {
    expect(checkInvite(viewWith({ usedBy: ['b'] }), claim, 5).id).toBe(id);
  });
});

describe('joining', () => {
  const sealKey = 'k'.repeat(43);
  const request = { name: 'two', operatorTokenHash: '0'.repeat(64), sealKey };
  const wrapsFor = (node: NodeId): NamedChange[] => [{ change: 'wrapKeys', node, wraps: {} }];

  it('admits the node that the transport has proven, once, and gives it the desired state', async () => {
    const written: unknown[] = [];
    const member = {
      view: () => viewWith(),
      write: async (changes: unknown[]) => void written.push(...changes),
      wrapsFor,
      snapshot: () => new Uint8Array([1, 2, 3]),
      addresses: () => ({ a: ['/ip4/127.0.0.1/tcp/1/p2p/a'] }),
    };
    const joined = await joinCluster(invite, { ...request, ask: (_link, _node, sent) => answerJoin(member, sent, b) });
    expect(joined.snapshot).toEqual(new Uint8Array([1, 2, 3]));
    expect(joined.addresses.get(a)).toEqual(['/ip4/127.0.0.1/tcp/1/p2p/a']);
    expect(written).toEqual([
      { change: 'admitNode', node: b, name: 'two', invite: id, operatorTokenHash: '0'.repeat(64), sealKey },
      { change: 'wrapKeys', node: b, wraps: {} },
    ]);
  });

  it('again, as a member that lost what it had, gives its operator the new token', async () => {
    const written: unknown[] = [];
    const member = {
      view: () => desired([a, b], [], viewWith({ usedBy: ['b'] })),
      write: async (changes: unknown[]) => void written.push(...changes),
      wrapsFor,
      snapshot: () => new Uint8Array(),
      addresses: () => ({}),
    };
    const tokenHash = '1'.repeat(64);
    const request = { cluster, invite: id, secret, name: 'two', operatorTokenHash: tokenHash };
    await answerJoin(member, request, b);
    expect(written).toEqual([{ change: 'admitNode', node: b, name: 'two', invite: id, operatorTokenHash: tokenHash }]);
  });

  it('asks a member of an older version again without what it does not know', async () => {
    const asked: object[] = [];
    const ask = async (_link: string, _node: NodeId, sent: object): Promise<unknown> => {
      asked.push(sent);
      if ('sealKey' in sent) throw new InviteError('invite_unreadable', 'the request to join is malformed');
      return { snapshot: '', addresses: {} };
    };
    await joinCluster(invite, { ...request, ask });
    expect(asked.map((sent) => Object.keys(sent).length)).toEqual([6, 5]);
  });

  it('is refused to a node of an older version where it could read no secret, unless it is one already', async () => {
    const keys = new Map([['k', { id: 'k', createdAtMs: 0, createdBy: 'x', wraps: {} }]]);
    const written: unknown[] = [];
    const memberOf = (view: DesiredView) => ({
      view: () => view,
      write: async (changes: unknown[]) => void written.push(...changes),
      wrapsFor,
      snapshot: () => new Uint8Array(),
      addresses: () => ({}),
    });
    const older = { cluster, invite: id, secret, name: 'two', operatorTokenHash: '1'.repeat(64) };
    await expect(answerJoin(memberOf({ ...viewWith(), keys }), older, b)).rejects.toThrow(
      'upgrade it, then join again',
    );
    expect(written).toEqual([]);
    const node = desired([b], []).nodes.get(b)!;
    const known = { ...viewWith({ usedBy: ['b'] }), keys, nodes: new Map([[b, { ...node, sealKey }]]) };
    await answerJoin(memberOf(known), older, b);
    expect(written).toHaveLength(1);
  });

  it('asks the next member when one cannot be reached, and names all when none can', async () => {
    const nodes = [
      { id: a, link: 'host-1:1' },
      { id: b, link: 'host-2:1' },
    ];
    const asked: string[] = [];
    const ask = async (link: string): Promise<unknown> => {
      asked.push(link);
      throw new Error('no route');
    };
    await expect(joinCluster({ ...invite, nodes }, { ...request, ask })).rejects.toThrow(
      /host-1:1: no route; host-2:1: no route/,
    );
    expect(asked).toEqual(['host-1:1', 'host-2:1']);
  });

  it('believes the first refusal', async () => {
    const nodes = [
      { id: a, link: 'host-1:1' },
      { id: b, link: 'host-2:1' },
    ];
    let asked = 0;
    const ask = async (): Promise<unknown> => {
      asked++;
      throw Object.assign(new Error('the invite has expired'), { code: 'invite_expired' });
    };
    await expect(joinCluster({ ...invite, nodes }, { ...request, ask })).rejects.toThrow(
      'cannot join: the invite has expired',
    );
    expect(asked).toBe(1);
  });

  it.each([[null], [{}], ['text'], [{ cluster, invite: id, secret, name: 'x', operatorTokenHash: 'short' }]])(
    'refuses a malformed request: %j',
    async (payload) => {
      const member = {
        view: () => viewWith(),
        write: async () => {},
        wrapsFor,
        snapshot: () => new Uint8Array(),
        addresses: () => ({}),
      };
      await expect(answerJoin(member, payload, b)).rejects.toThrow('malformed');
    },
  );
});
