// Who has which volume mounted: a lineage by one instance at a time, and all that an instance mounts or none. Kept in
// memory: what is mounted by instances that outlive the daemon, the runtime says again when it adopts them.

import type { InstanceId } from '../../crdt/ids.ts';
import { VolumeError } from './errors.ts';

/** An instance that is told to end has gone by then. */
export const WAIT_MAX_MS = 60_000;

/** `key`: one for each lineage. `shown`: what people call it. */
export type Wanted = { key: string; shown: string };

export class Holds {
  readonly #holders = new Map<string, InstanceId>();
  /** Woken, all of them, whenever something is let go. */
  readonly #waiting = new Set<() => void>();
  readonly #waitMaxMs: number;

  constructor(waitMaxMs: number = WAIT_MAX_MS) {
    this.#waitMaxMs = waitMaxMs;
  }

  holderOf(key: string): InstanceId | undefined {
    return this.#holders.get(key);
  }

  /** Fails with VolumeError `volume_busy` or `aborted`, and then holds nothing. */
  async take(instance: InstanceId, wanted: readonly Wanted[], signal: AbortSignal): Promise<void> {
    const deadlineMs = performance.now() + this.#waitMaxMs;
    for (;;) {
      if (signal.aborted) throw new VolumeError('aborted', 'it was stopped while it waited for its volume');
      const busy = wanted.find(({ key }) => (this.#holders.get(key) ?? instance) !== instance);
      if (busy === undefined) break;
      const leftMs = deadlineMs - performance.now();
      if (leftMs <= 0) {
        const holder = this.#holders.get(busy.key);
        throw new VolumeError('volume_busy', `the volume ${busy.shown} is mounted by the instance ${holder}`);
      }
      await this.#change(leftMs, signal);
    }
    this.hold(instance, wanted);
  }

  hold(instance: InstanceId, wanted: readonly Pick<Wanted, 'key'>[]): void {
    for (const { key } of wanted) this.#holders.set(key, instance);
  }

  /** Keys of what it held. */
  release(instance: InstanceId): string[] {
    const released: string[] = [];
    for (const [key, holder] of this.#holders) {
      if (holder !== instance) continue;
      this.#holders.delete(key);
      released.push(key);
    }
    for (const wake of this.#waiting) wake();
    return released;
  }

  #change(timeoutMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(wake);
        signal.removeEventListener('abort', wake);
        resolve();
      };
      const timer = setTimeout(wake, timeoutMs);
      this.#waiting.add(wake);
      signal.addEventListener('abort', wake, { once: true });
    });
  }
}
