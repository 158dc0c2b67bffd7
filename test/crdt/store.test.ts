// The store of one node: durable before it answers, atomic, bounded, and unmoved by what others send or the disk
// refuses.

import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as A from '@automerge/automerge';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { NamedChange } from '../../crdt/change.ts';
import { type ChangeRejected, StoreError } from '../../crdt/errors.ts';
import { asClusterId } from '../../crdt/ids.ts';
import { DesiredStore, type StoreEnvironment } from '../../crdt/store.ts';
import {
  actor,
  addRelease,
  admitNode,
  alice,
  app,
  clusterId,
  createApp,
  documentWith,
  newActor,
  newCluster,
  node,
  plain,
  writeAll,
} from './fixtures.ts';
import { errno, MemoryDisk } from './memory-disk.ts';

let disk: MemoryDisk;
let environment: StoreEnvironment;
beforeEach(() => {
  disk = new MemoryDisk();
  environment = { disk, newActor };
});

const create = (changes: NamedChange[] = []) => DesiredStore.create('/d', { ...newCluster, changes }, environment);
/** A second node of the same cluster, on a disk of its own. */
const joined = (store: DesiredStore, on = new MemoryDisk()) =>
  DesiredStore.join('/d', store.snapshot(), clusterId, { disk: on, newActor });
const restarted = (from: MemoryDisk) =>
  DesiredStore.open('/d', { disk: new MemoryDisk(from.afterCrash(true)), newActor });
const scale = (web: number): NamedChange => ({ change: 'scaleApp', app: app(1), scale: { web } });
const appNames = (store: DesiredStore) => [...store.view().apps.values()].map((one) => one.name);

async function errorOf(work: Promise<unknown>): Promise<Error> {
  try {
    await work;
  } catch (error) {
    return error as Error;
  }
  throw new Error('did not fail');
}
const codeOf = async (work: Promise<unknown>) => ((await errorOf(work)) as StoreError | ChangeRejected).code;

describe('writing', () => {
  it('is on disk when it resolves', async () => {
    const store = await create([admitNode(1)]);
    const changes = await store.write([createApp(1), addRelease(1, 1)], alice);
    expect(changes).toHaveLength(1);
    const after = await restarted(disk);
    expect(plain(after.view())).toEqual(plain(store.view()));
    expect(after.heads()).toEqual(store.heads());
    expect(after.tornBytes).toBe(0);
  });

  it('is not seen by anyone before it is on disk', async () => {
    const store = await create();
    const heads = store.heads();
    let seen: unknown;
    disk.fault = (operation) => {
      if (operation === 'append') seen = { heads: store.heads(), apps: appNames(store), has: store.has(heads) };
      return undefined;
    };
    await store.write([createApp(1)], alice);
    expect(seen).toEqual({ heads, apps: [], has: true });
    expect(appNames(store)).toEqual(['app1']);
  });

  it('tells listeners once it is on disk, until they have enough; one that throws harms nobody', async () => {
    const store = await create();
    const told: string[][] = [];
    store.onChange(() => {
      throw new Error('listener');
    });
    const end = store.onChange(() => told.push(appNames(store)));
    await store.write([createApp(1)], alice);
    end();
    await store.write([createApp(2)], alice);
    expect(told).toEqual([['app1']]);
  });

  it('of nothing new writes nothing and tells nobody', async () => {
    const store = await create([createApp(1), scale(2)]);
    const listener = vi.fn();
    store.onChange(listener);
    const operations = disk.operations.length;
    expect(await store.write([scale(2)], alice)).toEqual([]);
    expect(disk.operations).toHaveLength(operations);
    expect(listener).not.toHaveBeenCalled();
  });

  it('that is rejected changes nothing, also among others at the same time', async () => {
    const store = await create();
    const results = await Promise.allSettled([
      store.write([createApp(1)], alice),
      store.write([createApp(2, { name: 'app1' })], alice),
      store.write([createApp(3), createApp(4, { name: 'No' })], alice),
      store.write([createApp(5)], alice),
    ]);
    expect(results.map((result) => result.status)).toEqual(['fulfilled', 'rejected', 'rejected', 'fulfilled']);
    expect(appNames(store)).toEqual(['app1', 'app5']);
  });

  it('at the same time shares an fsync', async () => {
    const store = await create();
    const syncs = disk.syncs;
    await Promise.all(Array.from({ length: 20 }, (_, index) => store.write([createApp(index)], alice)));
    expect(disk.syncs - syncs).toBeLessThanOrEqual(2);
    expect(appNames(await restarted(disk))).toHaveLength(20);
  });

  it('uses a writer of its own at every start, and none until it writes', async () => {
    const store = await create([createApp(1)]);
    await store.close();
    const again = await restarted(disk);
    await again.write([scale(2)], alice);
    const writers = A.getAllChanges(A.load(again.snapshot())).map((bytes) => A.decodeChange(bytes).actor);
    // And the one of the schema step.
    expect(new Set(writers).size).toBe(3);
  });

  it('folds the log now and then, and a restart finds everything', async () => {
    const store = await create([createApp(1)]);
    for (let count = 1; count <= 205; count++) await store.write([scale(count % 90)], alice);
    expect(disk.operations.filter((one) => one === 'rename desired.snapshot')).toHaveLength(2);
    await vi.waitFor(() => expect(disk.operations.at(-1)).toBe('append desired.log'));
    expect((await restarted(disk)).heads()).toEqual(store.heads());
  });
});

