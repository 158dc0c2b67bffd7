// A move between two nodes, step by step: what is written when all of it could be brought, and when it could not. The
// data itself is not there; how it is packed and unpacked is in snapshot.test.ts.

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { asAppId, asLineageId, asNodeId, asVolumeId } from '../../crdt/ids.ts';
import type { DesiredView, VolumeView } from '../../crdt/view.ts';
import { TAKE_OVER_VOLUME } from '../../node/ports/data-methods.ts';
import type { VolumeSnapshot } from '../../node/ports/snapshots.ts';
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

function mover(self: typeof A): VolumeMover {
  return new VolumeMover({
    self,
    view,
    keeper: {
      expectVolume: () => volume,
      nameOf: () => 'the data of db',
      takeHere: async () => snapshotAt(takenAtMs++),
      list: async () => [],
    } as never,
    store: { list: () => (self === A ? [volume] : []), usersOf: () => [], remove: async () => {} } as never,
    snapshots: {
      restore: async () => {
        if (fails !== undefined) throw fails;
        restored.push(takenAtMs - 1);
      },
    },
    copies: {
      bring: async () => {},
      give: async () => {},
      keep: async () => {},
      forget: async (ids: string[]) => {
        forgotten[self] = [...(forgotten[self] ?? []), ...ids];
      },
    } as never,
    freeBytes: async () => freeBytes,
    blobs: { read: () => [] } as never,
    gossip: requests.of(self),
    runsAt: () => false,
    isGone: () => isGone,
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
    nowMs: () => nowMs,
  });
}

beforeEach(() => {
  volume = {
    ...{ id: asVolumeId('v1'), lineage: asLineageId('l1'), owner: asAppId('s1'), process: 'service', index: 0 },
    ...{ path: '/data', sizeBytes: MIB, node: A, mounted: true, onLoss: 'wait', createdAtMs: 0 },
    ...{ snapshotEveryMs: 0, snapshotsKept: 0 },
  };
  [written, events, restored, forgotten, fails] = [[], [], [], {}, undefined];
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
  movers[0]!.handOver(volume.id);
  await vi.waitFor(() => expect(written.length + events.length).toBeGreaterThan(before), SOON);
  await vi.waitFor(() => expect(written.at(-1)).toBe(then), SOON);
}

describe('a move', () => {
  it('is written, then the last difference is brought, then it is left; what was made for it alone is forgotten', async () => {
    await move();
    await handOver('left');
    expect([written, restored]).toEqual([['moved', 'left'], [2]]);
    await vi.waitFor(() => {
      expect(forgotten).toEqual({ [A]: ['snapshot-1', 'snapshot-2'], [B]: ['snapshot-1', 'snapshot-2'] });
    }, SOON);
    expect(events.at(-1)).toBe('volume.left: the data of db is on node-b now');
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
    fails = new VolumeError('disk_full', 'the disk is full');
    await handOver('kept');
    expect(events.at(-1)).toBe(
      'volume.move_called_off: the data of db stays where it was, as it could not go to node-b: the disk is full',
    );
    await move();
    [fails, isGone] = [new Error('a reset'), true];
    await handOver('kept');
    expect(events.at(-1)).toMatch(/could not go to node-b: node-b is not alive$/);
    expect(written).toEqual(['moved', 'kept', 'moved', 'kept']);
  });

  it('is tried again for a minute when it may succeed, and called off then', async () => {
    await move();
    fails = new Error('a reset');
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
