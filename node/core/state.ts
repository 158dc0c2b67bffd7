// CoreState: everything the core remembers. Owned by step(): the caller hands the state over and gets it back, and
// never looks at a state it has handed over. Plain data and Maps; iteration that decides anything goes over sorted
// keys.

import type { AppId, Digest, InstanceId, NodeId, ReleaseId, VolumeId } from '../../crdt/ids.ts';
import type { DesiredView } from '../../crdt/view.ts';
import { type CoreConfig, defaultConfig } from './config.ts';
import { assertConfig } from './config-check.ts';
import type { DecisionReport } from './essence.ts';
import { RENDEZVOUS_WEIGHTS, rendezvousWeight } from './hash.ts';
import type { ResourceState, StartFault } from './pressure.ts';
import { slotKey } from './slots.ts';
import type { AdoptedInstance, InstanceState, MemberStatus, Report, RouteTable, Slot, Unreachable } from './types.ts';

/**
 * What a node knows of itself when it starts. Where it is reached may change while it runs (`selfMoved`), nothing
 * else.
 */
export type SelfInfo = Pick<
  Report,
  | 'node'
  | 'name'
  | 'version'
  | 'addresses'
  | 'link'
  | 'api'
  | 'http'
  | 'arch'
  | 'stacks'
  | 'runtimes'
  | 'services'
  | 'hardQuota'
  | 'labels'
  | 'memoryBytes'
>;

export type Suspicion = {
  sinceMs: number;
  /** Nodes that miss it too, this one included when it does. */
  witnesses: Set<NodeId>;
  /** At least one witness was refused a connection by its host. */
  refused: boolean;
};

export type Member = {
  node: NodeId;
  status: MemberStatus;
  /** When the status was reached, on this node's clock. */
  statusSinceMs: number;
  incarnation: number;
  report: Report | undefined;
  /** Local receipt time of anything that proves life: a report, an answered probe, a connection. */
  heardAtMs: number;
  reportAtMs: number;
  connected: boolean;
  probing: boolean;
  /** The connection went while a probe was under way: its answer will be out of date. */
  probeAgain: boolean;
  /** This node was late while a probe was under way: its answer may wait unread. */
  probeExcused: boolean;
  /** By how much this node was late since the member was heard last, as far as that counts, ms (lateness.ts). */
  excusedMs: number;
  /**
   * How long after its silence had become too long it was heard, at the latest of late, ms; fades while it is in time
   * (overdue.ts).
   */
  overdueMs: number;
  suspicion: Suspicion | undefined;
  /**
   * In a large cluster: when this node looks for itself, if it does not have enough witnesses by then. Infinity: it
   * does not mean to.
   */
  looksAtMs: number;
  /** When anti-entropy with it was asked for last. */
  syncAskedAtMs: number;
  /** When it was asked for its report last. */
  askedAtMs: number;
  /** Its place in this node's round of probes. */
  turn: number;
};

/**
 * An instance on this node. A crashed one stays as the record of its slot's backoff until it is replaced or
 * unassigned.
 */
export type LocalInstance = AdoptedInstance & {
  state: InstanceState;
  stateSinceMs: number;
  /** `fetching`: waits for its droplet; `launched`: the runtime has it; `gone`: it has ended. */
  phase: 'fetching' | 'launched' | 'gone';
  everReady: boolean;
  reason: string | undefined;
  /** What it offers and has promised (handover.ts). */
  offered?: Offer | undefined;
  vacates?: Offer | undefined;
  /** By name: to which node, and until when it is held when that node is not heard of. */
  promises?: Map<string, { to: NodeId; untilMs: number }> | undefined;
};

export type Offer = { name: string; madeAtMs: number };

/** Crash history of one slot on this node. */
export type SlotHistory = {
  slot: Slot;
  crashes: number;
  /** Crashes of `release` before it was ever ready here. */
  crashesBeforeReady: number;
  release: ReleaseId;
  /** The app's, of the copies that crashed. */
  restartCount: number;
  /** Why the last one ended. */
  reason: string;
  crashedAtMs: number;
  nextStartAtMs: number;
};