describe('a disk that fails', () => {
  it('when full rejects the write and keeps the document as it was; the next one works', async () => {
    const store = await create([createApp(1)]);
    const heads = store.heads();
    disk.fault = (operation) => (operation === 'append' ? errno('ENOSPC') : undefined);
    const error = await errorOf(store.write([createApp(2)], alice));
    expect(error).toBeInstanceOf(StoreError);
    expect(error.message).toBe('The disk of this node is full, so nothing was changed; free some space and try again.');
    expect(store.heads()).toEqual(heads);
    expect(appNames(store)).toEqual(['app1']);
    disk.fault = () => undefined;
    await store.write([createApp(3)], alice);
    expect(appNames(store)).toEqual(['app1', 'app3']);
    expect((await restarted(disk)).heads()).toEqual(store.heads());
  });

  it('rejects all writes that shared the fsync, and a failed one cannot clash with the next', async () => {
    const store = await create([createApp(1)]);
    const other = await joined(store);
    let lost: Buffer | undefined;
    disk.fault = (operation) => (operation === 'append' ? errno('EIO') : undefined);
    disk.tornShare = 1;
    const truncate = disk.file('/d/desired.log')!.length;
    const original = disk.fault;
    disk.fault = (operation, path) => {
      if (operation === 'truncate') lost = Buffer.from(disk.file('/d/desired.log')!.subarray(truncate));
      return original(operation, path);
    };
    const results = await Promise.allSettled([store.write([scale(2)], alice), store.write([scale(3)], alice)]);
    expect(results.map((result) => result.status)).toEqual(['rejected', 'rejected']);
    disk.fault = () => undefined;
    const [written] = await store.write([scale(4)], alice);
    // The failed write turns up elsewhere after all: it is another writer's, so both can be had.
    const first = lost!.subarray(20, 20 + lost!.readUInt32BE(16));
    const result = await other.receive([first, written!]);
    expect(result).toMatchObject({ applied: 2, quarantined: [] });
  });

  it('while folding costs nothing', async () => {
    const store = await create([createApp(1)]);
    const warn = vi.fn();
    const logged = await DesiredStore.open('/d', { disk, newActor, log: { info: vi.fn(), warn } });
    await store.close();
    disk.fault = (operation) => (operation === 'write' ? errno('ENOSPC') : undefined);
    for (let count = 1; count <= 205; count++) await logged.write([scale(count % 90)], alice);
    expect(warn.mock.calls.map(([event]) => event)).toEqual(['desired.fold_failed']);
    expect((await restarted(disk)).heads()).toEqual(logged.heads());
  });
});

