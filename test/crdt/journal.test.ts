// The files of the store: what survives a torn write, damage, a crash at any step, and other clusters' or newer files.

import { beforeEach, describe, expect, it } from 'vitest';
import { StoreError } from '../../crdt/errors.ts';
import { encodeFrame, fileHeader, readFrames } from '../../crdt/frames.ts';
import { asClusterId } from '../../crdt/ids.ts';
import { Journal } from '../../crdt/journal.ts';
import { clusterId } from './fixtures.ts';
import { Crash, errno, MemoryDisk } from './memory-disk.ts';

const bytes = (text: string): Uint8Array => Buffer.from(text);
const texts = (changes: Uint8Array[]): string[] => changes.map((change) => Buffer.from(change).toString());
const LOG = '/d/desired.log';
const SNAPSHOT = '/d/desired.snapshot';

let disk: MemoryDisk;
beforeEach(() => {
  disk = new MemoryDisk();
});

async function logOf(...groups: string[][]): Promise<Journal> {
  const journal = await Journal.create(disk, '/d', clusterId, bytes('snapshot'));
  for (const group of groups) await journal.append(group.map(bytes));
  return journal;
}

async function reopened(files: Map<string, Buffer>) {
  const { snapshot, changes, tornBytes, journal } = await Journal.open(new MemoryDisk(files), '/d');
  return { snapshot: snapshot.toString(), changes: texts(changes), tornBytes, journal };
}

const withFile = (path: string, content: Buffer): Map<string, Buffer> => disk.afterCrash(true).set(path, content);

async function codeOf(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => undefined,
    (one: unknown) => one,
  );
  if (!(error instanceof StoreError)) throw new Error(`expected a StoreError, got ${String(error)}`);
  expect(error.message).toMatch(/^[^\n]+\.$/);
  return error.code;
}

describe('a torn end', () => {
  it('at any byte loses the last write only, and the next write goes where it was', async () => {
    await logOf(['one'], ['two', 'three'], ['four']);
    const whole = disk.file(LOG)!;
    const last = encodeFrame([bytes('four')]).length;
    for (let cut = whole.length - last; cut < whole.length; cut++) {
      const survivors = new MemoryDisk(withFile(LOG, whole.subarray(0, cut)));
      const first = await Journal.open(survivors, '/d');
      expect(texts(first.changes)).toEqual(['one', 'two', 'three']);
      expect(first.tornBytes).toBe(cut - (whole.length - last));
      await first.journal.append([bytes('five')]);
      const second = await Journal.open(survivors, '/d');
      expect(texts(second.changes)).toEqual(['one', 'two', 'three', 'five']);
      expect(second.tornBytes).toBe(0);
    }
  });

  it('filled with zeros or rubbish by the file system is cut off too', async () => {
    await logOf(['one'], ['two']);
    const whole = disk.file(LOG)!;
    const last = encodeFrame([bytes('two')]).length;
    for (const fill of [0, 0xff, 0x50]) {
      const torn = Buffer.from(whole).fill(fill, whole.length - last);
      expect(await reopened(withFile(LOG, torn))).toMatchObject({ changes: ['one'], tornBytes: last });
    }
  });

  it('in the header, or no log at all, is a crash while the store was made', async () => {
    await logOf();
    const header = disk.file(LOG)!;
    for (let cut = 0; cut < header.length; cut++) {
      expect(await reopened(withFile(LOG, header.subarray(0, cut)))).toMatchObject({ changes: [] });
    }
    const without = disk.afterCrash(true);
    without.delete(LOG);
    expect(await reopened(without)).toMatchObject({ snapshot: 'snapshot', changes: [] });
  });
});

describe('damage', () => {
  it('to any byte of a record in the middle is an error, never a silent loss', async () => {
    await logOf(['one'], ['two'], ['three']);
    const whole = disk.file(LOG)!;
    const start = fileHeader('PEERLOG\n', clusterId).length;
    const end = whole.length - encodeFrame([bytes('three')]).length;
    for (let at = start; at < end; at++) {
      const damaged = Buffer.from(whole);
      damaged[at]! ^= 0x10;
      expect(await codeOf(reopened(withFile(LOG, damaged)))).toBe('corrupt');
    }
  });

  it('to the log is told with the file and the way out', async () => {
    await logOf(['one'], ['two']);
    const damaged = Buffer.from(disk.file(LOG)!);
    damaged[fileHeader('PEERLOG\n', clusterId).length + 20]! ^= 1;
    await expect(reopened(withFile(LOG, damaged))).rejects.toThrow(/\/d\/desired\.log is damaged.*peer start --join/);
  });

  it('to any byte of the snapshot is an error', async () => {
    await logOf();
    const whole = disk.file(SNAPSHOT)!;
    for (let at = 0; at < whole.length; at++) {
      const damaged = Buffer.from(whole);
      damaged[at]! ^= 0x01;
      expect(['corrupt', 'newer_version']).toContain(await codeOf(reopened(withFile(SNAPSHOT, damaged))));
      expect(await codeOf(reopened(withFile(SNAPSHOT, whole.subarray(0, at))))).toBe('corrupt');
    }
  });

  it('changes nothing on disk', async () => {
    await logOf(['one'], ['two']);
    const damaged = Buffer.from(disk.file(LOG)!);
    damaged[fileHeader('PEERLOG\n', clusterId).length + 20]! ^= 1;
    const survivors = new MemoryDisk(withFile(LOG, damaged));
    await codeOf(Journal.open(survivors, '/d'));
    expect(survivors.file(LOG)).toEqual(damaged);
  });
});

