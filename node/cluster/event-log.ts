// The last events of this node, for `peer events`: a bounded ring in memory, and whoever follows it.

import type { NodeId } from '../../crdt/ids.ts';
import type { ClusterEvent } from '../core/types.ts';
import type { RecordedEvent } from '../ports/node-service.ts';

const EVENTS_KEPT_MAX = 2_000;

export class EventLog {
  readonly #node: NodeId;
  readonly #nowMs: () => number;
  readonly #events: RecordedEvent[] = [];
  readonly #followers = new Set<(event: RecordedEvent) => void>();

  constructor(node: NodeId, nowMs: () => number) {
    this.#node = node;
    this.#nowMs = nowMs;
  }

  record(event: ClusterEvent): void {
    const recorded: RecordedEvent = { ...event, subject: event.node, atMs: this.#nowMs(), node: this.#node };
    this.#events.push(recorded);
    if (this.#events.length > EVENTS_KEPT_MAX) this.#events.shift();
    for (const follower of this.#followers) follower(recorded);
  }

  /** The last `lines` events, of one app when it is given; oldest first. */
  tail(lines: number, app?: string): RecordedEvent[] {
    const matching = app === undefined ? this.#events : this.#events.filter((event) => event.app === app);
    return matching.slice(-lines);
  }

  follow(listener: (event: RecordedEvent) => void): () => void {
    this.#followers.add(listener);
    return () => this.#followers.delete(listener);
  }
}
