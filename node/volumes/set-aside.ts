// What a service's data was before an upgrade, set aside on the node where it is: put back under another lineage, or
// removed, on a person's word. Decides neither.

import type { LineageId, NodeId, VolumeId } from '../../crdt/ids.ts';
import type { VolumeView } from '../../crdt/view.ts';
import { DISCARD_LINEAGE, RENAME_LINEAGE } from '../ports/data-methods.ts';
import type { Gossip } from '../ports/gossip.ts';
import type { VolumeLife } from '../ports/snapshots.ts';
import { VolumeError } from './errors.ts';
import type { VolumeStore } from './store.ts';

export type SetAsideParts = {
  self: NodeId;
  expectVolume: (id: VolumeId) => VolumeView;
  store: Pick<VolumeStore, 'list' | 'remove' | 'rename'>;
  gossip: Pick<Gossip, 'handle' | 'request'>;
};

export class SetAside implements Pick<VolumeLife, 'putBack' | 'discard'> {
  readonly #parts: SetAsideParts;

  constructor(parts: SetAsideParts) {
    this.#parts = parts;
    parts.gossip.handle(RENAME_LINEAGE, async ({ volume, lineage }) => {
      await this.#putBackHere(volume, lineage);
      return { done: true };
    });
    parts.gossip.handle(DISCARD_LINEAGE, async ({ volume, lineage }) => {
      await this.#discardHere(volume, lineage);
      return { done: true };
    });
  }

  async putBack(id: VolumeId, lineage: LineageId, signal: AbortSignal): Promise<void> {
    const { self, gossip } = this.#parts;
    const { node } = this.#expectBefore(id);
    if (node === self) return this.#putBackHere(id, lineage);
    await gossip.request(node, RENAME_LINEAGE, { volume: id, lineage }, { signal });
  }

  async discard(id: VolumeId, signal: AbortSignal): Promise<void> {
    const { self, gossip } = this.#parts;
    const { node, lineage } = this.#expectBefore(id);
    if (node === self) return this.#discardHere(id, lineage);
    await gossip.request(node, DISCARD_LINEAGE, { volume: id, lineage }, { signal });
  }

  /** One that was asked for twice is done once. */
  async #putBackHere(id: VolumeId, lineage: LineageId): Promise<void> {
    const before = this.#expectBefore(id);
    const here = this.#parts.store.list().filter((one) => one.id === id);
    if (here.some((one) => one.lineage === lineage)) return;
    await this.#parts.store.rename({ id, lineage: before.lineage }, { id, lineage });
  }

  async #discardHere(id: VolumeId, lineage: LineageId): Promise<void> {
    const { store, expectVolume } = this.#parts;
    if (expectVolume(id).lineage === lineage || this.#expectBefore(id).lineage !== lineage) {
      throw new VolumeError('volume_busy', 'that is not what was before an upgrade: see peer service status');
    }
    if (store.list().some((one) => one.id === id && one.lineage === lineage)) await store.remove({ id, lineage });
  }

  #expectBefore(id: VolumeId): NonNullable<VolumeView['before']> {
    const { before } = this.#parts.expectVolume(id);
    if (before !== undefined) return before;
    throw new VolumeError('volume_missing', 'there is nothing that was before an upgrade: see peer service status');
  }
}
