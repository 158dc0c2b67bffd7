// Writes down that this node has left a volume that was moved away, as its core found: another may use it from then on.

import type { NodeId, VolumeId } from '../../crdt/ids.ts';
import type { Log } from '../lib/log.ts';
import type { Replicator } from './replicator.ts';

/** Never fails: the core says it again while the desired state does not. */
export async function writeLeftVolume(
  volume: VolumeId,
  options: { replicator: Pick<Replicator, 'write'>; node: NodeId; nodeName: string; log: Log },
): Promise<void> {
  const { node, nodeName, log } = options;
  try {
    const author = { by: `node ${nodeName}`, atMs: Date.now() };
    await options.replicator.write([{ change: 'leaveVolume', volume, node }], author);
  } catch (error) {
    log.warn('volume.leave_not_written', { volume, error });
  }
}
