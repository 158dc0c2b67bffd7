// The shape of the desired-state document, as it is stored. Only crdt/ writes it; everyone else reads a view
// (view.ts).
//
// Readers tolerate missing and unknown fields, because nodes of different versions share one document. Keys are chosen
// so that concurrent edits on two sides of a partition merge instead of overwriting each other: things people name
// (apps) are keyed by random id, and claims (routes, invite uses) are sets.
//
// Two maps created apart under one key do NOT merge: Automerge keeps one and hides the other. So a map is only ever
// created together with its parent, or under a key that is random or of one writer; and every map of the root exists
// from the first change on, or is made by a schema step (schema-steps.ts), which is one change on every node. Text is
// stored as Automerge's ImmutableString: one value, not one element per character.

import type { SettingKey, SettingValues } from './settings.ts';

/** Raised only when a reader of the older version could no longer understand the document at all. */
export const SCHEMA_VERSION = 1;

export type Role = 'admin' | 'developer' | 'viewer';
export type HealthKind = 'port' | 'http' | 'process';
export type Strategy = 'rolling' | 'recreate';
export type PartitionMode = 'serve' | 'fence';
/** Who works on an app: in `flat` every developer; in `owned` its owner and members. Admins always. */
export type Teams = 'flat' | 'owned';

/** The whole document. Times are Unix ms of the writer's clock: for people to read, never for decisions. */
export type DesiredDoc = {
  schemaVersion: number;
  cluster: { id: string; name: string; domain: string; createdAtMs: number; teams?: Teams };
  /** Keyed by node id. */
  nodes: Record<string, NodeDoc>;
  /**
   * Tombstones, node id to time of removal. Apart from `nodes`, where an admission made at the same time on another
   * side would hide a mark: a removed node can never come back by a merge.
   */
  removedNodes: Record<string, number>;
  /** Keyed by user name; the operator of a node by the node's id, as two nodes may be given one name apart. */
  users: Record<string, UserDoc>;
  /** Keyed by invite id. */
  invites: Record<string, InviteDoc>;
  /** Keyed by app id. */
  apps: Record<string, AppDoc>;
  /**
   * Claims, keyed by `host/path`, a space, and the claiming app's id: two claims made apart both survive, the view
   * picks one. And hosts that their app shares, keyed by `share`, the host, the app that has it and the one it is
   * shared with, with spaces between: no route, so a version that knows no shares passes over them.
   */
  routes: Record<string, RouteClaimDoc>;
  /** Keyed by volume id. This map and those after it came later, by a schema step. */
  volumes: Record<string, VolumeDoc>;
  /** Keyed by service id. */
  services: Record<string, ServiceDoc>;
  /** Keyed by binding id. */
  bindings: Record<string, BindingDoc>;
  /** Keyed by key id. */
  keys: Record<string, KeyDoc>;
};

/** A key that secrets are sealed with, wrapped to the key of each node that may open them. */
export type KeyDoc = {
  createdAtMs: number;
  createdBy: string;
  /** Keyed by node id. */
  wraps: Record<string, string>;
};

/** What becomes of a slot whose node is lost for good: it waits for a person, or is restored from a snapshot. */
export type OnLoss = 'wait' | 'restore';

/**
 * A folder of one slot that outlives its instances, on one node. The node that takes the wish for it chooses where: no
 * placement ever writes.
 */
export type VolumeDoc = {
  /** Id of the app or of the service. */
  owner: string;
  process: string;
  index: number;
  /** Where its instance sees it. */
  path: string;
  sizeBytes: number;
  /** It can never be larger than that: it has a disk of its own. Said when it is made; absent: no. */
  hardQuota?: boolean;
  /** One value, replaced as a whole: of two moves made apart one wins with all that it said. */
  home: VolumeHomeDoc;
  /** `movedAtMs` of the move after which the node before has stopped what ran on it. */
  left?: number;
  /** How often it is copied to other nodes; 0: never. */
  snapshotEveryMs: number;
  snapshotsKept: number;
  onLoss: OnLoss;
  createdAtMs: number;
};

/** Where its data is. A node that holds another lineage of it keeps that as an orphan, and never mounts it. */
export type VolumeHomeDoc = {
  node: string;
  lineage: string;
  /** Moved with its history: the node that has to stop what runs on it, and to say so, before it is used. */
  from?: string;
  movedAtMs?: number;
  /** The snapshot that the lineage was made of, and when that was taken; stays when the data is moved. */
  snapshot?: string;
  snapshotAtMs?: number;
  /** Restored by itself, as `onLoss` says: the node that was lost, and when this was written. */
  lost?: string;
  restoredAtMs?: number;
  /**
   * Of a service's data, the version of the engine that it is in, once it has been upgraded: it goes with the data,
   * and not with the service, so that of two things done apart no engine gets the data of another.
   */
  version?: string;
  /** What it was before the upgrade, kept until a person says that it may go. */
  before?: { node: string; lineage: string; version: string };
};

/**
 * A service instance. Where it runs is where its volume is; a user-provided one has none, and `credentials` instead.
 */