export type CoreState = {
  config: CoreConfig;
  self: SelfInfo;
  /** Which start of this node it is, as far as it knows; rises when it turns out to be behind (lives.ts). */
  start: number;
  /** Tells lives apart that have one number. */
  salt: number;
  /** Rises from `firstIncarnation` with each refutation, and stays below what the next start begins with. */
  incarnation: number;
  sequence: number;
  instanceCount: number;
  startedAtMs: number;
  desired: DesiredView | undefined;
  heads: string[];
  members: Map<NodeId, Member>;
  /** Of the members: how many are alive, and which are suspect. */
  aliveCount: number;
  suspects: Set<NodeId>;
  /** When the first suspicion runs out; −Infinity when that has to be worked out anew. */
  suspicionEndsAtMs: number;
  /** No alive member has been silent for too long before then. */
  silenceAtMs: number;
  /** The first looksAtMs of a member. */
  looksAtMs: number;
  /** The desired state that members were compared with last. */
  membersOf: DesiredView | undefined;
  local: Map<InstanceId, LocalInstance>;
  history: Map<string, SlotHistory>;
  droplets: Set<Digest>;
  /** When each download that is wanted may be (re)tried; Infinity while one runs. */
  fetches: Map<Digest, number>;
  load: number;
  /** Keyed by resource: what was measured, and the level that came of it (pressure.ts). */
  resources: Map<string, ResourceState>;
  startFault: StartFault | undefined;
  /**
   * The load that others have been told: this node, too, decides with it, or two nodes might each leave a slot to the
   * other.
   */
  loadTold: number;
  /** What the next report says of whom this node cannot reach, and of what is wrong with it. */
  unreachable: Unreachable[];
  warnings: string[];
  leaving: boolean;
  /** The runtime has said what it found; nothing is started before. */
  adopted: boolean;
  /** Every admitted member was heard once, or settleMs has passed. */
  settled: boolean;
  latenessScore: number;
  /** Members that were missed of late, and were only slow; one fewer every probeIntervalMs (doubt.ts). */
  falseAlarms: number;
  /**
   * By how much its loop was late of late, up to latenessMs; falls with every probe that is answered (lateness.ts).
   */
  recentLateMs: number;
  /**
   * By how much it was late at the most, beyond latenessMs, and tells others so; fades with every report
   * (overdue.ts).
   */
  ownOverdueMs: number;
  /**
   * When this node's loop went on after it was blocked for majorityStaleMs or more; undefined once it has heard a
   * majority since.
   */
  staleSinceMs: number | undefined;
  /**
   * What this node's intervals between heartbeats, and between probes, are multiplied by; a little less than 1, and
   * another for each node. With the same interval, nodes that went on at the same moment would all speak at the same
   * moment for ever.
   */
  pace: number;
  nextProbeAtMs: number;
  /** Position in the round of probes: the turn of the node probed last. */
  probedTurn: number;
  reportedAtMs: number;
  /** Something in the report has changed since. */
  reportDirty: boolean;
  /** Something that nobody waits for has changed: when it is told at the latest. Infinity: nothing has. */
  minorNewsAtMs: number;
  decidedAtMs: number;
  /** This node's own report as the last decision saw it; undefined before the first. */
  decidedOn: DecisionReport | undefined;
  /** Something that placement, reconciliation or routing reads has changed since. */
  decisionDirty: boolean;
  /** Not before then does it ask again which apps this node is a successor of. */
  successorsAtMs: number;
  /** When reconciliation wants another look without any news: a backoff or a download that becomes due. */
  reconcileAtMs: number;
  /** The routing table given out last. */
  routesGiven: RouteTable | undefined;
  /** Volumes that were moved away and are left, until the desired state says so: when to write it (again). */
  leaves: Map<VolumeId, number>;
  /** Of the nodes whose data is to be restored when they are lost: since when each is gone (loss.ts). */
  lostSinceMs: Map<NodeId, number>;
  /** Those that are lost, as the next report says. */
  lost: NodeId[];
  /** Keyed by slot: what this node is to restore, and when it is told to again. */
  restores: Map<string, number>;
  /** Releases that failed here, until the desired state says so; `sayAtMs`: when to write it again. */
  verdicts: Map<ReleaseId, { app: AppId; reason: string; sayAtMs: number }>;
};

