// The vocabulary of the core: reports, members, events and effects. Types only; every field says what it means.

import type { AppId, Digest, InstanceId, NodeId, ReleaseId, VolumeId } from '../../crdt/ids.ts';
import type { DesiredView, HealthView, ImageView, ServiceView, VolumeView } from '../../crdt/view.ts';
import type { Measure, Pressure, Resource } from './pressure.ts';

// ---------------------------------------------------------------- observed state

/**
 * - `starting`: being fetched, unpacked, launched, or not healthy yet.
 * - `ready`: answers its health check; only these receive traffic.
 * - `unhealthy`: was ready, now fails its check; it is replaced when it does not recover.
 * - `crashed`: ended by itself or never became healthy; its slot waits out a backoff on this node.
 * - `stopping`: told to end; counts against memory until it has gone.
 */
export type InstanceState = 'starting' | 'ready' | 'unhealthy' | 'crashed' | 'stopping';

export type InstanceReport = {
  id: InstanceId;
  app: AppId;
  process: string;
  index: number;
  release: ReleaseId;
  /** The app's restartCount that it was started for. */
  restartCount: number;
  state: InstanceState;
  /** How long it has been in this state when the report was made, ms. */
  sinceMs: number;
  /** Crashes of this slot's release on this node since it was last stable. */
  crashes: number;
  memoryBytes: number;
  /** Port it serves, once launched. Reached from other nodes over the link. */
  port?: number;
  /** Set while it would go for the sake of another copy of its slot: names the offer (handover.ts). */
  offered?: string;
  /** Set while it would leave its slot empty until its replacement runs: names that offer. */
  vacates?: string;
  /** Offers of other copies for which this one has promised to stay: `<instance>@<offer>`. */
  covers?: string[];
  /** Why it crashed, is unhealthy or stops; while it starts, why the one before it crashed. One line. */
  reason?: string;
};

/**
 * What one node says of itself. Authored only by that node (gossip is signed); the higher (incarnation, sequence)
 * wins. Bound: REPORT_BYTES_MAX when encoded.
 */
export type Report = {
  node: NodeId;
  /** Raised by the node at every start, and to refute a suspicion. Persisted. */
  incarnation: number;
  sequence: number;
  name: string;
  /** `leaving`: drained by `peer leave`, will not come back by itself. */
  status: 'alive' | 'leaving';
  version: string;
  /** libp2p addresses other nodes can dial. */
  addresses: string[];
  /** Where the link listens: `host:port`. */
  link: string;
  /** `host:port` of the API and the public HTTP listener, for people to read. */
  api: string;
  http: string;
  arch: string;
  stacks: string[];
  runtimes: string[];
  /** Engines of services that it can run, `postgres 15`, sorted. Absent in reports of older versions. */
  services?: string[];
  /** Whether it can give volumes a disk of their own. Absent in reports of older versions. */
  hardQuota?: boolean;
  labels: Record<string, string>;
  memoryBytes: number;
  /** 1-minute load average divided by cores, in steps of 0.25, so that noise does not make news. */
  load: number;
  /** What it runs out of, sorted by resource. Missing in reports of nodes that do not measure it. */
  pressure?: Pressure[];
  /** The file system that its data directory is on, coarse, for people; changes are no news. */
  disk?: { freeBytes: number; totalBytes: number };
  instances: InstanceReport[];
  /** Droplets and images held, sorted. */
  droplets: Digest[];
  /** Heads of this node's desired-state document, sorted. */
  heads: string[];
  /**
   * Nodes that it cannot reach although others hear of them, for people to read; absent in reports of older versions.
   */
  unreachable?: Unreachable[];
  /** What is wrong with the node itself, and what to do about it: lines for people. Absent as above. */
  warnings?: string[];
  /**
   * Nodes with data that is to be restored elsewhere once they are lost, and that it holds for lost (loss.ts), sorted.
   * Absent as above.
   */
  lost?: NodeId[];
  /**
   * By how much its loop was late at the most of late, ms, coarse: it is given that much more time. Absent as above.
   */
  lateMs?: number;
};

/** `link`: requests for instances there fail. `gossip`: it has no connection to it, and others carry what both say. */
export type Unreachable = {
  node: NodeId;
  by: 'link' | 'gossip';
  /** A few words, with the address where one was dialled. */
  why: string;
  /** For how long at least, ms: in steps, so that time that passes makes no news. */
  sinceMs: number;
};

