// Writes down that a release has failed, as the core of this node found. Others may find the same: the change says it
// once.

import type { AppId, ReleaseId } from '../../crdt/ids.ts';
import type { Log } from '../lib/log.ts';
import type { Replicator } from './replicator.ts';

type Failure = { app: AppId; release: ReleaseId; reason: string };

/** Never fails: the core says it again while the desired state does not. */
export async function writeFailedRelease(
  { app, release, reason }: Failure,
  options: { replicator: Pick<Replicator, 'write'>; nodeName: string; log: Log },
): Promise<void> {
  try {
    const author = { by: `node ${options.nodeName}`, atMs: Date.now() };
    await options.replicator.write([{ change: 'failRelease', app, release, reason }], author);
  } catch (error) {
    options.log.warn('release.fail_not_written', { app, release, error });
  }
}
