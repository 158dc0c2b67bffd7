// DesiredView: the desired state as everyone but crdt/ reads it. Immutable, complete (defaults filled in) and the same
// on every node that holds the same heads. Conflicts between concurrent edits are decided here, deterministically, and
// shown.

import type { AppId, ClusterId, Digest, NodeId, ReleaseId } from './ids.ts';
import type { RecordProblem } from './record-problems.ts';
import type { HealthKind, Role, Teams } from './schema.ts';
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
  readonly users: ReadonlyMap<string, UserView>;
  readonly invites: ReadonlyMap<string, InviteView>;
  /** Every app, in the order of its id. */
  readonly apps: ReadonlyMap<AppId, AppView>;
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
  | { readonly kind: 'appName'; readonly name: string; readonly winner: AppId; readonly loser: AppId }
  | { readonly kind: 'nodeName'; readonly name: string; readonly winner: NodeId; readonly loser: NodeId };
