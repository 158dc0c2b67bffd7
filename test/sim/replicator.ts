// Twin of node/cluster/replicator.ts with the same rule of acknowledgement: a write counts once another member that is
// believed alive has it on disk, or at once when there is none. Times and attempts are the real ones.

import type { ChangeAuthor, NamedChange } from '../../crdt/change.ts';
import type { Hold } from './checkers/checker.ts';
import type { SimNode } from './node.ts';

const HOLD_TIMEOUT_MS = 2_000;
const ACKNOWLEDGE_TIMEOUT_MS = 6_000;
const HOLD_ATTEMPTS_MAX = 3;

export type WriteResult =
  | { kind: 'acknowledged'; hash: string | undefined; heldBy: Hold[] }
  /** Kept here, but nobody confirmed it. */
  | { kind: 'unconfirmed' }
  | { kind: 'refused'; reason: string };

export class SimReplicator {
  readonly #node: SimNode;

  constructor(node: SimNode) {
    this.#node = node;
  }

  write(changes: NamedChange[], author: ChangeAuthor, done: (result: WriteResult) => void): void {
    const { store, gossip, index, epoch } = this.#node;
    if (store === undefined || gossip === undefined) return;
    const here: Hold = { index, epoch };
    store.write(
      changes,
      author,
      (written) => {
        if (written === undefined) {
          done({ kind: 'acknowledged', hash: undefined, heldBy: [here] });
          return;
        }
        const { hash, bytes } = written;
        const heads = store.document.heads();
        gossip.publishChanges([bytes]);
        const others = this.#aliveOthers();
        let over = false;
        const end = (result: WriteResult): void => {
          if (over) return;
          over = true;
          done(result);
        };
        const alone: WriteResult = { kind: 'acknowledged', hash, heldBy: [here] };
        if (others.length === 0) {
          end(alone);
          return;
        }
        let asked = others.length;
        const giveUp = (): void => end(this.#aliveOthers().length === 0 ? alone : { kind: 'unconfirmed' });
        for (const other of others) {
          this.#askToHold(other, { change: bytes, heads }, 1, (inEpoch) => {
            asked--;
            if (inEpoch !== undefined)
              end({ kind: 'acknowledged', hash, heldBy: [here, { index: other, epoch: inEpoch }] });
            else if (asked === 0) giveUp();
          });
        }
        this.#node.later(ACKNOWLEDGE_TIMEOUT_MS, giveUp);
      },
      (error) => done({ kind: 'refused', reason: error instanceof Error ? error.message : String(error) }),
    );
  }

  /** Changes of another node; what they build on is fetched when it is not here. */
  receive(changes: readonly Uint8Array[], from: number, done: () => void = () => {}): void {
    const { store, gossip } = this.#node;
    if (store === undefined || gossip === undefined) return;
    store.receive(
      changes,
      ({ missing }) => {
        if (missing) gossip.sync(from, done);
        else done();
      },
      done,
    );
  }

  #askToHold(
    other: number,
    payload: { change: Uint8Array; heads: string[] },
    attempt: number,
    answer: (inEpoch: number | undefined) => void,
  ): void {
    const again = (): void => {
      if (attempt >= HOLD_ATTEMPTS_MAX) answer(undefined);
      else this.#askToHold(other, payload, attempt + 1, answer);
    };
    const from = this.#node.index;
    this.#node.gossip?.request<number | undefined>(
      other,
      { bytes: payload.change.byteLength, timeoutMs: HOLD_TIMEOUT_MS },
      (node, reply) => {
        const { store, gossip, replicator } = node;
        if (store === undefined || gossip === undefined || replicator === undefined) return;
        replicator.receive([payload.change], from, () => {
          const { epoch } = node;
          const held = (): number | undefined => (store.document.has(payload.heads) ? epoch : undefined);
          if (held() !== undefined) reply(epoch, 1);
          else gossip.sync(from, () => reply(held(), 1));
        });
      },
      (inEpoch) => {
        if (inEpoch !== undefined) answer(inEpoch);
        else again();
      },
      again,
    );
  }

  #aliveOthers(): number[] {
    const { core, world } = this.#node;
    const alive: number[] = [];
    for (const member of core?.members.values() ?? []) {
      if (member.status === 'alive' && core?.desired?.nodes.has(member.node)) alive.push(world.indexOf(member.node));
    }
    return alive.sort((a, b) => a - b);
  }
}
