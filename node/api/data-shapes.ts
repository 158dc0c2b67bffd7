// What the API answers of services, bindings and volumes: the JSON shapes. Types only; scripts rely on the names.

import type { InstanceState } from '../core/types.ts';
import type { InstanceShape } from './shapes.ts';

/**
 * Of the instance, where there is one. `waiting`: its node is there, and starts none. `node …`: what became of the
 * node that has its data. `provided`: it runs elsewhere, and its credentials were given.
 */
export type ServiceState =
  | InstanceState
  | 'stopped'
  | 'waiting'
  | 'provided'
  | 'node dead'
  | 'node left'
  | 'node unknown'
  | 'node removed';

export type ServiceSummaryShape = {
  name: string;
  id: string;
  kind: string;
  plan: string;
  version: string;
  /** Name of the node that has its data; null of one that was provided. */
  node: string | null;
  state: ServiceState;
  /** Names of the apps. */
  bindings: string[];
  /** False when an older service has the name: this one is addressed by its id. */
  ownsName: boolean;
};

export type BindingShape = {
  id: string;
  app: string;
  /** In front of the names of its variables. */
  prefix: string;
  createdAtMs: number;
  /** Whether the engine has the access by now; null when its node did not say. */
  granted: boolean | null;
};

export type ServiceShape = Omit<ServiceSummaryShape, 'bindings'> & {
  bindings: BindingShape[];
  /** That bound apps reach it at, and its name there; null of one that was provided. */
  address: string | null;
  host: string | null;
  memoryBytes: number;
  storageBytes: number;
  /** What its data takes, and clients connected, as its node says; null when it does not. */
  usedBytes: number | null;
  connections: number | null;
  connectionsMax: number | null;
  backupEveryMs: number;
  backupsKept: number;
  /** Age of the newest backup that was restored for a test; null when there is none. */
  provenBackupAgeMs: number | null;
  createdAtMs: number;
  createdBy: string;
  instance: InstanceShape | null;
  /** Why it does not run, when it does not; one line. */
  reason: string | null;
};

export type KindPlanShape = { memoryBytes: number; storageBytes: number; connections: number };

export type KindShape = {
  kind: string;
  tags: string[];
  plans: Record<string, KindPlanShape>;
  /** Newest first; what no living node has is not there. */
  versions: { version: string; nodes: string[] }[];
  /** What makes a node able to run it: Debian's package. */
  debianPackage: string;
};

export type BackupShape = {
  id: string;
  /** Id of the service, which may be gone, and its name when the backup was taken. */
  service: string;
  name: string;
  kind: string;
  version: string;
  digest: string;
  sizeBytes: number;
  takenAtMs: number;
  ageMs: number;
  /** Name of the node that the data was on. */
  takenOn: string;
  /** Of a restore of it into an instance of its own, or why there was none; null of one that was not tried. */
  proof: { state: 'proven' | 'skipped' | 'failed'; ageMs: number; text: string } | null;
  /** Names of the nodes that hold it, of those that answer. */
  heldBy: string[];
};

/** A service that was asked for; it starts from here on. */
export type CreatedServiceShape = {
  name: string;
  id: string;
  kind: string;
  version: string;
  plan: string;
  node: string | null;
  heldBy: number;
};

export type VolumeShape = {
  id: string;
  /** Name of the app or service; its id when it is gone. */
  owner: string;
  ownerKind: 'app' | 'service' | 'gone';
  process: string;
  index: number;
  path: string;
  sizeBytes: number;
  /** Whether it has a disk of its own, which ends at its size. */
  hardQuota: boolean;
  /** Name of the node that has it, and what that is; null of one that was removed from the cluster. */
  node: string;
  nodeStatus: 'alive' | 'suspect' | 'dead' | 'left' | 'unknown' | 'removed';
  /** Whether its owner asks for the slot now. */
  wanted: boolean;
  /** False when nothing mounts it: its owner is gone, or another volume has its place. */
  mounted: boolean;
  /** 0: never. */
  snapshotEveryMs: number;
  snapshotsKept: number;
  createdAtMs: number;
};

/** With what its node says; null when it does not. */
export type VolumeDetailShape = VolumeShape & { hostPath: string | null; usedBytes: number | null };

/** A snapshot of a volume, and the names of the nodes that hold it. */
export type SnapshotShape = {
  id: string;
  /** The id of the volume, which may be gone; its app's name, slot and path when it was taken. */
  volume: string;
  owner: string;
  process: string;
  index: number;
  path: string;
  sizeBytes: number;
  takenAtMs: number;
  takenOn: string;
  /** For how long the instance was held still. */
  frozenMs: number;
  holders: string[];
};

/** Files of a volume on a node that nothing in the desired state refers to. Null: nobody knows. */
export type OrphanShape = {
  /** Name of the node that they are on. */
  node: string;
  volume: string;
  lineage: string;
  why: 'deleted' | 'replaced' | 'moved' | 'unreadable';
  owner: string | null;
  process: string | null;
  index: number | null;
  path: string | null;
  sizeBytes: number | null;
  usedBytes: number | null;
  createdAtMs: number | null;
  /** When its node noticed. */
  sinceMs: number | null;
};

/** `silent`: names of nodes that did not answer, or are not alive. */
export type OrphansShape = { orphans: OrphanShape[]; silent: string[] };

/** What came of a restore, a move or a recovery. */
export type LifeResultShape = {
  /** Where the volume is now. */
  node: string;
  /** Whether its slot runs there; false also when nobody asks for it to. */
  ready: boolean;
  /** What it was made of, and how old that is; null of a move, which loses nothing. */
  snapshot: string | null;
  ageMs: number | null;
};
