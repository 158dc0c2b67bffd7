// Acknowledged writes: a change of the desired state counts once another alive member has it on disk too. Writes
// locally, pushes to peers, waits for the first that holds it. Knows nothing of what the changes mean.

import type { ChangeAuthor, NamedChange } from '../../crdt/change.ts';
import type { NodeId } from '../../crdt/ids.ts';
import { resourceBehind } from '../core/pressure.ts';
import type { Log } from '../lib/log.ts';
import type { Gossip } from '../ports/gossip.ts';
import { HOLD_CHANGES } from '../ports/methods.ts';

/** The part of the desired-state store that replication needs. */
export type ReplicatedStore = {
  write(changes: NamedChange[], author: ChangeAuthor): Promise<Uint8Array[]>;
  receive(
    changes: Uint8Array[],
  ): Promise<{ applied: number; missing: boolean; quarantined: { hash: string; reason: string }[] }>;
  heads(): string[];
  has(heads: string[]): boolean;
};

/**
 * The change is on this node's disk, but no other alive member confirmed it in time. It is in force here, and spreads
 * when one can be reached; when this node is lost before, so is the change. Doing it again is safe.
 */
export class NotReplicatedError extends Error {
  readonly code = 'not_replicated';
  /** What was asked for may have taken effect, or do so later. */
  readonly mayHold = true;
  constructor(membersCount: number, waitedMs: number) {
    const members = membersCount === 1 ? 'the other member has not' : `none of ${membersCount} other members has`;
    super(
      `the change is kept on this node and may still take effect, but ${members} confirmed it within ${Math.round(waitedMs / 1000)} s: see peer nodes for who cannot be reached, and peer app or peer releases for what holds`,
    );
  }
}

/**
 * For the first answers; twice as long each time after that, as to ask slow members over and over makes them slower.
 */
const HOLD_TIMEOUT_MS = HOLD_CHANGES.timeoutMs;
/**
 * So many are asked at once, and others when those have not answered for a moment: one is enough, and the change
 * spreads anyway.
 */
const HOLD_WAVE = 4;
const HOLD_WAVE_GAP_MS = 150;
/** A write fails when no member has given a sign of life for this long. */
const SILENCE_MAX_MS = 6_000;
/**
 * A write fails after this time even when members are alive; below the time-out of clients, so that they hear of it.
 */
const ACKNOWLEDGE_MAX_MS = 20_000;
/** How many of the members that did not answer are probed, to see whether they are alive. */
const PROBED_MAX = 4;
const PROBE_TIMEOUT_MS = 1_000;
/** Before members that failed are asked again: what made them fail may end with the verdict that they are dead. */
const HOLD_RETRY_MS = 100;

/** Changes in base64, and the heads that they lead to. */
type Held = { changes: string[]; heads: string[] };

export class Replicator {
  readonly #store: ReplicatedStore;
  readonly #gossip: Gossip;
  readonly #log: Log;
  /** Members that are not known to be dead, this node left out: a suspect may well be alive when this node is not. */
  readonly #others: () => NodeId[];
  /** Told of what could not be kept. */
  readonly #failed: (error: unknown) => void;
  readonly #nowMs: () => number;
  readonly #underWay = new Set<Promise<unknown>>();

