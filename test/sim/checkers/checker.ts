// What a checker may observe. Each checks one invariant of the design on the whole cluster's truth, which no node
// knows.

import type { NamedChange } from '../../../crdt/change.ts';
import type { InstanceId, NodeId } from '../../../crdt/ids.ts';
import type { Effect, Event } from '../../../node/core/types.ts';
import type { LossOrder } from '../../../node/volumes/restorer.ts';
import type { NodeFacts, RestoreFacts, RunningFacts, SnapshotFacts, SpecFacts } from './facts.ts';

/** Which node said that it has a change, and in which of its lives (`SimNode.epoch`). */
export type Hold = { index: number; epoch: number };

export interface Checker {
  /** Short, for replay lines and the table of mutants. */
  readonly name: string;
  /** After every step of a core. */
  stepped?(node: NodeFacts, event: Event, effects: readonly Effect[]): void;
  /** Just before the runtime is told. */
  starting?(node: NodeFacts, spec: SpecFacts): void;
  stopping?(node: NodeFacts, id: InstanceId, reason: string): void;
  /** A ready instance has stopped serving without having been told to. */
  lost?(node: NodeFacts, instance: RunningFacts): void;
  /** The node's document has changed, durably. */
  desiredChanged?(node: NodeFacts): void;
  booted?(node: NodeFacts): void;
  /** It boots from a disk that was put back from an earlier copy; before `booted`. */
  restored?(node: NodeFacts): void;
  /** A person asks for it; it may come to nothing. */
  asked?(changes: readonly NamedChange[]): void;
  /** A snapshot is held by as many as are to, as far as they could be asked. */
  snapshotTaken?(snapshot: SnapshotFacts, holders: readonly NodeId[]): void;
  /** The node is about to write that it has restored lost data. */
  restoring?(node: NodeFacts, order: LossOrder, restore: RestoreFacts): void;
  /** A user was told that these nodes hold the change. */
  acknowledged?(hash: string, heldBy: readonly Hold[]): void;
  /** Which nodes reach which has changed. */
  cutsChanged?(): void;
  /** It has worked for a connection, as dialer or as listener. */
  shookHands?(node: NodeFacts): void;
  /** Its end of a connection has closed. */
  lostConnection?(node: NodeFacts, other: number): void;
  /** Faults are over and the cluster has come to rest. */
  rested?(): void;
  /** It has been at rest for a while, and the run ends. */
  atEnd?(): void;
}

export type Violation = { checker: string; kind: 'safety' | 'liveness'; message: string; atMs: number };
