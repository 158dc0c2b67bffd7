// Snapshots of volumes, from any node: taken where the volume is, held by two more nodes, taken anew on a schedule,
// and no more of them than the volume asks for. Which are held is in the index of each node; nothing of it is
// desired state.

import type { NodeId, VolumeId } from '../../crdt/ids.ts';
import { oneLine } from '../../crdt/limits.ts';
import { SERVICE_PROCESS } from '../../crdt/limits-data.ts';
import type { DesiredView, VolumeView } from '../../crdt/view.ts';
import type { Log } from '../lib/log.ts';
import { stampedId } from '../lib/stamped-id.ts';
import type { Copies } from '../ports/copies.ts';
import { TAKE_SNAPSHOT } from '../ports/data-methods.ts';
import type { Gossip } from '../ports/gossip.ts';
import type { HeldSnapshot, VolumeLife, VolumeSnapshot } from '../ports/snapshots.ts';
import { VolumeError } from './errors.ts';
import { surplusOf, thinOf } from './kept.ts';
import type { Snapshots, TakeOptions } from './snapshot.ts';

/** How often is looked whether one is due. */
const DUE_LOOK_MS = 15_000;
/** One that failed is tried again after this. */
const FAILED_AGAIN_MS = 5 * 60_000;
/** Who holds what is looked at when other nodes live than before, and again after this while too few do. */
const THIN_AGAIN_MS = 10 * 60_000;
const REASON_LENGTH_MAX = 250;

export type KeeperParts = {
  self: NodeId;
  view: () => DesiredView;
  snapshots: Pick<Snapshots, 'take'>;
  copies: Copies<VolumeSnapshot, VolumeId>;
  gossip: Pick<Gossip, 'handle' | 'request'>;
  aliveOthers: () => NodeId[];
  nameOf: (node: NodeId) => string;
  record: (name: string, volume: VolumeView, message: string) => void;
  log: Log;
  /** Unix ms. */
  nowMs: () => number;
};

export class SnapshotKeeper implements Pick<VolumeLife, 'list' | 'take'> {
  readonly #parts: KeeperParts;
  readonly #timer: NodeJS.Timeout;
  readonly #failedAtMs = new Map<VolumeId, number>();
  readonly #ending = new AbortController();
  readonly #running = new Map<VolumeId, Promise<unknown>>();
  /**
   * The nodes that lived, and the volumes that were here, when it was looked last who holds what, and when that is to
   * be looked at in any case.
   */
  #spread = { among: '', againAtMs: Number.POSITIVE_INFINITY };
  #spreading: Promise<void> | undefined;
  /** One after the other. */
  #pruning: Promise<void> = Promise.resolve();

  constructor(parts: KeeperParts) {
    this.#parts = parts;
    const { gossip } = parts;
    gossip.handle(TAKE_SNAPSHOT, async ({ volume }, _from, signal) => {
      const { holders, ...snapshot } = await this.take(volume, signal);
      return { snapshot, holders };
    });
    this.#timer = setInterval(() => this.lookForDue(), DUE_LOOK_MS);
    this.#timer.unref();
  }

  list(volume: VolumeId | undefined): Promise<HeldSnapshot[]> {
    return this.#parts.copies.list(volume);
  }

  async take(id: VolumeId, signal: AbortSignal): Promise<HeldSnapshot> {
    const { self, gossip, aliveOthers, nameOf } = this.#parts;
    const volume = this.expectVolume(id);
    if (volume.node === self) return this.#takeAndShare(volume, signal);
    if (!aliveOthers().includes(volume.node)) {
      const node = nameOf(volume.node);
      throw new VolumeError('unavailable', `${node}, which has the volume, does not answer: see peer nodes`);
    }
    const { snapshot, holders } = await gossip.request(volume.node, TAKE_SNAPSHOT, { volume: id }, { signal });
    return { ...snapshot, holders };
  }

  /** Of a lineage that is here, kept here alone. */
  async takeHere(
    volume: VolumeView,
    signal: AbortSignal,
    how: Pick<TakeOptions, 'idle' | 'lists'> = {},
  ): Promise<VolumeSnapshot> {
    const { snapshots, copies } = this.#parts;
    const { id, lineage } = volume;
    const snapshot = this.#describe(volume, await snapshots.take({ id, lineage }, { signal, ...how }));
    await copies.keep(snapshot);
    return snapshot;
  }

  expectVolume(id: VolumeId): VolumeView {
    const volume = this.#parts.view().volumes.get(id);
    if (volume === undefined) throw new VolumeError('volume_missing', 'the volume was deleted: see peer volumes');
    return volume;
  }

  /** `/data of shop/0`, for people. */
  nameOf({ owner, process, index, path }: VolumeView): string {
    const name = this.#parts.view().workloads.get(owner)?.name ?? owner;
    return process === SERVICE_PROCESS
      ? `the data of ${name}`
      : `${path} of ${name}/${process === 'web' ? '' : `${process}/`}${index}`;
  }

