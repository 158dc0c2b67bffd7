// A cluster in memory for the tests of secrets: a document for each node, its real keyring and its real upkeep. What
// one writes reaches the others when the test says so.

import { inflateRawSync } from 'node:zlib';
import type { NamedChange } from '../../crdt/change.ts';
import type { DesiredDocument } from '../../crdt/document.ts';
import type { NodeId } from '../../crdt/ids.ts';
import { Keyring } from '../../node/secrets/keyring.ts';
import { newKeyFor, wrapsFor } from '../../node/secrets/new-key.ts';
import { sealChanges } from '../../node/secrets/seal-changes.ts';
import { Upkeep } from '../../node/secrets/upkeep.ts';
import { admitNode, alice, changesOf, documentWith, merged, newActor, node, replicaOf } from '../crdt/fixtures.ts';

const quiet = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

export class LittleNode {
  readonly id: NodeId;
  readonly keyring: Keyring;
  readonly upkeep: Upkeep;
  document: DesiredDocument;
  nowMs = 0;
  isAlive = true;
  readonly #index: number;
  writes = 0;

  constructor(index: number, document: DesiredDocument, others: () => readonly LittleNode[]) {
    this.#index = index;
    this.id = node(index);
    this.document = replicaOf(document, 0x100 + index);
    this.keyring = new Keyring({
      self: this.id,
      seed: new Uint8Array(32).fill(index),
      view: () => this.document.view(),
    });
    this.upkeep = new Upkeep({
      keyring: this.keyring,
      view: () => this.document.view(),
      secrets: () => this.document.secrets(),
      heads: () => this.document.heads(),
      members: () =>
        others().map(({ id, isAlive, document: held }) => ({
          id,
          isAlive,
          agrees: held.heads().join() === this.document.heads().join(),
        })),
      isCaughtUp: () => true,
      write: async (changes, by) => this.writePlain(changes, by),
      nowMs: () => this.nowMs,
      log: quiet,
    });
  }

  view() {
    return this.document.view();
  }

  /** As the node of an older version would, or the upkeep: as it is given. */
  writePlain(changes: readonly NamedChange[], by = alice.by): void {
    this.writes++;
    const written = this.document.withActor(newActor()).write(changes, { by, atMs: alice.atMs });
    this.document = written?.next ?? this.document;
  }

  /** As the service does. */
  write(changes: readonly NamedChange[]): void {
    this.writePlain(sealChanges(changes, this.view(), this.keyring));
  }

  hear(other: LittleNode): void {
    this.document = merged(this.document, other.document);
  }

  admitted(): NamedChange {
    return { change: 'admitNode', node: this.id, name: `n${this.#index}`, sealKey: this.keyring.sealKey };
  }
}

/** Nodes 1 to `count`, all admitted; `older`: as an older version left it, without any key. */
export function littleCluster(count: number, options: { older?: boolean } = {}): LittleNode[] {
  const indexes = Array.from({ length: count }, (_, at) => at + 1);
  const nodes: LittleNode[] = [];
  const start = documentWith(options.older === true ? indexes.map(admitNode) : []);
  for (const index of indexes) nodes.push(new LittleNode(index, start, () => nodes));
  if (options.older !== true) {
    const [first, ...rest] = nodes as [LittleNode, ...LittleNode[]];
    first.writePlain([first.admitted(), newKeyFor([{ id: first.id, sealKey: first.keyring.sealKey }])]);
    for (const one of rest) {
      const { sealKey } = one.keyring;
      first.writePlain([one.admitted(), ...wrapsFor({ id: one.id, sealKey }, first.view(), first.keyring)]);
    }
    talk(nodes);
  }
  return nodes;
}

/** All hear of all. */
export function talk(nodes: readonly LittleNode[]): void {
  for (const one of nodes) for (const other of nodes) if (one !== other) one.hear(other);
  for (const one of nodes) for (const other of nodes) if (one !== other) one.hear(other);
}

const COMPRESSED_CHANGE = 2;

/** Every change of a document as it is before it is compressed: what its history says to whoever has it. */
export const historyOf = (document: DesiredDocument): string =>
  changesOf(document)
    .map((change) => {
      // Four bytes of mark, four of checksum, one of kind, the length of what follows in groups of seven bits.
      let at = 9;
      while (change[at]! >= 0x80) at++;
      const content = change.subarray(at + 1);
      return Buffer.from(change[8] === COMPRESSED_CHANGE ? inflateRawSync(content) : content).toString('latin1');
    })
    .join('\n');
