// The index of what a node holds copies of, for both kinds that there are.

import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type * as v from 'valibot';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { asDigest, asLineageId, asNodeId, asServiceId, asVolumeId } from '../../crdt/ids.ts';
import type { Backup } from '../../node/ports/backups.ts';
import type { CopyEntry } from '../../node/ports/copies.ts';
import { BACKUP_COPIES, SNAPSHOT_COPIES } from '../../node/ports/data-methods.ts';
import type { VolumeSnapshot } from '../../node/ports/snapshots.ts';
import { CopyIndex } from '../../node/storage/copy-index.ts';
import { silentLog } from '../router/cluster.ts';

const MAX = 20;

const common = (number: number) => ({
  id: `copy-${number}`,
  digest: asDigest(`sha256:${String(number).padStart(64, '0')}`),
  takenAtMs: number,
  takenOn: asNodeId('n1'),
});
const backup = (number: number): Backup => ({
  ...common(number),
  ...{ service: asServiceId('s1'), name: 'files', kind: 'folder', version: '1', sizeBytes: 1, proof: undefined },
});
const snapshot = (number: number): VolumeSnapshot => ({
  ...common(number),
  ...{ volume: asVolumeId('v1'), lineage: asLineageId('l1'), owner: 'shop', process: 'web', index: 0, path: '/data' },
  ...{ volumeBytes: 1024, sizeBytes: 10_240, frozenMs: 0.5 },
});

function describeIndex<Entry extends CopyEntry>(
  name: string,
  schema: v.GenericSchema<unknown, Entry>,
  entry: (number: number) => Entry,
): void {
  describe(`the index of ${name}`, () => {
    let folder: string;
    let path: string;

    beforeEach(async () => {
      folder = await mkdtemp(join(tmpdir(), 'peer-copies-'));
      path = join(folder, 'copies.json');
    });
    afterEach(() => rm(folder, { recursive: true }));

    const opened = async (): Promise<CopyIndex<Entry>> => {
      const index = new CopyIndex({ path, schema, max: MAX, log: silentLog });
      await index.open();
      return index;
    };

    it('is there again after a restart, newest first, for its owner alone', async () => {
      const index = await opened();
      await Promise.all([index.keep(entry(1)), index.keep(entry(3)), index.keep(entry(2))]);
      const again = await opened();
      expect(again.list()).toEqual([entry(3), entry(2), entry(1)]);
      expect((await stat(path)).mode & 0o777).toBe(0o600);
    });

    it('names the blobs that it needs, until it forgets them', async () => {
      const index = await opened();
      await index.keep(entry(1));
      await index.keep(entry(2));
      await index.forget(['copy-1', 'never-known']);
      expect([...index.digests()]).toEqual([entry(2).digest]);
      expect((await opened()).list()).toEqual([entry(2)]);
    });

    it('survives a file that is damaged, and entries that break the rules', async () => {
      const entries = [entry(1), { id: '../../x' }, null, 7];
      await writeFile(path, JSON.stringify({ version: 1, entries }));
      expect((await opened()).list()).toEqual([entry(1)]);
      await writeFile(path, '{"version":1,"entr');
      const index = await opened();
      expect(index.list()).toEqual([]);
      await index.keep(entry(5));
      expect(JSON.parse(await readFile(path, 'utf8')).entries).toHaveLength(1);
      expect((await opened()).list()).toEqual([entry(5)]);
    });

    it('is bounded', async () => {
      const entries = Array.from({ length: MAX }, (_, number) => entry(number));
      await writeFile(path, JSON.stringify({ version: 1, entries }));
      const index = await opened();
      await index.keep(entry(MAX));
      expect(index.list()).toHaveLength(MAX);
      expect(index.list().at(-1)?.id).toBe('copy-1');
    });
  });
}

describeIndex('backups', BACKUP_COPIES.entry, backup);
describeIndex('snapshots', SNAPSHOT_COPIES.entry, snapshot);
