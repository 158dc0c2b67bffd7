// Writes down what becomes of a volume that was moved away from this node: that this node has left it, as its core
// found, so that another may use it from then on; or that it stays, as it could not be brought.

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

/** Fails when it was left, or recovered elsewhere, meanwhile. */
export async function writeKeptVolumes(
  volumes: readonly VolumeId[],
  options: { replicator: Pick<Replicator, 'write'>; node: NodeId; nodeName: string },
): Promise<void> {
  const { node, nodeName, replicator } = options;
  const changes = volumes.map((volume) => ({ change: 'keepVolume' as const, volume, node }));
  await replicator.write(changes, { by: `node ${nodeName}`, atMs: Date.now() });
}
