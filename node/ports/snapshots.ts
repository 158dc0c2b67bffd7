// Port of the life of volumes: their snapshots, and how their data comes to other nodes. Types only; each says what
// it guarantees and how it fails.

import type { Digest, LineageId, NodeId, VolumeId } from '../../crdt/ids.ts';

/**
 * A volume as it was at one moment: a blob, and this beside it on every node that holds it. Nothing of it is in the
 * desired state.
 */
export type VolumeSnapshot = {
  /** Digits of the time it was taken and of its digest: for people to name it by. */
  id: string;
  volume: VolumeId;
  lineage: LineageId;
  /** As they were when it was taken; the app may be gone since. */
  owner: string;
  process: string;
  index: number;
  path: string;
  /** What the volume might take. */
  volumeBytes: number;
  digest: Digest;
  /** Of the tar. */
  sizeBytes: number;
  /** By the clock of the node that took it. */
  takenAtMs: number;
  /** The node that the volume was on. */
  takenOn: NodeId;
  /** For how long the instance was held still; 0 when none had it mounted. */
  frozenMs: number;
};

/** A snapshot, and who holds it. */
export type HeldSnapshot = VolumeSnapshot & { holders: NodeId[] };

/** What a node is to make of a snapshot: a lineage of the volume, which is there whole or not at all. */
export type VolumeOrder = { volume: VolumeId; lineage: LineageId; snapshot: VolumeSnapshot };

/**
 * Why files of a volume are an orphan on their node.
 * - `deleted`: the volume was deleted, and this node had not heard of it while it was there.
 * - `replaced`: a restore or a recovery has begun another lineage.
 * - `moved`: the volume is on another node; goes by itself once it runs there.
 * - `unreadable`: what is known of them cannot be read.
 */
export type OrphanReason = 'deleted' | 'replaced' | 'moved' | 'unreadable';

/** Files of a volume that nothing in the desired state refers to. */
export type Orphan = {
  node: NodeId;
  volume: VolumeId;
  lineage: LineageId;
  why: OrphanReason;
  /** As they were when it was last mounted; all absent where they cannot be read. */
  owner?: string;
  process?: string;
  index?: number;
  path?: string;
  /** What it might take, and what it takes, once it was measured. */
  sizeBytes?: number;
  usedBytes?: number;
  /** By the clock of its node. `sinceMs`: when that node noticed that it is one. */
  createdAtMs?: number;
  sinceMs?: number;
};

/** `silent`: nodes that are alive and did not answer. */
export type FoundOrphans = { orphans: Orphan[]; silent: NodeId[] };

/** From any node. All fail with an error with a `code`, and one line for people. */
export interface VolumeLife {
  /** Of the volume, also of one that was deleted, or of all; newest first, from every node that answers. */
  list(volume: VolumeId | undefined): Promise<HeldSnapshot[]>;
  /** Takes one on the node that has the volume, and brings it to two more nodes. */
  take(volume: VolumeId, signal: AbortSignal): Promise<HeldSnapshot>;
  /** Makes a new lineage on that node, which nothing mounts until the desired state has it. */
  receive(node: NodeId, order: VolumeOrder, signal: AbortSignal): Promise<void>;
  /**
   * Brings what the slot's volumes hold now to that node while the slot runs, then writes that they are there: the
   * slot is stopped, what has changed since is brought, and it starts again there. Resolves when that is written. What
   * cannot be brought afterwards is called off: the record says that it stays, and the slot starts where it was.
   */
  move(volume: VolumeId, to: NodeId, by: string, signal: AbortSignal): Promise<void>;
  /**
   * Gives what the volume was before an upgrade, where that is, the lineage; nothing mounts it until the desired state
   * has it. Harmless to repeat.
   */
  putBack(volume: VolumeId, lineage: LineageId, signal: AbortSignal): Promise<void>;
  /** Removes what the volume was before an upgrade, for good, where that is. Harmless to repeat. */
  discard(volume: VolumeId, signal: AbortSignal): Promise<void>;
  /** Of every node that answers. */
  orphans(): Promise<FoundOrphans>;
  /** For good. Refused for what is none, or is mounted. */
  removeOrphan(orphan: Pick<Orphan, 'node' | 'volume' | 'lineage'>, by: string): Promise<void>;
}
