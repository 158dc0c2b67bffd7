// Looks at what comes as a backup before it is kept, or put into a service: an empty or foreign one is told by how it
// begins, one that a newer engine made by its record.

import { reads } from '../core/versions.ts';
import type { Backup } from '../ports/backups.ts';
import { BackupError } from './backup-error.ts';

/** Fails with BackupError `backup_unusable`, before anything is touched. */
export function expectReadable(
  backup: Pick<Backup, 'id' | 'kind' | 'version'>,
  { name, kind, version }: { name: string; kind: string; version: string },
): void {
  if (backup.kind !== kind) {
    throw new BackupError('backup_unusable', `backup ${backup.id} is of ${backup.kind}, and ${name} is ${kind}`);
  }
  if (reads(version, backup.version)) return;
  throw new BackupError(
    'backup_unusable',
    `backup ${backup.id} is of ${kind} ${backup.version}, which ${kind} ${version} does not read, and ${name} is as it was: peer service upgrade ${name} --version ${backup.version} first`,
  );
}

/** Passes on what begins as the kind's backups do. */
export async function* begins(
  chunks: AsyncIterable<Uint8Array>,
  magic: Uint8Array | undefined,
  kind: string,
): AsyncIterable<Uint8Array> {
  let head = Buffer.alloc(0);
  let passing = magic === undefined;
  const foreign = (): BackupError => new BackupError('backup_unusable', `this is no backup of ${kind}, or it is empty`);
  for await (const chunk of chunks) {
    if (passing) {
      yield chunk;
      continue;
    }
    head = Buffer.concat([head, chunk]);
    if (magic === undefined || head.length < magic.length) continue;
    if (!head.subarray(0, magic.length).equals(magic)) throw foreign();
    passing = true;
    yield head;
  }
  if (!passing) throw foreign();
}
