// Keeps this node connected: dials the nodes it should be connected to, at once when something changed and otherwise
// with growing delays. Never decides who is admitted.

import type { Connection, Stream } from '@libp2p/interface';
import { multiaddr } from '@multiformats/multiaddr';
import type { NodeId } from '../../crdt/ids.ts';
import type { Log } from '../lib/log.ts';
import type { Unreached } from '../ports/gossip.ts';
import type { AddressBook, AddressSource } from './address-book.ts';
import type { Connections } from './connections.ts';
import { GossipError, reasonOf } from './errors.ts';
import type { Host } from './host.ts';
import {
  CONNECTION_CLOSING_WAIT_MS,
  CONNECTION_SETTLED_MS,
  CONNECTIONS_MAX,
  DIAL_HEAD_START_MS,
  DIAL_TIMEOUT_MS,
  DIALS_IN_BACKGROUND_MAX,
  REDIAL_DELAY_MAX_MS,
  REDIAL_DELAY_MIN_MS,
  REDIAL_HEAD_START_MS,
  REDIAL_SPREAD_MS,
  STREAM_OPEN_ATTEMPTS_MAX,
} from './limits.ts';
import { neighboursOf } from './neighbours.ts';
import { Semaphore } from './semaphore.ts';

type Target = {
  failures: number;
  timer: NodeJS.Timeout | undefined;
  /** The key exchange under way, whoever asked for it. */
  dialling: Promise<Connection> | undefined;
  /** Waits for its turn among DIALS_IN_BACKGROUND_MAX. */
  waiting: boolean;
  /** The first dial that failed since there was a connection, and why the last one did. */
  failing?: { sinceMs: number; why: string } | undefined;
};

/** Before the n-th dial in a row that follows a failure, in ms: 100 doubling to 10,000, of which a random half. */
export function redialDelayMs(failures: number, random: number): number {
  const full = Math.min(REDIAL_DELAY_MAX_MS, REDIAL_DELAY_MIN_MS * 2 ** Math.min(failures - 1, 20));
  return full / 2 + (full / 2) * random;
}

/** The other side lives and said no: another connection would not change its mind. */
const REFUSALS = new Set(['UnsupportedProtocolError', 'TooManyOutboundProtocolStreamsError', 'TimeoutError']);

export class Dialer {
  readonly #self: NodeId;
  readonly #host: Host;
  readonly #connections: Connections;
  readonly #book: AddressBook;
  readonly #log: Log;
  readonly #targets = new Map<NodeId, Target>();
  readonly #turns = new Semaphore(DIALS_IN_BACKGROUND_MAX, CONNECTIONS_MAX);
  readonly #stopping = new AbortController();
  #running = false;

  constructor(options: { self: NodeId; host: Host; connections: Connections; book: AddressBook; log: Log }) {
    this.#self = options.self;
    this.#host = options.host;
    this.#connections = options.connections;
    this.#book = options.book;
    this.#log = options.log;
  }

