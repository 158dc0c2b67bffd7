// Nodes with the cluster's key that this one does not know as members: who insists is told, a moment's stranger is
// not.

import { describe, expect, it } from 'vitest';
import { asNodeId } from '../../crdt/ids.ts';
import { olderCopyWarnings } from '../../node/cluster/older-copy.ts';
import { STRANGER_FORGOTTEN_MS, STRANGER_INSISTS_MS, STRANGERS_MAX } from '../../node/gossip/limits.ts';
import { Strangers } from '../../node/gossip/strangers.ts';
import { desired } from '../core/little-cluster.ts';

const [a, b, c] = [asNodeId('a'), asNodeId('b'), asNodeId('c')];

describe('a node that dials and is refused', () => {
  it('is told once it has done so for a while, and not after it has stopped for long', () => {
    const strangers = new Strangers();
    strangers.refused(b, 0);
    expect(strangers.insisting(STRANGER_INSISTS_MS)).toEqual([]);
    strangers.refused(b, STRANGER_INSISTS_MS);
    expect(strangers.insisting(STRANGER_INSISTS_MS)).toEqual([b]);
    const forgottenAtMs = STRANGER_INSISTS_MS + STRANGER_FORGOTTEN_MS + 1;
    expect(strangers.insisting(forgottenAtMs)).toEqual([]);
    strangers.refused(b, forgottenAtMs);
    expect(strangers.insisting(forgottenAtMs)).toEqual([]);
  });

  it('is not told any more once it is a member', () => {
    const strangers = new Strangers();
    for (const node of [b, c]) for (const atMs of [0, STRANGER_INSISTS_MS]) strangers.refused(node, atMs);
    strangers.forget(new Set([b]));
    expect(strangers.insisting(STRANGER_INSISTS_MS)).toEqual([c]);
  });

  it('is remembered among a bounded number, those that dialled last', () => {
    const strangers = new Strangers();
    const crowd = Array.from({ length: 2 * STRANGERS_MAX }, (_, index) => asNodeId(`n${1_000 + index}`));
    for (const atMs of [0, STRANGER_INSISTS_MS]) for (const node of crowd) strangers.refused(node, atMs);
    expect(strangers.insisting(STRANGER_INSISTS_MS)).toEqual([]);
    for (const node of crowd.slice(-STRANGERS_MAX)) strangers.refused(node, 2 * STRANGER_INSISTS_MS);
    expect(strangers.insisting(2 * STRANGER_INSISTS_MS)).toEqual(crowd.slice(-STRANGERS_MAX));
  });
});

describe('a node that such nodes dial', () => {
  it('is warned that its desired state may be an older copy, and how to bring it up to date', () => {
    const view = desired([a], []);
    expect(olderCopyWarnings(view, [])).toEqual([]);
    const [warning] = olderCopyWarnings(view, [b]);
    expect(warning).toMatch(/^the node b has this cluster's key .* older copy; .*\(peer start --join -\)$/);
    expect(olderCopyWarnings(view, [b, c])[0]).toMatch(/^2 nodes, such as b, have this cluster's key and are refused/);
  });

  it('is not warned of those that were removed', () => {
    const view = { ...desired([a], []), removedNodes: new Set([b]) };
    expect(olderCopyWarnings(view, [b])).toEqual([]);
  });
});
