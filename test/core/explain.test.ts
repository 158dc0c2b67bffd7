// Explanations: they say what placement does, never something of their own.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { asNodeId, type InstanceId, type NodeId } from '../../crdt/ids.ts';
import type { AppView } from '../../crdt/view.ts';
import type { ReportedCandidate } from '../../node/core/candidates.ts';
import { explainSlot, whatIf } from '../../node/core/explain.ts';
import { infeasibleReasons } from '../../node/core/feasibility.ts';
import { place } from '../../node/core/placement.ts';
import { compareRanks } from '../../node/core/ranking.ts';
import type { InstanceReport, InstanceState, Slot } from '../../node/core/types.ts';
import { app, desired, MIB, release, selfInfo } from './little-cluster.ts';

const NODES = ['a', 'b', 'c', 'd', 'e'].map(asNodeId);
const [A, B, C] = NODES as [NodeId, NodeId, NodeId];
const STATES: InstanceState[] = ['starting', 'ready', 'ready', 'ready', 'unhealthy', 'crashed', 'stopping'];

function instance(owner: AppView, index: number, options: Partial<InstanceReport> = {}): InstanceReport {
  return {
    id: `${owner.id}-${index}` as InstanceId,
    app: owner.id,
    process: 'web',
    index,
    release: owner.release!.id,
    restartCount: 0,
    state: 'ready',
    sinceMs: 0,
    crashes: 0,
    memoryBytes: owner.memoryBytes,
    ...options,
  };
}

function candidate(
  node: NodeId,
  instances: InstanceReport[] = [],
  options: Partial<ReportedCandidate> & { memoryMib?: number; load?: number } = {},
): ReportedCandidate {
  const { memoryMib = 1024, load = 0, ...rest } = options;
  const memoryBytes = memoryMib * MIB;
  return {
    node,
    status: 'alive',
    draining: false,
    labels: {},
    freeBytes: memoryBytes,
    report: {
      ...selfInfo(node, { memoryBytes }),
      incarnation: 1,
      sequence: 1,
      status: 'alive',
      load,
      instances,
      droplets: [],
      heads: [],
    },
    ...rest,
  };
}

const slotOf = (owner: AppView, index = 0): Slot => ({ app: owner.id, process: 'web', index });

/** Any mix of apps and instances, as a history of crashes, partitions and roll-outs could have left it. */
const arbitraryCluster = fc
  .array(fc.record({ count: fc.integer({ min: 0, max: 4 }), memoryMib: fc.constantFrom(32, 64, 256) }), {
    minLength: 1,
    maxLength: 3,
  })
  .map((list) =>
    list.map((one, i) =>
      app(`app${i}`, { scale: { web: one.count }, memoryBytes: one.memoryMib * MIB, release: release(2) }),
    ),
  )
  .chain((apps) => {
    const held = fc.record({
      app: fc.integer({ min: 0, max: apps.length - 1 }),
      index: fc.integer({ min: 0, max: 4 }),
      version: fc.constantFrom(1, 2, 2, 2),
      state: fc.constantFrom(...STATES),
    });
    const node = fc.record({
      held: fc.array(held, { maxLength: 5 }),
      memoryMib: fc.constantFrom(64, 256, 512, 2048),
      load: fc.integer({ min: 0, max: 8 }),
      suspect: fc.boolean(),
      draining: fc.boolean(),
      zone: fc.constantFrom('', 'x', 'y'),
    });
    return fc.tuple(...NODES.map(() => node)).map((nodes) => ({
      view: desired(NODES, apps),
      apps,
      candidates: nodes.map((one, i) =>
        candidate(
          NODES[i]!,
          one.held.map((h, n) =>
            instance(apps[h.app]!, h.index, {
              id: `${i}-${n}` as InstanceId,
              release: release(h.version).id,
              state: h.state,
            }),
          ),
          {
            memoryMib: one.memoryMib,
            load: one.load / 4,
            status: one.suspect ? 'suspect' : 'alive',
            draining: one.draining,
            labels: one.zone === '' ? {} : { zone: one.zone },
          },
        ),
      ),
    }));
  });

