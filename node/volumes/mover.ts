// How the data of a volume comes to a node: made of a snapshot as a new lineage, or handed over by the node that it is
// moved from. Decides neither who moves nor where to.

import { setTimeout as pause } from 'node:timers/promises';
import type { NodeId, VolumeId } from '../../crdt/ids.ts';
import { oneLine } from '../../crdt/limits.ts';
import { SERVICE_PROCESS } from '../../crdt/limits-data.ts';
import type { DesiredView, VolumeView } from '../../crdt/view.ts';
import { formatBytes } from '../lib/format-bytes.ts';
import type { Log } from '../lib/log.ts';
import type { BlobStore } from '../ports/blobs.ts';
import type { Copies } from '../ports/copies.ts';
import { EXPECT_VOLUME, MOVE_VOLUME, RECEIVE_VOLUME, TAKE_OVER_VOLUME } from '../ports/data-methods.ts';
import type { Gossip } from '../ports/gossip.ts';
import type { VolumeLife, VolumeOrder, VolumeSnapshot } from '../ports/snapshots.ts';
import { type Arrivals, metaOf } from './arrivals.ts';
import type { Departures } from './departures.ts';
import { VolumeError } from './errors.ts';
import type { SnapshotKeeper } from './keeper.ts';
import type { Snapshots } from './snapshot.ts';
import type { VolumeRef, VolumeStore } from './store.ts';

/** How often is looked whether a copy that was moved away is of no use any more. */
const TIDY_MS = 15_000;
const REASON_LENGTH_MAX = 250;
/** What could not be brought for so long, with the slot stopped, is called off. */
const CALL_OFF_AFTER_MS = 60_000;
const RELEASE_LOOK_MS = 50;
const RELEASE_LOOKS_MAX = 100;
/** Failures that another try does not mend: the move is called off at once. */
const HOPELESS: readonly unknown[] = [
  ...['disk_full', 'no_room', 'over_budget', 'no_free_user', 'bad_snapshot', 'snapshot_failed', 'node_removed'],
];
/** Beside the data itself, which then is there twice: as a snapshot and unpacked. */
const SPARE_BYTES = 64 * 1024 ** 2;

export type MoverParts = {
  self: NodeId;
  view: () => DesiredView;
  keeper: SnapshotKeeper;
  store: Pick<VolumeStore, 'list' | 'usersOf' | 'remove'>;
  snapshots: Pick<Snapshots, 'restore'>;
  copies: Copies<VolumeSnapshot, VolumeId>;
  departures: Departures;
  arrivals: Pick<Arrivals, 'drop' | 'tidy' | 'close'>;
  /** Of the disk that volumes are on. */
  freeBytes: () => Promise<number>;
  blobs: Pick<BlobStore, 'read'>;
  gossip: Pick<Gossip, 'handle' | 'request'>;
  /** Whether that node says that it runs the volume's slot, ready. */
  runsAt: (volume: VolumeView) => boolean;
  /** Whether the node is taken for dead, or has left. */
  isGone: (node: NodeId) => boolean;
  /** Writes that these are on that node; for the node that has them. */
  writeMoved: (volumes: readonly VolumeId[], to: NodeId, by: string) => Promise<void>;
  /** Writes that this node has left it; never fails. */
  writeLeft: (volume: VolumeId) => Promise<void>;
  /** Writes that these stay here after all. */
  writeKept: (volumes: readonly VolumeId[]) => Promise<void>;
  nameOf: (node: NodeId) => string;
  record: (name: string, volume: VolumeView, message: string) => void;
  log: Log;
  /** ms that only grow. */
  nowMs: () => number;
};

