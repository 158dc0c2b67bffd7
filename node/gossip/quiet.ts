// Finds connections over which nothing comes any more: one cut by a partition looks alive for many minutes. Asks
// first, with patience; then opens a second connection, and only that one takes the first one's place. A busy node
// loses none by it.

import type { Connection } from '@libp2p/interface';
import type { NodeId } from '../../crdt/ids.ts';
import type { Log } from '../lib/log.ts';
import { GossipError, reasonOf } from './errors.ts';
import {
  GOSSIP_MISSING_LOOKS_MAX,
  QUIET_ANSWER_TIMEOUT_MS,
  QUIET_ASKED_PARALLEL_MAX,
  QUIET_LOOK_INTERVAL_MS,
  QUIET_LOOK_LATE_MS,
} from './limits.ts';

/** What it looks at, and what it may do. */
export type QuietLinks = {
  nodes(): readonly NodeId[];
  /** The one in use; others may be open beside it. */
  connectionOf(node: NodeId): Connection | undefined;
  allOf(node: NodeId): readonly Connection[];
  /** Whether anything came over the connection since this was asked last. */
  takeHeard(connection: Connection): boolean;
  /** Nodes that gossip reaches. */
  joined(): ReadonlySet<NodeId>;
  /** Looks without a byte until a connection counts as quiet. */
  looksMax(): number;
  /** Resolves when the other side has answered over the connection. */
  ask(connection: Connection, signal: AbortSignal): Promise<void>;
  /** Opens a second connection, which takes the first one's place; fails when there is none to be had. */
  renew(node: NodeId): Promise<void>;
  /** Whether that failure means that its host does not even accept a connection, which no host is too busy for. */
  isOutOfReach(error: unknown): boolean;
  /**
   * Has the other side say again which protocols it speaks, so that streams of gossip which are missing are opened.
   */
  refresh(node: NodeId): void;
  /** Has the other side open its streams of gossip anew, and say what it subscribes to. */
  reopen(node: NodeId): void;
};

type Look = { connection: Connection; quiet: number; withoutGossip: number };

const SILENT = 'nothing comes over it';

/**
 * Looks further and further apart: what is missing is mended at once as a rule, and where it cannot be, each look
 * costs a request.
 */
const isPowerOfTwo = (looks: number): boolean => (looks & (looks - 1)) === 0;

export class Quiet {
  readonly #links: QuietLinks;
  readonly #log: Log;
  readonly #nowMs: () => number;
  readonly #looks = new Map<NodeId, Look>();
  readonly #asked = new Set<NodeId>();
  #lookedAtMs: number;
  #timer: NodeJS.Timeout | undefined;

  constructor(links: QuietLinks, log: Log, nowMs: () => number = () => performance.now()) {
    this.#links = links;
    this.#log = log;
    this.#nowMs = nowMs;
    this.#lookedAtMs = nowMs();
  }

  start(): void {
    this.#lookedAtMs = this.#nowMs();
    this.#timer = setInterval(() => this.look(), QUIET_LOOK_INTERVAL_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  look(): void {
    const nowMs = this.#nowMs();
    const lateMs = nowMs - this.#lookedAtMs - QUIET_LOOK_INTERVAL_MS;
    this.#lookedAtMs = nowMs;
    const joined = this.#links.joined();
    const nodes = this.#links.nodes();
    for (const node of this.#looks.keys()) if (!nodes.includes(node)) this.#looks.delete(node);
    for (const node of nodes) {
      const connection = this.#links.connectionOf(node);
      if (connection === undefined) continue;
      const look = this.#lookOf(node, connection);
      if (this.#links.takeHeard(connection)) look.quiet = 0;
      // What came while this node stood still is read only now: its own lateness counts against nobody.
      else if (lateMs < QUIET_LOOK_LATE_MS) look.quiet++;
      look.withoutGossip = joined.has(node) ? 0 : look.withoutGossip + 1;
      this.#judge(node, look);
    }
  }

  /**
   * Something has happened that may have cut connections: each has to answer in this time, or another is tried beside
   * it.
   */
  askAll(timeoutMs: number): void {
    for (const node of this.#links.nodes()) {
      const connection = this.#links.connectionOf(node);
      if (connection === undefined) continue;
      // Nothing that came before counts.
      this.#links.takeHeard(connection);
      const look = this.#lookOf(node, connection);
      look.quiet = Math.max(look.quiet, 1);
      void this.#ask(node, look, timeoutMs);
    }
  }

  #lookOf(node: NodeId, connection: Connection): Look {
    const known = this.#looks.get(node);
    if (known?.connection === connection) return known;
    const fresh = { connection, quiet: 0, withoutGossip: 0 };
    this.#looks.set(node, fresh);
    return fresh;
  }

  #judge(node: NodeId, look: Look): void {
    if (look.quiet >= this.#links.looksMax()) {
      if (this.#asked.size < QUIET_ASKED_PARALLEL_MAX) void this.#ask(node, look, QUIET_ANSWER_TIMEOUT_MS);
      return;
    }
    if (look.withoutGossip === 0) return;
    if (look.withoutGossip >= GOSSIP_MISSING_LOOKS_MAX) {
      look.withoutGossip = 0;
      void this.#renew(node, look, 'no gossip flows over it');
    } else if (look.withoutGossip === 1) this.#links.refresh(node);
    else if (isPowerOfTwo(look.withoutGossip)) this.#links.reopen(node);
  }

  async #ask(node: NodeId, look: Look, timeoutMs: number): Promise<void> {
    if (this.#asked.has(node)) return;
    this.#asked.add(node);
    // What comes over another one from now on speaks for that one.
    for (const other of this.#links.allOf(node)) if (other !== look.connection) this.#links.takeHeard(other);
    try {
      await this.#links.ask(look.connection, AbortSignal.timeout(timeoutMs));
      look.quiet = 0;
    } catch {
      // Something else may have come meanwhile.
      if (look.quiet > 0 && look.connection.status === 'open') await this.#renew(node, look, SILENT);
    } finally {
      this.#asked.delete(node);
    }
  }

  async #renew(node: NodeId, look: Look, reason: string): Promise<void> {
    const before = [...this.#links.allOf(node)];
    try {
      await this.#links.renew(node);
      this.#log.warn('gossip.connection_replaced', { node, reason });
      if (reason === SILENT) this.#close(before, look, 'replaced by a newer connection');
    } catch (error) {
      if (this.#links.isOutOfReach(error))
        this.#close(before, look, 'nothing comes over it, and its host accepts no other');
      else this.#log.debug('gossip.connection_not_replaced', { node, reason: reasonOf(error) });
    }
  }

  /**
   * The other side may hear as little of the end as of all else, and this one would not hear of it from there. Of two
   * connections that were dialled at the same time one waits for its end: left behind, it would take the place of this
   * one, and be as long in being found.
   */
  #close(connections: readonly Connection[], look: Look, why: string): void {
    for (const one of connections) {
      if (one === look.connection || !this.#links.takeHeard(one)) one.abort(new GossipError('closed', why));
    }
  }
}
