// Looks at what comes as a backup before it is kept: an empty or foreign one is told by how it begins.

import { BackupError } from './backup-error.ts';

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
