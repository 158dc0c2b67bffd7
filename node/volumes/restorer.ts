// Data whose node is lost, made anew on this one of its newest snapshots, as its volumes say. When, and by which node,
// the core decides (node/core/loss.ts); here it is done, and written only while that still holds.

import { randomUUID } from 'node:crypto';
import type { NamedChange } from '../../crdt/change.ts';
import { ChangeRejected } from '../../crdt/errors.ts';
import { asLineageId, type LineageId, type NodeId, type VolumeId } from '../../crdt/ids.ts';
import { oneLine } from '../../crdt/limits.ts';
import type { DesiredView, VolumeView } from '../../crdt/view.ts';
import { restorePlan, type Wait } from '../core/newest-snapshot.ts';
import type { Effect } from '../core/types.ts';
import { ageText } from '../lib/age-text.ts';
import type { Log } from '../lib/log.ts';
import type { Copies, Held } from '../ports/copies.ts';
import type { VolumeLife, VolumeSnapshot } from '../ports/snapshots.ts';
import type { SnapshotKeeper } from './keeper.ts';
import type { VolumeStore } from './store.ts';

export type LossOrder = Omit<Extract<Effect, { type: 'restoreVolumes' }>, 'type'>;

/** For so long a living node that does not say what it holds is asked again: it may hold a newer snapshot. */
export const PATIENT_MS = 60_000;
/** Why a slot waits is said again after this, while it does. */
const SAID_AGAIN_MS = 10 * 60_000;
/** Slots that are kept in mind. */
const TRIED_MAX = 1_000;
const REASON_LENGTH_MAX = 250;

export type RestorerParts = {
  self: NodeId;
  view: () => DesiredView;
  keeper: Pick<SnapshotKeeper, 'nameOf'>;
  copies: Pick<Copies<VolumeSnapshot, VolumeId>, 'ask'>;
  receive: VolumeLife['receive'];
  store: Pick<VolumeStore, 'remove'>;
  aliveOthers: () => NodeId[];
  /** Whether the core would still say so. */
  mayRestore: (order: LossOrder) => boolean;
  /** Fails with ChangeRejected when nothing was written. */
  write: (changes: NamedChange[]) => Promise<void>;
  nameOf: (node: NodeId) => string;
  record: (name: string, volume: VolumeView, message: string) => void;
  log: Log;
  /** Unix ms. */
  nowMs: () => number;
};

type Made = { volume: VolumeView; lineage: LineageId; snapshot: Held<VolumeSnapshot> };

/** When a slot was tried first, and what was said of it last. */
type Tried = { sinceMs: number; said: string; saidAtMs: number };

export class LossRestorer {
  readonly #parts: RestorerParts;
  readonly #ending = new AbortController();
  readonly #running = new Map<string, Promise<void>>();
  readonly #tried = new Map<string, Tried>();

  constructor(parts: RestorerParts) {
    this.#parts = parts;
  }

