// Snapshots on four nodes, with real stores and links between them: who holds them, when one is due, what is
// forgotten. What is in a volume is a line of text here; how a real one is packed is in snapshot.test.ts.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { asAppId, asLineageId, asVolumeId, type NodeId, type VolumeId } from '../../crdt/ids.ts';
import type { DesiredView, VolumeView } from '../../crdt/view.ts';
import type { Copies } from '../../node/ports/copies.ts';
import { SNAPSHOT_COPIES } from '../../node/ports/data-methods.ts';
import type { VolumeSnapshot } from '../../node/ports/snapshots.ts';
import { openCopies } from '../../node/storage/copies.ts';
import { SnapshotKeeper } from '../../node/volumes/keeper.ts';
import { BlobCluster, type BlobNode } from '../blobs/nodes.ts';
import { desired } from '../core/little-cluster.ts';
import { InProcessRequests } from '../gossip/in-process.ts';
import { silent } from '../runtime/harness.ts';

const HOUR_MS = 60 * 60_000;
const DAY_MS = 24 * HOUR_MS;
const NOBODY = new AbortController().signal;

type Member = { node: BlobNode; copies: Copies<VolumeSnapshot, VolumeId>; keeper: SnapshotKeeper };

let blobs: BlobCluster;
let nodes: BlobNode[];
let folder: string;
let members: Member[];
let volume: VolumeView;
let view: DesiredView;
let nowMs: number;
let content: string;
let events: string[];
let takes: number;
let dead: Set<NodeId>;

beforeAll(async () => {
  blobs = new BlobCluster();
  nodes = [await blobs.node(), await blobs.node(), await blobs.node(), await blobs.node()];
  for (const node of nodes) {
    await blobs.serve(
      node,
      nodes.filter((other) => other !== node),
    );
  }
});
afterAll(() => blobs.close());

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'peer-keeper-'));
  [nowMs, content, events, takes, dead] = [1_800_000_000_000, 'first', [], 0, new Set()];
  volume = {
    ...{ id: asVolumeId('v1'), lineage: asLineageId('l1'), owner: asAppId('app-shop'), process: 'web', index: 0 },
    ...{ path: '/data', sizeBytes: 1024 ** 2, node: nodes[0]!.id, mounted: true, onLoss: 'wait', createdAtMs: nowMs },
    ...{ snapshotEveryMs: HOUR_MS, snapshotsKept: 2 },
  };
  view = { ...desired([], []), volumes: new Map([[volume.id, volume]]) };
  const requests = new InProcessRequests();
  members = await Promise.all(
    nodes.map(async (node, number): Promise<Member> => {
      const gossip = requests.of(node.id);
      const aliveOthers = () => nodes.map(({ id }) => id).filter((id) => id !== node.id && !dead.has(id));
      const copies = await openCopies<VolumeSnapshot, VolumeId>(
        { path: join(folder, `${number}.json`), max: 100, methods: SNAPSHOT_COPIES, ownerOf: (one) => one.volume },
        {
          ...{ self: node.id, blobs: node.store, exchange: node.exchange, gossip, aliveOthers, log: silent },
          room: () => ({ bytes: Number.POSITIVE_INFINITY, refusal: '' }),
        },
      );
      const keeper = new SnapshotKeeper({
        self: node.id,
        view: () => view,
        snapshots: {
          take: async () => {
            takes++;
            const stored = await node.store.put(
              (async function* () {
                yield Buffer.from(content);
              })(),
              { sizeBytesMax: 1024 },
            );
            return { ...stored, frozenMs: 3 };
          },
        },
        copies,
        gossip,
        aliveOthers,
        nameOf: (id) => `node-${nodes.findIndex((one) => one.id === id)}`,
        record: (name) => events.push(name),
        log: silent,
        nowMs: () => nowMs,
      });
      return { node, copies, keeper };
    }),
  );
});
afterEach(async () => {
  for (const { keeper } of members) await keeper.close();
  await rm(folder, { recursive: true });
});

const configure = (changes: Partial<VolumeView>): void => {
  volume = { ...volume, ...changes };
  view = { ...view, volumes: new Map([[volume.id, volume]]) };
};

