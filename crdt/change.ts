// Named changes: everything a person (or a node on a person's behalf) can do to the desired state, as data.
// How each is validated is in validate.ts, how each is applied in changes.ts.

import type { DataChange } from './change-data.ts';
import type { AppId, Digest, NodeId, ReleaseId } from './ids.ts';
import type { HealthDoc, ImageDoc, Role, Teams } from './schema.ts';
import type { SettingValues } from './settings.ts';

export type NewRelease = {
  id: ReleaseId;
  description: string;
  droplet: { digest: Digest; sizeBytes: number; stack: string };
  image?: ImageDoc;
  buildpack: string;
  processes: Record<string, string>;
};

export type AppSettings = { health?: HealthDoc } & Partial<SettingValues>;

export type NamedChange =
  | DataChange
  /**
   * Admits a node, counts the use of its invite, and adds the node's operator as an admin, all in one change.
   * `sealKey`: the node's public key, which cluster keys are wrapped to.
   */
  | {
      change: 'admitNode';
      node: NodeId;
      name: string;
      invite?: string;
      operatorTokenHash?: string;
      sealKey?: string;
    }
  /** A key that seals from now on, newer than all others, wrapped to each of the nodes. */
  | { change: 'addKey'; key: string; wraps: Record<NodeId, string> }
  /** Gives a node the keys that it lacks, by key id. */
  | { change: 'wrapKeys'; node: NodeId; wraps: Record<string, string> }
  /** Of keys that nothing is sealed with any more. */
  | { change: 'dropKeys'; keys: string[] }
  /**
   * Each text that stands at its place as `from` becomes `to`, in the app and in its releases. What else stands there
   * stays.
   */
  | { change: 'reseal'; texts: { context: string; from: string; to: string }[] }
  /** Also removes the node's operator. */
  | { change: 'removeNode'; node: NodeId }
  | { change: 'setDraining'; node: NodeId; draining: boolean }
  /** An empty value removes the label. */
  | { change: 'labelNode'; node: NodeId; labels: Record<string, string> }
  | { change: 'addUser'; name: string; role: Role; tokenHash: string }
  /** Also takes the user from every app's members. */
  | { change: 'removeUser'; name: string }
  | { change: 'setTeams'; teams: Teams }
  | { change: 'createInvite'; id: string; secretHash: string; expiresAtMs: number; usesMax: number }
  | {
      change: 'createApp';
      app: AppId;
      name: string;
      settings: AppSettings;
      scale: Record<string, number>;
      env: Record<string, string>;
      routes: string[];
      stopped: boolean;
    }
  /**
   * Where the app has a release, and what its instances have is changed (memory, disk, health), a release is made of
   * it under the id given, so that it is called off when they do not become ready; a scale given too goes with it.
   * Else it holds at once, whatever becomes of any release.
   */
  | {
      change: 'configureApp';
      app: AppId;
      settings: AppSettings;
      scale?: Record<string, number>;
      release?: ReleaseId;
    }
  /**
   * Becomes the current release, numbered one above the highest; carries what the app has, with what is given here
   * changed: when the release fails, that is refused with it. Old releases beyond RELEASES_KEPT_MAX go.
   */
  | {
      change: 'addRelease';
      app: AppId;
      release: NewRelease;
      settings?: AppSettings;
      env?: Record<string, string>;
      scale?: Record<string, number>;
    }
  | { change: 'failRelease'; app: AppId; release: ReleaseId; reason: string }
  /** A new release with the droplet, processes, env and settings of an earlier one; the scale stays. */
  | { change: 'rollback'; app: AppId; to: ReleaseId; release: ReleaseId }
  /** Changes the app's env. When the app has a release, a new one with the new env is made under the id given. */
  | { change: 'setEnv'; app: AppId; set: Record<string, string>; unset: string[]; release: ReleaseId }
  /** Holds at once, whatever becomes of any release. */
  | { change: 'scaleApp'; app: AppId; scale: Record<string, number> }
  | { change: 'setStopped'; app: AppId; stopped: boolean }
  | { change: 'restartApp'; app: AppId }
  | { change: 'deleteApp'; app: AppId }
  | { change: 'setOwner'; app: AppId; owner: string }
  | { change: 'setMember'; app: AppId; user: string; member: boolean }
  /**
   * Rejected when another app holds the route, or has its host and does not share it; and what only an admin may
   * claim.
   */
  | { change: 'mapRoute'; app: AppId; route: string }
  | { change: 'unmapRoute'; app: AppId; route: string }
  /** By the app that has the host. Routes of the other app on it lead nowhere once it is not shared any more. */
  | { change: 'shareHost'; app: AppId; host: string; with: AppId; shared: boolean };

/** Who did it and when; becomes the message and time of the Automerge change, which makes the history an audit log. */
export type ChangeAuthor = { by: string; atMs: number };
