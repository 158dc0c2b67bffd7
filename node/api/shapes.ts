// What the API answers: the JSON shapes. Types only; scripts and other people's tests rely on the field names.

import type { HealthKind, Role, Teams } from '../../crdt/schema.ts';
import type { SettingValues } from '../../crdt/settings.ts';
import type { Decision } from '../core/decision.ts';
import type { Unwanted } from '../core/explain.ts';
import type { Infeasible } from '../core/feasibility.ts';
import type { Pressure } from '../core/pressure.ts';
import type { Rank } from '../core/ranking.ts';
import type { InstanceState, MemberStatus } from '../core/types.ts';
import type { WhyDataShape } from './data-shapes.ts';

export type NodeShape = {
  id: string;
  name: string;
  status: MemberStatus | 'unknown';
  draining: boolean;
  runtimes: string[];
  memoryBytes: number;
  /** Memory promised to the instances it runs. */
  memoryUsedBytes: number;
  /** How many run there. */
  instances: number;
  /** Host that other nodes reach it at. */
  address: string;
  http: string;
  api: string;
  link: string;
  labels: Record<string, string>;
  version: string;
  arch: string;
  load: number;
  /** The file system of its data directory; null when it does not say. Coarse. */
  disk: { freeBytes: number; totalBytes: number } | null;
  /** What it runs out of; empty when it has enough of everything. */
  pressure: PressureShape[];
  /** Nodes that it cannot reach although they are alive. */
  unreachable: UnreachableShape[];
  /** What is wrong with it, and what to do: one line each. */
  warnings: string[];
};

export type UnreachableShape = {
  /** Name of the node that is not reached. */
  node: string;
  /** `link`: requests for its instances fail. `gossip`: there is no connection, and others pass on what it says. */
  by: 'link' | 'gossip';
  why: string;
  /** For how long at least, ms; in steps. */
  sinceMs: number;
};

/** `warning`: what has run out, or nearly, and what to do; one line. */
export type PressureShape = Pressure & { warning: string };

export type InstanceShape = {
  id: string;
  process: string;
  index: number;
  /** Name of the node. */
  node: string;
  release: string;
  state: InstanceState;
  restarts: number;
  /** How long it has been in this state, ms. */
  sinceMs: number;
  memoryBytes: number;
  reason?: string;
};

/** What an instance uses now; null where it could not be measured. */
export type UsageShape = {
  /** Of the instance. */
  id: string;
  memoryBytes: number | null;
  /** Processors kept busy: 0.5 is half of one. */
  cpu: number | null;
  diskBytes: number | null;
};

export type AppShape = {
  name: string;
  id: string;
  /** `v3`; null when nothing was ever released. */
  release: string | null;
  /** Wanted instances per process type; kept while the app is stopped. */
  desired: Record<string, number>;
  routes: string[];
  /** Claimed as well, apart from another app that has them now: they lead nowhere, or there. */
  lostRoutes: LostRouteShape[];
  instances: InstanceShape[];
  stopped: boolean;
  health: { kind: HealthKind; path: string; timeoutMs: number };
  buildpack: string | null;
  createdAtMs: number;
  /** Names of users; null when nobody knows. */
  owner: string | null;
  members: string[];
  /** False when an older app has the same name: this one cannot be addressed until one of them is deleted. */
  ownsName: boolean;
  /** Changes called off since the release that runs was made, newest first. */
  refused: RefusedShape[];
} & SettingValues;

export type AppSummaryShape = {
  name: string;
  id: string;
  release: string | null;
  stopped: boolean;
  desired: Record<string, number>;
  ready: number;
  memoryBytes: number;
  routes: string[];
  ownsName: boolean;
};

export type ReleaseShape = {
  release: string;
  id: string;
  current: boolean;
  createdAtMs: number;
  createdBy: string;
  description: string;
  droplet: string;
  sizeBytes: number;
  buildpack: string;
  processes: Record<string, string>;
  failed: { reason: string; atMs: number } | null;
  /** Of one that failed: what it would have changed of the good one before it, such as `env KEY` or `memory`. */
  refused: string[];
};

