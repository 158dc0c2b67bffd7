// Removes what this node has of volumes that a person has deleted. Only of those that this daemon has seen in the
// desired state and then no more: one that it never saw there may be of a copy that is older, and stays.

import type { VolumeId } from '../../crdt/ids.ts';
import type { DesiredView } from '../../crdt/view.ts';
import type { Log } from '../lib/log.ts';
import type { VolumeStore } from './store.ts';

/** An instance that has it mounted is about to end; looked at this often, and for so long. */
const LOOK_MS = 1_000;
const LOOKS_MAX = 600;

export type DeletedVolumesParts = {
  view: () => Pick<DesiredView, 'volumes' | 'problems'>;
  volumes: Pick<VolumeStore, 'list' | 'remove'>;
  log: Log;
  lookMs?: number;
};

export class DeletedVolumes {
  readonly #parts: DeletedVolumesParts;
  #known: ReadonlySet<VolumeId>;
  /** How often each has been looked at. */
  readonly #going = new Map<VolumeId, number>();
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(parts: DeletedVolumesParts) {
    this.#parts = parts;
    this.#known = new Set(parts.view().volumes.keys());
  }

  desiredChanged(): void {
    const { volumes, problems } = this.#parts.view();
    // A record that breaks the rules is not in the view either, and nobody has deleted it.
    if (problems.some(({ record }) => record === '…' || record.startsWith('volumes'))) return;
    for (const id of this.#known) if (!volumes.has(id)) this.#going.set(id, 0);
    // Brought back by a merge.
    for (const id of [...this.#going.keys()]) if (volumes.has(id)) this.#going.delete(id);
    this.#known = new Set(volumes.keys());
    this.#look();
  }

  /** Resolves when nothing is removed any more. */
  stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    return this.#looking;
  }

  #look(): void {
    if (this.#going.size === 0 || this.#stopped) return;
    clearTimeout(this.#timer);
    this.#looking = this.#looking
      .then(() => this.#removeAll())
      .then(() => {
        if (this.#going.size === 0 || this.#stopped) return;
        this.#timer = setTimeout(() => this.#look(), this.#parts.lookMs ?? LOOK_MS);
        this.#timer.unref();
      });
  }

  async #removeAll(): Promise<void> {
    const { volumes, log } = this.#parts;
    for (const [id, looks] of [...this.#going]) {
      const here = volumes.list().filter((one) => one.id === id);
      const results = await Promise.allSettled(
        here.filter(({ heldBy }) => heldBy === undefined).map(({ lineage }) => volumes.remove({ id, lineage })),
      );
      const failed = results.find((result) => result.status === 'rejected');
      const isHeld = here.some(({ heldBy }) => heldBy !== undefined);
      if (failed === undefined && !isHeld) {
        this.#going.delete(id);
        if (here.length > 0) log.info('volume.removed', { volume: id });
      } else if (looks + 1 >= LOOKS_MAX) {
        this.#going.delete(id);
        log.warn('volume.not_removed', { volume: id, error: failed?.reason });
      } else this.#going.set(id, looks + 1);
    }
  }
}
