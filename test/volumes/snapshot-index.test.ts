import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { asDigest, asLineageId, asNodeId, asVolumeId } from '../../crdt/ids.ts';
import type { VolumeSnapshot } from '../../node/ports/snapshots.ts';
import { SnapshotIndex } from '../../node/volumes/snapshot-index.ts';
import { silent } from '../runtime/harness.ts';

const snapshot = (number: number, options: Partial<VolumeSnapshot> = {}): VolumeSnapshot => ({
  id: `snapshot-${number}`,
  volume: asVolumeId('v1'),
  lineage: asLineageId('l1'),
  owner: 'shop',
  process: 'web',
  index: 0,
  path: '/data',
  volumeBytes: 1024,
  digest: asDigest(`sha256:${String(number).padStart(64, '0')}`),
  sizeBytes: 10_240,
  takenAtMs: number,
  takenOn: asNodeId('n1'),
  frozenMs: 0.5,
  ...options,
});

describe('the index of snapshots', () => {
  let folder: string;
  let path: string;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'peer-snapshots-'));
    path = join(folder, 'snapshots.json');
  });
  afterEach(() => rm(folder, { recursive: true }));

  const opened = async (): Promise<SnapshotIndex> => {
    const index = new SnapshotIndex(path, silent);
    await index.open();
    return index;
  };

  it('is there again after a restart, newest first, for its owner alone', async () => {
    const index = await opened();
    await Promise.all([
      index.keep(snapshot(1)),
      index.keep(snapshot(2, { volume: asVolumeId('v2') })),
      index.keep(snapshot(3)),
    ]);
    const again = await opened();
    expect(again.list().map(({ id }) => id)).toEqual(['snapshot-3', 'snapshot-2', 'snapshot-1']);
    expect(again.list(asVolumeId('v2'))).toEqual([snapshot(2, { volume: asVolumeId('v2') })]);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
  });

  it('names the blobs that it needs, until it forgets them', async () => {
    const index = await opened();
    await index.keep(snapshot(1));
    await index.keep(snapshot(2));
    await index.forget(['snapshot-1', 'never-known']);
    expect([...index.digests()]).toEqual([snapshot(2).digest]);
    expect((await opened()).list()).toEqual([snapshot(2)]);
  });

  it('survives a file that is damaged, and entries that break the rules', async () => {
    await writeFile(path, JSON.stringify({ version: 1, snapshots: [snapshot(1), { id: '../x' }] }));
    expect((await opened()).list()).toEqual([snapshot(1)]);
    await writeFile(path, '{"version":1,');
    const index = await opened();
    expect(index.list()).toEqual([]);
    await index.keep(snapshot(5));
    expect((await opened()).list()).toEqual([snapshot(5)]);
  });
});