describe('receiving', () => {
  it('applies what another node wrote, durably, and only once', async () => {
    const store = await create([createApp(1)]);
    const other = await joined(store);
    const changes = await other.write([scale(4)], alice);
    expect(await store.receive(changes)).toEqual({ applied: 1, missing: false, quarantined: [] });
    expect(await store.receive(changes)).toEqual({ applied: 0, missing: false, quarantined: [] });
    expect(store.has(other.heads())).toBe(true);
    expect((await restarted(disk)).heads()).toEqual(other.heads());
  });

  it('keeps a change until the one before it arrives', async () => {
    const store = await create([createApp(1)]);
    const other = await joined(store);
    const first = await other.write([scale(4)], alice);
    const second = await other.write([scale(5)], alice);
    const third = await other.write([scale(6)], alice);
    expect(await store.receive(third)).toMatchObject({ applied: 0, missing: true });
    expect(await store.receive(second)).toMatchObject({ applied: 0, missing: true });
    expect(store.has(other.heads())).toBe(false);
    expect(await store.receive(first)).toMatchObject({ applied: 3, missing: false });
    expect(store.heads()).toEqual(other.heads());
  });

  it('reports what does not fit the disk, and can do it later', async () => {
    const store = await create([createApp(1)]);
    const changes = await (await joined(store)).write([scale(4)], alice);
    disk.fault = (operation) => (operation === 'append' ? errno('ENOSPC') : undefined);
    expect(await codeOf(store.receive(changes))).toBe('disk_full');
    disk.fault = () => undefined;
    expect(await store.receive(changes)).toMatchObject({ applied: 1 });
  });
});

describe('quarantine', () => {
  const forged = (store: DesiredStore, write: (draft: Record<string, unknown>) => void): Uint8Array => {
    const doc = A.change(A.load<Record<string, unknown>>(store.snapshot(), { actor: newActor() }), write);
    return A.getLastLocalChange(doc)!;
  };
  const flipped = (bytes: Uint8Array, at: number): Uint8Array =>
    bytes.map((byte, index) => (index === at ? byte ^ 1 : byte));

  it.each<[string, RegExp, (store: DesiredStore) => Uint8Array]>([
    ['nothing at all', /not an Automerge chunk/, () => new Uint8Array(0)],
    ['noise', /not an Automerge chunk/, () => Uint8Array.from({ length: 500 }, (_, index) => (index * 37) & 255)],
    [
      'a change with a flipped bit',
      /checksum/,
      (store) =>
        flipped(
          forged(store, (draft) => {
            draft.x = 1;
          }),
          40,
        ),
    ],
    [
      'a change cut short',
      /cut short/,
      (store) =>
        forged(store, (draft) => {
          draft.x = 1;
        }).slice(0, -3),
    ],
    ['a saved document', /not a change/, (store) => store.snapshot()],
    ['a change beyond the bound', /larger than/, () => new Uint8Array(2 * 1024 * 1024)],
    [
      'the beginning of another cluster',
      /another cluster/,
      () => A.getAllChanges(A.load(documentWith([]).save()))[0]!.slice(),
    ],
    [
      'another cluster id',
      /another id/,
      (store) =>
        forged(store, (draft) => {
          (draft.cluster as Record<string, unknown>).id = 'evil';
        }),
    ],
    [
      'a new map of apps',
      /replaces all of "apps"/,
      (store) =>
        forged(store, (draft) => {
          draft.apps = {};
        }),
    ],
    [
      'the removal of all nodes',
      /replaces all of "nodes"/,
      (store) =>
        forged(store, (draft) => {
          delete draft.nodes;
        }),
    ],
    [
      'a newer schema',
      /upgrade this node/,
      (store) =>
        forged(store, (draft) => {
          draft.schemaVersion = 2;
        }),
    ],
  ])('takes %s', async (_what, reason, make) => {
    const store = await create([createApp(1)]);
    const bad = make(store);
    const good = await (await joined(store)).write([scale(4)], alice);
    const result = await store.receive([bad, ...good]);
    expect(result.applied).toBe(1);
    expect(result.quarantined).toEqual([
      { hash: expect.stringMatching(/^[0-9a-f]{64}$/), reason: expect.stringMatching(reason) },
    ]);
    expect(store.view().apps.get(app(1))?.scale.web).toBe(4);
    expect((await restarted(disk)).quarantined().entries).toEqual(store.quarantined().entries);
    expect(store.quarantined().entries).toHaveLength(1);
  });

  it('takes a second change of one number by one writer, and goes on with the others', async () => {
    const store = await create([createApp(1)]);
    const twin = () =>
      DesiredStore.join('/d', store.snapshot(), clusterId, { disk: new MemoryDisk(), newActor: () => actor(0xbad) });
    const [one, two, other] = [await twin(), await twin(), await joined(store)];
    await store.receive(await one.write([scale(4)], alice));
    const clash = await two.write([scale(5)], alice);
    const after = await two.write([scale(6)], alice);
    const good = await other.write([createApp(2)], alice);
    const result = await store.receive([...clash, ...after, ...good]);
    expect(result).toMatchObject({
      applied: 1,
      missing: true,
      quarantined: [{ reason: expect.stringMatching(/seq/) }],
    });
    expect(appNames(store)).toEqual(['app1', 'app2']);
    expect((await restarted(disk)).heads()).toEqual(store.heads());
  });

  it('lets through what a newer version adds', async () => {
    const store = await create([createApp(1)]);
    const newer = forged(store, (draft) => {
      draft.catalogue = { db: { kind: 'postgres' } };
      (draft.apps as Record<string, Record<string, unknown>>)[app(1)]!.colour = 'green';
    });
    expect(await store.receive([newer])).toMatchObject({ applied: 1, quarantined: [] });
    expect(appNames(store)).toEqual(['app1']);
  });

  it('is bounded and does not write for what it has seen', async () => {
    const store = await create();
    const noise = Array.from({ length: 130 }, (_, index) => Uint8Array.of(index, 1, 2));
    await store.receive(noise);
    expect(store.quarantined().entries).toHaveLength(100);
    expect(store.quarantined().dropped).toBe(30);
    const operations = disk.operations.length;
    await store.receive(noise);
    expect(disk.operations).toHaveLength(operations);
  });
});

