// How the data of a volume comes to a node: made of a snapshot as a new lineage, or handed over by the node that it is
// moved from. Decides neither who moves nor where to.

import type { NodeId, VolumeId } from '../../crdt/ids.ts';
import { oneLine } from '../../crdt/limits.ts';
import type { DesiredView, VolumeView } from '../../crdt/view.ts';
import type { Log } from '../lib/log.ts';
import type { BlobStore } from '../ports/blobs.ts';
import type { Copies } from '../ports/copies.ts';
import type { Gossip } from '../ports/gossip.ts';
import { MOVE_VOLUME, RECEIVE_VOLUME, TAKE_OVER_VOLUME } from '../ports/methods.ts';
import type { VolumeLife, VolumeOrder, VolumeSnapshot } from '../ports/snapshots.ts';
import { VolumeError } from './errors.ts';
import type { SnapshotKeeper } from './keeper.ts';
import type { Snapshots } from './snapshot.ts';
import type { VolumeStore } from './store.ts';

/** How often is looked whether a copy that was moved away is of no use any more. */
const TIDY_MS = 15_000;
const REASON_LENGTH_MAX = 250;

export type MoverParts = {
  self: NodeId;
  view: () => DesiredView;
  keeper: SnapshotKeeper;
  store: Pick<VolumeStore, 'list' | 'usersOf' | 'remove'>;
  snapshots: Pick<Snapshots, 'restore'>;
  copies: Copies<VolumeSnapshot, VolumeId>;
  blobs: Pick<BlobStore, 'read'>;
  gossip: Pick<Gossip, 'handle' | 'request'>;
  /** Whether that node says that it runs the volume's slot, ready. */
  runsAt: (volume: VolumeView) => boolean;
  /** Writes that these are on that node; for the node that has them. */
  writeMoved: (volumes: readonly VolumeId[], to: NodeId, by: string) => Promise<void>;
  /** Writes that this node has left it; never fails. */
  writeLeft: (volume: VolumeId) => Promise<void>;
  nameOf: (node: NodeId) => string;
  record: (name: string, volume: VolumeView, message: string) => void;
  log: Log;
};

export class VolumeMover implements Pick<VolumeLife, 'receive' | 'move'> {
  readonly #parts: MoverParts;
  readonly #timer: NodeJS.Timeout;
  readonly #ending = new AbortController();
  /** On their way from here. */
  readonly #leaving = new Map<VolumeId, Promise<void>>();
  #tidying: Promise<void> | undefined;

  constructor(parts: MoverParts) {
    this.#parts = parts;
    const { gossip } = parts;
    gossip.handle(RECEIVE_VOLUME, async (order, _from, signal) => {
      await this.#receiveHere(order, signal);
      return { received: true };
    });
    gossip.handle(TAKE_OVER_VOLUME, async (order, from, signal) => {
      await this.#takeOver(order, from, signal);
      return { received: true };
    });
    gossip.handle(MOVE_VOLUME, async ({ volume, to, by }, _from, signal) => {
      await this.#moveFromHere(volume, { to, by, signal });
      return { moved: true };
    });
    this.#timer = setInterval(() => this.tidy(), TIDY_MS);
    this.#timer.unref();
  }

  async receive(node: NodeId, order: VolumeOrder, signal: AbortSignal): Promise<void> {
    if (node === this.#parts.self) return this.#receiveHere(order, signal);
    await this.#parts.gossip.request(node, RECEIVE_VOLUME, order, { signal });
  }

  async move(id: VolumeId, to: NodeId, by: string, signal: AbortSignal): Promise<void> {
    const { keeper, self, gossip } = this.#parts;
    const { node } = keeper.expectVolume(id);
    if (node === self) return this.#moveFromHere(id, { to, by, signal });
    await gossip.request(node, MOVE_VOLUME, { volume: id, to, by }, { signal });
  }

  /**
   * Call when nothing runs on a volume any more that was moved from here: brings what it holds to its node, and writes
   * that this one has left it. Harmless to repeat; what fails is tried when it is called again.
   */
  handOver(id: VolumeId): void {
    if (this.#leaving.has(id) || this.#ending.signal.aborted) return;
    const leaving = this.#handOver(id).finally(() => this.#leaving.delete(id));
    this.#leaving.set(id, leaving);
  }

  /** Removes copies that were moved away, once what mounts them runs where they went. */
  tidy(): void {
    this.#tidying ??= this.#tidy().finally(() => {
      this.#tidying = undefined;
    });
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#ending.abort();
    await Promise.all([...this.#leaving.values(), this.#tidying]);
  }

  /** A lineage that the desired state does not have yet. */
  async #receiveHere({ volume: id, lineage, snapshot }: VolumeOrder, signal: AbortSignal): Promise<void> {
    const volume = this.#parts.keeper.expectVolume(id);
    if (volume.lineage === lineage || snapshot.volume !== id) {
      throw new VolumeError('volume_busy', 'a snapshot is restored into a new lineage of its own volume alone');
    }
    await this.#restore({ volume: id, lineage, snapshot }, undefined, signal);
  }

  /** The lineage that was moved here: until its node before has left it, nothing here has mounted it since. */
  async #takeOver(order: VolumeOrder, from: NodeId, signal: AbortSignal): Promise<void> {
    const { self, keeper, store } = this.#parts;
    const { id, node, lineage, movedFrom } = keeper.expectVolume(order.volume);
    if (node !== self || movedFrom !== from || lineage !== order.lineage || order.snapshot.lineage !== lineage) {
      throw new VolumeError('volume_moving', 'this node has not heard yet that the volume was moved to it');
    }
    const hasOlder = store.list().some((one) => one.id === id && one.lineage === lineage);
    if (hasOlder) await store.remove({ id, lineage });
    await this.#restore(order, from, signal);
  }