export type ServiceDoc = {
  name: string;
  kind: string;
  version: string;
  plan: string;
  memoryBytes: number;
  storageBytes: number;
  /** The address that bound apps reach it at, out of 198.18.0.0/15; it never changes. */
  address: string;
  stopped: boolean;
  /** An Automerge counter, as of an app. */
  restartCount: number;
  createdAtMs: number;
  createdBy: string;
  /** Sealed: the password of the engine's own administrator; of a user-provided one its credentials, as JSON. */
  secret: string;
  backupEveryMs: number;
  backupsKept: number;
  /** Its log of changes is kept beside its backups, so that data of any moment can be made. Absent: it is not. */
  wal?: boolean;
  /** One value, replaced as a whole; absent: it is closed to the world. */
  export?: ServiceExportDoc;
};

/** Opened on purpose to whoever reaches an address of a node, with credentials of its own. */
export type ServiceExportDoc = {
  /** By which the engine knows it, as a binding's. */
  id: string;
  node: string;
  host: string;
  port: number;
  /** Sealed: its password. */
  secret: string;
  createdAtMs: number;
  createdBy: string;
};

/** Credentials of a service's own, given to one app. Made anew to rotate them. */
export type BindingDoc = {
  service: string;
  app: string;
  /** In front of the names of its variables, for two of a kind: `--as`. Empty: the plain names. */
  prefix: string;
  /** Sealed: its password. */
  secret: string;
  createdAtMs: number;
  createdBy: string;
};

export type NodeDoc = {
  name: string;
  admittedAtMs: number;
  admittedBy: string;
  draining?: boolean;
  /** Set with `peer nodes label`; merged over the labels given to `peer start`. */
  labels?: Record<string, string>;
  /** Its public key, to which cluster keys are wrapped. Absent of one that only older versions have run on. */
  sealKey?: string;
};

export type UserDoc = {
  role: Role;
  tokenHash: string;
  createdAtMs: number;
  /** Set for the operator of one node. */
  node?: string;
};

export type InviteDoc = {
  secretHash: string;
  createdAtMs: number;
  expiresAtMs: number;
  usesMax: number;
  /** Keyed by the node id that used it: uses made apart add up. */
  uses: Record<string, number>;
};

export type RouteClaimDoc = { createdAtMs: number; right?: ClaimRight };

/**
 * Why a claim was allowed. `host`: the host was free, the app's own, or shared with it; it counts for as long as that
 * is so. `admin`: an admin made it, and it stands. Absent: it is older than the rule that hosts belong to apps, and
 * stands too.
 */
export type ClaimRight = 'host' | 'admin';

/**
 * Its own fields hold what was asked for last; a reader takes the value of the release that runs where only failed
 * releases shipped what stands here (in-force.ts), and the next change writes that back.
 */
export type AppDoc = {
  name: string;
  createdAtMs: number;
  /** Name of a user. Absent in older documents: then the author of its first release, while that is kept. */
  owner?: string;
  /**
   * Users who may do what the owner may, with the time they were added. Beside the other fields and not in a map of
   * their own, which in an app that is older would be made later, twice perhaps.
   */
  [member: `member ${string}`]: number;
  stopped: boolean;
  /** Number of slots per process type; a type that is absent runs `web: 1`, others 0. */
  scale: Record<string, number>;
  /** Values are sealed (sealed.ts); in clear where an older version wrote them. */
  env: Record<string, string>;
  health: HealthDoc;
  /**
   * An Automerge counter. Raised by `peer restart`: every instance started for a smaller value is replaced, one after
   * the other.
   */
  restartCount: number;
  /** The release that should run. A failed one is skipped by the view, which falls back to the last good one. */
  currentRelease?: string;
  /** Keyed by release id. */
  releases: Record<string, ReleaseDoc>;
} & SettingValues;

export type HealthDoc = { kind: HealthKind; path?: string; timeoutMs: number };

export type ImageDoc = {
  /** As an engine names it: `sha256:…` of its configuration. */
  id: string;
  /** The name that the push gave it. */
  ref: string;
  /** Its own entry point runs; the process's command only says which that is. */
  ownCommand: boolean;
};

export type ReleaseSettingsDoc = Pick<AppDoc, 'scale' | 'health' | SettingKey>;

export type ReleaseDoc = {
  /** v1, v2…; two releases made apart may share a number, then the id orders them. */
  version: number;
  createdAtMs: number;
  createdBy: string;
  /** Why it exists: `push`, `rollback to v3`, `env`. */
  description: string;
  droplet: { digest: string; sizeBytes: number; stack: string };
  /** Of an image: the droplet is its archive then. */
  image?: ImageDoc;
  buildpack: string;
  /** Start command per process type. */
  processes: Record<string, string>;
  /** The app's environment as it was when the release was made. */
  env: Record<string, string>;
  /**
   * The app's other settings as the release ships them; absent where an older version made it. What is set without a
   * release (a scale, a strategy) is set in every release that has not failed, too: it goes with none of them.
   */
  settings?: ReleaseSettingsDoc;
  failed?: { reason: string; atMs: number };
};
