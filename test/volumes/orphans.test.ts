// Files of volumes that nothing refers to any more: told of with why and since when, and removed on a person's word
// alone.

import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { asAppId, asLineageId, asNodeId, asVolumeId, type NodeId, type VolumeId } from '../../crdt/ids.ts';
import type { VolumeView } from '../../crdt/view.ts';
import type { Gossip } from '../../node/ports/gossip.ts';
import type { Method } from '../../node/ports/methods.ts';
import { Orphans } from '../../node/volumes/orphans.ts';
import type { VolumeStore } from '../../node/volumes/store.ts';
import { silent } from '../runtime/harness.ts';
import { instanceId, MIB, never, VolumesNode } from './harness.ts';

const [here, there] = [asNodeId('here'), asNodeId('there')];
const one = instanceId('one');
const WAIT = { timeout: 10_000, interval: 10 };

let node: VolumesNode;
let store: VolumeStore;
let view: { volumes: Map<VolumeId, VolumeView>; problems: { record: string; problem: string; outcome: 'left out' }[] };
let isCaughtUp: boolean;
let nowMs: number;
let said: string[];
const handlers = new Map<string, (payload: never, from: NodeId, signal: AbortSignal) => Promise<unknown>>();

const gossip = {
  handle: (method: Method<never, unknown>, handler: never) => handlers.set(method.name, handler),
  request: async (to: NodeId, method: Method<never, unknown>) => {
    if (to !== there || method.name !== 'volume.orphans') throw new Error('no answer');
    return [{ volume: asVolumeId('other'), lineage: asLineageId('o'), why: 'deleted' }];
  },
} as unknown as Pick<Gossip, 'handle' | 'request'>;

function anOrphanage(others: NodeId[] = []): Orphans {
  return new Orphans({
    ...{ self: here, store, gossip, log: silent },
    view: () => view,
    isCaughtUp: () => isCaughtUp,
    isOthers: (id) => id.startsWith('proof-'),
    aliveOthers: () => others,
    nameOf: String,
    record: (message) => said.push(message),
    nowMs: () => nowMs,
  });
}

/** A volume of notes/1 that is here, with a file in it; the desired state has it. */
async function aVolume(id?: string): Promise<VolumeView> {
  const mount = node.mount(id === undefined ? {} : { id: asVolumeId(id) });
  const slot = { process: 'web', index: 1 };
  const held = await store.acquire({ instance: one, owner: 'notes', slot, mounts: [mount], signal: never() });
  await writeFile(join(held.folders[0]!.from, 'file'), 'kept');
  store.release(one);
  const volume: VolumeView = {
    ...{ ...mount, owner: asAppId('app-notes'), ...slot, node: here, mounted: true },
    ...{ snapshotEveryMs: 0, snapshotsKept: 0, onLoss: 'wait', createdAtMs: 0 },
  };
  view.volumes.set(volume.id, volume);
  return volume;
}
/** What the desired state has of it from now on. */
function change(volume: VolumeView, changes: Partial<VolumeView>): void {
  const now = { ...volume, ...changes };
  view.volumes.set(volume.id, now);
  if (now.node === here) node.wanted.set(volume.id, now.lineage);
  else node.wanted.delete(volume.id);
}

beforeEach(async () => {
  node = await VolumesNode.make();
  store = await node.open();
  view = { volumes: new Map(), problems: [] };
  [isCaughtUp, nowMs, said] = [true, 5_000, []];
});
afterEach(() => node.dispose());