  /** Those that are due by their volumes' schedules, of volumes that are here. */
  lookForDue(): void {
    const { view, self, copies, nowMs } = this.#parts;
    for (const volume of view().volumes.values()) {
      const { id, node, mounted, movedFrom, snapshotEveryMs, createdAtMs } = volume;
      if (snapshotEveryMs === 0 || node !== self || !mounted || movedFrom !== undefined) continue;
      if (this.#running.has(id)) continue;
      const newestMs = copies.here(id)[0]?.takenAtMs ?? createdAtMs;
      const failedMs = this.#failedAtMs.get(id);
      if (nowMs() - newestMs < snapshotEveryMs) continue;
      if (failedMs !== undefined && nowMs() - failedMs < FAILED_AGAIN_MS) continue;
      const taking = this.#takeAndShare(volume, this.#ending.signal)
        .then(
          () => this.#failedAtMs.delete(id),
          () => this.#failedAtMs.set(id, nowMs()),
        )
        .finally(() => this.#running.delete(id));
      this.#running.set(id, taking);
    }
    void this.#prune();
    this.#spreading ??= this.#lookForThin().finally(() => {
      this.#spreading = undefined;
    });
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#ending.abort();
    await Promise.all(this.#running.values());
    await this.#pruning;
    await this.#spreading;
  }

  async #takeAndShare(volume: VolumeView, signal: AbortSignal): Promise<HeldSnapshot> {
    const { record, copies } = this.#parts;
    try {
      const snapshot = await this.takeHere(volume, signal);
      const holders = await copies.share(snapshot, { signal });
      // Others may have been away for a moment: who holds what is looked at again.
      if (holders.length < copies.holdersWanted) this.#spread.among = '';
      record('volume.snapshot_taken', volume, `snapshot ${snapshot.id} of ${this.nameOf(volume)}`);
      await this.#prune();
      return { ...snapshot, holders };
    } catch (error) {
      const reason = oneLine((error as Error).message, REASON_LENGTH_MAX);
      record('volume.snapshot_failed', volume, `no snapshot of ${this.nameOf(volume)}: ${reason}`);
      throw error;
    }
  }

  /** Forgets what is beyond its volume's number, or of one that has been gone for long. The blobs go as garbage. */
  #prune(): Promise<void> {
    this.#pruning = this.#pruning.then(() => this.#forgetSurplus());
    return this.#pruning;
  }

  async #forgetSurplus(): Promise<void> {
    const { copies, view, nowMs, log } = this.#parts;
    const surplus = surplusOf(copies.here(), view().volumes, nowMs()).map(({ id }) => id);
    await copies.forget(surplus).catch((error: unknown) => log.warn('snapshots.not_pruned', { error }));
  }

  /** Nodes that held some of it may have died since. Never fails. */
  async #lookForThin(): Promise<void> {
    const { aliveOthers, copies, view, self, nowMs, log } = this.#parts;
    // Volumes that have come here were looked after by another until then; one that keeps more than before may have
    // lost some of them on a few nodes only.
    const mine = [...view().volumes.values()]
      .filter(({ node }) => node === self)
      .map(({ id, snapshotsKept }) => `${id} ${snapshotsKept}`);
    const among = mine.length === 0 ? '' : [...aliveOthers().sort(), ...mine].join();
    if (among === this.#spread.among && nowMs() < this.#spread.againAtMs) return;
    const isHere = (volume: VolumeId): boolean => view().volumes.get(volume)?.node === self;
    this.#spread = { among, againAtMs: Number.POSITIVE_INFINITY };
    if (among === '') return;
    const { signal } = this.#ending;
    try {
      const { held, answered } = await copies.ask(undefined);
      if (answered.length <= aliveOthers().length) this.#spread.againAtMs = nowMs() + THIN_AGAIN_MS;
      const asked = { isHere, isSpread: (holders: NodeId[]) => copies.isSpread(holders), nowMs: nowMs() };
      const isDone = await copies.spread(thinOf(held, view().volumes, asked), signal);
      if (!isDone) this.#spread.againAtMs = nowMs() + THIN_AGAIN_MS;
    } catch (error) {
      this.#spread.againAtMs = nowMs() + THIN_AGAIN_MS;
      if (!signal.aborted) log.warn('snapshots.not_spread', { error });
    }
  }

  #describe(volume: VolumeView, stored: Awaited<ReturnType<Snapshots['take']>>): VolumeSnapshot {
    const { self, nowMs, view } = this.#parts;
    const { id, lineage, process, index, path, sizeBytes: volumeBytes } = volume;
    const takenAtMs = nowMs();
    const owner = view().workloads.get(volume.owner)?.name ?? volume.owner;
    return {
      id: stampedId(takenAtMs, id, stored.digest),
      ...{ volume: id, lineage, owner, process, index, path, volumeBytes },
      ...stored,
      takenAtMs,
      takenOn: self,
    };
  }
}
