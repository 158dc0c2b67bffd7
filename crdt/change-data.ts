// Named changes of data: volumes, services and bindings. Part of NamedChange, as data.

import type { AppId, BindingId, LineageId, NodeId, ServiceId, VolumeId } from './ids.ts';
import type { OnLoss } from './schema.ts';

export type NewVolume = {
  id: VolumeId;
  /** The app, or the service (by its id as an app's). */
  owner: AppId;
  process: string;
  index: number;
  path: string;
  sizeBytes: number;
  node: NodeId;
  lineage: LineageId;
  snapshotEveryMs: number;
  snapshotsKept: number;
  onLoss: OnLoss;
};

/** What a lineage was made of. */
export type SnapshotBase = {
  id: string;
  /** Unix ms, by the clock of the node that took it. */
  takenAtMs: number;
};

export type DataChange =
  /** Of apps. Rejected where the slot has a volume at that path. */
  | { change: 'createVolumes'; volumes: NewVolume[] }
  | {
      change: 'configureVolume';
      volume: VolumeId;
      sizeBytes?: number;
      snapshotEveryMs?: number;
      snapshotsKept?: number;
      onLoss?: OnLoss;
    }
  /**
   * Its data is on another node from now on. Without a lineage it is used there once the node before has said that
   * nothing runs on it any more (`leaveVolume`): so it is for that node to write it, which has the data. With one it
   * is a recovery: whoever holds another lineage keeps that as an orphan, and nobody is waited for.
   */
  | { change: 'moveVolume'; volume: VolumeId; node: NodeId; lineage?: LineageId; snapshot?: SnapshotBase }
  /**
   * By a node, on the word of the volume's `onLoss`: `lost` and `lostLineage` are what it saw when it decided.
   * Rejected when the volume is elsewhere or another by now, waits for a person, or is a service's. Begins a lineage
   * as a recovery does.
   */
  | {
      change: 'restoreVolume';
      volume: VolumeId;
      lost: NodeId;
      lostLineage: LineageId;
      node: NodeId;
      lineage: LineageId;
      snapshot: SnapshotBase;
    }
  /** By the node that it was moved from: nothing runs on it there any more, nor will. */
  | { change: 'leaveVolume'; volume: VolumeId; node: NodeId }
  /** The record alone; that of a service goes with its service. */
  | { change: 'deleteVolume'; volume: VolumeId }
  | {
      change: 'createService';
      service: ServiceId;
      name: string;
      kind: string;
      /** Empty of a user-provided one, as its plan and address; sizes are 0 then. */
      version: string;
      plan: string;
      memoryBytes: number;
      storageBytes: number;
      address: string;
      secret: string;
      backupEveryMs: number;
      backupsKept: number;
      wal?: boolean;
      /** Absent of a user-provided one. */
      volume?: NewVolume;
    }
  /** A storage given is the size of its volume, too. */
  | {
      change: 'configureService';
      service: ServiceId;
      plan?: string;
      memoryBytes?: number;
      storageBytes?: number;
      version?: string;
      secret?: string;
      backupEveryMs?: number;
      backupsKept?: number;
      wal?: boolean;
    }
  | { change: 'setServiceStopped'; service: ServiceId; stopped: boolean }
  | { change: 'restartService'; service: ServiceId }
  /** Rejected while it is bound. Its volume's record goes with it. */
  | { change: 'deleteService'; service: ServiceId }
  /**
   * Rejected where the app is bound to it, unless `replaces` names that binding. Raises the app's restartCount, so
   * that new instances get it.
   */
  | {
      change: 'bindService';
      binding: BindingId;
      service: ServiceId;
      app: AppId;
      prefix: string;
      secret: string;
      replaces?: BindingId;
    }
  /** Raises the app's restartCount, too. */
  | { change: 'unbindService'; binding: BindingId };
