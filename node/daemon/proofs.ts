// Instances that prove a backup, as the daemon has them beside those of slots: passes their events to whoever started
// them, removes their volumes, and ends those that an earlier daemon left behind.

import type { Log } from '../lib/log.ts';
import type { RuntimeEvent } from '../ports/runtime.ts';
import { isProof } from '../services/proof.ts';
import type { VolumeRef } from '../volumes/store.ts';
import type { Works } from './works.ts';

/** An instance that has ended lets go of its volume a little later. */
const RELEASE_LOOK_MS = 100;
const RELEASE_WAIT_MAX_MS = 5 * 60_000;

export class Proofs {
  readonly #works: Pick<Works, 'runtime' | 'volumes'>;
  readonly #log: Log;
  readonly #listeners = new Set<(event: RuntimeEvent) => void>();

  constructor(works: Pick<Works, 'runtime' | 'volumes'>, log: Log) {
    this.#works = works;
    this.#log = log;
    works.runtime.onEvent((event) => {
      if (isProof(event.id)) for (const listener of [...this.#listeners]) listener(event);
    });
  }

  onEvent(listener: (event: RuntimeEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Also one that was never made. Says so when it cannot be removed: the next start tries again. */
  async removeVolume({ id, lineage }: VolumeRef): Promise<void> {
    const deadlineMs = performance.now() + RELEASE_WAIT_MAX_MS;
    for (;;) {
      try {
        return await this.#works.volumes.remove({ id, lineage });
      } catch (error) {
        const { code } = error as { code?: unknown };
        if (code === 'volume_missing') return;
        if (code !== 'volume_busy' || performance.now() > deadlineMs) {
          this.#log.warn('backups.proof_left', { volume: id, error });
          return;
        }
      }
      await new Promise((resolve) => setTimeout(resolve, RELEASE_LOOK_MS));
    }
  }

  endAll(): void {
    const { runtime, volumes } = this.#works;
    for (const volume of volumes.list().filter(({ id }) => isProof(id))) {
      if (volume.heldBy !== undefined) runtime.stop(volume.heldBy, 'the daemon that tried a backup in it has ended');
      void this.removeVolume(volume);
    }
  }
}
