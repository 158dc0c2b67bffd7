// The operator of this node: keeps the token that node.json shows valid in the cluster. A data directory that is an
// older copy, or a merge of two admissions of the node made apart, may hold another one's hash. Never brings back an
// operator that was removed.

import type { NamedChange } from '../../crdt/change.ts';
import type { NodeId } from '../../crdt/ids.ts';
import type { DesiredView, UserView } from '../../crdt/view.ts';
import type { Log } from '../lib/log.ts';

/** Two daemons with one identity and two tokens would go on for ever otherwise. */
const CLAIMS_PER_LIFE_MAX = 3;

type Parts = {
  self: NodeId;
  tokenHash: string;
  view: () => DesiredView;
  write: (changes: NamedChange[], by: string) => Promise<unknown>;
  log: Log;
};

export class OwnOperator {
  readonly #parts: Parts;
  #claims = 0;
  #claiming = false;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** Whether there is nothing to do: the token is valid, or the operator was removed. */
  get isInOrder(): boolean {
    const operator = this.#operator();
    return operator === undefined || operator.tokenHash === this.#parts.tokenHash;
  }

  /** Called when the desired state is up to date, and after every change of it from then on. */
  look(): void {
    if (this.isInOrder || this.#claiming || this.#claims >= CLAIMS_PER_LIFE_MAX) return;
    const { self, tokenHash, view, write, log } = this.#parts;
    const { name } = view().nodes.get(self)!;
    this.#claims++;
    this.#claiming = true;
    log.warn('operator.token_renewed', { message: 'the cluster knew another token of the operator of this node' });
    write([{ change: 'admitNode', node: self, name, operatorTokenHash: tokenHash }], `node ${name}`)
      .catch((error: unknown) => log.warn('operator.token_not_renewed', { error }))
      .finally(() => {
        this.#claiming = false;
      });
  }

  #operator(): UserView | undefined {
    const { self, view } = this.#parts;
    for (const user of view().users.values()) if (user.node === self) return user;
    return undefined;
  }
}