describe('a snapshot', () => {
  it('is taken where the volume is, held by three nodes with its content, and found from every one', async () => {
    const taken = await members[3]!.keeper.take(volume.id, NOBODY);
    expect(taken).toMatchObject({ takenOn: nodes[0]!.id, path: '/data', frozenMs: 3 });
    expect(taken.holders).toHaveLength(3);
    for (const { node, copies } of members) {
      const isHolder = taken.holders.includes(node.id);
      expect(copies.here().length).toBe(isHolder ? 1 : 0);
      if (isHolder) expect((await buffer(node.store.read(taken.digest))).toString()).toBe('first');
    }
    for (const { keeper } of members) {
      const [found] = await keeper.list(volume.id);
      expect(found).toMatchObject({ id: taken.id });
      expect([...found!.holders].sort()).toEqual([...taken.holders].sort());
    }
    expect(events).toEqual(['volume.snapshot_taken']);
  });

  it('is refused when the node that has the volume does not answer, or the volume is gone', async () => {
    configure({ node: 'gone' as NodeId });
    await expect(members[1]!.keeper.take(volume.id, NOBODY)).rejects.toMatchObject({ code: 'unavailable' });
    await expect(members[1]!.keeper.take(asVolumeId('v9'), NOBODY)).rejects.toMatchObject({ code: 'volume_missing' });
  });
});

describe('a node that held some and died', () => {
  it('is replaced by another, which is asked by the node that has the volume', async () => {
    const [, , , fourth] = members;
    const taken = await members[0]!.keeper.take(volume.id, NOBODY);
    const spare = members.find(({ node }) => !taken.holders.includes(node.id)) ?? fourth!;
    dead = new Set([taken.holders.find((id) => id !== nodes[0]!.id)!]);
    for (const { keeper } of members) keeper.lookForDue();
    await vi.waitFor(() => expect(spare.copies.here(volume.id)).toHaveLength(1), { timeout: 20_000 });
    expect((await buffer(spare.node.store.read(taken.digest))).toString()).toBe('first');
  });
});

describe('a volume that is to keep more than before', () => {
  it('has held anew what some nodes have let go of', async () => {
    const taken = await members[0]!.keeper.take(volume.id, NOBODY);
    const holders = () => members.filter(({ copies }) => copies.here(volume.id).length > 0);
    const isHeldAgain = async () => {
      const [, other] = holders();
      await other!.copies.forget([taken.id]);
      expect(holders()).toHaveLength(2);
      await vi.waitFor(
        () => {
          members[0]!.keeper.lookForDue();
          expect(holders()).toHaveLength(3);
        },
        { timeout: 10_000 },
      );
    };
    await isHeldAgain();
    configure({ snapshotsKept: 3 });
    await isHeldAgain();
  });
});

describe('the schedule', () => {
  const listed = () => members[0]!.copies.here(volume.id);

  it('takes one when it is due, on the node that has the volume alone, and keeps as many as it is told to', async () => {
    for (const count of [1, 2, 3]) {
      nowMs += HOUR_MS;
      content = `content ${count}`;
      for (const { keeper } of members) keeper.lookForDue();
      await vi.waitFor(() => expect(events).toHaveLength(count), { timeout: 20_000 });
      // It is not due again.
      for (const { keeper } of members) keeper.lookForDue();
    }
    expect(takes).toBe(3);
    await vi.waitFor(() => expect(listed()).toHaveLength(2));
    expect(listed()[0]!.takenAtMs).toBe(nowMs);
  });

  it('takes none of what has no schedule, is on its way elsewhere, or is mounted by nothing', async () => {
    nowMs += DAY_MS;
    for (const changes of [{ snapshotEveryMs: 0 }, { movedFrom: nodes[1]!.id }, { mounted: false }]) {
      const before = volume;
      configure(changes);
      for (const { keeper } of members) keeper.lookForDue();
      volume = before;
    }
    expect(takes).toBe(0);
  });

  it('keeps those of a volume that was deleted for a while', async () => {
    await members[0]!.keeper.take(volume.id, NOBODY);
    view = { ...view, volumes: new Map() };
    nowMs += 13 * DAY_MS;
    members[0]!.keeper.lookForDue();
    expect(listed()).toHaveLength(1);
    nowMs += 2 * DAY_MS;
    members[0]!.keeper.lookForDue();
    await vi.waitFor(() => expect(listed()).toEqual([]));
  });
});
