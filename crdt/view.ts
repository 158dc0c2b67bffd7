// DesiredView: the desired state as everyone but crdt/ reads it. Immutable, complete (defaults filled in) and the same
// on every node that holds the same heads. Conflicts between concurrent edits are decided here, deterministically, and
// shown.

import type { AppId, BindingId, ClusterId, Digest, LineageId, NodeId, ReleaseId, ServiceId, VolumeId } from './ids.ts';
import type { RecordProblem } from './record-problems.ts';
import type { HealthKind, OnLoss, Role, Teams } from './schema.ts';
import type { SettingValues } from './settings.ts';

export type DesiredView = {
  readonly cluster: {
    readonly id: ClusterId;
    readonly name: string;
    readonly domain: string;
    readonly teams: Teams;
  };
  /** Admitted nodes, removed ones left out. */
  readonly nodes: ReadonlyMap<NodeId, NodeView>;
  readonly removedNodes: ReadonlySet<NodeId>;
  /** Every key that secrets may be sealed with, oldest first: the last one seals. */
  readonly keys: ReadonlyMap<string, KeyView>;
  readonly users: ReadonlyMap<string, UserView>;
  readonly invites: ReadonlyMap<string, InviteView>;
  /** Every app, in the order of its id. */
  readonly apps: ReadonlyMap<AppId, AppView>;
  /** Every service instance, in the order of its id. */
  readonly services: ReadonlyMap<ServiceId, ServiceView>;
  /** Every volume, in the order of its id; also those that no slot mounts. */
  readonly volumes: ReadonlyMap<VolumeId, VolumeView>;
  /** Every binding of a service and an app that are there, in the order of its id. */
  readonly bindings: ReadonlyMap<BindingId, BindingView>;
  /**
   * What is to run: every app, and every service instance that runs on a node in the shape of an app, with one slot
   * (`service`, 0). In the order of ids.
   */
  readonly workloads: ReadonlyMap<AppId, AppView>;
  /** Keyed by `host/path` (`host` alone means the whole host); the winner of each claim. */
  readonly routes: ReadonlyMap<string, AppId>;
  /** Every host that is claimed or shared, and whose it is (hosts.ts). */
  readonly hosts: ReadonlyMap<string, HostView>;
  /** Claims and names that lost against a concurrent one; shown to users. */
  readonly conflicts: readonly Conflict[];
  /** What in the document breaks the rules, and so is not in this view; bounded. */
  readonly problems: readonly RecordProblem[];
};

export type HostView = {
  readonly owner: AppId;
  /** Apps that may have routes on it too; sorted. */
  readonly sharedWith: readonly AppId[];
};

export type NodeView = {
  readonly id: NodeId;
  readonly name: string;
  readonly draining: boolean;
  readonly labels: Readonly<Record<string, string>>;
  readonly admittedAtMs: number;
  /** Its public key, to which cluster keys are wrapped; undefined where only older versions have run. */
  readonly sealKey: string | undefined;
};
export type KeyView = {
  readonly id: string;
  readonly createdAtMs: number;
  readonly createdBy: string;
  /** The key for each node that may have it, by the node's id; of removed ones too. */
  readonly wraps: Readonly<Record<string, string>>;
};
export type UserView = {
  readonly name: string;
  readonly role: Role;
  readonly tokenHash: string;
  readonly createdAtMs: number;
  readonly node?: NodeId;
};
export type InviteView = {
  readonly id: string;
  readonly secretHash: string;
  readonly expiresAtMs: number;
  readonly usesMax: number;
  readonly usedBy: readonly NodeId[];
};

/**
 * What an app runs with. Each release ships all of it, and what only a failed one shipped is not in force
 * (in-force.ts).
 */
export type AppConfig = {
  /** Values are sealed, but for those that an older version wrote. */
  readonly env: Readonly<Record<string, string>>;
  readonly scale: Readonly<Record<string, number>>;
  readonly health: HealthView;
} & Readonly<SettingValues>;

export type AppView = AppConfig & {
  readonly id: AppId;
  readonly name: string;
  /** False when an older app of the same name exists: this one is shown, but cannot be addressed by name. */
  readonly ownsName: boolean;
  readonly createdAtMs: number;
  /** Name of a user, who need not be there any more; undefined when nobody knows: then it is the admins'. */
  readonly owner: string | undefined;
  /** Names of users beside the owner, sorted. */
  readonly members: readonly string[];
  readonly stopped: boolean;
  readonly restartCount: number;
  /**
   * What should run now: the current release, or the newest good one before it when it failed. Undefined: never
   * released.
   */
  readonly release: ReleaseView | undefined;
  /** All releases, oldest first. */
  readonly releases: readonly ReleaseView[];
  /** Routes this app has won, sorted. */
  readonly routes: readonly string[];
  /** Volumes that its slots mount, by (process, index, path). */
  readonly volumes: readonly VolumeView[];
};

