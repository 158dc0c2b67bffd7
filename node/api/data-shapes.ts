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
  /** Its log of changes is kept: it can be restored to a moment. */
  wal: boolean;
  /**
   * To which moments: from the earliest, Unix ms, to the latest, of `rows` with something missing between them; null
   * where none can be made yet. And how old the last piece of the log is that was fetched. Null without a log.
   */
  log: { fromMs: number | null; toMs: number | null; rows: number; pieceAgeMs: number | null } | null;
  /** Age of the newest backup that was restored for a test; null when there is none. */
  provenBackupAgeMs: number | null;
  /** What its data was before an upgrade that waits to be confirmed or reverted, and where that is. */
  before: { version: string; node: string } | null;
  createdAtMs: number;
  createdBy: string;
  instance: InstanceShape | null;
  /** Why it does not run, when it does not; one line. */
  reason: string | null;
  /** Null: bound apps alone reach it. */
  export: ServiceExportShape | null;
};

/** Where others than bound apps reach it. What its nodes did not say is null. */
export type ServiceExportShape = {
  host: string;
  port: number;
  node: string;
  createdAtMs: number;
  createdBy: string;
  /** Whether the node listens there, and why not. */
  isOpen: boolean | null;
  problem: string | null;
  /** Whether the engine has its access by now. */
  granted: boolean | null;
  /** What clients are to trust, as PEM; and of its key SHA-256, in hex. Null where this node cannot tell. */
  certificate: string | null;
  fingerprint: string | null;
};

/** What was opened just now: nothing else ever answers with the password. */
export type ExportedShape = {
  service: string;
  kind: string;
  node: string;
  host: string;
  port: number;
  user: string;
  password: string;
  database: string;
  certificate: string;
  fingerprint: string;
  heldBy: number;
  warning: string | null;
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

/** Moments that a service can be restored to: any from the one to the other, oldest first. */
export type MomentsShape = { name: string; windows: { fromMs: number; toMs: number }[] };

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
  /** What becomes of it when its node is lost: `wait` for a person, or `restore` its newest snapshot elsewhere. */
  onLoss: 'wait' | 'restore';
  /** Null of one that was never restored by itself. */
  restored: RestoredShape | null;
  createdAtMs: number;
};

/** A restore by itself: which node was lost, when that was, and how old the snapshot was then. */
export type RestoredShape = { lost: string; atMs: number; snapshot: string | null; snapshotAgeMs: number | null };

/** What `why` says of the data of a slot. */
export type WhyDataShape = {
  volumes: (Pick<VolumeShape, 'id' | 'path' | 'node' | 'nodeStatus' | 'onLoss' | 'restored'> & {
    /** What it would be restored from, as far as the nodes that answer know; null where nobody was asked, too. */
    newest: { id: string; ageMs: number; holders: string[] } | null;
  })[];
  /** Whether nodes were asked for snapshots: they are while the node that has the data is not there. */
  asked: boolean;
  /** How many living nodes say that the node is lost, and how many have to; null where all of it waits. */
  loss: { said: number; needed: number } | null;
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

/** What came of a service's move, recovery or upgrade. */
export type ServiceLifeShape = {
  name: string;
  /** Where its data is now, and of which version. */
  node: string;
  version: string;
  /** Whether it runs there; false also when it was stopped. */
  ready: boolean;
  /** The id of what it was made of, and how old that is; null of a move, which loses nothing. */
  backup: string | null;
  ageMs: number | null;
  /** After an upgrade: what was before, until it is confirmed or reverted. */
  before: { version: string; node: string } | null;
};

/** What of it would be out of reach without a node, with the age of what there is of it elsewhere; null: nothing. */
export type StrandedShape = {
  services: {
    name: string;
    kind: string;
    version: string;
    state: ServiceState;
    provenBackupAgeMs: number | null;
  }[];
  volumes: {
    id: string;
    /** Name of the app; its id when it is gone. */
    owner: string;
    process: string;
    index: number;
    path: string;
    /** False when nothing mounts it: it can be deleted, and not moved. */
    mounted: boolean;
    snapshotAgeMs: number | null;
  }[];
  /** Services that are open to others at an address of the node, wherever they run: it closes when the node goes. */
  exports: { service: string; host: string; port: number }[];
};

/** What was moved from a node that is drained, and where to. */
export type MovedDataShape = { moved: { what: string; node: string; ready: boolean }[] };
