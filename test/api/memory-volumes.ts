// The life of volumes as MemoryNode has it: snapshots are in a list, what a node is to receive in another. It writes
// what the real one writes.

import type { LineageId, NodeId, VolumeId } from '../../crdt/ids.ts';
import { asDigest } from '../../crdt/ids.ts';
import type { NodeService } from '../../node/ports/node-service.ts';
import type { FoundOrphans, HeldSnapshot, Orphan, VolumeLife, VolumeOrder } from '../../node/ports/snapshots.ts';
import { VolumeError } from '../../node/volumes/errors.ts';

export class MemoryVolumes implements VolumeLife {
  readonly snapshots: HeldSnapshot[] = [];
  readonly found: FoundOrphans = { orphans: [], silent: [] };
  readonly received: (VolumeOrder & { node: NodeId })[] = [];
  /** Set to make the next restores fail with it. */
  failReceive: Error | undefined;
  /** Moves end where they began. */
  callsOff = false;
  readonly #node: Pick<NodeService, 'view' | 'write' | 'self'>;

  constructor(node: Pick<NodeService, 'view' | 'write' | 'self'>) {
    this.#node = node;
  }

  async list(volume: VolumeId | undefined): Promise<HeldSnapshot[]> {
    return this.snapshots.filter((one) => volume === undefined || one.volume === volume);
  }

  async take(id: VolumeId): Promise<HeldSnapshot> {
    const view = this.#node.view();
    const { node, lineage, owner, process, index, path, sizeBytes } = view.volumes.get(id)!;
    const number = this.snapshots.length + 1;
    const snapshot: HeldSnapshot = {
      ...{ id: `snapshot-${number}`, volume: id, lineage, process, index, path, volumeBytes: sizeBytes },
      owner: view.workloads.get(owner)?.name ?? owner,
      digest: asDigest(`sha256:${String(number).padStart(64, '0')}`),
      sizeBytes: 10_240,
      // Two within a millisecond are one after the other.
      takenAtMs: Math.max(Date.now(), (this.snapshots[0]?.takenAtMs ?? 0) + 1),
      takenOn: node,
      frozenMs: 4,
      holders: [node],
    };
    this.snapshots.unshift(snapshot);
    return snapshot;
  }

  async receive(node: NodeId, order: VolumeOrder): Promise<void> {
    if (this.failReceive !== undefined) throw this.failReceive;
    this.received.push({ ...order, node });
  }

  /** By the lineages that they are, or were. */
  readonly putBacks: LineageId[] = [];
  readonly discarded: VolumeId[] = [];

  async putBack(_: VolumeId, lineage: LineageId): Promise<void> {
    this.putBacks.push(lineage);
  }

  async discard(id: VolumeId): Promise<void> {
    this.discarded.push(id);
  }

  async orphans(): Promise<FoundOrphans> {
    return this.found;
  }

  async removeOrphan({ node, volume, lineage }: Pick<Orphan, 'node' | 'volume' | 'lineage'>): Promise<void> {
    const { orphans } = this.found;
    const at = orphans.findIndex((one) => one.node === node && one.volume === volume && one.lineage === lineage);
    if (at < 0) throw new VolumeError('volume_missing', 'there is no such orphan');
    orphans.splice(at, 1);
  }

  async move(id: VolumeId, to: NodeId, by: string): Promise<void> {
    const { node } = this.#node.view().volumes.get(id)!;
    await this.#node.write([{ change: 'moveVolume', volume: id, node: to }], by);
    if (!this.callsOff) await this.#node.write([{ change: 'leaveVolume', volume: id, node }], 'node');
    else setImmediate(() => void this.#node.write([{ change: 'keepVolume', volume: id, node }], 'node'));
  }
}