  /** Harmless to repeat: one at a time for each slot, and what fails is tried when it is called again. */
  restore(order: LossOrder): void {
    const key = order.volumes.map(({ id, lineage }) => `${id} ${lineage}`).join();
    if (this.#running.has(key) || this.#ending.signal.aborted) return;
    const running = this.#restore(order, key).finally(() => this.#running.delete(key));
    this.#running.set(key, running);
  }

  /** Resolves when what is under way has come to its end. */
  async idle(): Promise<void> {
    await Promise.all(this.#running.values());
  }

  close(): Promise<void> {
    this.#ending.abort();
    return this.idle();
  }

  async #restore(order: LossOrder, key: string): Promise<void> {
    const { view, mayRestore, log } = this.#parts;
    const volumes = order.volumes.flatMap(({ id }) => view().volumes.get(id) ?? []);
    if (volumes.length < order.volumes.length || !mayRestore(order)) return;
    const tried = this.#triedAt(key);
    try {
      const plan = await this.#plan(volumes, tried.sinceMs);
      if ('wait' in plan) this.#say(volumes, order, tried, WAITS[plan.wait]);
      else await this.#make(order, volumes, plan);
    } catch (error) {
      if (this.#ending.signal.aborted) return;
      this.#say(volumes, order, tried, oneLine((error as Error).message, REASON_LENGTH_MAX));
      log.warn('volume.not_restored', { volumes: order.volumes.map(({ id }) => id), error });
    }
  }

  /** Asks every living node, so it is also asked whether this one is among a majority. */
  async #plan(volumes: readonly VolumeView[], sinceMs: number): Promise<Held<VolumeSnapshot>[] | Wait> {
    const { copies, aliveOthers, view, nowMs } = this.#parts;
    const living = aliveOthers().length + 1;
    const answers = await Promise.all(volumes.map(({ id }) => copies.ask(id)));
    return restorePlan(
      volumes,
      answers.flatMap(({ held }) => held),
      {
        answered: Math.min(...answers.map(({ answered }) => answered.length)),
        living,
        admitted: view().nodes.size,
        patient: nowMs() - sinceMs < PATIENT_MS,
      },
    );
  }

  async #make(order: LossOrder, volumes: readonly VolumeView[], snapshots: readonly Held<VolumeSnapshot>[]) {
    const { self, receive, mayRestore } = this.#parts;
    const { signal } = this.#ending;
    const made: Made[] = [];
    let mayBeWritten = false;
    try {
      for (const [at, volume] of volumes.entries()) {
        const lineage = asLineageId(randomUUID());
        const snapshot = snapshots[at]!;
        const { holders: _, ...plain } = snapshot;
        await receive(self, { volume: volume.id, lineage, snapshot: plain }, signal);
        made.push({ volume, lineage, snapshot });
      }
      // It took its time: the node may be back, or this one cut off from the others.
      const again = await this.#plan(volumes, 0);
      if ('wait' in again || !mayRestore(order) || signal.aborted) return;
      mayBeWritten = true;
      await this.#write(order, made);
    } catch (error) {
      if (error instanceof ChangeRejected) mayBeWritten = false;
      throw error;
    } finally {
      if (!mayBeWritten) await this.#remove(made);
    }
  }

  async #write({ lost }: LossOrder, made: readonly Made[]): Promise<void> {
    const { self, write, record, keeper, nameOf, nowMs } = this.#parts;
    await write(
      made.map(({ volume, lineage, snapshot: { id, takenAtMs } }) => ({
        change: 'restoreVolume',
        ...{ volume: volume.id, lost, lostLineage: volume.lineage, node: self, lineage, snapshot: { id, takenAtMs } },
      })),
    );
    for (const { volume, snapshot } of made) {
      const age = ageText(nowMs() - snapshot.takenAtMs);
      record(
        'volume.restored',
        volume,
        `${keeper.nameOf(volume)} was restored on ${nameOf(self)} from snapshot ${snapshot.id}, ${age} old, as ${nameOf(lost)} is lost: what was written since is on it alone`,
      );
    }
  }

  /** Nothing has mounted them, and nobody knows of them. */
  async #remove(made: readonly Made[]): Promise<void> {
    for (const { volume, lineage } of made) {
      await this.#parts.store.remove({ id: volume.id, lineage }).catch((error: unknown) => {
        this.#parts.log.warn('volume.copy_not_removed', { volume: volume.id, error });
      });
    }
  }

  #triedAt(key: string): Tried {
    const known = this.#tried.get(key);
    if (known !== undefined) return known;
    if (this.#tried.size >= TRIED_MAX) this.#tried.clear();
    const tried = { sinceMs: this.#parts.nowMs(), said: '', saidAtMs: 0 };
    this.#tried.set(key, tried);
    return tried;
  }

  #say(volumes: readonly VolumeView[], { lost }: LossOrder, tried: Tried, why: string): void {
    const { record, keeper, nameOf, nowMs } = this.#parts;
    if (tried.said === why && nowMs() - tried.saidAtMs < SAID_AGAIN_MS) return;
    tried.said = why;
    tried.saidAtMs = nowMs();
    for (const volume of volumes) {
      const message = `${keeper.nameOf(volume)}, lost with ${nameOf(lost)}, is not restored yet: ${why}`;
      record('volume.restore_waits', volume, message);
    }
  }
}

const WAITS: Readonly<Record<Wait['wait'], string>> = {
  minority: 'fewer than a majority of the nodes answer',
  silent: 'a living node has not said yet which snapshots it holds',
  none: 'no node that answers holds a snapshot of it; it waits for its node',
};
