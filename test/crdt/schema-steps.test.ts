// Maps of the root that came later: every node makes them alike, whether its cluster is new or older, and nobody can
// put others in their place.

import * as A from '@automerge/automerge';
import { describe, expect, it } from 'vitest';
import { DesiredDocument } from '../../crdt/document.ts';
import { Journal } from '../../crdt/journal.ts';
import { schemaStepsOf } from '../../crdt/schema-steps.ts';
import { DesiredStore } from '../../crdt/store.ts';
import { actor, alice, app, changesOf, clusterId, createApp, newActor, newCluster, plain } from './fixtures.ts';
import { errno, MemoryDisk } from './memory-disk.ts';

const MAPS = ['bindings', 'keys', 'services', 'volumes'];
/** Never to change: a node that made it otherwise would hide what stands in the maps of the others. */
const STEP_ONE =
  '856f4a83c0542d0401690104040404040404040404040404040404040404040404040404040404040404041078dbe205b3920b5f6a7ffcea' +
  '94726fbd010700000005152034014202560270027c0862696e64696e6773046b65797308736572766963657307766f6c756d657304040004' +
  '000400';
type Root = Record<string, Record<string, unknown>>;

/** A document as a version without the step made it: its first change alone, and what was written on top. */
function older(write: (draft: Root) => void = () => {}): A.Doc<Root> {
  const [first] = changesOf(DesiredDocument.create(newCluster, actor(1)));
  const [doc] = A.applyChanges(A.init<Root>({ actor: actor(2) }), [first!]);
  // Made twice it is the same to the byte, whatever second it is.
  return A.change(doc, { time: 0 }, (draft) => {
    draft.invites!.old = {};
    write(draft);
  });
}

async function olderNode(doc: A.Doc<Root>, disk = new MemoryDisk()): Promise<MemoryDisk> {
  await (await Journal.create(disk, '/d', clusterId, A.save(doc))).close();
  return disk;
}

const opened = (disk: MemoryDisk) => DesiredStore.open('/d', { disk, newActor });
const restarted = (disk: MemoryDisk) => opened(new MemoryDisk(disk.afterCrash(true)));
const rootOf = (store: DesiredStore): Root => A.load<Root>(store.snapshot());
/** A change of another node, made on top of what the store holds. */
function changeOn(store: DesiredStore, write: (draft: Root) => void): Uint8Array {
  const doc = A.load<Root>(store.snapshot(), { actor: newActor() });
  return A.getLastLocalChange(A.change(doc, write))!;
}

const adds = (map: string, key: string) => (draft: Root) => {
  draft[map]![key] = {};
};

/** Each hears all that the other has. */
async function meet(one: DesiredStore, two: DesiredStore): Promise<void> {
  await two.merge(one.snapshot());
  await one.merge(two.snapshot());
  expect(two.heads()).toEqual(one.heads());
  expect(plain(two.view())).toEqual(plain(one.view()));
}