export type MemberStatus = 'alive' | 'suspect' | 'dead' | 'left';

/** What a node believes of another one. `sequence`: of the newest report that it has of the incarnation; 0: none. */
export type Belief = { status: MemberStatus; incarnation: number; sequence: number };

/** Gossiped claims about a member, SWIM's terms. The sender is authenticated by the transport. */
export type MembershipMessage =
  | {
      kind: 'suspect';
      node: NodeId;
      incarnation: number;
      from: NodeId /** A closed connection whose redial was refused, not silence. */;
      evidence: 'refused' | 'silence';
    }
  | { kind: 'alive'; node: NodeId; incarnation: number; from: NodeId }
  | { kind: 'dead'; node: NodeId; incarnation: number; from: NodeId }
  | { kind: 'left'; node: NodeId; incarnation: number; from: NodeId };

/** One place that must be filled. */
export type Slot = { app: AppId; process: string; index: number };

// ---------------------------------------------------------------- events: everything that can happen

export type Event =
  | { type: 'desiredChanged'; view: DesiredView; heads: string[] }
  | { type: 'reportReceived'; report: Report }
  | { type: 'membershipReceived'; message: MembershipMessage }
  /** Another node says what it believes of this one: it does with every connection. */
  | { type: 'beliefHeard'; belief: Belief }
  /** The transport has (not) a live connection to the node. */
  | { type: 'connected'; node: NodeId }
  | { type: 'disconnected'; node: NodeId }
  /** Answer to the effect `probe`. `refused`: its host answered that nothing listens there. */
  | { type: 'probeSucceeded'; node: NodeId }
  | { type: 'probeFailed'; node: NodeId; reason: 'refused' | 'timeout' | 'error' }
  /** Instances that the runtime found running at start-up. Comes once, before any other instance event. */
  | { type: 'instancesAdopted'; instances: AdoptedInstance[] }
  /** The process exists; `port` is reserved for it. `host`: as in LocalUpstream. */
  | { type: 'instanceLaunched'; id: InstanceId; port: number | undefined; host?: string }
  | { type: 'instanceReady'; id: InstanceId }
  | { type: 'instanceUnhealthy'; id: InstanceId; reason: string }
  /**
   * It is gone: by itself, because it never became healthy, or because it was stopped. `reason` is one line for
   * people. `lacks`: what this node ran out of, when that and not the release is why it did not start.
   */
  | { type: 'instanceExited'; id: InstanceId; reason: string; lacks?: Resource }
  | { type: 'dropletsHeld'; digests: Digest[] }
  /** Others reach this node elsewhere from now on. */
  | { type: 'selfMoved'; to: Partial<Pick<Report, 'addresses' | 'link' | 'api' | 'http'>> }
  /** All that this node has to say of whom it cannot reach, and of itself; bounded by the caller. */
  | { type: 'troubleSeen'; unreachable: Unreachable[]; warnings: string[] }
  /** `lacks`: as in instanceExited. */
  | { type: 'dropletFetchFailed'; digest: Digest; reason: string; lacks?: Resource }
  /** `measures`: of what could be measured. */
  | { type: 'resourcesMeasured'; load: number; measures?: readonly Measure[] }
  /** A person asked to restart one slot, at once. */
  | { type: 'restartSlot'; slot: Slot }
  /** `peer stop`: this node ends; say so to the others. */
  | { type: 'leave'; keepInstances: boolean }
  /** lateMs: by how much the event loop missed the time it was asked for. */
  | { type: 'tick'; lateMs: number };

export type AdoptedInstance = {
  id: InstanceId;
  app: AppId;
  process: string;
  index: number;
  release: ReleaseId;
  restartCount: number;
  memoryBytes: number;
  port: number | undefined;
  /** As in LocalUpstream. */
  host?: string;
  /** What it mounts; absent when the runtime does not know. */
  volumes?: readonly Pick<VolumeMount, 'id' | 'lineage'>[];
};

// ---------------------------------------------------------------- effects: everything the node may do