export class VolumeMover implements Pick<VolumeLife, 'receive' | 'move'> {
  readonly #parts: MoverParts;
  readonly #timer: NodeJS.Timeout;
  readonly #ending = new AbortController();
  /** On their way from here. */
  readonly #leaving = new Map<VolumeId, Promise<void>>();
  #tidying: Promise<void> | undefined;
  /** Since when each, on its way from here, could not be brought. */
  readonly #failingSinceMs = new Map<VolumeId, number>();
  /** Snapshots for a move alone: what a service keeps of itself are backups. */
  readonly #passing = new Map<VolumeId, string[]>();
  /** Of what was moved here, when the snapshot was taken that it was made of last. */
  readonly #takenOverAtMs = new Map<VolumeId, number>();

  constructor(parts: MoverParts) {
    this.#parts = parts;
    const { gossip } = parts;
    gossip.handle(RECEIVE_VOLUME, async (order, _from, signal) => {
      await this.#receiveHere(order, signal);
      return { received: true };
    });
    gossip.handle(EXPECT_VOLUME, async ({ sizeBytes }) => {
      await this.#expectRoom(sizeBytes);
      return { fits: true };
    });
    gossip.handle(TAKE_OVER_VOLUME, async ({ order, passing }, from, signal) => {
      await this.#takeOver(order, from, signal);
      await parts.copies.forget(passing);
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
    await Promise.all([this.#parts.departures.close(), this.#parts.arrivals.close()]);
  }

  /** A lineage that the desired state does not have yet. */
  async #receiveHere({ volume: id, lineage, snapshot }: VolumeOrder, signal: AbortSignal): Promise<void> {
    const volume = this.#parts.keeper.expectVolume(id);
    if (volume.lineage === lineage || snapshot.volume !== id) {
      throw new VolumeError('volume_busy', 'a snapshot is restored into a new lineage of its own volume alone');
    }
    await this.#restore({ volume: id, lineage, snapshot }, signal);
  }

  async #expectRoom(sizeBytes: number): Promise<void> {
    const freeBytes = await this.#parts.freeBytes();
    if (freeBytes >= sizeBytes + SPARE_BYTES) return;
    const { self, nameOf } = this.#parts;
    const [free, needed] = [formatBytes(freeBytes), formatBytes(sizeBytes + SPARE_BYTES)];
    throw new VolumeError('disk_full', `${nameOf(self)} has ${free} of disk free, and the data needs ${needed}`);
  }

  /** The lineage that was moved here: until its node before has left it, nothing here has mounted it since. */
  async #takeOver(order: VolumeOrder, from: NodeId, signal: AbortSignal): Promise<void> {
    const { self, keeper, store, copies, arrivals } = this.#parts;
    const expectComing = (): void => {
      const { node, lineage, movedFrom } = keeper.expectVolume(order.volume);
      const isComing = node === self && movedFrom === from && lineage === order.lineage;
      if (isComing && order.snapshot.lineage === lineage) return;
      throw new VolumeError('volume_moving', 'this node has not heard yet that the volume was moved to it');
    };
    expectComing();
    const { snapshot, lineage } = order;
    const id = order.volume;
    // All of it comes: what was laid out before is not wanted any more.
    await arrivals.drop(id);
    await copies.bring(snapshot, [from], signal);
    signal.throwIfAborted();
    // Meanwhile it may have been called off, and moved here anew with all that was written since.
    expectComing();
    if ((this.#takenOverAtMs.get(id) ?? 0) > snapshot.takenAtMs) {
      throw new VolumeError('volume_moving', 'a later snapshot of it has come meanwhile');
    }
    this.#takenOverAtMs.set(id, snapshot.takenAtMs);
    const hasOlder = store.list().some((one) => one.id === id && one.lineage === lineage);
    if (hasOlder) await store.remove({ id, lineage });
    await this.#unpack(order);
  }

  async #restore(order: VolumeOrder, signal: AbortSignal): Promise<void> {
    const { copies } = this.#parts;
    const { snapshot, volume } = order;
    await copies.bring(snapshot, (await this.#held(snapshot.id, volume))?.holders ?? [], signal);
    signal.throwIfAborted();
    await this.#unpack(order);
  }

  async #unpack({ volume: id, lineage, snapshot }: VolumeOrder): Promise<void> {
    const { keeper, snapshots, blobs, copies } = this.#parts;
    const volume = keeper.expectVolume(id);
    await snapshots.restore(blobs.read(snapshot.digest), { id, lineage }, metaOf(volume, snapshot));
    if (!isOfService(volume)) await copies.keep(snapshot);
  }

  async #held(snapshot: string, volume: VolumeId) {
    return (await this.#parts.keeper.list(volume)).find(({ id }) => id === snapshot);
  }

  async #moveFromHere(id: VolumeId, how: { to: NodeId; by: string; signal: AbortSignal }): Promise<void> {
    const { keeper, self, writeMoved, record, nameOf } = this.#parts;
    const { to, by, signal } = how;
    const volume = keeper.expectVolume(id);
    if (volume.node !== self || volume.movedFrom !== undefined) {
      throw new VolumeError('volume_moving', 'the volume is on its way to another node: see peer volumes');
    }
    const together = this.#ofItsSlot(volume);
    const ids = together.map((one) => one.id);
    try {
      // It is laid out there while the slot runs; what that has written since is little.
      for (const one of together.filter((each) => this.#isHere(each))) await this.#bringFirst(one, to, signal);
      signal.throwIfAborted();
      await writeMoved(ids, to, by);
    } catch (error) {
      for (const one of ids) await this.#parts.departures.drop(one);
      throw error;
    }
    for (const one of together) record('volume.moved', one, `${keeper.nameOf(one)} moves to ${nameOf(to)}`);
  }

  async #bringFirst(volume: VolumeView, to: NodeId, signal: AbortSignal): Promise<void> {
    const { keeper, copies, gossip, departures } = this.#parts;
    const snapshot = await keeper.takeHere(volume, signal, { lists: await departures.begin(volume.id) });
    this.#passes(volume, snapshot);
    try {
      // Each is there as a snapshot, and unpacked.
      await gossip.request(to, EXPECT_VOLUME, { volume: volume.id, sizeBytes: 2 * snapshot.sizeBytes }, { signal });
      await copies.give(snapshot, to, signal);
      await departures.layOut(volume, snapshot, to, signal);
    } catch (error) {
      await this.#forgetPassing(volume.id);
      throw error;
    }
  }

  #passes(volume: VolumeView, { id }: VolumeSnapshot): void {
    if (isOfService(volume)) this.#passing.set(volume.id, [...(this.#passing.get(volume.id) ?? []), id]);
  }

  async #forgetPassing(id: VolumeId): Promise<void> {
    await this.#parts.copies.forget(this.#passing.get(id) ?? []);
    this.#passing.delete(id);
  }