describe('files that are not ours', () => {
  it('of a newer version are refused', async () => {
    await logOf();
    const newer = Buffer.from(disk.file(SNAPSHOT)!);
    newer.writeUInt32BE(2, 8);
    expect(await codeOf(reopened(withFile(SNAPSHOT, newer)))).toBe('newer_version');
  });

  it('of another cluster are refused', async () => {
    await logOf();
    const foreign = fileHeader('PEERLOG\n', asClusterId('ff'.repeat(16)));
    expect(await codeOf(reopened(withFile(LOG, foreign)))).toBe('other_cluster');
  });

  it('that are missing say so, and existing ones are not overwritten', async () => {
    expect(await codeOf(Journal.open(disk, '/d'))).toBe('missing');
    await logOf(['one']);
    expect(await codeOf(Journal.create(disk, '/d', clusterId, bytes('other')))).toBe('exists');
    expect(await reopened(disk.afterCrash(true))).toMatchObject({ changes: ['one'] });
  });
});

describe('a failed write', () => {
  it('leaves nothing behind, and the next one works', async () => {
    const journal = await logOf(['one']);
    disk.fault = (operation) => (operation === 'append' ? errno('ENOSPC') : undefined);
    expect(await codeOf(journal.append([bytes('lost')]))).toBe('disk_full');
    expect(await reopened(disk.afterCrash(true))).toMatchObject({ changes: ['one'], tornBytes: 0 });
    disk.fault = () => undefined;
    await journal.append([bytes('two')]);
    expect(await reopened(disk.afterCrash(true))).toMatchObject({ changes: ['one', 'two'] });
  });

  it('that cannot be undone stops all further writes', async () => {
    const journal = await logOf(['one']);
    disk.fault = (operation) => (operation === 'append' || operation === 'truncate' ? errno('EIO') : undefined);
    expect(await codeOf(journal.append([bytes('lost')]))).toBe('disk_failed');
    disk.fault = () => undefined;
    expect(await codeOf(journal.append([bytes('two')]))).toBe('broken');
    expect(await codeOf(journal.fold(bytes('new')))).toBe('broken');
  });
});

describe('folding', () => {
  it('moves the log into the snapshot', async () => {
    const journal = await logOf(['one'], ['two']);
    await journal.fold(bytes('one two'));
    await journal.append([bytes('three')]);
    expect(await reopened(disk.afterCrash(false))).toMatchObject({ snapshot: 'one two', changes: ['three'] });
  });

  it('is due after 200 writes or 256 KiB, and later after it failed', async () => {
    const journal = await logOf();
    for (let count = 0; count <= 200; count++) {
      expect(journal.shouldFold).toBe(false);
      await journal.append([bytes('x')]);
    }
    expect(journal.shouldFold).toBe(true);
    disk.fault = (operation) => (operation === 'write' ? errno('ENOSPC') : undefined);
    expect(await codeOf(journal.fold(bytes('s')))).toBe('disk_full');
    expect(journal.shouldFold).toBe(false);
    disk.fault = () => undefined;
    await journal.append([Buffer.alloc(256 * 1024)]);
    expect(journal.shouldFold).toBe(true);
  });

  it('loses nothing to a crash at any of its steps', async () => {
    for (const tornShare of [0, 0.5, 1]) {
      for (const keepRenames of [true, false]) {
        for (let step = 1; step <= 6; step++) {
          disk = new MemoryDisk();
          disk.tornShare = tornShare;
          const journal = await logOf(['one'], ['two']);
          disk.crashAt = disk.operations.length + step;
          const crashed = await journal.fold(bytes('one two')).then(
            () => false,
            () => true,
          );
          const found = await reopened(disk.afterCrash(keepRenames));
          const isFolded = found.snapshot === 'one two';
          expect(isFolded || found.changes.join() === 'one,two').toBe(true);
          expect(crashed || isFolded).toBe(true);
          await found.journal.append([bytes('three')]);
        }
      }
    }
  });
});

it('creating leaves all or nothing after a crash at any step', async () => {
  for (let step = 1; ; step++) {
    disk = new MemoryDisk();
    disk.crashAt = step;
    const done = await logOf().then(
      () => true,
      (error: unknown) => {
        expect(error).toSatisfy((one) => one instanceof StoreError && one.cause instanceof Crash);
        return false;
      },
    );
    for (const keepRenames of [true, false]) {
      const survivors = new MemoryDisk(disk.afterCrash(keepRenames));
      if (await Journal.exists(survivors, '/d')) expect((await Journal.open(survivors, '/d')).changes).toEqual([]);
      else {
        expect(done).toBe(false);
        await Journal.create(survivors, '/d', clusterId, bytes('again'));
      }
    }
    if (done) break;
  }
});

it('an append is lost or whole after a crash in the middle of it', async () => {
  for (const tornShare of [0, 0.3, 0.99, 1]) {
    disk = new MemoryDisk();
    disk.tornShare = tornShare;
    const journal = await logOf(['one']);
    disk.crashAt = disk.operations.length + 1;
    await codeOf(journal.append([bytes('two'), bytes('three')]));
    const { changes } = await reopened(disk.afterCrash(true));
    expect([['one'], ['one', 'two', 'three']]).toContainEqual(changes);
  }
});

it('frames hold changes of any length', () => {
  const changes = [Buffer.alloc(0), Buffer.alloc(1), Buffer.alloc(100_000, 7)];
  const read = readFrames(Buffer.concat([encodeFrame(changes), encodeFrame([])]), 0);
  expect(read.frames).toBe(2);
  expect(read.changes.map((change) => Buffer.from(change))).toEqual(changes);
});
