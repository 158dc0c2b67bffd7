// What becomes of a droplet that the core wants: at once, put off, or failed.

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { asDigest, asNodeId, type Digest } from '../../crdt/ids.ts';
import { DropletFetches } from '../../node/storage/droplet-fetches.ts';

const digest = asDigest('sha256:d');
const wanted = { type: 'fetchDroplet' as const, digest, sizeBytes: 9, holders: [asNodeId('b')] };
const room = { bytes: 5, refusal: 'it does not fit' };

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function fetches(outcome: (asks: { room?: unknown }) => Error | undefined) {
  const needed = new Set<Digest>();
  const asked: unknown[] = [];
  const failed = vi.fn();
  const droplets = new DropletFetches({
    exchange: {
      fetch: async (_digest, asks) => {
        asked.push(asks.room);
        const error = outcome(asks);
        if (error !== undefined) throw error;
      },
    },
    budget: { isNeededHere: (one) => needed.has(one), roomAhead: () => room },
    failed,
    log: { debug: vi.fn(), info: vi.fn(), warn: vi.fn(), error: vi.fn() },
  });
  return { droplets, needed, asked, failed };
}

const overBudget = ({ room }: { room?: unknown }) =>
  room === undefined ? undefined : Object.assign(new Error('it does not fit'), { code: 'over_budget' });
const settled = () => vi.advanceTimersByTimeAsync(0);

describe('a droplet that is fetched ahead of time', () => {
  it('has to fit, and is not asked for again for a minute when it does not', async () => {
    const { droplets, asked, failed } = fetches(overBudget);
    droplets.fetch(wanted);
    await vi.advanceTimersByTimeAsync(59_000);
    droplets.look();
    expect(asked).toEqual([room]);
    expect(failed).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(1_000);
    expect(failed).toHaveBeenCalledOnce();
  });

  it('comes at once, whatever the budget says, when a slot here needs it', async () => {
    const { droplets, needed, asked, failed } = fetches(overBudget);
    droplets.fetch(wanted);
    await settled();
    needed.add(digest);
    droplets.look();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(asked).toEqual([room, undefined]);
    expect(failed).not.toHaveBeenCalled();
  });

  it('fails for any other reason as a needed one does', async () => {
    const { droplets, failed } = fetches(() => new Error('no holder answers'));
    droplets.fetch(wanted);
    await settled();
    expect(failed.mock.calls).toEqual([[digest, new Error('no holder answers')]]);
  });
});