  constructor(options: {
    store: ReplicatedStore;
    gossip: Gossip;
    log: Log;
    others: () => NodeId[];
    failed?: (error: unknown) => void;
    /** Steady; only differences count. */
    nowMs?: () => number;
  }) {
    this.#store = options.store;
    this.#gossip = options.gossip;
    this.#log = options.log;
    this.#others = options.others;
    this.#failed = options.failed ?? (() => {});
    this.#nowMs = options.nowMs ?? (() => performance.now());
    this.#gossip.handle(HOLD_CHANGES, (payload, from) => this.#hold(payload, from));
    this.#gossip.on({ changes: (changes, from) => void this.#receive(changes, from) });
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
    const startedAtMs = this.#nowMs();
    let heardAtMs = startedAtMs;
    for (let timeoutMs = HOLD_TIMEOUT_MS; ; timeoutMs *= 2) {
      // Looked up anew in each round: members that were asked may have died. When none is left, the write stands
      // alone.
      const others = this.#others();
      if (others.length === 0) return { heldBy: [self] };
      const askedAtMs = this.#nowMs();
      if (askedAtMs - heardAtMs >= SILENCE_MAX_MS || askedAtMs - startedAtMs >= ACKNOWLEDGE_MAX_MS) {
        throw new NotReplicatedError(others.length, askedAtMs - startedAtMs);
      }
      const mayWaitMs = Math.min(heardAtMs + SILENCE_MAX_MS, startedAtMs + ACKNOWLEDGE_MAX_MS) - askedAtMs;
      const leftMs = Math.min(mayWaitMs, timeoutMs);
      const { first, allFull, silent } = await this.#firstToHold(beginningAfter(self, others), payload, leftMs);
      // Refusing it would also refuse what makes room: to delete, drain or move.
      if (allFull) return { heldBy: [self] };
      if (first !== undefined) return { heldBy: [self, first] };
      // The time by which this node was late itself does not count as silence of the others.
      heardAtMs += Math.max(0, this.#nowMs() - askedAtMs - leftMs);
      // One that is there, and only slow to write on its disk, is waited for.
      if (await this.#isAnyThere(silent)) heardAtMs = this.#nowMs();
      await pause(HOLD_RETRY_MS);
    }
  }

  /**
   * No `first` when none of them holds it within the time; `silent`: those that did not even refuse; `allFull`: each
   * of them answers that its disk is full.
   */
  async #firstToHold(
    nodes: NodeId[],
    payload: Held,
    timeoutMs: number,
  ): Promise<{ first?: NodeId; allFull: boolean; silent: NodeId[] }> {
    const silent: NodeId[] = [];
    const endsAtMs = this.#nowMs() + timeoutMs;
    const ask = async (node: NodeId): Promise<NodeId> => {
      try {
        const options = { timeoutMs: endsAtMs - this.#nowMs() };
        if ((await this.#gossip.request(node, HOLD_CHANGES, payload, options)).held) return node;
      } catch (error) {
        if ((error as { code?: unknown }).code === 'timeout') silent.push(node);
        throw error;
      }
      throw new Error(`${node} could not hold the change`);
    };
    const asked: Promise<NodeId>[] = [];
    for (let from = 0; from < nodes.length; from += HOLD_WAVE) {
      asked.push(...nodes.slice(from, from + HOLD_WAVE).map(ask));
      const first = await Promise.race([Promise.any(asked).catch(() => undefined), pause(HOLD_WAVE_GAP_MS)]);
      if (first !== undefined) return { first, allFull: false, silent };
    }
    try {
      return { first: await Promise.any(asked), allFull: false, silent };
    } catch (error) {
      return { allFull: (error as AggregateError).errors.every(isDiskFull), silent };
    }
  }

  async #isAnyThere(nodes: NodeId[]): Promise<boolean> {
    const probes = nodes.slice(0, PROBED_MAX).map(async (node) => {
      if ((await this.#gossip.probe(node, PROBE_TIMEOUT_MS)) !== 'ok') throw new Error(`${node} does not answer`);
    });
    return Promise.any(probes).then(
      () => true,
      () => false,
    );
  }

  async #hold({ changes, heads }: Held, from: NodeId): Promise<{ held: boolean }> {
    const bytes = changes.map((text) => new Uint8Array(Buffer.from(text, 'base64')));
    try {
      await this.#receive(bytes, from, isDiskFull);
      if (!this.#store.has(heads)) await this.#gossip.syncDesired(from);
    } catch (error) {
      // One code for every way in which a full disk shows, so that the asking node does not wait for this one.
      throw isDiskFull(error) ? new FullDiskError(error) : error;
    }
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

/** In the order of ids, from this node's own on: not everyone asks the same few first. */
function beginningAfter(self: NodeId, others: NodeId[]): NodeId[] {
  const sorted = [...others].sort((a, b) => (a < b ? -1 : 1));
  const start = sorted.findIndex((node) => node > self);
  return start < 0 ? sorted : [...sorted.slice(start), ...sorted.slice(0, start)];
}

const pause = (ms: number): Promise<undefined> => new Promise((resolve) => setTimeout(resolve, ms));

/** The disk of this node is full: the change is not held here. It comes by itself once there is room. */
class FullDiskError extends Error {
  readonly code = 'disk_full';
  constructor(cause: unknown) {
    super('the disk of this node is full', { cause });
  }
}

/** Here, or as another node says it. */
const isDiskFull = (error: unknown): boolean => resourceBehind(error) === 'disk';
