// Who has which volume mounted: a lineage by one instance at a time, and all that an instance mounts or none. Tasks
// share what the instance has. Kept in memory: what is mounted by instances that outlive the daemon, the runtime says
// again when it adopts them; tasks end with it.

import type { InstanceId } from '../../crdt/ids.ts';
import { VolumeError } from './errors.ts';

/** An instance that is told to end has gone by then. */
export const WAIT_MAX_MS = 60_000;

/** `key`: one for each lineage. `shown`: what people call it. */
export type Wanted = { key: string; shown: string };

export class Holds {
  readonly #holders = new Map<string, InstanceId>();
  /** Tasks. */
  readonly #guests = new Map<string, Set<InstanceId>>();
  /** Woken, all of them, whenever something is let go. */
  readonly #waiting = new Set<() => void>();
  readonly #waitMaxMs: number;

  constructor(waitMaxMs: number = WAIT_MAX_MS) {
    this.#waitMaxMs = waitMaxMs;
  }

  holderOf(key: string): InstanceId | undefined {
    return this.#holders.get(key);
  }

  /** All that have it mounted, the instance first. */
  usersOf(key: string): InstanceId[] {
    const holder = this.#holders.get(key);
    return [...(holder === undefined ? [] : [holder]), ...(this.#guests.get(key) ?? [])];
  }

  /** Of a task: beside whoever else has it. */
  join(task: InstanceId, wanted: readonly Pick<Wanted, 'key'>[]): void {
    for (const { key } of wanted) this.#guests.set(key, (this.#guests.get(key) ?? new Set()).add(task));
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
    for (const [key, guests] of this.#guests) {
      if (!guests.delete(instance)) continue;
      if (guests.size === 0) this.#guests.delete(key);
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
