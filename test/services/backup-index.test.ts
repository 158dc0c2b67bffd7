import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { asDigest, asNodeId, asServiceId } from '../../crdt/ids.ts';
import type { Backup } from '../../node/ports/backups.ts';
import { BACKUPS_MAX, BackupIndex, worthKeeping } from '../../node/services/backup-index.ts';
import { silentLog } from '../router/cluster.ts';

const backup = (number: number, options: Partial<Backup> = {}): Backup => ({
  id: `backup-${number}`,
  service: asServiceId('s1'),
  name: 'files',
  kind: 'folder',
  version: '1',
  digest: asDigest(`sha256:${String(number).padStart(64, '0')}`),
  sizeBytes: 1,
  takenAtMs: number,
  takenOn: asNodeId('n1'),
  proof: undefined,
  ...options,
});
const proven = { state: 'proven', atMs: 9, text: '3 files' } as const;
const failed = { state: 'failed', atMs: 9, text: 'cut short' } as const;

describe('the index of backups', () => {
  let folder: string;
  let path: string;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'peer-backups-'));
    path = join(folder, 'backups.json');
  });
  afterEach(() => rm(folder, { recursive: true }));

  const opened = async (): Promise<BackupIndex> => {
    const index = new BackupIndex(path, silentLog);
    await index.open();
    return index;
  };

  it('is there again after a restart, newest first, for its owner alone', async () => {
    const index = await opened();
    await index.keep(backup(1));
    await index.keep(backup(2, { service: asServiceId('s2') }));
    await index.keep(backup(3));
    const again = await opened();
    expect(again.list().map(({ id }) => id)).toEqual(['backup-3', 'backup-2', 'backup-1']);
    expect(again.list(asServiceId('s2'))).toEqual([backup(2, { service: asServiceId('s2') })]);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
  });

  it('forgets no proof when a node without one tells of the backup again', async () => {
    const index = await opened();
    await index.keep(backup(1, { proof: proven }));
    await index.keep(backup(1));
    expect(index.list()[0]?.proof).toEqual(proven);
  });

  it('survives a file that is damaged, and entries that break the rules', async () => {
    await writeFile(path, '{"version":1,"backups":[{"id":"../../x"},null,7]}');
    expect((await opened()).list()).toEqual([]);
    await writeFile(path, '{"version":1,"back');
    const index = await opened();
    await index.keep(backup(1));
    expect(JSON.parse(await readFile(path, 'utf8')).backups).toHaveLength(1);
  });

  it('is bounded', async () => {
    const entries = Array.from({ length: BACKUPS_MAX }, (_, number) => backup(number));
    await writeFile(path, JSON.stringify({ version: 1, backups: entries }));
    const index = await opened();
    await index.keep(backup(BACKUPS_MAX));
    expect(index.list()).toHaveLength(BACKUPS_MAX);
    expect(index.list().at(-1)?.id).toBe('backup-1');
  });
});

describe('which backups are worth keeping', () => {
  const ids = (backups: Backup[], kept: number) => worthKeeping(backups, kept).map(({ id }) => id);

  it('are the newest', () => {
    expect(ids([backup(3), backup(2), backup(1)], 2)).toEqual(['backup-3', 'backup-2']);
  });

  it('and always the newest that was proven', () => {
    const backups = [backup(4), backup(3), backup(2, { proof: proven }), backup(1, { proof: proven })];
    expect(ids(backups, 2)).toEqual(['backup-4', 'backup-3', 'backup-2']);
  });

  it('never one that could not be restored', () => {
    expect(ids([backup(2, { proof: failed }), backup(1)], 2)).toEqual(['backup-1']);
  });
});
