// What a checker may observe. Each checks one invariant of the design on the whole cluster's truth, which no node knows.

import type { InstanceId } from '../../../crdt/ids.ts';
import type { Effect, Event, InstanceSpec } from '../../../node/core/types.ts';
import type { SimNode } from '../node.ts';
import type { Running } from '../runtime.ts';

export interface Checker {
  /** Short, for replay lines and the table of mutants. */
  readonly name: string;
  /** After every step of a core. */
  stepped?(node: SimNode, event: Event, effects: readonly Effect[]): void;
  /** Just before the runtime is told. */
  starting?(node: SimNode, spec: InstanceSpec): void;
  stopping?(node: SimNode, id: InstanceId, reason: string): void;
  /** A ready instance has stopped serving without having been told to. */
  lost?(node: SimNode, instance: Running): void;
  /** The node's document has changed, durably. */
  desiredChanged?(node: SimNode): void;
  booted?(node: SimNode): void;
  /** A user was told that these nodes hold the change. */
  acknowledged?(hash: string, heldBy: readonly number[]): void;
  /** Which nodes reach which has changed. */
  cutsChanged?(): void;
  /** Faults are over and the cluster has come to rest. */
  rested?(): void;
}

export type Violation = { checker: string; kind: 'safety' | 'liveness'; message: string; atMs: number };