describe('the schema step', () => {
  it('is the same to the byte for the same first change', () => {
    const first = { hash: '04'.repeat(32), maxOp: 6, deps: [], actor: actor(1) } as unknown as A.ChangeMetadata;
    const steps = schemaStepsOf([first], `6@${actor(1)}`);
    expect(steps.map((step) => Buffer.from(step.bytes).toString('hex'))).toEqual([STEP_ONE]);
    expect(A.decodeChange(steps[0]!.bytes)).toMatchObject({ hash: steps[0]!.hash, seq: 1, time: 0, startOp: 7 });
  });

  it('follows the first change of a new cluster, and is not shown in the history', async () => {
    const store = await DesiredStore.create('/d', newCluster, { disk: new MemoryDisk(), newActor });
    expect(Object.keys(rootOf(store))).toEqual(expect.arrayContaining(MAPS));
    expect(store.history(10).map((entry) => entry.changes[0]?.change)).toEqual(['createCluster']);
  });

  it('is made, and on disk, when an older desired state is opened', async () => {
    const disk = await olderNode(older());
    const store = await opened(disk);
    expect(Object.keys(rootOf(store))).toEqual(expect.arrayContaining(MAPS));
    expect(disk.operations.at(-1)).toBe('append desired.log');
    const again = new MemoryDisk(disk.afterCrash(true));
    expect((await opened(again)).heads()).toEqual(store.heads());
    expect(again.operations).not.toContain('append desired.log');
  });

  it('comes before what is written next where the disk was full when it was opened', async () => {
    const disk = await olderNode(older());
    disk.fault = (operation) => (operation === 'append' ? errno('ENOSPC') : undefined);
    const store = await opened(disk);
    await expect(store.write([createApp(1)], alice)).rejects.toMatchObject({ code: 'disk_full' });
    disk.fault = () => undefined;
    await store.write([createApp(1)], alice);
    expect((await restarted(disk)).heads()).toEqual(store.heads());
    expect((await restarted(disk)).view().apps.has(app(1))).toBe(true);
  });

  it('is made where a node joins by the snapshot of one that does not know it', async () => {
    const disk = new MemoryDisk();
    const store = await DesiredStore.join('/d', A.save(older()), clusterId, { disk, newActor });
    expect(Object.keys(rootOf(store))).toEqual(expect.arrayContaining(MAPS));
    await store.write([createApp(1)], alice);
    expect((await restarted(disk)).heads()).toEqual(store.heads());
  });

  it('made by two nodes apart is one: what each has written to the new maps is there when they meet', async () => {
    const doc = older();
    const one = await opened(await olderNode(doc));
    const two = await opened(await olderNode(doc));
    expect(two.heads()).toEqual(one.heads());
    await one.receive([changeOn(one, adds('keys', 'one'))]);
    await two.receive([changeOn(two, adds('keys', 'two'))]);
    await meet(one, two);
    expect(Object.keys(rootOf(one).keys!)).toEqual(['one', 'two']);
    const changes = A.getAllChanges(rootOf(one)).map((bytes) => A.decodeChange(bytes));
    expect(changes.filter((change) => change.ops.some((op) => op.key === 'keys'))).toHaveLength(1);
  });

  it('made on different parts of the history is one, too', async () => {
    const doc = older();
    const one = await opened(await olderNode(A.change(A.clone(doc), adds('invites', 'one'))));
    const two = await opened(await olderNode(A.change(A.clone(doc), adds('invites', 'two'))));
    await meet(one, two);
    expect(Object.keys(rootOf(one).invites!)).toEqual(['old', 'one', 'two']);
  });

  it('reaches a node that does not know it as a change like any other', async () => {
    const store = await opened(await olderNode(older()));
    await store.write([createApp(1)], alice);
    const [theirs] = A.applyChanges(older(), A.getAllChanges(rootOf(store)));
    expect(Object.keys(theirs)).toEqual(expect.arrayContaining(MAPS));
    expect(Object.keys(theirs.apps!)).toEqual([app(1)]);
  });
});

describe('a change that makes one of these maps anew', () => {
  it.each(MAPS)('is refused: %s', async (key) => {
    const store = await DesiredStore.create('/d', newCluster, { disk: new MemoryDisk(), newActor });
    const result = await store.receive([
      changeOn(store, (draft) => {
        draft[key] = {};
      }),
    ]);
    expect(result).toMatchObject({ applied: 0, quarantined: [{ reason: `it replaces all of "${key}"` }] });
  });

  it('is refused from another writer that says the same as the step', async () => {
    const store = await opened(await olderNode(older()));
    const step = A.getAllChanges(rootOf(store))
      .map((bytes) => A.decodeChange(bytes))
      .find((change) => change.ops.some((op) => op.key === 'keys'))!;
    const forged = A.encodeChange({ ...step, actor: actor(77) });
    expect(await store.receive([forged])).toMatchObject({ applied: 0, quarantined: [{}] });
  });
});
