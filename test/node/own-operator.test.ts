// Whose token counts when the cluster and the node's data directory disagree about its operator.

import { describe, expect, it } from 'vitest';
import type { NamedChange } from '../../crdt/change.ts';
import type { DesiredDocument } from '../../crdt/document.ts';
import { OwnOperator } from '../../node/admission/own-operator.ts';
import { admitNode, alice, documentWith, merged, newActor, node, replicaOf, writeAll } from '../crdt/fixtures.ts';

const quiet = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
const [oldHash, newHash] = ['0d'.repeat(32), '1e'.repeat(32)];
const admitted = (operatorTokenHash: string): NamedChange => ({ ...admitNode(2), operatorTokenHash }) as NamedChange;

/** Node 2 with a token of its own and a document; what it writes goes into that. */
function nodeWith(tokenHash: string, document: DesiredDocument) {
  const node2 = { document, writes: 0 };
  const operator = new OwnOperator({
    self: node(2),
    tokenHash,
    view: () => node2.document.view(),
    write: async (changes, by) => {
      node2.writes++;
      node2.document = writeAll(node2.document.withActor(newActor()), changes, { ...alice, by });
    },
    log: quiet,
  });
  return { node2, operator };
}

const hashIn = (document: DesiredDocument): string | undefined =>
  [...document.view().users.values()].find((user) => user.node === node(2))?.tokenHash;

describe('the operator of a node', () => {
  it('keeps its token when the cluster knows it', () => {
    const { node2, operator } = nodeWith(newHash, documentWith([admitNode(1), admitted(newHash)]));
    operator.look();
    expect([operator.isInOrder, node2.writes]).toEqual([true, 0]);
  });

  it('gets it back from a cluster that knows another, as after a return from an older copy', () => {
    const { node2, operator } = nodeWith(oldHash, documentWith([admitNode(1), admitted(oldHash), admitted(newHash)]));
    expect(operator.isInOrder).toBe(false);
    operator.look();
    expect([operator.isInOrder, hashIn(node2.document)]).toEqual([true, oldHash]);
  });

  it.each([0, 1])('wins over an admission of the node that was made apart, whichever the merge keeps (%i)', (order) => {
    const start = documentWith([admitNode(1)]);
    const [one, other] = order === 0 ? [2, 3] : [3, 2];
    const before = writeAll(replicaOf(start, one), [admitted(oldHash)]);
    const after = writeAll(replicaOf(start, other), [admitted(newHash)]);
    const { node2, operator } = nodeWith(newHash, merged(after, before));
    operator.look();
    expect(hashIn(node2.document)).toBe(newHash);
    expect(hashIn(merged(before, node2.document))).toBe(newHash);
  });

  it('that was removed stays removed, and so does that of a removed node', () => {
    const removals: NamedChange[] = [
      { change: 'removeUser', name: 'operator@n2' },
      { change: 'removeNode', node: node(2) },
    ];
    for (const removal of removals) {
      const { node2, operator } = nodeWith(oldHash, documentWith([admitNode(1), admitted(newHash), removal]));
      operator.look();
      expect([operator.isInOrder, node2.writes, hashIn(node2.document)]).toEqual([true, 0, undefined]);
    }
  });

  it('is not fought over for ever by two daemons of one identity', async () => {
    const { node2, operator } = nodeWith(oldHash, documentWith([admitNode(1), admitted(newHash)]));
    for (let round = 0; round < 10; round++) {
      operator.look();
      await Promise.resolve();
      await new Promise((resolve) => setImmediate(resolve));
      node2.document = writeAll(node2.document.withActor(newActor()), [admitted(newHash)]);
    }
    expect(node2.writes).toBe(3);
  });
});