export type VolumeView = {
  readonly id: VolumeId;
  /** The app's id, or the service's. */
  readonly owner: AppId;
  readonly process: string;
  readonly index: number;
  readonly path: string;
  readonly sizeBytes: number;
  /** It has a disk of its own there, which ends at its size. */
  readonly hardQuota?: true;
  /** Where its data is, and its slot can run. It may have been removed from the cluster. */
  readonly node: NodeId;
  readonly lineage: LineageId;
  /** It was moved from there, and that node has not yet said that nothing runs on it any more: nobody may use it. */
  readonly movedFrom?: NodeId;
  /** The snapshot that its lineage was made of; undefined when that began empty, or is older than this field. */
  readonly base?: { readonly id: string; readonly takenAtMs: number };
  /** It was restored by itself, as `onLoss` says, when that node was lost. */
  readonly restored?: { readonly lost: NodeId; readonly atMs: number };
  /** Of a service's data, the engine's version that it is in, where that is not the service's own word. */
  readonly version?: string;
  /** A service's data as it was before its upgrade: an orphan there, which can take its place again. */
  readonly before?: { readonly node: NodeId; readonly lineage: LineageId; readonly version: string };
  readonly snapshotEveryMs: number;
  readonly snapshotsKept: number;
  readonly onLoss: OnLoss;
  readonly createdAtMs: number;
  /**
   * False when an older one of the same slot and path exists, made apart on the other side of a partition, or its
   * owner is gone: it is shown, never mounted and never deleted by itself.
   */
  readonly mounted: boolean;
};

export type ServiceView = {
  readonly id: ServiceId;
  readonly name: string;
  /** False when an older service of the same name exists. */
  readonly ownsName: boolean;
  /** `user-provided`: runs nowhere, and `secret` holds its credentials. */
  readonly kind: string;
  readonly version: string;
  readonly plan: string;
  readonly memoryBytes: number;
  readonly storageBytes: number;
  readonly address: string;
  readonly stopped: boolean;
  readonly restartCount: number;
  readonly createdAtMs: number;
  readonly createdBy: string;
  /** Sealed. */
  readonly secret: string;
  readonly backupEveryMs: number;
  readonly backupsKept: number;
  /** Its log of changes is kept. */
  readonly wal?: boolean;
  /** Its data; undefined of a user-provided one. */
  readonly volume: VolumeView | undefined;
  /** Where others than bound apps reach it; undefined: nowhere. */
  readonly export?: ServiceExportView | undefined;
};

export type ServiceExportView = {
  readonly id: BindingId;
  readonly node: NodeId;
  /** Of that node: an IP address, which may stand for all. */
  readonly host: string;
  readonly port: number;
  /** Sealed. */
  readonly secret: string;
  readonly createdAtMs: number;
  readonly createdBy: string;
};

export type BindingView = {
  readonly id: BindingId;
  readonly service: ServiceId;
  readonly app: AppId;
  readonly prefix: string;
  /** Sealed. */
  readonly secret: string;
  readonly createdAtMs: number;
};

export type HealthView = { readonly kind: HealthKind; readonly path: string; readonly timeoutMs: number };

export type ImageView = { readonly id: string; readonly ref: string; readonly ownCommand: boolean };

export type ReleaseView = {
  readonly id: ReleaseId;
  readonly version: number;
  readonly createdAtMs: number;
  readonly createdBy: string;
  readonly description: string;
  readonly droplet: { readonly digest: Digest; readonly sizeBytes: number; readonly stack: string };
  /** Of an image: the droplet is its archive then, and needs a container engine. */
  readonly image?: ImageView;
  /** Of a service: there is no droplet, and the node must have the engine. */
  readonly service?: ServiceView;
  readonly buildpack: string;
  readonly processes: Readonly<Record<string, string>>;
  readonly env: Readonly<Record<string, string>>;
  /** What else the release ships; without what is not said in a release that an older version made. */
  readonly settings?: Partial<Omit<AppConfig, 'env'>>;
  readonly failed: { readonly reason: string; readonly atMs: number } | undefined;
};

export type Conflict =
  | { readonly kind: 'route'; readonly route: string; readonly winner: AppId; readonly loser: AppId }
  /** A claim on a host that is another app's; the route leads nowhere. */
  | {
      readonly kind: 'host';
      readonly host: string;
      readonly route: string;
      readonly winner: AppId;
      readonly loser: AppId;
    }
  | { readonly kind: 'serviceName'; readonly name: string; readonly winner: ServiceId; readonly loser: ServiceId }
  | { readonly kind: 'volume'; readonly winner: VolumeId; readonly loser: VolumeId }
  | { readonly kind: 'appName'; readonly name: string; readonly winner: AppId; readonly loser: AppId }
  | { readonly kind: 'nodeName'; readonly name: string; readonly winner: NodeId; readonly loser: NodeId };