  async #restore({ volume, lineage, snapshot }: VolumeOrder, from: NodeId | undefined, signal: AbortSignal) {
    const { keeper, snapshots, blobs, copies } = this.#parts;
    const holders = from === undefined ? ((await this.#held(snapshot.id, volume))?.holders ?? []) : [from];
    await copies.bring(snapshot, holders, signal);
    signal.throwIfAborted();
    const { sizeBytes, path, hardQuota } = keeper.expectVolume(volume);
    const slot = { process: snapshot.process, index: snapshot.index };
    const hard = hardQuota ? { hardQuota } : {};
    const size = { sizeBytes: Math.max(sizeBytes, snapshot.volumeBytes), ...hard };
    const meta = { owner: snapshot.owner, slot, path, ...size };
    await snapshots.restore(blobs.read(snapshot.digest), { id: volume, lineage }, meta);
    await copies.keep(snapshot);
  }

  async #held(snapshot: string, volume: VolumeId) {
    return (await this.#parts.keeper.list(volume)).find(({ id }) => id === snapshot);
  }

  async #moveFromHere(id: VolumeId, how: { to: NodeId; by: string; signal: AbortSignal }): Promise<void> {
    const { keeper, self, copies, writeMoved, record, nameOf } = this.#parts;
    const { to, by, signal } = how;
    const volume = keeper.expectVolume(id);
    if (volume.node !== self || volume.movedFrom !== undefined) {
      throw new VolumeError('volume_moving', 'the volume is on its way to another node: see peer volumes');
    }
    const together = this.#ofItsSlot(volume);
    // Most of it travels while the slot runs; what it has written since is little.
    for (const one of together.filter((each) => this.#isHere(each))) {
      const snapshot = await keeper.takeHere(one, signal);
      await copies.give(snapshot, to, signal);
    }
    signal.throwIfAborted();
    await writeMoved(
      together.map((one) => one.id),
      to,
      by,
    );
    for (const one of together) record('volume.moved', one, `${keeper.nameOf(one)} moves to ${nameOf(to)}`);
  }

  /** What is on several nodes can be mounted nowhere. */
  #ofItsSlot(volume: VolumeView): VolumeView[] {
    const { view, self } = this.#parts;
    return [...view().volumes.values()].filter(
      ({ owner, process, index, mounted, node }) =>
        mounted && node === self && owner === volume.owner && process === volume.process && index === volume.index,
    );
  }

  #isHere({ id, lineage }: VolumeView): boolean {
    return this.#parts.store.list().some((one) => one.id === id && one.lineage === lineage);
  }

  async #handOver(id: VolumeId): Promise<void> {
    const { view, self, store, keeper, gossip, writeLeft, nameOf, record, log } = this.#parts;
    const volume = view().volumes.get(id);
    if (volume === undefined || volume.movedFrom !== self) return;
    const { node, lineage } = volume;
    try {
      // What was never mounted holds nothing to bring.
      if (this.#isHere(volume)) {
        if (store.usersOf({ id, lineage }).length > 0) return;
        const { signal } = this.#ending;
        const snapshot = await keeper.takeHere(volume, signal);
        await gossip.request(node, TAKE_OVER_VOLUME, { volume: id, lineage, snapshot }, { signal });
      }
      await writeLeft(id);
      record('volume.left', volume, `${keeper.nameOf(volume)} is on ${nameOf(node)} now`);
    } catch (error) {
      if (this.#ending.signal.aborted) return;
      const reason = oneLine((error as Error).message, REASON_LENGTH_MAX);
      record('volume.move_waits', volume, `${keeper.nameOf(volume)} cannot go to ${nameOf(node)} yet: ${reason}`);
      log.warn('volume.not_handed_over', { volume: id, node, error });
    }
  }

  async #tidy(): Promise<void> {
    const { view, self, store, runsAt, log } = this.#parts;
    for (const { id, lineage, heldBy } of store.list()) {
      const volume = view().volumes.get(id);
      // Another lineage is not a copy: a person restored or recovered, and this is what there was before.
      if (volume === undefined || volume.lineage !== lineage || heldBy !== undefined) continue;
      if (volume.node === self || volume.movedFrom !== undefined || !runsAt(volume)) continue;
      try {
        await store.remove({ id, lineage });
        log.info('volume.copy_removed', { volume: id, message: 'it was moved, and runs where it went' });
      } catch (error) {
        log.warn('volume.copy_not_removed', { volume: id, error });
      }
    }
  }
}
