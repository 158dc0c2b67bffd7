// Lost data on its way back: when it is made anew here, of which snapshot, what is written, and what is left when it
// is not. The snapshots are descriptions, and what is received is a line in a list.

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { NamedChange } from '../../crdt/change.ts';
import { ChangeRejected } from '../../crdt/errors.ts';
import { asAppId, asLineageId, asNodeId, asVolumeId } from '../../crdt/ids.ts';
import type { VolumeView } from '../../crdt/view.ts';
import type { VolumeOrder, VolumeSnapshot } from '../../node/ports/snapshots.ts';
import { LossRestorer, PATIENT_MS } from '../../node/volumes/restorer.ts';
import { desired } from '../core/little-cluster.ts';
import { silent } from '../runtime/harness.ts';

const [A, B, C] = [asNodeId('a'), asNodeId('b'), asNodeId('c')];
const volume: VolumeView = {
  ...{ id: asVolumeId('v1'), lineage: asLineageId('l1'), owner: asAppId('app-shop'), process: 'web', index: 0 },
  ...{ path: '/data', sizeBytes: 1024 ** 2, node: B, mounted: true, onLoss: 'restore', createdAtMs: 0 },
  ...{ snapshotEveryMs: 0, snapshotsKept: 2 },
};
const order = { slot: { app: volume.owner, process: 'web', index: 0 }, lost: B, volumes: [volume] };
const snapshot = (id: string, takenAtMs: number) =>
  ({ id, takenAtMs, volume: volume.id, lineage: volume.lineage, holders: [C] }) as unknown as VolumeSnapshot & {
    holders: (typeof C)[];
  };

let held: ReturnType<typeof snapshot>[];
let answered: (typeof A)[];
let nowMs: number;
let received: VolumeOrder[];
let removed: unknown[];
let written: NamedChange[][];
let events: string[];
let may: () => boolean;
let refuse: Error | undefined;
let living: (typeof A)[];
let restorer: LossRestorer;

beforeEach(() => {
  [held, answered, nowMs, received, removed, written, events] = [
    [snapshot('old', 1_000), snapshot('new', 5_000)],
    [A, C],
    65_000,
    [],
    [],
    [],
    [],
  ];
  [may, refuse, living] = [() => true, undefined, [C]];
  restorer = new LossRestorer({
    self: A,
    view: () => ({ ...desired([A, B, C], []), volumes: new Map([[volume.id, volume]]) }),
    keeper: { nameOf: () => '/data of shop/0' },
    copies: { ask: async () => ({ held, answered }) },
    receive: async (node, one) => {
      expect(node).toBe(A);
      received.push(one);
    },
    store: {
      remove: async (ref) => {
        removed.push(ref);
      },
    },
    aliveOthers: () => living,
    mayRestore: () => may(),
    write: async (changes) => {
      if (refuse !== undefined) throw refuse;
      written.push(changes);
    },
    nameOf: (node) => node,
    record: (name, _volume, message) => events.push(`${name}: ${message}`),
    log: silent,
    nowMs: () => nowMs,
  });
});

afterEach(() => restorer.close());

/** To its end. */
async function restore(): Promise<void> {
  restorer.restore(order);
  await restorer.idle();
}

describe('lost data', () => {
  it('is made anew of the newest snapshot, written, and told with its age', async () => {
    await restore();
    expect(received).toMatchObject([{ volume: 'v1', snapshot: { id: 'new' } }]);
    const [{ lineage }] = received as [VolumeOrder];
    const what = { change: 'restoreVolume', volume: 'v1', lost: B, lostLineage: 'l1', node: A, lineage };
    expect(written).toEqual([[{ ...what, snapshot: { id: 'new', takenAtMs: 5_000 } }]]);
    expect(events).toEqual([
      'volume.restored: /data of shop/0 was restored on a from snapshot new, 1 min old, as b is lost: what was written since is on it alone',
    ]);
    expect(removed).toEqual([]);
  });

  it('is not touched where the core would not say so any more', async () => {
    may = () => false;
    await restore();
    expect([received, events]).toEqual([[], []]);
  });

  it('waits, and says once why, while no majority answers, a living node is silent, or there is no snapshot', async () => {
    const waitsFor = async (text: string): Promise<void> => {
      for (const _ of [1, 2]) await restore();
      expect(events.at(-1)).toContain(text);
    };
    answered = [A];
    await waitsFor('fewer than a majority of the nodes answer');
    held = [];
    answered = [A, C];
    await waitsFor('no node that answers holds a snapshot of it; it waits for its node');
    expect([events.length, received, written]).toEqual([2, [], []]);
  });

  it('is removed again when its node is back, or this one is alone, by the time that it is here', async () => {
    let asked = 0;
    may = () => ++asked === 1;
    await restore();
    expect(received).toHaveLength(1);
    expect([written, removed]).toEqual([[], [{ id: 'v1', lineage: received[0]!.lineage }]]);
  });

  it('is removed again when another has restored it meanwhile, and stays when nobody knows what became of the write', async () => {
    refuse = new ChangeRejected('volume_moving', 'The volume is elsewhere by now.');
    await restore();
    expect(events).toEqual([expect.stringContaining('The volume is elsewhere by now.')]);
    expect(removed).toHaveLength(1);
    refuse = new Error('nobody confirmed it');
    await restore();
    expect([received.length, removed.length]).toEqual([2, 1]);
  });

  it('is made of what is known when a living node has been silent for a while', async () => {
    living = [B, C];
    await restore();
    expect(events).toEqual([expect.stringContaining('has not said yet')]);
    nowMs += PATIENT_MS;
    await restore();
    expect(written).toHaveLength(1);
  });
});
