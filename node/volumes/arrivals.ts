// A move, on the node that the volume comes to: files that were laid out of a snapshot before the slot has stopped
// where it runs. They are out of sight, and no volume, until the last difference has come; a start of the daemon
// clears them away.

import type { LineageId, NodeId, VolumeId } from '../../crdt/ids.ts';
import type { VolumeView } from '../../crdt/view.ts';
import type { BlobStore } from '../ports/blobs.ts';
import type { Copies } from '../ports/copies.ts';
import { ADD_DIFFERENCE, type DifferenceOrder, DROP_LAID_OUT, LAY_OUT_VOLUME } from '../ports/data-methods.ts';
import type { Gossip } from '../ports/gossip.ts';
import type { VolumeOrder, VolumeSnapshot } from '../ports/snapshots.ts';
import type { Differences } from './difference.ts';
import { VolumeError } from './errors.ts';
import type { Snapshots } from './snapshot.ts';
import type { VolumeMeta } from './store.ts';

/** The other volumes of a slot may be long on their way before it is stopped. */
const IDLE_MAX_MS = 60 * 60_000;

export type ArrivalsParts = {
  self: NodeId;
  expectVolume: (id: VolumeId) => VolumeView;
  snapshots: Pick<Snapshots, 'restore'>;
  differences: Pick<Differences, 'apply' | 'settle'>;
  copies: Pick<Copies<VolumeSnapshot, VolumeId>, 'bring' | 'forget'>;
  blobs: Pick<BlobStore, 'read' | 'remove'>;
  gossip: Pick<Gossip, 'handle'>;
  isGone: (node: NodeId) => boolean;
  /** ms that only grow. */
  nowMs: () => number;
};

type Arrival = {
  from: NodeId;
  lineage: LineageId;
  snapshot: string;
  rounds: number;
  sizeBytes: number;
  /** Once they are laid out. */
  files?: { data: string; uid: number | undefined };
  /** One step at a time. `step`: over when nothing writes to the files any more; never fails. */
  busy: boolean;
  step: Promise<void>;
  atMs: number;
  /** Makes the files the volume, or fails, and then they go. */
  close: PromiseWithResolvers<void>;
  /** The volume is there; fails when it is not to be. */
  there: Promise<void>;
};

export class Arrivals {
  readonly #parts: ArrivalsParts;
  readonly #arrivals = new Map<VolumeId, Arrival>();

