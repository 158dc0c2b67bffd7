// Port of volumes: folders of this node that outlive the instances they are mounted in. Types only; each says what it
// guarantees and how it fails.

import type { InstanceId, LineageId, VolumeId } from '../../crdt/ids.ts';
import type { VolumeMount } from '../core/types.ts';
import type { SandboxResult, SandboxRun } from './sandbox.ts';

/** What an instance mounts, as whoever starts it asks for it. */
export type VolumeRequest = {
  instance: InstanceId;
  /** Name of the app or service, for people. */
  owner: string;
  /** Whose instance it is; absent of a task. */
  slot?: { process: string; index: number };
  /** All that it mounts; at least one. */
  mounts: readonly VolumeMount[];
  /** User that the files are to belong to, when that is not for the store to choose: an image's own. */
  uid?: number;
  /** A task: it mounts them beside the instance that has them, if one has, and beside other tasks. */
  shared?: true;
  /** Gives up waiting for the instance that holds one of them. */
  signal: AbortSignal;
};

/** `from`: its folder on this machine. `to`: where it is mounted. `hardQuota`: it is a mount there. */
export type MountedFolder = { from: string; to: string; sizeBytes: number; hardQuota?: true };

/** `uid`: owner of all the files, and the user that the instance runs as; undefined where all run as the daemon's. */
export type HeldVolumes = { uid: number | undefined; folders: readonly MountedFolder[] };

/** One lineage of a volume, as it is on this node. */
export type LocalVolume = {
  id: VolumeId;
  lineage: LineageId;
  /** Name of the app or service when it was last mounted, for people. */
  owner: string;
  slot?: { process: string; index: number };
  path: string;
  sizeBytes: number;
  createdAtMs: number;
  /** When this node noticed that nothing refers to it; undefined of what is in use. */
  orphanedAtMs?: number;
  /** As it was last measured; undefined before. */
  usedBytes: number | undefined;
  /** The instance that has it mounted, or a task where no instance has. */
  heldBy: InstanceId | undefined;
  /** Nothing in the desired state refers to it here: it is kept until a person removes it. */
  orphan: boolean;
};

/**
 * - `filling`: nearly as large as it may be. `full`: as large, or larger. Said once each time it comes to be so.
 * - `overfull`: larger by so much that the instance is to end.
 */
export type VolumeEvent = {
  type: 'filling' | 'full' | 'overfull';
  id: VolumeId;
  lineage: LineageId;
  /** Who has it mounted: each is told of. */
  instance: InstanceId;
  /** One line for people: its path, its use and its size. */
  message: string;
};

/**
 * The volumes of this node, for its runtimes. A lineage is mounted by one instance at a time, and by tasks beside it.
 * All fail with VolumeError.
 */
export interface Volumes {
  /**
   * Makes those that are not here yet, and holds all of them for the instance, or none. Waits while another instance
   * that is ending holds one, for a minute at most. Fails with `other_lineage`, `volume_busy`, `no_free_user`,
   * `disk_full`.
   */
  acquire(request: VolumeRequest): Promise<HeldVolumes>;
  /** Of an instance that an earlier daemon started: it has them mounted already. Answers where they are. */
  adopt(instance: InstanceId, mounts: readonly Pick<VolumeMount, 'id' | 'lineage' | 'path'>[]): HeldVolumes;
  /** Nothing of the instance runs any more. Harmless when it holds none. */
  release(instance: InstanceId): void;
  onEvent(listener: (event: VolumeEvent) => void): void;
}

/**
 * Runs one of the machine's tools on the files of a volume, confined, as the user that owns them (undefined: the
 * daemon's own). Sees the binds, and no network.
 */
export interface VolumeTools {
  run(
    run: Pick<
      SandboxRun,
      'name' | 'argv' | 'binds' | 'stdin' | 'onOutput' | 'outputBytesMax' | 'timeoutMs' | 'signal'
    > & {
      uid: number | undefined;
    },
  ): Promise<SandboxResult>;
}