  /** What is on several nodes can be mounted nowhere. */
  #ofItsSlot(volume: VolumeView): VolumeView[] {
    const { view, self } = this.#parts;
    return [...view().volumes.values()].filter((one) => one.mounted && one.node === self && isOfSlot(one, volume));
  }

  #isHere({ id, lineage }: VolumeView): boolean {
    return this.#parts.store.list().some((one) => one.id === id && one.lineage === lineage);
  }

  async #handOver(id: VolumeId): Promise<void> {
    const { view, self, keeper, writeLeft, nameOf, record, log, nowMs, isGone } = this.#parts;
    const volume = view().volumes.get(id);
    if (volume === undefined || volume.movedFrom !== self) return;
    const { node, lineage } = volume;
    try {
      // What was never mounted holds nothing to bring.
      if (this.#isHere(volume)) {
        if (!(await this.#isReleased({ id, lineage }))) return;
        await this.#bringLast(volume);
      }
      await writeLeft(id);
      await this.#parts.departures.left(id);
      await this.#forgetPassing(id);
      this.#failingSinceMs.delete(id);
      record('volume.left', volume, `${keeper.nameOf(volume)} is on ${nameOf(node)} now`);
    } catch (error) {
      if (this.#ending.signal.aborted) return;
      const sinceMs = this.#failingSinceMs.get(id) ?? nowMs();
      const isLasting = nowMs() - sinceMs >= CALL_OFF_AFTER_MS;
      const isLost = isGone(node);
      const isHopeless = isLost || isLasting || HOPELESS.includes((error as { code?: unknown }).code);
      const why = isLost ? `${nameOf(node)} is not alive` : (error as Error).message;
      const reason = oneLine(why, REASON_LENGTH_MAX);
      if (isHopeless && (await this.#callOff(volume, reason))) return;
      if (!this.#failingSinceMs.has(id)) {
        record('volume.move_waits', volume, `${keeper.nameOf(volume)} cannot go to ${nameOf(node)} yet: ${reason}`);
      }
      this.#failingSinceMs.set(id, sinceMs);
      log.warn('volume.not_handed_over', { volume: id, node, error });
    }
  }

  /** The difference from what was laid out there, or all of it. */
  async #bringLast(volume: VolumeView): Promise<void> {
    const { keeper, gossip, departures } = this.#parts;
    const { id, lineage, node } = volume;
    const { signal } = this.#ending;
    if (await departures.finish(volume, node, this.#passing.get(id) ?? [], signal)) return;
    const snapshot = await keeper.takeHere(volume, signal, { idle: true });
    this.#passes(volume, snapshot);
    const order = { volume: id, lineage, snapshot };
    await gossip.request(node, TAKE_OVER_VOLUME, { order, passing: this.#passing.get(id) ?? [] }, { signal });
  }

  /** An instance that has ended lets go of its volume a little later, and meanwhile the slot is down. */
  async #isReleased(ref: VolumeRef): Promise<boolean> {
    for (let looks = 0; looks < RELEASE_LOOKS_MAX; looks++) {
      if (this.#parts.store.usersOf(ref).length === 0) return true;
      await pause(RELEASE_LOOK_MS);
      if (this.#ending.signal.aborted) return false;
    }
    return false;
  }

  /**
   * It stays here, with the others of its slot, and the slot starts again. Not when one of them has gone already: they
   * have to be on one node.
   */
  async #callOff(volume: VolumeView, reason: string): Promise<boolean> {
    const { view, self, keeper, writeKept, nameOf, record, log } = this.#parts;
    const together = [...view().volumes.values()].filter(
      ({ mounted, ...one }) => mounted && one.node === volume.node && isOfSlot(one, volume),
    );
    if (together.length === 0 || together.some(({ movedFrom }) => movedFrom !== self)) return false;
    // Said first: whoever waits for the move looks for the reason once it reads that it is over.
    for (const one of together) {
      const text = `${keeper.nameOf(one)} stays where it was, as it could not go to ${nameOf(volume.node)}: ${reason}`;
      record('volume.move_called_off', one, text);
    }
    try {
      await writeKept(together.map(({ id }) => id));
    } catch (error) {
      log.warn('volume.move_not_called_off', { volume: volume.id, error });
      return false;
    }
    for (const one of together) {
      this.#failingSinceMs.delete(one.id);
      await this.#parts.departures.drop(one.id);
      await this.#forgetPassing(one.id).catch(() => {});
    }
    return true;
  }

  async #tidy(): Promise<void> {
    const { view, self, store, runsAt, log, arrivals } = this.#parts;
    await arrivals.tidy();
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

const isOfService = ({ process }: Pick<VolumeView, 'process'>): boolean => process === SERVICE_PROCESS;

type Placed = Pick<VolumeView, 'owner' | 'process' | 'index'>;
const isOfSlot = (one: Placed, { owner, process, index }: Placed): boolean =>
  one.owner === owner && one.process === process && one.index === index;