describe('the explanation of any slot', () => {
  it('names the owner that placement names, and the same successors', () => {
    fc.assert(
      fc.property(arbitraryCluster, ({ view, apps, candidates }) => {
        const placement = place(view, candidates);
        for (const one of apps) {
          for (let index = 0; index < 5; index++) {
            const { decision, successors } = explainSlot(view, candidates, slotOf(one, index));
            const owner = placement.assigned.get(`${one.id}/web/${index}`);
            expect('owner' in decision ? decision.owner : undefined).toBe(owner);
            expect(decision.why === 'unplaceable').toBe(placement.unplaceable.has(`${one.id}/web/${index}`));
            expect(decision.why === 'unwanted').toBe(index >= one.scale.web!);
            expect(successors).toEqual(placement.successorsOf(one.id));
          }
        }
      }),
      { numRuns: 300 },
    );
  });

  it('has the winner first in a ranking, unless it was there already', () => {
    fc.assert(
      fc.property(arbitraryCluster, ({ view, apps, candidates }) => {
        for (const one of apps) {
          for (let index = 0; index < one.scale.web!; index++) {
            const { decision, considered, holders } = explainSlot(view, candidates, slotOf(one, index));
            const feasible = considered.flatMap((each) => ('rank' in each ? [each] : []));
            for (const [i, each] of feasible.entries()) {
              if (i > 0) expect(compareRanks(feasible[i - 1]!.rank, each.rank)).toBeLessThan(0);
            }
            if (decision.why === 'kept') {
              // Of the holders that may stay, the best one.
              expect(holders[0]).toMatchObject({ node: decision.owner, mayStay: true });
              expect(considered.map(({ node }) => node)).not.toContain(decision.owner);
              expect(considered).toHaveLength(NODES.length - 1);
            } else {
              expect(considered).toHaveLength(NODES.length);
              const nobody = decision.why === 'unplaceable' || decision.why === 'upgradeBlocked';
              const chosen = 'owner' in decision ? decision.owner : undefined;
              // By its memory alone, wherever it ranks.
              if (decision.why === 'evening') expect(feasible.map(({ node }) => node)).toContain(chosen);
              else expect(feasible[0]?.node).toBe(nobody ? undefined : chosen);
            }
          }
        }
      }),
      { numRuns: 300 },
    );
  });

  it('gives every reason against each node that was refused, and says the same in what cannot be placed', () => {
    fc.assert(
      fc.property(arbitraryCluster, ({ view, apps, candidates }) => {
        const { unplaceable } = place(view, candidates);
        for (const one of apps) {
          for (let index = 0; index < one.scale.web!; index++) {
            const { decision, considered } = explainSlot(view, candidates, slotOf(one, index));
            const refused = considered.flatMap((each) => ('reasons' in each ? [each] : []));
            for (const { node, reasons } of refused) {
              expect(reasons.length).toBeGreaterThan(0);
              const seen = candidates.find((each) => each.node === node)!;
              const lasting = infeasibleReasons(seen, one, one.release!).filter(({ kind }) => kind !== 'memory');
              expect(reasons.filter(({ kind }) => kind !== 'memory')).toEqual(lasting);
            }
            if (decision.why === 'unplaceable') {
              expect(refused).toEqual(unplaceable.get(`${one.id}/web/${index}`));
            }
          }
        }
      }),
      { numRuns: 200 },
    );
  });
});

describe('a decision', () => {
  const one = app('one', { memoryBytes: 256 * MIB });

  it('is kept where the slot runs, however full or loaded the node is', () => {
    const candidates = [candidate(A, [instance(one, 0)], { memoryMib: 256, load: 9 }), candidate(B), candidate(C)];
    const explained = explainSlot(desired(NODES, [one]), candidates, slotOf(one));
    expect(explained.decision).toEqual({ slot: slotOf(one), why: 'kept', owner: A });
    expect(explained.holders).toMatchObject([{ node: A, current: true, mayStay: true }]);
    // What is shown then is who would be next.
    expect(explained.considered.slice(0, 2).map(({ node }) => node)).toEqual(explained.successors);
    expect(explained.absent).toEqual(NODES.slice(3));
  });

  it('is the best rank when nobody who may stay runs the slot', () => {
    const candidates = [
      candidate(A, [instance(one, 0)], { draining: true }),
      candidate(B, [], { load: 3 }),
      candidate(C),
    ];
    const explained = explainSlot(desired(NODES, [one]), candidates, slotOf(one));
    expect(explained.decision).toMatchObject({ why: 'bestRank', owner: C });
    expect(explained.holders).toMatchObject([{ node: A, mayStay: false }]);
    expect(explained.considered).toMatchObject([
      { node: C, rank: { sameApp: 0, fullness: 0 } },
      { node: B, rank: { sameApp: 0, fullness: 3 } },
      { node: A, reasons: [{ kind: 'draining' }] },
    ]);
  });

  it('is an upgrade elsewhere when the old and the new release do not fit side by side', () => {
    const next = app('one', { memoryBytes: 256 * MIB, release: release(2) });
    const old = instance(next, 0, { release: release(1).id });
    const full = candidate(A, [old], { memoryMib: 384 });
    const view = desired(NODES, [next]);
    const moved = explainSlot(view, [full, candidate(B)], slotOf(next));
    expect(moved.decision).toMatchObject({ why: 'upgradeNeedsRoom', owner: B, from: A });
    expect(moved.considered[1]).toEqual({
      node: A,
      reasons: [{ kind: 'memory', wantedBytes: 256 * MIB, freeBytes: 128 * MIB }],
    });
    const stuck = explainSlot(view, [full, candidate(B, [], { memoryMib: 64 })], slotOf(next));
    expect(stuck.decision).toMatchObject({ why: 'upgradeBlocked', owner: A });
    expect(stuck.considered.every((each) => 'reasons' in each)).toBe(true);
  });

  it('is a balancing move when one node has two more of a settled app than another', () => {
    const two = app('two', { scale: { web: 2 } });
    const candidates = [candidate(A, [instance(two, 0), instance(two, 1)]), candidate(B)];
    const view = desired(NODES, [two]);
    expect(explainSlot(view, candidates, slotOf(two, 1)).decision).toMatchObject({ why: 'balance', owner: B, from: A });
    expect(explainSlot(view, candidates, slotOf(two, 0)).decision).toMatchObject({ why: 'kept', owner: A });
  });

  it('is an evening out of memory, to the emptiest node, also where another ranks before it', () => {
    const first = ['one', 'two', 'three', 'four', 'five', 'six'].map((name) => {
      const apps = [app(name, { scale: { web: 1 } }), app('other', { scale: { web: 1 } })];
      const candidates = [
        candidate(
          A,
          apps.map((one) => instance(one, 0)),
        ),
        candidate(B),
        candidate(C),
      ];
      const explained = apps.map((one) => explainSlot(desired(NODES, apps), candidates, slotOf(one)));
      const moved = explained.find(({ decision }) => decision.why === 'evening')!;
      expect(moved.decision).toMatchObject({ owner: B, from: A });
      return moved.considered[0]!.node;
    });
    expect(new Set(first)).toEqual(new Set([B, C]));
  });

  it('says why a slot is not wanted at all', () => {
    const because = (view: ReturnType<typeof desired>, slot: Slot) => {
      const { decision } = explainSlot(view, [candidate(A)], slot);
      return decision.why === 'unwanted' ? decision.because : decision.why;
    };
    expect(because(desired(NODES, []), slotOf(one))).toBe('noApp');
    expect(because(desired(NODES, [{ ...one, release: undefined }]), slotOf(one))).toBe('noRelease');
    expect(because(desired(NODES, [{ ...one, stopped: true }]), slotOf(one))).toBe('stopped');
    expect(because(desired(NODES, [one]), slotOf(one, 1))).toBe('scale');
    expect(because(desired(NODES, [one]), { ...slotOf(one), process: 'constructor' })).toBe('noProcess');
  });
});