  start(): void {
    this.#running = true;
    for (const node of this.#targets.keys()) this.#dialSoon(node);
  }

  stop(): void {
    this.#running = false;
    this.#stopping.abort(new GossipError('closed', 'this node is stopping'));
    for (const target of this.#targets.values()) this.#cancel(target);
  }

  /** Who is admitted; from them it chooses whom to keep a connection to. */
  setNodes(admitted: readonly NodeId[]): void {
    const wanted = new Set(neighboursOf(this.#self, admitted));
    for (const [node, target] of [...this.#targets]) {
      if (wanted.has(node)) continue;
      this.#cancel(target);
      this.#targets.delete(node);
    }
    for (const node of wanted) {
      if (this.#targets.has(node)) continue;
      this.#targets.set(node, { failures: 0, timer: undefined, dialling: undefined, waiting: false });
      this.#dialSoon(node);
    }
  }

  learn(node: NodeId, addresses: readonly string[], source: AddressSource): void {
    if (!this.#book.learn(node, addresses, source)) return;
    const target = this.#targets.get(node);
    if (target === undefined) return;
    target.failures = 0;
    this.#dialSoon(node);
  }

  /**
   * The last connection to the node is gone. One that lived only a moment counts as a failed dial, so that refusals do
   * not loop.
   */
  lost(node: NodeId, livedMs: number): void {
    const target = this.#targets.get(node);
    if (target === undefined) return;
    target.failures = livedMs < CONNECTION_SETTLED_MS ? target.failures + 1 : 0;
    target.failing = undefined;
    const spreadMs = this.#self < node ? REDIAL_SPREAD_MS : REDIAL_HEAD_START_MS;
    const headStartMs = this.#self < node ? 0 : REDIAL_HEAD_START_MS;
    this.#dialSoon(node, headStartMs + spreadMs * Math.random());
  }

  /**
   * A stream over the live connection to the node, or over a new one. Nothing has been sent when it fails: with
   * `unreachable` or `timeout` when there is no connection, whose cause says why, or as the connection did.
   */
  async openStream(node: NodeId, protocol: string, signal: AbortSignal): Promise<Stream> {
    const tried = new Set<Connection>();
    for (;;) {
      const connection = this.#connections.of(node, tried) ?? (await this.dial(node, signal));
      try {
        return await connection.newStream(protocol, { signal });
      } catch (error) {
        // One that is closing takes no streams, but may not be seen closed yet.
        const closing = !signal.aborted && !REFUSALS.has((error as Error).name) && !tried.has(connection);
        tried.add(connection);
        if (!closing || tried.size >= STREAM_OPEN_ATTEMPTS_MAX) throw error;
        if (this.#connections.of(node, tried) === undefined) await closedSoon(connection);
      }
    }
  }

  /**
   * A connection to a node without one, or the failure of every address. When the caller's time is over, the key
   * exchange goes on for whoever asks next: given up and begun anew it would never end on a machine that is short of
   * time.
   */
  async knock(node: NodeId, signal: AbortSignal): Promise<Connection> {
    const target = this.#targets.get(node);
    if (target === undefined) return this.dial(node, signal);
    const { promise: late, reject } = Promise.withResolvers<never>();
    const onAbort = (): void =>
      reject(new GossipError('timeout', `node ${node} did not accept a connection in time`, { cause: signal.reason }));
    signal.throwIfAborted();
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      return await Promise.race([this.#exchangeKeys(node, target), late]);
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  /**
   * A second connection beside one over which nothing comes any more; it takes the first one's place (connections.ts).
   * Fails as dial does, and leaves the first as it is.
   */
  async renew(node: NodeId): Promise<void> {
    const release = await this.#turns.acquire(this.#stopping.signal);
    try {
      await this.dial(node, AbortSignal.timeout(DIAL_TIMEOUT_MS), { beside: true });
    } finally {
      release();
    }
  }

  async dial(node: NodeId, signal: AbortSignal, options: { beside?: boolean } = {}): Promise<Connection> {
    signal.throwIfAborted();
    const addresses = this.#book.addresses(node);
    if (addresses.length === 0) throw new GossipError('unreachable', `no address of node ${node} is known yet`);
    try {
      const connection = await this.#host.dial(
        addresses.map((address) => multiaddr(`${address}/p2p/${node}`)),
        { signal, force: options.beside === true },
      );
      this.#book.confirm(node, connection.remoteAddr.toString());
      return connection;
    } catch (cause) {
      this.#book.failed(node);
      if (signal.aborted)
        throw new GossipError('timeout', `node ${node} did not accept a connection in time`, { cause });
      throw new GossipError('unreachable', `node ${node} cannot be reached: ${reasonOf(cause)}`, { cause });
    }
  }

  /** The nodes among those it should be connected to that it has no connection to, and could not dial. */
  unreachable(nowMs: number): Unreached[] {
    const found: Unreached[] = [];
    for (const [node, { failing }] of this.#targets) {
      if (failing === undefined || this.#connections.of(node) !== undefined) continue;
      found.push({ node, why: failing.why, sinceMs: nowMs - failing.sinceMs });
    }
    return found;
  }

  #cancel(target: Target): void {
    clearTimeout(target.timer);
    target.timer = undefined;
  }

  #dialSoon(node: NodeId, headStartMs = this.#self < node ? 0 : DIAL_HEAD_START_MS): void {
    const target = this.#targets.get(node);
    if (target === undefined || !this.#running) return;
    this.#cancel(target);
    const delayMs = headStartMs + (target.failures === 0 ? 0 : redialDelayMs(target.failures, Math.random()));
    target.timer = setTimeout(() => void this.#attempt(node, target), delayMs);
  }

  async #attempt(node: NodeId, target: Target): Promise<void> {
    target.timer = undefined;
    if (target.waiting || !this.#isWanted(node, target)) return;
    target.waiting = true;
    const release = await this.#turns.acquire(this.#stopping.signal).catch(() => undefined);
    target.waiting = false;
    if (release === undefined) return;
    try {
      if (this.#isWanted(node, target)) await this.#exchangeKeys(node, target);
      target.failing = undefined;
    } catch (error) {
      target.failures += 1;
      target.failing = { sinceMs: target.failing?.sinceMs ?? performance.now(), why: dialFailure(error) };
      this.#log.debug('gossip.dial_failed', { node, failures: target.failures, reason: reasonOf(error) });
    } finally {
      release();
    }
    if (this.#targets.get(node) === target && this.#connections.of(node) === undefined && target.timer === undefined)
      this.#dialSoon(node);
  }

  #isWanted(node: NodeId, target: Target): boolean {
    return (
      this.#targets.get(node) === target &&
      this.#connections.of(node) === undefined &&
      this.#book.addresses(node).length > 0
    );
  }

  /** One at a time per node, whoever asks for it. */
  #exchangeKeys(node: NodeId, target: Target): Promise<Connection> {
    target.dialling ??= this.dial(node, AbortSignal.timeout(DIAL_TIMEOUT_MS)).finally(() => {
      target.dialling = undefined;
    });
    return target.dialling;
  }
}

/** In a few words, for people; of several addresses the last one tells. */
function dialFailure(error: unknown): string {
  const cause = (error as Error).cause;
  const last = cause instanceof AggregateError ? cause.errors.at(-1) : cause;
  const { code, name } = (last ?? {}) as NodeJS.ErrnoException;
  if (code === 'ECONNREFUSED') return 'refused';
  if (code === 'EHOSTUNREACH' || code === 'ENETUNREACH') return 'no way to the host';
  // libp2p aborts what takes too long.
  const isLate = code === 'ETIMEDOUT' || name === 'TimeoutError' || name === 'AbortError';
  if (isLate || (error as GossipError).code === 'timeout') return 'timed out';
  return 'failed';
}

function closedSoon(connection: Connection): Promise<void> {
  return new Promise((resolve) => {
    if (connection.status !== 'open') resolve();
    connection.addEventListener('close', () => resolve(), { once: true });
    setTimeout(resolve, CONNECTION_CLOSING_WAIT_MS);
  });
}
