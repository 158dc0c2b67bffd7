// How a node stays within what its blobs may take, and what it says when that does not suffice.

import { afterEach, describe, expect, it, vi } from 'vitest';
import { asDigest, asNodeId, type Digest } from '../../crdt/ids.ts';
import type { ObservedView } from '../../node/ports/node-service.ts';
import { BlobBudget, type CacheUse } from '../../node/storage/blob-budget.ts';
import { app, desired, release } from '../core/little-cluster.ts';

const MiB = 1024 * 1024;
const self = asNodeId('self');
const others = ['b', 'c', 'd'].map(asNodeId);
const budgets: BlobBudget[] = [];
afterEach(() => {
  for (const budget of budgets.splice(0)) budget.stop();
});

const current = release(2);
const old = release(1);
const garbage = asDigest('sha256:garbage');

/** A node that may use 100 MiB; each blob takes as much as is given here. */
function node(
  sizes: [Digest, number][],
  options: { refuse?: boolean; running?: boolean; caches?: () => CacheUse[]; weighing?: () => void } = {},
) {
  const held = new Map(sizes);
  const log = { debug: vi.fn(), info: vi.fn(), warn: vi.fn(), error: vi.fn() };
  const used = () => [...held.values()].reduce((sum, bytes) => sum + bytes, 0);
  const members = others.map((id) => ({
    id,
    status: 'alive',
    draining: false,
    report: { droplets: [...held.keys()] },
  }));
  const budget = new BlobBudget({
    self,
    budgetBytes: 100 * MiB,
    blobs: {
      list: () => [...held.keys()],
      weigh: async (candidates) => {
        options.weighing?.();
        return {
          usedBytes: used(),
          unneededBytes: 0,
          freesBytes: candidates.map(({ digest }) => held.get(digest) ?? 0),
        };
      },
      evict: async (blobs) => {
        for (const { digest } of blobs) held.delete(digest);
      },
      sourcesUsedAtMs: () => new Map(),
    },
    caches: { list: async () => options.caches?.() ?? [], remove: async () => {} },
    keeping: {
      promised: () => [],
      giveUpWhatOthersKeep: async (questions, giveUp) => {
        const digests = questions.map(({ digest }) => digest);
        await giveUp(options.refuse === true ? [] : digests);
        return options.refuse === true ? digests : [];
      },
    },
    view: () => desired([], [app('hello', { releases: [old, current], release: current })]),
    observed: () => ({ members }) as unknown as ObservedView,
    instancesHere: () => (options.running === true ? [{ app: app('hello').id, release: current.id }] : []),
    unusedSinceMs: () => new Map([[garbage, 0]]),
    nowMs: () => 3_600_000,
    log,
  });
  budgets.push(budget);
  return { budget, held: () => [...held.keys()], log };
}

describe('the budget for blobs', () => {
  const three: [Digest, number][] = [
    [current.droplet.digest, 40 * MiB],
    [old.droplet.digest, 40 * MiB],
    [garbage, 30 * MiB],
  ];

  it('gives up no more than it has to, and says so once', async () => {
    const { budget, held, log } = node(three);
    await budget.look();
    expect(held()).toEqual([current.droplet.digest, old.droplet.digest]);
    expect(log.info.mock.calls).toEqual([['blobs.evicted', expect.objectContaining({ garbage: 1, oldRelease: 0 })]]);
  });

  it('counts what can be given up as room for a push, and not for what is fetched ahead of time', async () => {
    const { budget } = node([three[0]!, three[1]!], { running: true });
    await budget.look();
    expect(budget.room().bytes).toBe(60 * MiB);
    expect(budget.roomAhead().bytes).toBe(15 * MiB);
  });

  it('refuses what is pushed when all of it is needed, and names what to do', async () => {
    const { budget, held, log } = node([[current.droplet.digest, 120 * MiB]], { running: true });
    await expect(budget.makeRoom()).rejects.toMatchObject({
      code: 'over_budget',
      message:
        'it does not fit: this node may use 100 MiB for droplets, sources and build caches, and 120 MiB of that are needed: start the node with a larger --blobs, delete apps, or push to another node',
    });
    await budget.look();
    expect(held()).toHaveLength(1);
    expect(log.warn.mock.calls).toEqual([['blobs.over_budget', expect.anything()]]);
    expect(budget.isNeededHere(current.droplet.digest)).toBe(true);
  });

  it('keeps copies that the others would not keep, and does not count on them', async () => {
    const sizes: [Digest, number][] = [
      [old.droplet.digest, 70 * MiB],
      [current.droplet.digest, 70 * MiB],
    ];
    const { budget, held } = node(sizes, { refuse: true });
    await budget.look();
    expect(held()).toHaveLength(2);
    expect(budget.room().bytes).toBe(0);
  });

  it('counts the caches anew when they change while it looks', async () => {
    let cacheBytes = 10 * MiB;
    let staged = false;
    const { budget, log } = node([[current.droplet.digest, 40 * MiB]], {
      running: true,
      caches: () => [{ app: app('hello').id, bytes: cacheBytes, usedAtMs: 0 }],
      weighing: () => {
        if (staged) return;
        staged = true;
        cacheBytes = 20 * MiB;
        budget.cachesChanged();
      },
    });
    await budget.look();
    expect(budget.usage().usedBytes).toBe(60 * MiB);
    expect(log.warn).not.toHaveBeenCalled();
  });
});
