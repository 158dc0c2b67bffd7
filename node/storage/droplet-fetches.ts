// Fetches the droplets that the core asks for. One that only saves time later has to fit into the budget; one that
// does not fit is put off for a while without asking anyone again, and comes at once when a slot of this node needs
// it.

import type { Digest } from '../../crdt/ids.ts';
import type { Effect } from '../core/types.ts';
import type { Log } from '../lib/log.ts';
import type { BlobExchange, Room } from '../ports/blobs.ts';

type Wanted = Extract<Effect, { type: 'fetchDroplet' }>;

/**
 * A download that did not fit into the budget is reported as failed after this pause; the core then asks for it again.
 */
const PUT_OFF_MS = 60_000;

export type DropletFetchesParts = {
  exchange: BlobExchange;
  budget: { isNeededHere(digest: Digest): boolean; roomAhead(): Room };
  /** Tells the core, which asks for the droplet again after fetchRetryMs. */
  failed: (digest: Digest, error: Error) => void;
  log: Log;
};

export class DropletFetches {
  readonly #parts: DropletFetchesParts;
  readonly #putOff = new Map<Digest, { wanted: Wanted; timer: NodeJS.Timeout }>();

  constructor(parts: DropletFetchesParts) {
    this.#parts = parts;
  }

  fetch(wanted: Wanted): void {
    const { exchange, budget, failed, log } = this.#parts;
    const { digest, sizeBytes, holders } = wanted;
    const needed = budget.isNeededHere(digest);
    // What a slot of this node needs may exceed the budget.
    const room = needed ? {} : { room: budget.roomAhead() };
    exchange.fetch(digest, { sizeBytesMax: sizeBytes, holders, ...room }).catch((error: Error) => {
      if (!needed && (error as { code?: string }).code === 'over_budget') return this.#putItOff(wanted);
      log.warn('droplet.fetch_failed', { digest, error });
      failed(digest, error);
    });
  }

  /** Called after every step: a slot of this node may now need a droplet that was put off. */
  look(): void {
    for (const [digest, { wanted, timer }] of this.#putOff) {
      if (!this.#parts.budget.isNeededHere(digest)) continue;
      clearTimeout(timer);
      this.#putOff.delete(digest);
      this.fetch(wanted);
    }
  }

  stop(): void {
    for (const { timer } of this.#putOff.values()) clearTimeout(timer);
    this.#putOff.clear();
  }

  #putItOff(wanted: Wanted): void {
    const { digest } = wanted;
    this.#parts.log.debug('droplet.not_fetched_ahead', { digest });
    const timer = setTimeout(() => {
      this.#putOff.delete(digest);
      this.#parts.failed(digest, new Error('it did not fit into the budget for blobs'));
    }, PUT_OFF_MS);
    timer.unref();
    this.#putOff.set(digest, { wanted, timer });
    // A slot may have come to need it during the fetch.
    this.look();
  }
}
