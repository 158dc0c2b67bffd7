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
/** Before members that failed are asked again: what made them fail may end with the verdict that they are dead. */
const HOLD_RETRY_MS = 100;

export class Replicator {
  readonly #store: ReplicatedStore;
  readonly #gossip: Gossip;
  readonly #log: Log;
  /** Members that are not known to be dead, this node left out: a suspect may well be alive when this node is not. */
  readonly #others: () => NodeId[];
  /** Told of what could not be kept. */
  readonly #failed: (error: unknown) => void;
  readonly #underWay = new Set<Promise<unknown>>();

  constructor(options: {
    store: ReplicatedStore;
    gossip: Gossip;
    log: Log;
    others: () => NodeId[];
    failed?: (error: unknown) => void;
  }) {
    this.#store = options.store;
    this.#gossip = options.gossip;
    this.#log = options.log;
    this.#others = options.others;
    this.#failed = options.failed ?? (() => {});
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
   * Stands alone when there is no other, or the disks of all others are full.
   * Fails with ChangeRejected (nothing changed), StoreError (nothing changed) or NotReplicatedError (kept here).
   * @returns the nodes known to hold the change, this one first.
   */
  write(changes: NamedChange[], author: ChangeAuthor): Promise<{ heldBy: NodeId[] }> {
    const writing = this.#write(changes, author);
    const ended = writing.catch(() => {}).finally(() => this.#underWay.delete(ended));
    this.#underWay.add(ended);
    return writing;
  }

  /** Resolves when every write that is under way now has been acknowledged or has failed. */
  async idle(): Promise<void> {
    await Promise.all(this.#underWay);
  }

  async #write(changes: NamedChange[], author: ChangeAuthor): Promise<{ heldBy: NodeId[] }> {
    const written = await this.#store.write(changes, author);
    const self = this.#gossip.self;
    if (written.length === 0) return { heldBy: [self] };
    const heads = this.#store.heads();
    this.#gossip.publishChanges(written);
    const payload = { changes: written.map((change) => Buffer.from(change).toString('base64')), heads };
    const deadlineMs = performance.now() + ACKNOWLEDGE_TIMEOUT_MS;
    for (;;) {
      // Who was asked may have died meanwhile: alone, the write stands.
      const others = this.#others();
      if (others.length === 0) return { heldBy: [self] };
      const leftMs = deadlineMs - performance.now();
      if (leftMs <= 0) throw new NotReplicatedError(others.length);
      const first = await this.#firstToHold(others, payload, Math.min(leftMs, HOLD_TIMEOUT_MS));
      // Or nothing could be deleted, drained or moved that would make room.
      if (first === 'allFull') return { heldBy: [self] };
      if (first !== undefined) return { heldBy: [self, first] };
      await new Promise((resolve) => setTimeout(resolve, HOLD_RETRY_MS));
    }
  }

  /** `allFull`: each of them answers that its disk is full. Undefined when none holds it within the time for other reasons. */
  async #firstToHold(nodes: NodeId[], payload: unknown, timeoutMs: number): Promise<NodeId | 'allFull' | undefined> {
    const asked = nodes.map(async (node) => {
      const reply = await this.#gossip.request(node, 'desired.hold', payload, { timeoutMs });
      if ((reply as { held?: unknown } | undefined)?.held !== true)
        throw new Error(`${node} could not hold the change`);
      return node;
    });
    return Promise.any(asked).catch(({ errors }: AggregateError) => (errors.every(isDiskFull) ? 'allFull' : undefined));
  }

  async #hold(payload: unknown, from: NodeId): Promise<{ held: boolean }> {
    const { changes, heads } = payload as { changes?: unknown; heads?: unknown };
    if (!isTextList(changes) || !isTextList(heads))
      throw new Error('desired.hold: changes and heads should be lists of text');
    const bytes = changes.map((text) => new Uint8Array(Buffer.from(text, 'base64')));
    // Whoever asks is told of a full disk, and does not wait for this node.
    await this.#receive(bytes, from, isDiskFull);
    if (!this.#store.has(heads)) await this.#gossip.syncDesired(from);
    return { held: this.#store.has(heads) };
  }

  /** Fails only as `isTold` says. */
  async #receive(
    changes: Uint8Array[],
    from: NodeId,
    isTold: (error: unknown) => boolean = () => false,
  ): Promise<void> {
    try {
      const { missing, quarantined } = await this.#store.receive(changes);
      for (const { hash, reason } of quarantined) this.#log.warn('desired.change_quarantined', { from, hash, reason });
      if (missing) await this.#gossip.syncDesired(from);
    } catch (error) {
      this.#log.warn('desired.receive_failed', { from, error });
      this.#failed(error);
      if (isTold(error)) throw error;
    }
  }
}

/** As the store of the node says it, here or there. */
const isDiskFull = (error: unknown): boolean => (error as { code?: unknown } | undefined)?.code === 'disk_full';

/** Lists in one message; a write is one change, the bound is for strangers to the protocol. */
const LIST_MAX = 1_000;

function isTextList(value: unknown): value is string[] {
  return Array.isArray(value) && value.length <= LIST_MAX && value.every((item) => typeof item === 'string');
}
