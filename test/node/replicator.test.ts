// When a write counts as acknowledged: what the replicator promises, with members that answer, stay silent or die.

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { asNodeId, type NodeId } from '../../crdt/ids.ts';
import { type ReplicatedStore, Replicator } from '../../node/cluster/replicator.ts';
import type { Gossip } from '../../node/ports/gossip.ts';

const [self, b, c] = ['a', 'b', 'c'].map(asNodeId) as [NodeId, NodeId, NodeId];
const log = { debug: vi.fn(), info: vi.fn(), warn: vi.fn(), error: vi.fn() };
const author = { by: 'ada', atMs: 0 };

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** `answers` says for each node how a request to hold ends; those `there` answer a probe. */
function replicatorOf(answers: (node: NodeId) => Promise<unknown>) {
  const state = { others: [b, c], asked: [] as NodeId[], there: [] as NodeId[], stoodStillMs: 0 };
  const gossip = {
    self,
    handle: () => {},
    on: () => {},
    publishChanges: () => {},
    request: (node: NodeId, _method: string, _payload: unknown, { timeoutMs }: { timeoutMs: number }) => {
      state.asked.push(node);
      const timeout = new Promise((_, reject) => setTimeout(() => reject(timedOut()), timeoutMs));
      return Promise.race([answers(node), timeout]);
    },
    probe: async (node: NodeId) => (state.there.includes(node) ? 'ok' : 'timeout'),
  } as unknown as Gossip;
  const store = { write: async () => [new Uint8Array(1)], heads: () => ['h'] } as unknown as ReplicatedStore;
  const replicator = new Replicator({
    store,
    gossip,
    log,
    others: () => state.others,
    nowMs: () => performance.now() + state.stoodStillMs,
  });
  return { replicator, state };
}

const timedOut = () => Object.assign(new Error('no answer'), { code: 'timeout' });
const silence = (): Promise<never> => new Promise(() => {});
const refusal = (): Promise<never> => Promise.reject(new Error('refused'));

const full = (): Promise<never> => Promise.reject(Object.assign(new Error('full'), { code: 'disk_full' }));