export type Effect =
  | { type: 'startInstance'; spec: InstanceSpec }
  /** TERM, grace, KILL. Answered by instanceExited. Repeating it is harmless. */
  | { type: 'stopInstance'; id: InstanceId; reason: string }
  /** Get the droplet from any holder. Answered by dropletsHeld or dropletFetchFailed. */
  | { type: 'fetchDroplet'; digest: Digest; sizeBytes: number; holders: NodeId[] }
  /** Answered by probeSucceeded or probeFailed within timeoutMs. */
  | { type: 'probe'; node: NodeId; timeoutMs: number }
  /**
   * `relay`: others pass it on, so that it also reaches those without a connection to this node. While every living
   * member has one it goes straight to each: passed on, it would come to each several times, and be signed and checked
   * each time.
   */
  | { type: 'publishReport'; report: Report; relay: boolean }
  /** Ask the node for its report, and tell it what is believed of it here. Answered by reportReceived. */
  | { type: 'askReport'; node: NodeId; belief: Belief }
  /** Of a life that the data directory does not count yet: the next start is to be a later one. */
  | { type: 'persistStart'; start: number }
  | { type: 'publishMembership'; message: MembershipMessage }
  | { type: 'setRoutes'; table: RouteTable }
  /** Another node has other heads: run anti-entropy with it. */
  | { type: 'syncDesired'; node: NodeId }
  /** Write "this release failed" to the desired state. */
  | { type: 'failRelease'; app: AppId; release: ReleaseId; reason: string }
  /** Write to the desired state that nothing runs here any more on a volume that was moved away. */
  | { type: 'leaveVolume'; volume: VolumeId }
  /**
   * Make the slot's data anew here of its newest snapshots, and write that it is here: `lost` had it, and is gone. It
   * comes again until the desired state says so; `volumes`, by id: as they were when this was decided.
   */
  | { type: 'restoreVolumes'; slot: Slot; lost: NodeId; volumes: Pick<VolumeMount, 'id' | 'lineage'>[] }
  | { type: 'recordEvent'; event: ClusterEvent };

export type InstanceSpec = {
  id: InstanceId;
  app: { id: AppId; name: string };
  process: string;
  index: number;
  release: { id: ReleaseId; version: number };
  restartCount: number;
  droplet: { digest: Digest; sizeBytes: number; stack: string };
  /** The droplet is the archive of this image. */
  image?: ImageView;
  command: string;
  env: Readonly<Record<string, string>>;
  memoryBytes: number;
  diskBytes: number;
  health: HealthView;
  /** Public names of the app, for VCAP_APPLICATION. */
  uris: string[];
  /** Names that it can look up: of the services that its app is bound to. */
  hosts?: readonly HostEntry[];
  /** What it mounts. */
  volumes?: VolumeMount[];
  /** It is this service, and has no droplet. */
  service?: ServiceView;
};

/** A line of a hosts file. */
export type HostEntry = { readonly name: string; readonly address: string };

/** A volume that an instance mounts: on this node, of this lineage. */
export type VolumeMount = Pick<VolumeView, 'id' | 'lineage' | 'path' | 'sizeBytes' | 'hardQuota'>;

/** What happened, for `peer events`. `name` is dotted: `instance.ready`, `member.dead`. */
export type ClusterEvent = {
  name: string;
  app?: AppId;
  slot?: string;
  instance?: InstanceId;
  node?: NodeId;
  release?: ReleaseId;
  message: string;
};

// ---------------------------------------------------------------- routing

export type Upstream = {
  instance: InstanceId;
  app: AppId;
  index: number;
  node: NodeId;
  /** On this node: where it is reached, as in LocalUpstream. Undefined for an instance elsewhere. */
  port?: number;
  host?: string;
  /** On another node: `host:port` of its link, and what people call it. */
  link?: string;
  nodeName?: string;
};

/** A launched instance of this node. */
export type LocalUpstream = {
  instance: InstanceId;
  app: AppId;
  port: number;
  /**
   * Address that only this machine reaches it at, when it has a network of its own. Undefined: the machine's loopback.
   */
  host?: string;
};

export type RouteTable = {
  /** Every desired route, also those without a ready instance (503). Sorted by route. */
  routes: { route: string; app: AppId; appName: string; upstreams: Upstream[] }[];
  /** Every launched instance of this node, for the link: other nodes name an instance id, never a port. */
  local: LocalUpstream[];
  /** Who may use the link. */
  admitted: NodeId[];
};
