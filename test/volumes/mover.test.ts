// A move between two nodes, step by step: what is written when all of it could be brought, and when it could not. The
// data itself is not there; how it is packed and unpacked is in snapshot.test.ts.

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { asAppId, asLineageId, asNodeId, asVolumeId } from '../../crdt/ids.ts';
import type { DesiredView, VolumeView } from '../../crdt/view.ts';
import { TAKE_OVER_VOLUME } from '../../node/ports/data-methods.ts';
import type { VolumeSnapshot } from '../../node/ports/snapshots.ts';
import { Arrivals } from '../../node/volumes/arrivals.ts';
import { Departures } from '../../node/volumes/departures.ts';
import { VolumeError } from '../../node/volumes/errors.ts';
import { VolumeMover } from '../../node/volumes/mover.ts';
import { desired } from '../core/little-cluster.ts';
import { InProcessRequests } from '../gossip/in-process.ts';
import { silent } from '../runtime/harness.ts';

const [A, B] = [asNodeId('node-a'), asNodeId('node-b')];
const MIB = 1024 ** 2;
const NOBODY = new AbortController().signal;
const SOON = { timeout: 10_000, interval: 10 };

let volume: VolumeView;
let written: string[];
let events: string[];
let nowMs: number;
let freeBytes: number;
let takenAtMs: number;
let isGone: boolean;
/** How unpacking fails on the other node. */
let fails: Error | undefined;
let restored: number[];
let forgotten: Record<string, string[]>;
let requests: InProcessRequests;
let movers: VolumeMover[];

const view = (): DesiredView => ({ ...desired([], []), volumes: new Map([[volume.id, volume]]) });
const snapshotAt = (atMs: number): VolumeSnapshot => ({
  ...{ id: `snapshot-${atMs}`, volume: volume.id, lineage: volume.lineage, owner: 'db', process: 'service', index: 0 },
  ...{ path: '/data', volumeBytes: MIB, digest: `sha256:${'0'.repeat(64)}` as VolumeSnapshot['digest'] },
  ...{ sizeBytes: MIB, takenAtMs: atMs, takenOn: A, frozenMs: 0 },
});

/** What is written into the files on B that no volume is made of yet. */
let laidOut: string[];
/** How a difference fails to be applied there. */
let differs: Error | undefined;
const digest = `sha256:${'1'.repeat(64)}` as VolumeSnapshot['digest'];

const differences = {
  take: async (_: unknown, lists: string, round: number | 'last') => {
    expect(lists).toMatch(/\.making-/);
    return { digest, sizeBytes: round === 'last' ? 1 : 40 * MIB };
  },
  taken: async () => {},
  settle: async () => {},
  apply: async () => {
    if (differs !== undefined) throw differs;
    laidOut.push('difference');
  },
};

const snapshots = {
  restore: async (_: unknown, __: unknown, ___: unknown, then?: (data: string, uid: undefined) => Promise<void>) => {
    if (fails !== undefined) throw fails;
    const of = takenAtMs - 1;
    if (then !== undefined) {
      laidOut = ['snapshot'];
      try {
        await then('/data', undefined);
      } catch (error) {
        laidOut = [];
        throw error;
      }
    }
    restored.push(of);
  },
};

function mover(self: typeof A): VolumeMover {
  const copies = {
    bring: async () => {},
    give: async () => {},
    keep: async () => {},
    forget: async (ids: string[]) => {
      forgotten[self] = [...(forgotten[self] ?? []), ...ids];
    },
  } as never;
  const blobs = { read: () => [], remove: async () => {} } as never;
  const gossip = requests.of(self);
  const [expectVolume, gone, clock] = [() => volume, () => isGone, () => nowMs];
  return new VolumeMover({
    self,
    departures: new Departures({ store: { root: '/nowhere' }, differences, gossip, blobs, log: silent }),
    arrivals: new Arrivals({
      ...{ self, expectVolume, snapshots, differences, copies, blobs, gossip, isGone: gone, nowMs: clock },
    }),
    view,
    keeper: {
      expectVolume: () => volume,
      nameOf: () => 'the data of db',
      takeHere: async () => snapshotAt(takenAtMs++),
      list: async () => [],
    } as never,
    store: { list: () => (self === A ? [volume] : []), usersOf: () => [], remove: async () => {} } as never,
    ...{ snapshots, copies, blobs, gossip, isGone: gone, nowMs: clock },
    freeBytes: async () => freeBytes,
    runsAt: () => false,
    writeMoved: async (_, to) => {
      written.push('moved');
      volume = { ...volume, node: to, movedFrom: A };
    },
    writeLeft: async () => {
      written.push('left');
      const { movedFrom: _, ...left } = volume;
      volume = left;
    },
    writeKept: async () => {
      written.push('kept');
      const { movedFrom: _, ...kept } = volume;
      volume = { ...kept, node: A };
    },
    nameOf: (node) => node,
    record: (name, _, message) => events.push(`${name}: ${message}`),
    log: silent,
  });
}