describe('what if', () => {
  it('assigns nothing to a node that is gone, and is what placement says without it', () => {
    fc.assert(
      fc.property(arbitraryCluster, fc.subarray(NODES), ({ view, apps, candidates }, without) => {
        const foreseen = whatIf(view, candidates, without);
        const before = place(view, candidates);
        const after = place(
          view,
          candidates.filter(({ node }) => !without.includes(node)),
        );
        const then = new Map(before.assigned);
        for (const { slot, from, to, refusals } of foreseen.moves) {
          const key = `${slot.app}/${slot.process}/${slot.index}`;
          expect(then.get(key)).toBe(from);
          if (to !== undefined) then.set(key, to);
          else then.delete(key);
          expect(refusals).toEqual(to === undefined ? after.unplaceable.get(key) : []);
        }
        expect([...then].sort()).toEqual([...after.assigned].sort());
        for (const node of without) expect([...then.values()]).not.toContain(node);
        if (without.length === 0) expect(foreseen.moves).toEqual([]);
        // Memory is neither lost nor invented.
        const promised = (assigned: Map<string, NodeId>) =>
          apps.reduce(
            (sum, one) =>
              sum + one.memoryBytes * [...assigned.keys()].filter((key) => key.startsWith(`${one.id}/`)).length,
            0,
          );
        expect(foreseen.nodes.reduce((sum, one) => sum + one.beforeBytes, 0)).toBe(promised(before.assigned));
        expect(foreseen.nodes.reduce((sum, one) => sum + (one.afterBytes ?? 0), 0)).toBe(promised(after.assigned));
        for (const { node, afterBytes } of foreseen.nodes)
          expect(afterBytes === undefined).toBe(without.includes(node));
      }),
      { numRuns: 300 },
    );
  });

  it('changes neither the view nor the candidates', () => {
    const one = app('one', { scale: { web: 2 } });
    const candidates = [candidate(B, [instance(one, 0)]), candidate(A, [instance(one, 1)])];
    const before = structuredClone(candidates);
    whatIf(desired(NODES, [one]), candidates, [A]);
    explainSlot(desired(NODES, [one]), candidates, slotOf(one));
    expect(candidates).toEqual(before);
  });

  it('says of a slot that nobody could take what stands against each node', () => {
    const one = app('one', { memoryBytes: 256 * MIB });
    const candidates = [candidate(A, [instance(one, 0)]), candidate(B, [], { memoryMib: 64 })];
    expect(whatIf(desired(NODES, [one]), candidates, [A])).toEqual({
      without: [A],
      moves: [
        {
          slot: slotOf(one),
          from: A,
          to: undefined,
          refusals: [{ node: B, reasons: [{ kind: 'memory', wantedBytes: 256 * MIB, freeBytes: 64 * MIB }] }],
        },
      ],
      nodes: [
        { node: A, budgetBytes: 1024 * MIB, beforeBytes: 256 * MIB, afterBytes: undefined },
        { node: B, budgetBytes: 64 * MIB, beforeBytes: 0, afterBytes: 0 },
      ],
    });
  });
});
