// Who may connect to this node: the nodes that the desired state admits. A removed node is told of its removal before
// the connection to it is closed.

import type { NodeId } from '../../crdt/ids.ts';
import type { DesiredView } from '../../crdt/view.ts';
import type { Gossip } from '../ports/gossip.ts';

const REMOVAL_NOTICE_MS = 300;

export class Admitted {
  readonly #self: NodeId;
  readonly #view: () => DesiredView;
  readonly #gossip: Pick<Gossip, 'setAdmitted'>;
  #removedCount: number;

  constructor(options: { self: NodeId; view: () => DesiredView; gossip: Pick<Gossip, 'setAdmitted'> }) {
    this.#self = options.self;
    this.#view = options.view;
    this.#gossip = options.gossip;
    this.#removedCount = this.#view().removedNodes.size;
  }

  /** At once: before the node speaks to anyone. */
  admit(): void {
    const others = [...this.#view().nodes.keys()].filter((node) => node !== this.#self);
    this.#gossip.setAdmitted(new Map(others.map((node) => [node, { addresses: [] }])));
  }

  /** Called after every change of the desired state. */
  desiredChanged(): void {
    const removedCount = this.#view().removedNodes.size;
    const isRemoval = removedCount > this.#removedCount;
    this.#removedCount = removedCount;
    if (isRemoval) setTimeout(() => this.admit(), REMOVAL_NOTICE_MS);
    else this.admit();
  }
}
