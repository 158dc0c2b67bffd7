// Acknowledged writes: a change of the desired state counts once another alive member has it on disk too. Writes locally,
// pushes to peers, waits for the first that holds it. Knows nothing of what the changes mean.

import type { ChangeAuthor, NamedChange } from '../crdt/change.ts';
import type { NodeId } from '../crdt/ids.ts';
import type { Gossip, Log } from './ports.ts';

/** The part of the desired-state store that replication needs. */
export type ReplicatedStore = {
  write(changes: NamedChange[], author: ChangeAuthor): Promise<Uint8Array[]>;
  receive(
    changes: Uint8Array[],
  ): Promise<{ applied: number; missing: boolean; quarantined: { hash: string; reason: string }[] }>;
  heads(): string[];
  has(heads: string[]): boolean;
};

/** The change is on this node's disk, but no other alive member confirmed it in time. It spreads when one can be reached. */
export class NotReplicatedError extends Error {
  readonly code = 'not_replicated';
  constructor(membersCount: number) {
    super(
      `the change is kept on this node, but none of ${membersCount} other members confirmed it within ${ACKNOWLEDGE_TIMEOUT_MS / 1000} s; it spreads when they can be reached (see: peer nodes)`,
    );
  }
}

const HOLD_TIMEOUT_MS = 2_000;
const ACKNOWLEDGE_TIMEOUT_MS = 6_000;
const HOLD_ATTEMPTS_MAX = 3;

export class Replicator {
  readonly #store: ReplicatedStore;
  readonly #gossip: Gossip;
  readonly #log: Log;
  /** Members that are believed to be alive now, this node left out. */
  readonly #aliveOthers: () => NodeId[];

  constructor(options: { store: ReplicatedStore; gossip: Gossip; log: Log; aliveOthers: () => NodeId[] }) {
    this.#store = options.store;
    this.#gossip = options.gossip;
    this.#log = options.log;
    this.#aliveOthers = options.aliveOthers;
    this.#gossip.handle('desired.hold', (payload, from) => this.#hold(payload, from));
    this.#gossip.on({
      connected: () => {},
      disconnected: () => {},
      report: () => {},
      membership: () => {},
      changes: (changes, from) => void this.#receive(changes, from),
    });
  }

  /**
   * Fails with ChangeRejected (nothing changed), StoreError (nothing changed) or NotReplicatedError (kept here).
   * @returns the nodes known to hold the change, this one first.
   */
  async write(changes: NamedChange[], author: ChangeAuthor): Promise<{ heldBy: NodeId[] }> {
    const written = await this.#store.write(changes, author);
    const self = this.#gossip.self;
    if (written.length === 0) return { heldBy: [self] };
    const heads = this.#store.heads();
    this.#gossip.publishChanges(written);
    const others = this.#aliveOthers();
    if (others.length === 0) return { heldBy: [self] };
    const encoded = written.map((change) => Buffer.from(change).toString('base64'));
    const abort = AbortSignal.timeout(ACKNOWLEDGE_TIMEOUT_MS);
    try {
      const first = await Promise.any(others.map((node) => this.#askToHold(node, { changes: encoded, heads }, abort)));
      return { heldBy: [self, first] };
    } catch {
      // Those that did not answer may have died meanwhile: alone again, the write stands.
      const stillAlive = this.#aliveOthers();
      if (stillAlive.length === 0) return { heldBy: [self] };
      throw new NotReplicatedError(stillAlive.length);
    }
  }

  async #askToHold(
    node: NodeId,
    payload: { changes: string[]; heads: string[] },
    signal: AbortSignal,
  ): Promise<NodeId> {
    let failure: unknown;
    for (let attempt = 1; attempt <= HOLD_ATTEMPTS_MAX && !signal.aborted; attempt++) {
      try {
        const reply = await this.#gossip.request(node, 'desired.hold', payload, { timeoutMs: HOLD_TIMEOUT_MS, signal });
        if ((reply as { held?: unknown }).held === true) return node;
        failure = new Error(`${node} could not hold the change`);
      } catch (error) {
        failure = error;
      }
    }
    throw failure;
  }

  async #hold(payload: unknown, from: NodeId): Promise<{ held: boolean }> {
    const { changes, heads } = payload as { changes?: unknown; heads?: unknown };
    if (!isTextList(changes) || !isTextList(heads))
      throw new Error('desired.hold: changes and heads should be lists of text');
    const bytes = changes.map((text) => new Uint8Array(Buffer.from(text, 'base64')));
    await this.#receive(bytes, from);
    if (!this.#store.has(heads)) await this.#gossip.syncDesired(from);
    return { held: this.#store.has(heads) };
  }

  async #receive(changes: Uint8Array[], from: NodeId): Promise<void> {
    try {
      const { missing, quarantined } = await this.#store.receive(changes);
      for (const { hash, reason } of quarantined) this.#log.warn('desired.change_quarantined', { from, hash, reason });
      if (missing) await this.#gossip.syncDesired(from);
    } catch (error) {
      this.#log.warn('desired.receive_failed', { from, error });
    }
  }
}

/** Lists in one message; a write is one change, the bound is for strangers to the protocol. */
const LIST_MAX = 1_000;

function isTextList(value: unknown): value is string[] {
  return Array.isArray(value) && value.length <= LIST_MAX && value.every((item) => typeof item === 'string');
}
