import { describe, expect, it } from 'vitest';
import { asDigest, asNodeId, asServiceId } from '../../crdt/ids.ts';
import type { Backup } from '../../node/ports/backups.ts';
import { worthKeeping } from '../../node/services/worth-keeping.ts';

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