describe('an orphan', () => {
  const NEW = asLineageId('new');
  it.each([
    ['is one that was deleted', 'deleted', (volume: VolumeView) => view.volumes.delete(volume.id)],
    ['is one whose place a restore took', 'replaced', (volume: VolumeView) => change(volume, { lineage: NEW })],
    ['is a copy of what was moved', 'moved', (volume: VolumeView) => change(volume, { node: there })],
    ['is none while the volume is here', undefined, () => {}],
    [
      'is none while it is handed over',
      undefined,
      (volume: VolumeView) => {
        change(volume, { node: there, movedFrom: here });
      },
    ],
    [
      'is none while nobody can tell',
      undefined,
      (volume: VolumeView) => {
        view.volumes.delete(volume.id);
        view.problems.push({ record: `volumes/${volume.id}`, problem: 'its path is wrong', outcome: 'left out' });
      },
    ],
  ])('%s', async (_, why, happen) => {
    const volume = await aVolume();
    happen(volume);
    const { orphans } = await anOrphanage().orphans();
    const place = { owner: 'notes', process: 'web', index: 1, path: '/data', sizeBytes: 64 * MIB };
    const expected = { node: here, volume: volume.id, lineage: volume.lineage, why, ...place };
    expect(orphans).toMatchObject(why === undefined ? [] : [expected]);
  });

  it('is none on its way here, until the desired state has turned to something else', async () => {
    const volume = await aVolume();
    const [next, last] = [asLineageId('next'), asLineageId('last')];
    await store.receive(
      { id: volume.id, lineage: next },
      { owner: 'notes', path: '/data', sizeBytes: MIB },
      async () => {},
    );
    const lineages = async () => (await anOrphanage().orphans()).orphans.map(({ lineage }) => lineage);
    expect(await lineages()).toEqual([]);
    change(volume, { lineage: next });
    expect(await lineages()).toEqual([volume.lineage]);
    change(volume, { lineage: last });
    expect((await lineages()).sort()).toEqual([volume.lineage, next].sort());
  });

  it('is one since the node noticed, also after a restart, and no more when it is wanted again', async () => {
    const volume = await aVolume();
    await aVolume('proof-1');
    view.volumes.clear();
    anOrphanage().desiredChanged();
    const since = async () => (await anOrphanage().orphans()).orphans.map(({ sinceMs }) => sinceMs);
    await expect.poll(since, WAIT).toEqual([5_000]);
    nowMs = 9_000;
    store = await node.open();
    const again = anOrphanage();
    again.desiredChanged();
    await again.close();
    expect(await since()).toEqual([5_000]);
    view.volumes.set(volume.id, volume);
    again.desiredChanged();
    await again.close();
    expect(store.list().map(({ orphanedAtMs }) => orphanedAtMs)).toEqual([undefined, undefined]);
  });

  it('is listed with those of other nodes, and who did not answer', async () => {
    const silentOne = asNodeId('silent');
    const found = await anOrphanage([there, silentOne]).orphans();
    expect(found).toEqual({
      orphans: [{ node: there, volume: 'other', lineage: 'o', why: 'deleted' }],
      silent: ['silent'],
    });
  });

  it('whose record cannot be read is told of, and no empty volume is made in its place', async () => {
    const volume = await aVolume();
    await writeFile(join(node.dataDir, 'volumes', volume.id, volume.lineage, 'volume.json'), '{');
    store = await node.open();
    const orphans = anOrphanage();
    const unreadable = { node: here, volume: volume.id, lineage: volume.lineage, why: 'unreadable' };
    expect((await orphans.orphans()).orphans).toEqual([unreadable]);
    const again = store.acquire({ instance: one, owner: 'notes', mounts: [volume], signal: never() });
    await expect(again).rejects.toMatchObject({ code: 'other_lineage' });
    // While it is what the desired state has, it is somebody's data.
    const removal = { node: here, volume: volume.id, lineage: volume.lineage };
    await expect(orphans.removeOrphan(removal, 'ada')).rejects.toMatchObject({ code: 'other_lineage' });
    view.volumes.clear();
    await orphans.removeOrphan(removal, 'ada');
    expect(existsSync(join(node.dataDir, 'volumes', volume.id))).toBe(false);
  });
});

describe('the removal of an orphan', () => {
  it('is for good, and is written down', async () => {
    const { id, lineage } = await aVolume();
    view.volumes.clear();
    await anOrphanage().removeOrphan({ node: here, volume: id, lineage }, 'ada');
    expect(store.list()).toEqual([]);
    expect(existsSync(join(node.dataDir, 'volumes', id))).toBe(false);
    expect(said).toEqual([`ada removed the orphan ${lineage} (/data of notes) from here`]);
  });

  it('is refused for what is none, what is mounted, and before the node knows what is asked for', async () => {
    const volume = await aVolume();
    const removal = { node: here, volume: volume.id, lineage: volume.lineage };
    const code = (of = anOrphanage()) => of.removeOrphan(removal, 'ada').catch((error: { code: string }) => error.code);
    expect(await code()).toBe('volume_missing');
    view.volumes.clear();
    isCaughtUp = false;
    expect(await code()).toBe('unavailable');
    isCaughtUp = true;
    store.adopt(one, [volume]);
    expect(await code()).toBe('volume_busy');
    expect(store.list()).toHaveLength(1);
  });

  it('of a node that does not answer says so', async () => {
    const removal = { node: there, volume: asVolumeId('v'), lineage: asLineageId('l') };
    await expect(anOrphanage().removeOrphan(removal, 'ada')).rejects.toMatchObject({ code: 'unavailable' });
  });
});
