// Which node runs a task: where the data of its slot is, and nowhere else.

import { describe, expect, it } from 'vitest';
import { asLineageId, asNodeId, asVolumeId, type NodeId } from '../../crdt/ids.ts';
import type { AppView, VolumeView } from '../../crdt/view.ts';
import type { Candidate } from '../../node/core/candidates.ts';
import { isStillThere, mountsOnNode, nodeForTask, type TaskSlot } from '../../node/sessions/task-place.ts';
import { app as anApp, MIB, release } from '../core/little-cluster.ts';

const [a, b] = [asNodeId('node-a'), asNodeId('node-b')];
const first = { process: 'web', index: 0 };
const released = release(1);

const candidate = (node: NodeId, changes: Partial<Candidate> = {}): Candidate => ({
  node,
  status: 'alive',
  draining: false,
  labels: {},
  freeBytes: 1024 * MIB,
  report: {
    status: 'alive',
    runtimes: ['process'],
    stacks: [released.droplet.stack],
    droplets: [],
    instances: [],
    memoryBytes: 1024 * MIB,
  } as unknown as Candidate['report'],
  ...changes,
});

const volume = (node: NodeId, changes: Partial<VolumeView> = {}): VolumeView => ({
  id: asVolumeId(`volume-${changes.path ?? '/data'}`),
  owner: anApp('shop').id,
  process: 'web',
  index: 0,
  path: '/data',
  sizeBytes: 64 * MIB,
  node,
  lineage: asLineageId('lineage-1'),
  snapshotEveryMs: 0,
  snapshotsKept: 0,
  onLoss: 'wait',
  createdAtMs: 0,
  mounted: true,
  ...changes,
});

const shop = (volumes: VolumeView[]): AppView => anApp('shop', { release: released, volumes });
const place = (app: AppView, slot: TaskSlot | undefined, candidates = [candidate(a), candidate(b)]) =>
  nodeForTask({ app, slot, candidates, self: a, nameOf: (node) => node });

describe('a task', () => {
  it('runs on the node that is asked, without data', () => {
    expect(place(shop([]), first)).toBe(a);
    expect(place(shop([volume(b)]), undefined)).toBe(a);
  });

  it('runs where the data of its slot is, also of another slot', () => {
    expect(place(shop([volume(b)]), first)).toBe(b);
    expect(place(shop([volume(a), volume(b, { index: 1 })]), { process: 'web', index: 1 })).toBe(b);
  });

  it.each([
    ['its node is gone', shop([volume(b)]), [candidate(a)], /on node-b, which is not alive: .* --no-volumes shop/],
    ['its node is full', shop([volume(b)]), [candidate(a), candidate(b, { freeBytes: 0 })], /64M of free memory/],
    ['it is moving', shop([volume(b, { movedFrom: a })]), undefined, /is on its way from node-a/],
    ['it is on two nodes', shop([volume(a), volume(b, { path: '/more' })]), undefined, /is on several nodes/],
  ])('is refused when %s', (_, app, candidates, message) => {
    expect(() => place(app, first, candidates)).toThrow(message);
  });

  it('is refused for a slot that is named and has none', () => {
    expect(() => place(shop([volume(b)]), { process: 'worker', index: 2 })).toThrow(/^shop\/worker\/2 has no volume/);
  });

  it('mounts what is on its node alone, for as long as that is so', () => {
    const there = { self: b, nameOf: String };
    const mounts = mountsOnNode(shop([volume(b)]), first, there);
    expect(mounts).toMatchObject([{ path: '/data', lineage: 'lineage-1' }]);
    expect(() => mountsOnNode(shop([volume(a)]), first, there)).toThrow(/has moved to node-a/);
    expect(isStillThere(shop([volume(b)]), b, mounts)).toBe(true);
    for (const gone of [[], [volume(a)], [volume(b, { movedFrom: a })], [volume(b, { lineage: asLineageId('2') })]]) {
      expect(isStillThere(shop(gone), b, mounts)).toBe(false);
    }
    expect(isStillThere(undefined, b, mounts)).toBe(false);
  });
});