const PACE_SPREAD = 0.1;

/**
 * Half of them for the salt, half for refutations; one of those a second would last for six days without a restart.
 */
export const INCARNATIONS_PER_START = 2 ** 20;
/** Salts are whole numbers from 0 to below this. */
export const SALTS = INCARNATIONS_PER_START / 2;

/** Of the number of a start: the incarnations of the life stay whole numbers that every node can hold. */
export const START_MAX = Math.floor(Number.MAX_SAFE_INTEGER / INCARNATIONS_PER_START) - 1;

/** With which a life begins. */
export const firstIncarnation = ({ start, salt }: Pick<CoreState, 'start' | 'salt'>): number =>
  start * INCARNATIONS_PER_START + salt;

export function initialState(options: {
  self: SelfInfo;
  /** The number of this start of the node, higher than any before; persisted by the caller. At most START_MAX. */
  incarnation: number;
  /** Drawn for this life alone, below SALTS: a data directory that is an older copy counts a number again. */
  salt?: number;
  nowMs: number;
  droplets?: Iterable<Digest>;
  config?: Partial<CoreConfig>;
}): CoreState {
  const config = { ...defaultConfig, ...options.config };
  assertConfig(config);
  const { salt = 0 } = options;
  return {
    config,
    self: options.self,
    start: options.incarnation,
    salt,
    incarnation: firstIncarnation({ start: options.incarnation, salt }),
    sequence: 0,
    instanceCount: 0,
    startedAtMs: options.nowMs,
    desired: undefined,
    heads: [],
    members: new Map(),
    aliveCount: 0,
    suspects: new Set(),
    suspicionEndsAtMs: Number.POSITIVE_INFINITY,
    silenceAtMs: Number.POSITIVE_INFINITY,
    looksAtMs: Number.POSITIVE_INFINITY,
    membersOf: undefined,
    local: new Map(),
    history: new Map(),
    droplets: new Set(options.droplets ?? []),
    fetches: new Map(),
    load: 0,
    resources: new Map(),
    startFault: undefined,
    loadTold: 0,
    unreachable: [],
    warnings: [],
    leaving: false,
    adopted: false,
    settled: false,
    latenessScore: 0,
    falseAlarms: 0,
    recentLateMs: 0,
    ownOverdueMs: 0,
    staleSinceMs: undefined,
    pace: 1 - PACE_SPREAD * (rendezvousWeight('pace', options.self.node) / RENDEZVOUS_WEIGHTS),
    nextProbeAtMs: options.nowMs + config.probeIntervalMs,
    probedTurn: -1,
    reportedAtMs: Number.NEGATIVE_INFINITY,
    reportDirty: true,
    minorNewsAtMs: Number.POSITIVE_INFINITY,
    decidedAtMs: Number.NEGATIVE_INFINITY,
    decidedOn: undefined,
    decisionDirty: true,
    successorsAtMs: Number.NEGATIVE_INFINITY,
    reconcileAtMs: Number.POSITIVE_INFINITY,
    routesGiven: undefined,
    leaves: new Map(),
    lostSinceMs: new Map(),
    lost: [],
    restores: new Map(),
    verdicts: new Map(),
  };
}

/** The crashes that count for a copy of the slot: those of its release, since the user last asked for a restart. */
export function crashHistory(
  state: CoreState,
  copy: Slot & { release: ReleaseId; restartCount: number },
): SlotHistory | undefined {
  const history = state.history.get(slotKey(copy));
  return history?.release === copy.release && history.restartCount === copy.restartCount ? history : undefined;
}