/** A change that was called off, because its release failed: what runs is as it was before. */
export type RefusedShape = {
  release: string;
  /** What it would have changed, by name. */
  keys: string[];
  reason: string;
};

/**
 * `hostApp`: the app that has the host. `lostTo`: the app's claim lost, and the route, or its host, is that app's
 * instead; absent where the route leads to the app.
 */
export type RouteShape = { route: string; app: string; hostApp: string; lostTo?: string };

/** A route that an app claimed and another app has, or the host of it. */
export type LostRouteShape = { route: string; lostTo: string };

export type UserShape = { name: string; role: Role; createdAtMs: number; node: string | null };

/** Names of apps and services whose secrets a node that was removed knew: what they are should be changed. */
export type KnownSecretsShape = { apps: string[]; services: string[] };

export type EnvShape = {
  app: string;
  /** Values are null for viewers, who may see the names only. */
  env: Record<string, string | null>;
  /** Variables whose change was called off since the release that runs was made, newest first. */
  refused: RefusedShape[];
};

export type StatusShape = {
  node: { id: string; name: string; version: string; pid: number };
  /** `teams`: who works on an app: `flat`, every developer; `owned`, its owner and members. */
  cluster: { id: string; name: string; domain: string; teams: Teams };
  user: { name: string; role: Role };
  members: Record<MemberStatus, number>;
  apps: number;
  instances: Record<InstanceState, number>;
  /** What droplets, sources and build caches of this node take on its disk, and may take. */
  blobs: { usedBytes: number; budgetBytes: number };
  /** What runs out on which node; one line each, with what to do. */
  warnings: string[];
  /** Lost against a concurrent edit; one line each. */
  conflicts: string[];
  /** What in the desired state breaks the rules, one line each. */
  problems: string[];
};

/** Answer to a write: which release came of it, if any, and how many nodes have it on disk. */
export type WriteShape = { heldBy: number; release?: string; releaseId?: string };

/** A push, rollback, restart or scaling that is done. */
export type RolloutShape = {
  app: string;
  release: string | null;
  /** Process types of the release. */
  processes: string[];
  /** As in AppSummaryShape. */
  desired: Record<string, number>;
  droplet: string | null;
  buildpack: string | null;
  routes: string[];
  /** The routes as they are reached through the node that answers. */
  urls: string[];
  instances: InstanceShape[];
};

/** Why a slot is where it is. Nodes are named. */
export type WhyShape = {
  app: string;
  process: string;
  index: number;
  decision: Decision['why'] | 'unwanted';
  /** Why the app does not ask for the slot. */
  because: Unwanted | null;
  owner: string | null;
  /** The node that the slot moves away from. */
  from: string | null;
  holders: HolderShape[];
  /**
   * Every admitted node, in the order of the ranking; the owner is left out when it keeps the slot without comparison.
   */
  nodes: NodeVerdictShape[];
  /** Nodes that fetch the droplet ahead of time, best first. */
  successors: string[];
  /** Null of a slot without volumes. */
  data: WhyDataShape | null;
};

/** `current`: runs what the app wants now; `mayStay`: its node may go on running it. */
export type HolderShape = InstanceShape & { current: boolean; mayStay: boolean };

export type NodeVerdictShape =
  | { node: string; verdict: 'feasible'; rank: Rank; freeBytes: number }
  | { node: string; verdict: 'infeasible'; reasons: Infeasible[] }
  /** Placement does not consider it at all. */
  | { node: string; verdict: 'absent'; status: MemberStatus | 'unknown' };

export type WhatIfShape = {
  without: string[];
  moves: {
    app: string;
    process: string;
    index: number;
    from: string | null;
    to: string | null;
    /** Why each node that is left cannot take it; empty when one can. */
    refusals: { node: string; reasons: Infeasible[] }[];
  }[];
  /** Memory promised to the slots of each node; `afterBytes` is null for those left out. */
  nodes: { node: string; budgetBytes: number; beforeBytes: number; afterBytes: number | null }[];
};

/** What a push on the same node calls a buildpack that was sent ahead. */
export type UploadedBuildpackShape = { buildpack: string };