  constructor(parts: ArrivalsParts) {
    this.#parts = parts;
    const { gossip } = parts;
    gossip.handle(LAY_OUT_VOLUME, async (order, from, signal) => {
      await this.#layOut(order, from, signal);
      return { laidOut: true };
    });
    gossip.handle(ADD_DIFFERENCE, async (order, from, signal) => {
      await this.#add(order, from, signal);
      return { received: true };
    });
    gossip.handle(DROP_LAID_OUT, async ({ volume }, from) => {
      if (this.#arrivals.get(volume)?.from === from) await this.drop(volume);
      return { done: true };
    });
  }

  /** Resolves when nothing of it is left here. Never fails. */
  async drop(id: VolumeId): Promise<void> {
    const arrival = this.#arrivals.get(id);
    if (arrival === undefined) return;
    this.#arrivals.delete(id);
    await arrival.step;
    arrival.close.reject(new VolumeError('aborted', 'what was laid out is not wanted any more'));
    await arrival.there.catch(() => {});
  }

  /** Drops what will not be asked for. */
  async tidy(): Promise<void> {
    for (const [id, { from, busy, atMs }] of this.#arrivals) {
      const isLate = !busy && this.#parts.nowMs() - atMs > IDLE_MAX_MS;
      if (isLate || this.#parts.isGone(from)) await this.drop(id);
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#arrivals.keys()].map((id) => this.drop(id)));
  }

  async #layOut({ volume: id, lineage, snapshot }: VolumeOrder, from: NodeId, signal: AbortSignal): Promise<void> {
    const { snapshots, differences, blobs, copies, nowMs } = this.#parts;
    const volume = this.#expectLeaving(id, lineage, from);
    if (snapshot.volume !== id || snapshot.lineage !== lineage) {
      throw new VolumeError('volume_moving', 'that is a snapshot of something else');
    }
    await this.drop(id);
    await copies.bring(snapshot, [from], signal);
    signal.throwIfAborted();
    const meta = metaOf(volume, snapshot);
    const laidOut = Promise.withResolvers<void>();
    const arrival: Arrival = {
      ...{ from, lineage, snapshot: snapshot.id, rounds: 0, sizeBytes: meta.sizeBytes, busy: true, atMs: nowMs() },
      close: Promise.withResolvers<void>(),
      there: Promise.resolve(),
      step: Promise.resolve(),
    };
    arrival.close.promise.catch(() => {});
    const fill = async (data: string, uid: number | undefined): Promise<void> => {
      // So that there is little to be written to disk at the end.
      await differences.settle(data);
      arrival.files = { data, uid };
      arrival.busy = false;
      arrival.atMs = nowMs();
      laidOut.resolve();
      await arrival.close.promise;
    };
    arrival.there = snapshots.restore(blobs.read(snapshot.digest), { id, lineage }, meta, fill);
    this.#arrivals.set(id, arrival);
    arrival.there.catch((error) => {
      if (this.#arrivals.get(id) === arrival) this.#arrivals.delete(id);
      laidOut.reject(error);
    });
    await laidOut.promise;
  }

  async #add(order: DifferenceOrder, from: NodeId, signal: AbortSignal): Promise<void> {
    const { copies } = this.#parts;
    const { volume: id, lineage, last } = order;
    const expect = () => (last ? this.#expectComing(id, lineage, from) : this.#expectLeaving(id, lineage, from));
    expect();
    const arrival = this.#expectArrival(order, from);
    arrival.busy = true;
    try {
      const applied = this.#apply(order, arrival, signal);
      arrival.step = applied.catch(() => {});
      await applied;
      // Meanwhile it may have been called off.
      expect();
      if (this.#arrivals.get(id) !== arrival) throw new VolumeError('aborted', 'it was given up meanwhile');
      arrival.rounds = order.round;
      if (!last) return;
      this.#arrivals.delete(id);
      arrival.close.resolve();
      await arrival.there;
      await copies.forget(order.passing);
    } catch (error) {
      await this.drop(id);
      throw error;
    } finally {
      arrival.busy = false;
      arrival.atMs = this.#parts.nowMs();
    }
  }

  async #apply(order: DifferenceOrder, arrival: Arrival, signal: AbortSignal): Promise<void> {
    const { copies, blobs, differences } = this.#parts;
    const { digest, sizeBytes, snapshot, round, last } = order;
    const entry = { id: `${snapshot}-${round}`, digest, sizeBytes, takenAtMs: 0 };
    await copies.bring(entry as VolumeSnapshot, [arrival.from], signal);
    try {
      signal.throwIfAborted();
      const files = arrival.files!;
      await differences.apply(blobs.read(digest), { ...files, sizeBytes: arrival.sizeBytes });
      // After the last one all of it is, when it becomes the volume.
      if (!last) await differences.settle(files.data);
    } finally {
      await blobs.remove(digest).catch(() => {});
    }
  }

  #expectArrival({ volume, lineage, snapshot, round }: DifferenceOrder, from: NodeId): Arrival {
    const arrival = this.#arrivals.get(volume);
    const isIt = arrival?.from === from && arrival.lineage === lineage && arrival.snapshot === snapshot;
    if (arrival !== undefined && isIt && !arrival.busy && round === arrival.rounds + 1) return arrival;
    throw new VolumeError('volume_missing', 'nothing that this would be a difference from was laid out here');
  }

  /** It is on that node, and stays for now. */
  #expectLeaving(id: VolumeId, lineage: LineageId, from: NodeId): VolumeView {
    const volume = this.#parts.expectVolume(id);
    if (volume.node === from && volume.movedFrom === undefined && volume.lineage === lineage) return volume;
    throw new VolumeError('volume_moving', 'the volume is not on the node that lays it out');
  }

  /** It is on its way here: until its node before has left it, nothing here has mounted it. */
  #expectComing(id: VolumeId, lineage: LineageId, from: NodeId): void {
    const volume = this.#parts.expectVolume(id);
    if (volume.node === this.#parts.self && volume.movedFrom === from && volume.lineage === lineage) return;
    throw new VolumeError('volume_moving', 'this node has not heard yet that the volume was moved to it');
  }
}

/** Of what is made of a snapshot of the volume. */
export function metaOf({ path, sizeBytes, hardQuota }: VolumeView, snapshot: VolumeSnapshot): VolumeMeta {
  const size = { sizeBytes: Math.max(sizeBytes, snapshot.volumeBytes), ...(hardQuota ? { hardQuota } : {}) };
  return { owner: snapshot.owner, slot: { process: snapshot.process, index: snapshot.index }, path, ...size };
}