describe('opening', () => {
  it('tells a torn last write and goes on', async () => {
    const store = await create([createApp(1)]);
    await store.write([scale(2)], alice);
    const heads = store.heads();
    await store.write([scale(3)], alice);
    const files = disk.afterCrash(true);
    files.set('/d/desired.log', files.get('/d/desired.log')!.subarray(0, -1));
    const warn = vi.fn();
    const after = await DesiredStore.open('/d', {
      disk: new MemoryDisk(files),
      newActor,
      log: { info: vi.fn(), warn },
    });
    expect(after.heads()).toEqual(heads);
    expect(after.tornBytes).toBeGreaterThan(0);
    expect(warn).toHaveBeenCalledWith('desired.torn_write_cut', expect.anything());
  });

  it('joins only the cluster that was meant, and only from a sound snapshot', async () => {
    const store = await create();
    const join = (bytes: Uint8Array, id = clusterId) => DesiredStore.join('/j', bytes, id, { disk: new MemoryDisk() });
    expect(await codeOf(join(store.snapshot(), asClusterId('ff'.repeat(16))))).toBe('other_cluster');
    expect(await codeOf(join(new Uint8Array(0)))).toBe('corrupt');
    expect(await codeOf(join(store.snapshot().slice(0, -5)))).toBe('corrupt');
    expect(await codeOf(join(A.save(A.from({ hello: 'world' }))))).toBe('corrupt');
    const newer = A.change(A.load<Record<string, unknown>>(store.snapshot()), (draft) => {
      draft.schemaVersion = 2;
    });
    expect(await codeOf(join(A.save(newer)))).toBe('newer_version');
    expect(await codeOf(DesiredStore.join('/d', store.snapshot(), clusterId, environment))).toBe('exists');
  });

  it('refuses a log whose changes do not follow from the snapshot', async () => {
    const store = await create([createApp(1)]);
    const early = disk.file('/d/desired.snapshot')!;
    for (let count = 1; count <= 205; count++) await store.write([scale(count % 90)], alice);
    const files = disk.afterCrash(true).set('/d/desired.snapshot', early);
    expect(await codeOf(DesiredStore.open('/d', { disk: new MemoryDisk(files) }))).toBe('corrupt');
  });
});

