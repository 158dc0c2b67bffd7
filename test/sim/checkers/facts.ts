// What a checker reads: of the simulated world, or of real daemons as their APIs tell it (test/chaos). Says nothing
// about what is right.

import type { NamedChange } from '../../../crdt/change.ts';
import type { AppId, Digest, InstanceId, LineageId, NodeId, VolumeId } from '../../../crdt/ids.ts';
import type { DesiredView } from '../../../crdt/view.ts';
import type { CoreState, LocalInstance, Member } from '../../../node/core/state.ts';
import type { Event, InstanceReport, InstanceSpec } from '../../../node/core/types.ts';
import type { Quality, Running } from '../runtime.ts';
import type { Violation } from './checker.ts';

export type SpecFacts = Pick<
  InstanceSpec,
  'id' | 'app' | 'process' | 'index' | 'release' | 'restartCount' | 'memoryBytes' | 'volumes'
>;

/** An instance as its machine runs it. */
export type RunningFacts = Pick<Running, 'port' | 'state'> & Partial<Pick<Running, 'told'>> & { spec: SpecFacts };

/** As a core knows one of its own; how far its start has come is known of simulated cores alone. */
type LocalFacts = Pick<LocalInstance, 'id' | 'app' | 'process' | 'index' | 'state' | 'memoryBytes'> &
  Partial<Pick<LocalInstance, 'phase'>>;

/** How far it doubts what it misses is known of simulated cores alone. */
export type CoreFacts = Pick<CoreState, 'desired' | 'heads'> &
  Partial<Pick<CoreState, 'latenessScore' | 'falseAlarms'>> & {
    members: ReadonlyMap<NodeId, Pick<Member, 'status'>>;
    local: ReadonlyMap<InstanceId, LocalFacts>;
  };

export interface NodeFacts {
  readonly index: number;
  readonly id: NodeId;
  readonly self: { readonly name: string };
  readonly machineUp: boolean;
  readonly daemonUp: boolean;
  readonly frozen: boolean;
  /** Its disk is lost: it never comes back. */
  readonly gone: boolean;
  readonly bootedAtMs: number;
  readonly thawedAtMs: number;
  readonly downSinceMs: number;
  readonly memoryBytes: number;
  /** What it believes; undefined while its daemon does not run. */
  readonly core: CoreFacts | undefined;
  readonly store: { readonly document: { heads(): string[]; view(): DesiredView } } | undefined;
  readonly runtime: {
    readonly running: ReadonlyMap<InstanceId, RunningFacts>;
    readyOf(app: AppId): readonly RunningFacts[];
    memoryBytes(): number;
  };
  readonly blobs: { has(digest: Digest): boolean };
  /** The newest that each other node's report said here. */
  readonly delivered: ReadonlyMap<number, { instances: readonly Pick<InstanceReport, InstanceFields>[] }>;
  readonly handling: Event | undefined;
  /** The slots that it gave to someone when it decided on its stops: what it stops now still had its memory then. */
  slotsPlacedBeforeStops(): ReadonlySet<string>;
}

type InstanceFields = 'id' | 'app' | 'process' | 'index' | 'state';

export interface ClusterFacts {
  readonly clock: { readonly nowMs: number };
  readonly nodes: readonly NodeFacts[];
  readonly network: { isCut(from: number, to: number): boolean };
  indexOf(id: NodeId): number;
  qualityOf(digest: Digest): Quality;
  fail(checker: string, message: string, kind?: Violation['kind']): void;
}

export type SnapshotFacts = { id: string; volume: VolumeId; lineage: LineageId; takenAtMs: number };

/** `snapshots`: of which it was made, in the order of the changes; `patient`: all who live had answered. */
export type RestoreFacts = {
  changes: readonly NamedChange[];
  snapshots: readonly SnapshotFacts[];
  patient: boolean;
};
