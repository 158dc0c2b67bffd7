// Files of volumes that nothing in the desired state refers to: which of them there are on any node, why, and their
// end on a person's word. Removes nothing by itself.

import type { LineageId, NodeId, VolumeId } from '../../crdt/ids.ts';
import type { DesiredView, VolumeView } from '../../crdt/view.ts';
import type { Log } from '../lib/log.ts';
import { LIST_ORPHANS, ORPHANS_MAX, REMOVE_ORPHAN } from '../ports/data-methods.ts';
import type { Gossip } from '../ports/gossip.ts';
import type { FoundOrphans, Orphan, OrphanReason, VolumeLife } from '../ports/snapshots.ts';
import { VolumeError } from './errors.ts';
import type { VolumeRef, VolumeStore } from './store.ts';

export type OrphansParts = {
  self: NodeId;
  view: () => Pick<DesiredView, 'volumes' | 'problems'>;
  /** Whether this node knows what the cluster asks for: just after a start it may have missed a restore. */
  isCaughtUp: () => boolean;
  store: Pick<VolumeStore, 'list' | 'unreadable' | 'remove' | 'isArriving' | 'mark'>;
  /** Volumes that are no concern of the desired state: something else looks after them. */
  isOthers: (id: VolumeId) => boolean;
  gossip: Pick<Gossip, 'handle' | 'request'>;
  aliveOthers: () => NodeId[];
  nameOf: (node: NodeId) => string;
  record: (message: string) => void;
  log: Log;
  /** Unix ms. */
  nowMs: () => number;
};

export class Orphans implements Pick<VolumeLife, 'orphans' | 'removeOrphan'> {
  readonly #parts: OrphansParts;
  #marking: Promise<void> = Promise.resolve();

  constructor(parts: OrphansParts) {
    this.#parts = parts;
    parts.gossip.handle(LIST_ORPHANS, async () => this.#here());
    parts.gossip.handle(REMOVE_ORPHAN, async ({ volume, lineage, by }) => {
      await this.#removeHere({ id: volume, lineage }, by);
      return { removed: true };
    });
  }

  async orphans(): Promise<FoundOrphans> {
    const { gossip, aliveOthers, self } = this.#parts;
    const silent: NodeId[] = [];
    const asked = aliveOthers().map(async (node) => {
      const found = await gossip.request(node, LIST_ORPHANS, {}).catch(() => undefined);
      if (found === undefined) silent.push(node);
      return (found ?? []).map((one) => ({ ...one, node }));
    });
    const own = this.#here().map((one) => ({ ...one, node: self }));
    return { orphans: [own, ...(await Promise.all(asked))].flat(), silent };
  }

  async removeOrphan(
    { node, volume, lineage }: Pick<Orphan, 'node' | 'volume' | 'lineage'>,
    by: string,
  ): Promise<void> {
    const { self, gossip, aliveOthers, nameOf } = this.#parts;
    if (node === self) return this.#removeHere({ id: volume, lineage }, by);
    if (!aliveOthers().includes(node)) {
      throw new VolumeError('unavailable', `${nameOf(node)}, which has it, does not answer: see peer nodes`);
    }
    await gossip.request(node, REMOVE_ORPHAN, { volume, lineage, by });
  }

  /** Call at a start and whenever the desired state has changed: takes note of since when each is one. */
  desiredChanged(): void {
    this.#marking = this.#marking.then(() => this.#markAll());
  }

  /** Resolves when nothing is written any more. */
  close(): Promise<void> {
    return this.#marking;
  }

  #here(): Omit<Orphan, 'node'>[] {
    const { store, view } = this.#parts;
    const readable = store.list().flatMap((local): Omit<Orphan, 'node'>[] => {
      const why = this.#whyOrphan(local);
      if (why === undefined) return [];
      const { id: volume, lineage, owner, path, sizeBytes, usedBytes, createdAtMs } = local;
      const slot = local.slot ?? view().volumes.get(volume);
      const place = slot === undefined ? {} : { process: slot.process, index: slot.index };
      const sinceMs = local.orphanedAtMs === undefined ? {} : { sinceMs: local.orphanedAtMs };
      const used = usedBytes === undefined ? {} : { usedBytes };
      return [{ volume, lineage, why, owner, ...place, path, sizeBytes, ...used, createdAtMs, ...sinceMs }];
    });
    const unreadable = store
      .unreadable()
      .map(({ id: volume, lineage }) => ({ volume, lineage, why: 'unreadable' as const }));
    return [...readable, ...unreadable].slice(0, ORPHANS_MAX);
  }

  /** Undefined: the desired state has it here, or nobody can tell yet. */
  #whyOrphan(ref: VolumeRef): OrphanReason | undefined {
    const { view, self, store, isOthers } = this.#parts;
    const { volumes, problems } = view();
    if (isOthers(ref.id) || store.isArriving(ref)) return undefined;
    const volume = volumes.get(ref.id);
    if (volume !== undefined) return whyApart(volume, ref.lineage, self);
    // A record that breaks the rules is not in the view either, and nobody has deleted it.
    return problems.some(({ record }) => record === '…' || record.startsWith('volumes')) ? undefined : 'deleted';
  }

  async #markAll(): Promise<void> {
    const { store, nowMs, log } = this.#parts;
    for (const local of store.list()) {
      const isOne = this.#whyOrphan(local) !== undefined;
      if (isOne === (local.orphanedAtMs !== undefined)) continue;
      await store.mark(local, isOne ? nowMs() : undefined).catch((error: unknown) => {
        log.warn('volume.not_marked', { volume: local.id, error });
      });
    }
  }

  async #removeHere(ref: VolumeRef, by: string): Promise<void> {
    const { store, view, self, record, nameOf, isCaughtUp } = this.#parts;
    const found = this.#here().find(({ volume, lineage }) => volume === ref.id && lineage === ref.lineage);
    if (found === undefined) {
      throw new VolumeError('volume_missing', `${nameOf(self)} has no such orphan: see peer volumes --orphans`);
    }
    if (!isCaughtUp()) {
      const message = `${nameOf(self)} does not know yet what the cluster asks for: try again in a minute`;
      throw new VolumeError('unavailable', message);
    }
    if (found.why === 'unreadable' && view().volumes.get(ref.id)?.lineage === ref.lineage) {
      const message = 'it is what the volume should hold, and what is known of it cannot be read: see peer volumes';
      throw new VolumeError('other_lineage', message);
    }
    await store.remove(ref);
    const whose = found.owner === undefined ? ref.id : `${found.path} of ${found.owner}`;
    record(`${by} removed the orphan ${ref.lineage} (${whose}) from ${nameOf(self)}`);
  }
}

function whyApart(volume: VolumeView, lineage: LineageId, self: NodeId): OrphanReason | undefined {
  // What was before an upgrade waits for a word of its own.
  if (volume.before?.lineage === lineage && volume.before.node === self) return undefined;
  if (volume.lineage !== lineage) return 'replaced';
  return volume.node === self || volume.movedFrom === self ? undefined : 'moved';
}