describe('a disk that was put back from an earlier copy', () => {
  it('loses nothing of what is written on it before it has heard of the others', async () => {
    const store = await create([admitNode(1), createApp(1)]);
    await store.write([scale(2)], alice);
    const copy = disk.afterCrash(true);
    const other = await joined(store);
    other.receive(await store.write([scale(3)], alice));
    await store.write([{ change: 'deleteApp', app: app(1) }], alice);
    await other.merge(store.snapshot());

    const back = await DesiredStore.open('/d', { disk: new MemoryDisk(copy), newActor });
    expect(appNames(back)).toEqual(['app1']);
    await back.write([createApp(2)], alice);
    await back.write([scale(9)], alice);
    await other.merge(back.snapshot());
    await back.merge(other.snapshot());
    for (const one of [back, other]) {
      expect(appNames(one)).toEqual(['app2']);
      expect(one.quarantined().entries).toEqual([]);
    }
    expect(back.heads()).toEqual(other.heads());
  });

  it('takes no snapshot of another cluster', async () => {
    const store = await create();
    const stranger = await DesiredStore.create(
      '/d',
      { ...newCluster, clusterId: asClusterId('c2'.repeat(16)) },
      { disk: new MemoryDisk(), newActor },
    );
    expect(await codeOf(store.merge(stranger.snapshot()))).toBe('other_cluster');
  });
});

describe('closing', () => {
  it('finishes what waits, and refuses everything after', async () => {
    const store = await create();
    const write = store.write([createApp(1)], alice);
    await store.close();
    await expect(write).resolves.toHaveLength(1);
    expect(await codeOf(store.write([createApp(2)], alice))).toBe('closed');
    expect(await codeOf(store.receive([]))).toBe('closed');
    expect(() => store.view()).toThrow(StoreError);
    await store.close();
    expect(appNames(await restarted(disk))).toEqual(['app1']);
  });
});

it('forgets no write, whenever it comes', async () => {
  const store = await create([createApp(1)]);
  for (let ticks = 0; ticks < 40; ticks++) {
    await store.write([scale(ticks + 1)], alice);
    for (let tick = 0; tick < ticks; tick++) await null;
    await store.write([scale(ticks + 50)], alice);
  }
  expect(store.view().apps.get(app(1))?.scale.web).toBe(89);
});

it('takes only so many writes at once', async () => {
  const store = await create([createApp(1)]);
  const results = await Promise.allSettled(Array.from({ length: 1100 }, () => store.write([scale(2)], alice)));
  const busy = results.filter(
    (result) => result.status === 'rejected' && (result.reason as StoreError).code === 'busy',
  );
  expect(busy).toHaveLength(100);
});

it('keeps views as they were', async () => {
  const store = await create([createApp(1)]);
  const before = store.view();
  const shown = plain(before);
  expect(store.view()).toBe(before);
  await store.write([scale(9), { change: 'deleteApp', app: app(1) }], alice);
  expect(plain(before)).toEqual(shown);
  expect(store.view()).not.toBe(before);
});

it('knows which points of the history it has', async () => {
  const store = await create();
  const heads = store.heads();
  await store.write([createApp(1)], alice);
  expect(store.has(heads)).toBe(true);
  expect(store.has([])).toBe(true);
  expect(store.has([...store.heads(), 'ab'.repeat(32)])).toBe(false);
  expect(store.has(['not a hash'])).toBe(false);
});

describe('on a real disk', () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'peer-store-'));
  });
  afterEach(() => rm(dir, { recursive: true, force: true }));

  it('survives a restart, and is readable by its user only', async () => {
    const path = join(dir, 'desired');
    const store = await DesiredStore.create(path, { ...newCluster, changes: [admitNode(1)] });
    for (let count = 1; count <= 210; count++)
      await store.write([count === 1 ? createApp(1) : scale(count % 90)], alice);
    await store.close();
    expect(await DesiredStore.exists(path)).toBe(true);
    const again = await DesiredStore.open(path);
    expect(again.view().apps.get(app(1))?.scale.web).toBe(210 % 90);
    expect(again.view().nodes.has(node(1))).toBe(true);
    await again.receive([new Uint8Array(3)]);
    await again.close();
    expect((await stat(path)).mode & 0o777).toBe(0o700);
    for (const name of ['desired.snapshot', 'desired.log', 'desired.quarantine']) {
      expect((await stat(join(path, name))).mode & 0o777).toBe(0o600);
    }
  });
});

it('writes of documents and stores are the same', async () => {
  const store = await create();
  const document = documentWith([]);
  await store.write([createApp(1)], alice);
  expect(plain(writeAll(document, [createApp(1)]).view())).toEqual(plain(store.view()));
});