beforeEach(() => {
  volume = {
    ...{ id: asVolumeId('v1'), lineage: asLineageId('l1'), owner: asAppId('s1'), process: 'service', index: 0 },
    ...{ path: '/data', sizeBytes: MIB, node: A, mounted: true, onLoss: 'wait', createdAtMs: 0 },
    ...{ snapshotEveryMs: 0, snapshotsKept: 0 },
  };
  [written, events, restored, forgotten, fails] = [[], [], [], {}, undefined];
  [laidOut, differs] = [[], undefined];
  [nowMs, freeBytes, takenAtMs, isGone] = [0, 1024 * MIB, 1, false];
  requests = new InProcessRequests();
  movers = [mover(A), mover(B)];
});
afterEach(async () => {
  for (const one of movers) await one.close();
});

const move = (): Promise<void> => movers[0]!.move(volume.id, B, 'ada', NOBODY);
/** As the core says it, when nothing runs on the volume any more. */
async function handOver(then: string): Promise<void> {
  const before = written.length + events.length;
  await vi.waitFor(() => {
    // The one before may not have come to its end.
    if (written.length + events.length === before) movers[0]!.handOver(volume.id);
    expect(written.length + events.length).toBeGreaterThan(before);
  }, SOON);
  await vi.waitFor(() => expect(written.at(-1)).toBe(then), SOON);
}

describe('a move', () => {
  it('is laid out, then written, then the last difference is brought, then it is left; what was made for it alone is forgotten', async () => {
    await move();
    // The second one was no smaller: more of them would not end.
    expect([laidOut, restored]).toEqual([['snapshot', 'difference', 'difference'], []]);
    await handOver('left');
    expect([written, laidOut.length, restored]).toEqual([['moved', 'left'], 4, [1]]);
    await vi.waitFor(() => {
      expect(forgotten).toEqual({ [A]: ['snapshot-1'], [B]: ['snapshot-1'] });
    }, SOON);
    expect(events.at(-1)).toBe('volume.left: the data of db is on node-b now');
  });

  it('brings all of it when what was laid out is of no use: it was lost there, or is something else', async () => {
    await move();
    differs = new VolumeError('bad_snapshot', 'it is not what its node has');
    await handOver('left');
    expect([laidOut, restored]).toEqual([[], [2]]);
    differs = undefined;
    volume = { ...volume, node: A };
    await move();
    // As after a start of that node.
    await movers[1]!.close();
    await handOver('left');
    expect([written, restored]).toEqual([
      ['moved', 'left', 'moved', 'left'],
      [2, 4],
    ]);
  });

  it('is refused, and nothing written, when it cannot be laid out for want of room; goes on when that fails otherwise', async () => {
    fails = new VolumeError('disk_full', 'the disk is full');
    await expect(move()).rejects.toMatchObject({ code: 'disk_full' });
    expect([written, forgotten]).toEqual([[], { [A]: ['snapshot-1'] }]);
    fails = new Error('a reset');
    await move();
    fails = undefined;
    await handOver('left');
    expect([written, restored]).toEqual([['moved', 'left'], [3]]);
  });

  it('is refused, and nothing written, when the other node has no room for it twice', async () => {
    freeBytes = 60 * MIB;
    await expect(move()).rejects.toMatchObject({
      code: 'disk_full',
      message: 'node-b has 60 MiB of disk free, and the data needs 66 MiB',
    });
    expect([written, forgotten]).toEqual([[], { [A]: ['snapshot-1'] }]);
  });

  it('is called off at once when another try would fail as well, or its node is gone', async () => {
    await move();
    differs = new VolumeError('disk_full', 'the disk is full');
    await handOver('kept');
    expect(events.at(-1)).toBe(
      'volume.move_called_off: the data of db stays where it was, as it could not go to node-b: the disk is full',
    );
    differs = undefined;
    await move();
    [fails, differs, isGone] = [new Error('a reset'), new Error('a reset'), true];
    await handOver('kept');
    expect(events.at(-1)).toMatch(/could not go to node-b: node-b is not alive$/);
    expect(written).toEqual(['moved', 'kept', 'moved', 'kept']);
  });

  it('is tried again for a minute when it may succeed, and called off then', async () => {
    await move();
    [fails, differs] = [new Error('a reset'), new Error('a reset')];
    await handOver('moved');
    expect(events.at(-1)).toBe('volume.move_waits: the data of db cannot go to node-b yet: a reset');
    nowMs = 59_000;
    movers[0]!.handOver(volume.id);
    await vi.waitFor(() => expect(takenAtMs).toBe(4), SOON);
    nowMs = 60_000;
    await vi.waitFor(() => {
      movers[0]!.handOver(volume.id);
      expect(written).toEqual(['moved', 'kept']);
    }, SOON);
  });

  it('takes no snapshot that is older than what has come already', async () => {
    await move();
    const ask = (atMs: number) =>
      requests.of(A).request(B, TAKE_OVER_VOLUME, {
        order: { volume: volume.id, lineage: volume.lineage, snapshot: snapshotAt(atMs) },
        passing: [],
      });
    await ask(20);
    await expect(ask(10)).rejects.toMatchObject({ code: 'volume_moving' });
    expect(restored).toHaveLength(1);
  });
});