describe('an acknowledged write', () => {
  it('is held by the first other member that has it on disk', async () => {
    const { replicator } = replicatorOf((node) => (node === c ? Promise.resolve({ held: true }) : silence()));
    expect(await replicator.write([], author)).toEqual({ heldBy: [self, c] });
  });

  it('is not acknowledged by a member that could not hold it', async () => {
    const { replicator } = replicatorOf(async (node) => ({ held: node === b }));
    expect(await replicator.write([], author)).toEqual({ heldBy: [self, b] });
  });

  it.each([
    { name: 'refuse', answer: refusal },
    { name: 'are silent', answer: silence },
  ])('stands alone when the others $name, but only once they are known to be dead', async ({ answer }) => {
    const { replicator, state } = replicatorOf(answer);
    let outcome: unknown;
    void replicator.write([], author).then((result) => {
      outcome = result;
    });
    await vi.advanceTimersByTimeAsync(1_500);
    expect(outcome).toBeUndefined();
    state.others = [];
    await vi.advanceTimersByTimeAsync(2_000);
    expect(outcome).toEqual({ heldBy: [self] });
  });

  it('stands alone at once when the disks of all others are full', async () => {
    const { replicator } = replicatorOf(full);
    expect(await replicator.write([], author)).toEqual({ heldBy: [self] });
  });

  it('is not acknowledged by a member with a full disk, and waits for another that may have room', async () => {
    let refusals = 2;
    const { replicator } = replicatorOf((node) => {
      if (node === b) return full();
      return refusals-- > 0 ? refusal() : Promise.resolve({ held: true });
    });
    const written = replicator.write([], author);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(await written).toEqual({ heldBy: [self, c] });
  });

  it('is asked of a few, and of others when those are slow or refuse, however many there are', async () => {
    const crowd = Array.from({ length: 30 }, (_, index) => asNodeId(`n${String(index).padStart(2, '0')}`));
    const quick = replicatorOf(async () => ({ held: true }));
    quick.state.others = crowd;
    await quick.replicator.write([], author);
    expect(quick.state.asked).toHaveLength(4);
    for (const others of [silence, refusal]) {
      const { replicator, state } = replicatorOf((node) =>
        node === crowd[17] ? Promise.resolve({ held: true }) : others(),
      );
      state.others = crowd;
      const written = replicator.write([], author);
      await vi.advanceTimersByTimeAsync(1_000);
      expect(await written).toEqual({ heldBy: [self, crowd[17]] });
      expect(state.asked).toEqual(crowd.slice(0, 20));
    }
  });

  it('is asked for again while a member that refused may be alive', async () => {
    let refusals = 3;
    const { replicator } = replicatorOf(() => (refusals-- > 0 ? refusal() : Promise.resolve({ held: true })));
    const written = replicator.write([], author);
    await vi.advanceTimersByTimeAsync(1_000);
    expect((await written).heldBy).toHaveLength(2);
  });

  it('fails after six seconds in which nobody confirmed it, and says that it is kept', async () => {
    const { replicator } = replicatorOf(silence);
    const written = expect(replicator.write([], author)).rejects.toMatchObject({
      code: 'not_replicated',
      mayHold: true,
      message: expect.stringMatching(
        /kept on this node and may still take effect, but none of 2 .* within 6 s: see peer/,
      ),
    });
    await vi.advanceTimersByTimeAsync(6_500);
    await written;
  });

  it('waits for one that is slow to write on its disk, as long as it is there', async () => {
    const { promise, resolve } = Promise.withResolvers<{ held: boolean }>();
    const { replicator, state } = replicatorOf((node) => (node === b ? promise : silence()));
    state.there = [b];
    const written = replicator.write([], author);
    await vi.advanceTimersByTimeAsync(15_000);
    // Twice as long each time, so that what is slow is not asked for more and more.
    expect(state.asked.filter((node) => node === b)).toHaveLength(4);
    resolve({ held: true });
    await vi.advanceTimersByTimeAsync(200);
    expect(await written).toEqual({ heldBy: [self, b] });
  });

  it('does not wait for ever for one that is there and never holds it', async () => {
    const { replicator, state } = replicatorOf(silence);
    state.there = [c];
    const written = expect(replicator.write([], author)).rejects.toMatchObject({ code: 'not_replicated' });
    await vi.advanceTimersByTimeAsync(23_000);
    await written;
  });

  it('does not count as the others’ silence what this node was late itself', async () => {
    const { replicator, state } = replicatorOf(async () => {
      const isAskedAgain = state.asked.length > state.others.length;
      if (isAskedAgain) return { held: true };
      state.stoodStillMs = 7_000;
      throw timedOut();
    });
    const written = replicator.write([], author);
    await vi.advanceTimersByTimeAsync(3_000);
    expect((await written).heldBy).toHaveLength(2);
  });

  it('is waited for by who ends the node', async () => {
    const { replicator } = replicatorOf(silence);
    let isIdle = false;
    const written = replicator.write([], author).catch(() => expect(isIdle).toBe(false));
    void replicator.idle().then(() => {
      isIdle = true;
    });
    await vi.advanceTimersByTimeAsync(5_000);
    expect(isIdle).toBe(false);
    await vi.advanceTimersByTimeAsync(1_500);
    await written;
    expect(isIdle).toBe(true);
  });

  it('needs nobody in a cluster of one', async () => {
    const { replicator, state } = replicatorOf(silence);
    state.others = [];
    expect(await replicator.write([], author)).toEqual({ heldBy: [self] });
    expect(state.asked).toEqual([]);
  });
});

describe('a member that is asked to hold a change', () => {
  const change = { changes: [''], heads: ['h'] };
  const errno = Object.assign(new Error('full'), { code: 'disk_full' });

  /** What it answers. `missing`: it lacks an earlier change, too, which it has to ask for. */
  function answerOf(options: { receive: () => Promise<unknown>; sync?: () => Promise<void> }): Promise<unknown> {
    let hold: ((payload: unknown, from: NodeId) => Promise<unknown>) | undefined;
    const gossip = {
      self,
      handle: (_: string, handler: typeof hold) => {
        hold = handler;
      },
      on: () => {},
      syncDesired: options.sync ?? (async () => {}),
    } as unknown as Gossip;
    const store = { receive: options.receive, has: () => false } as unknown as ReplicatedStore;
    new Replicator({ store, gossip, log, others: () => [] });
    return hold!(change, b);
  }

  it('says by a code of its own that its disk is full', async () => {
    await expect(answerOf({ receive: () => Promise.reject(errno) })).rejects.toMatchObject({ code: 'disk_full' });
  });

  it('says so too when that comes to light while it fetches what it missed before', async () => {
    const receive = async () => ({ applied: 0, missing: true, quarantined: [] });
    const sync = () => Promise.reject(Object.assign(new Error('sync', { cause: errno }), { code: 'closed' }));
    await expect(answerOf({ receive, sync })).rejects.toMatchObject({ code: 'disk_full' });
  });

  it('says that it could not when its disk failed in another way', async () => {
    expect(await answerOf({ receive: () => Promise.reject(new Error('disk_failed')) })).toEqual({ held: false });
  });
});
