// Decides which upstream gets a request: the least busy one, local ones first among equals, failed ones not for a
// while. Keeps counts and marks; has no clock and sends nothing.

import type { InstanceId } from '../../crdt/ids.ts';
import type { Upstream } from '../core/types.ts';
import { FAILED_UPSTREAM_SKIP_MS, UPSTREAM_REQUESTS_MAX } from './limits.ts';

type Load = {
  /** Running and waiting requests. */
  requests: number;
  /** Open websockets: they count as load, but have no queue to overflow. */
  tunnels: number;
  /** No requests before this time, ms. */
  skippedUntilMs: number;
};

const NO_LOAD: Load = { requests: 0, tunnels: 0, skippedUntilMs: 0 };

export class Balancer {
  readonly #loads = new Map<InstanceId, Load>();
  #rotation = 0;

  /**
   * `saturated`: there are upstreams to try, but all have as many requests as they may. Undefined: all have been
   * tried.
   */
  pick(
    upstreams: readonly Upstream[],
    tried: ReadonlySet<InstanceId> | undefined,
    nowMs: number,
  ): Upstream | 'saturated' | undefined {
    const picked = this.#least(upstreams, tried, nowMs);
    if (picked !== 'skipped') return picked;
    for (const { instance } of upstreams) {
      const load = this.#loads.get(instance);
      if (load) load.skippedUntilMs = 0;
    }
    const again = this.#least(upstreams, tried, nowMs);
    return again === 'skipped' ? undefined : again;
  }

  #least(
    upstreams: readonly Upstream[],
    tried: ReadonlySet<InstanceId> | undefined,
    nowMs: number,
  ): Upstream | 'saturated' | 'skipped' | undefined {
    let best: Upstream | undefined;
    let bestBusy = Number.POSITIVE_INFINITY;
    let saturated = false;
    let skipped = false;
    // Starting somewhere else each time makes ties rotate.
    const start = this.#rotation++ % Math.max(1, upstreams.length);
    for (let at = 0; at < upstreams.length; at++) {
      const upstream = upstreams[(start + at) % upstreams.length]!;
      if (tried?.has(upstream.instance)) continue;
      const load = this.#loads.get(upstream.instance) ?? NO_LOAD;
      if (load.skippedUntilMs > nowMs) {
        skipped = true;
        continue;
      }
      if (load.requests >= UPSTREAM_REQUESTS_MAX) {
        saturated = true;
        continue;
      }
      const busy = load.requests + load.tunnels;
      if (busy < bestBusy || (busy === bestBusy && upstream.port !== undefined && best?.port === undefined)) {
        best = upstream;
        bestBusy = busy;
      }
    }
    return best ?? (skipped ? 'skipped' : saturated ? 'saturated' : undefined);
  }

  isSaturated(instance: InstanceId): boolean {
    return (this.#loads.get(instance)?.requests ?? 0) >= UPSTREAM_REQUESTS_MAX;
  }

  begin(instance: InstanceId, kind: 'requests' | 'tunnels'): void {
    const load = this.#loads.get(instance);
    if (load) load[kind]++;
    else this.#loads.set(instance, { ...NO_LOAD, [kind]: 1 });
  }

  end(instance: InstanceId, kind: 'requests' | 'tunnels'): void {
    const load = this.#loads.get(instance);
    if (load) load[kind]--;
  }

  fail(instance: InstanceId, nowMs: number): void {
    const load = this.#loads.get(instance) ?? { ...NO_LOAD };
    load.skippedUntilMs = nowMs + FAILED_UPSTREAM_SKIP_MS;
    this.#loads.set(instance, load);
  }

  /** Forgets idle instances that are not in the table any more. */
  retain(instances: ReadonlySet<InstanceId>): void {
    for (const [instance, load] of this.#loads) {
      if (!instances.has(instance) && load.requests === 0 && load.tunnels === 0) this.#loads.delete(instance);
    }
  }
}
