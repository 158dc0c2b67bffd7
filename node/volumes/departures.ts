// A move, on the node that the volume leaves: lays what the volume holds out on the other node while its slot runs, so
// that only the last difference is left to bring when the slot has stopped. Whatever fails here has changed nothing:
// the mover then brings all of it (mover.ts).

import type { NodeId, VolumeId } from '../../crdt/ids.ts';
import type { VolumeView } from '../../crdt/view.ts';
import type { Log } from '../lib/log.ts';
import type { BlobStore } from '../ports/blobs.ts';
import { ADD_DIFFERENCE, DROP_LAID_OUT, LAY_OUT_VOLUME } from '../ports/data-methods.ts';
import type { Gossip } from '../ports/gossip.ts';
import type { VolumeSnapshot } from '../ports/snapshots.ts';
import type { Differences } from './difference.ts';
import { makingFolder, removeTree } from './folder.ts';
import type { VolumeStore } from './store.ts';

/** While the slot runs, differences are brought until one is no larger, or no smaller than half of the one before. */
const LITTLE_BYTES = 16 * 1024 ** 2;
const ROUNDS_MAX = 6;
/** What the other node lacks: the move would fail there later, too. */
const LACKS: readonly unknown[] = ['disk_full', 'no_free_user', 'no_hard_quota', 'over_budget'];

export type DeparturesParts = {
  store: Pick<VolumeStore, 'root'>;
  differences: Pick<Differences, 'take' | 'taken'>;
  gossip: Pick<Gossip, 'request'>;
  blobs: Pick<BlobStore, 'remove'>;
  log: Log;
};

/** `to`: where it is laid out, once it is. */
type Departure = { lists: string; to?: NodeId; snapshot?: string; rounds: number };

export class Departures {
  readonly #parts: DeparturesParts;
  readonly #leaving = new Map<VolumeId, Departure>();

  constructor(parts: DeparturesParts) {
    this.#parts = parts;
  }

  /** Answers where the snapshot is to leave its lists. What an earlier move of it left is given up. */
  async begin(id: VolumeId): Promise<string> {
    await this.drop(id);
    const lists = makingFolder(this.#parts.store.root);
    this.#leaving.set(id, { lists, rounds: 0 });
    return lists;
  }

  /**
   * The other node holds the snapshot: it makes files of it, and takes what has changed since. Fails when that node
   * lacks what it needs, or the signal says so; whatever else fails leaves the whole for later.
   */
  async layOut(volume: VolumeView, snapshot: VolumeSnapshot, to: NodeId, signal: AbortSignal): Promise<void> {
    const { gossip, log } = this.#parts;
    const { id, lineage } = volume;
    const departure = this.#leaving.get(id);
    if (departure === undefined) return;
    try {
      const order = { volume: id, lineage, snapshot };
      departure.to = to;
      departure.snapshot = snapshot.id;
      await gossip.request(to, LAY_OUT_VOLUME, order, { signal });
      let beforeBytes = Number.POSITIVE_INFINITY;
      while (departure.rounds < ROUNDS_MAX) {
        const bytes = await this.#bring(volume, departure, { passing: [], signal });
        if (bytes <= LITTLE_BYTES || bytes > beforeBytes / 2) break;
        beforeBytes = bytes;
      }
    } catch (error) {
      await this.drop(id);
      if (signal.aborted || LACKS.includes((error as { code?: unknown }).code)) throw error;
      log.warn('volume.not_laid_out', { volume: id, node: to, error });
    }
  }

  /**
   * Nothing runs on it any more: the other node gets what is left, and has the whole lineage then. False: it has to be
   * brought as a whole. Fails when that would fail, too, or when this can be asked for again.
   */
  async finish(volume: VolumeView, to: NodeId, passing: readonly string[], signal: AbortSignal): Promise<boolean> {
    const departure = this.#leaving.get(volume.id);
    if (departure?.to !== to) return false;
    try {
      await this.#bring(volume, departure, { passing, last: true, signal });
      return true;
    } catch (error) {
      const { code } = error as { code?: unknown };
      // It will hear of the move soon, or would lack the same for all of it.
      if (signal.aborted || code === 'volume_moving' || LACKS.includes(code)) throw error;
      this.#parts.log.warn('volume.difference_not_taken', { volume: volume.id, node: to, error });
      await this.drop(volume.id);
      return false;
    }
  }

  /** Nothing is brought ahead any more. Never fails. */
  async drop(id: VolumeId): Promise<void> {
    const departure = this.#leaving.get(id);
    if (departure === undefined) return;
    this.#leaving.delete(id);
    await removeTree(departure.lists).catch(() => {});
    if (departure.to === undefined) return;
    // It drops it by itself later, should it not hear of this.
    void this.#parts.gossip.request(departure.to, DROP_LAID_OUT, { volume: id }).catch(() => {});
  }

  /** It is where it went. Never fails. */
  async left(id: VolumeId): Promise<void> {
    const departure = this.#leaving.get(id);
    this.#leaving.delete(id);
    if (departure !== undefined) await removeTree(departure.lists).catch(() => {});
  }

  async close(): Promise<void> {
    await Promise.all([...this.#leaving.keys()].map((id) => this.left(id)));
  }

  async #bring(
    { id, lineage }: VolumeView,
    departure: Departure,
    { passing, last = false, signal }: { passing: readonly string[]; last?: boolean; signal: AbortSignal },
  ): Promise<number> {
    const { differences, gossip, blobs } = this.#parts;
    const { lists, to, snapshot } = departure;
    const round = departure.rounds + 1;
    const difference = await differences.take({ id, lineage }, lists, last ? 'last' : round, signal);
    try {
      const order = { volume: id, lineage, snapshot: snapshot!, round, last, ...difference, passing: [...passing] };
      await gossip.request(to!, ADD_DIFFERENCE, order, { signal });
    } finally {
      await blobs.remove(difference.digest).catch(() => {});
    }
    if (!last) await differences.taken(lists);
    departure.rounds = round;
    return difference.sizeBytes;
  }
}
