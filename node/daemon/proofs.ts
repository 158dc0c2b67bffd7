// Instances that prove a backup, as the daemon has them beside those of slots: passes their events to whoever started
// them, removes their volumes, and ends those that an earlier daemon left behind.

import type { Log } from '../lib/log.ts';
import type { RuntimeEvent } from '../ports/runtime.ts';
import { isProof, type ProofParts } from '../services/proof.ts';
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

  parts(): ProofParts {
    return {
      runtime: this.#works.runtime,
      onEvent: (listener) => this.onEvent(listener),
      removeVolume: (volume) => this.removeVolume(volume),
      renameVolume: (from, to) => this.renameVolume(from, to),
    };
  }

  onEvent(listener: (event: RuntimeEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Of an instance that has ended. Fails with VolumeError. */
  renameVolume(from: VolumeRef, to: Parameters<Works['volumes']['rename']>[1]): Promise<void> {
    return this.#onceReleased(() => this.#works.volumes.rename(from, to));
  }

  async #onceReleased<T>(work: () => Promise<T>): Promise<T> {
    const deadlineMs = performance.now() + RELEASE_WAIT_MAX_MS;
    for (;;) {
      try {
        return await work();
      } catch (error) {
        if ((error as { code?: unknown }).code !== 'volume_busy' || performance.now() > deadlineMs) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, RELEASE_LOOK_MS));
    }
  }

  /** Also one that was never made. Says so when it cannot be removed: the next start tries again. */
  async removeVolume({ id, lineage }: VolumeRef): Promise<void> {
    try {
      await this.#onceReleased(() => this.#works.volumes.remove({ id, lineage }));
    } catch (error) {
      if ((error as { code?: unknown }).code !== 'volume_missing')
        this.#log.warn('backups.proof_left', { volume: id, error });
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
