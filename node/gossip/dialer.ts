// Keeps this node connected: dials the nodes it should be connected to, at once when something changed and otherwise with
// growing delays. Never decides who is admitted.

import type { Connection, Stream } from '@libp2p/interface';
import { multiaddr } from '@multiformats/multiaddr';
import type { NodeId } from '../../crdt/ids.ts';
import type { Log } from '../ports.ts';
import type { AddressBook, AddressSource } from './address-book.ts';
import type { Connections } from './connections.ts';
import { GossipError, reasonOf } from './errors.ts';
import type { Host } from './host.ts';
import {
  CONNECTION_CLOSING_WAIT_MS,
  CONNECTION_SETTLED_MS,
  DIAL_HEAD_START_MS,
  DIAL_TIMEOUT_MS,
  REDIAL_DELAY_MAX_MS,
  REDIAL_DELAY_MIN_MS,
  STREAM_OPEN_ATTEMPTS_MAX,
} from './limits.ts';
import { neighboursOf } from './neighbours.ts';

type Target = { failures: number; timer: NodeJS.Timeout | undefined; dialling: boolean };

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
      this.#targets.set(node, { failures: 0, timer: undefined, dialling: false });
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

  /** The last connection to the node is gone. One that lived only a moment counts as a failed dial, so that refusals do not loop. */
  lost(node: NodeId, livedMs: number): void {
    const target = this.#targets.get(node);
    if (target === undefined) return;
    target.failures = livedMs < CONNECTION_SETTLED_MS ? target.failures + 1 : 0;
    this.#dialSoon(node);
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

  async dial(node: NodeId, signal: AbortSignal): Promise<Connection> {
    signal.throwIfAborted();
    const addresses = this.#book.addresses(node);
    if (addresses.length === 0) throw new GossipError('unreachable', `no address of node ${node} is known yet`);
    try {
      const connection = await this.#host.dial(
        addresses.map((address) => multiaddr(`${address}/p2p/${node}`)),
        { signal },
      );
      this.#book.confirm(node, connection.remoteAddr.toString());
      return connection;
    } catch (cause) {
      if (signal.aborted)
        throw new GossipError('timeout', `node ${node} did not accept a connection in time`, { cause });
      throw new GossipError('unreachable', `node ${node} cannot be reached: ${reasonOf(cause)}`, { cause });
    }
  }

  #cancel(target: Target): void {
    clearTimeout(target.timer);
    target.timer = undefined;
  }

  #dialSoon(node: NodeId): void {
    const target = this.#targets.get(node);
    if (target === undefined || !this.#running) return;
    this.#cancel(target);
    const headStartMs = this.#self < node ? 0 : DIAL_HEAD_START_MS;
    const delayMs = headStartMs + (target.failures === 0 ? 0 : redialDelayMs(target.failures, Math.random()));
    target.timer = setTimeout(() => void this.#attempt(node, target), delayMs);
  }

  async #attempt(node: NodeId, target: Target): Promise<void> {
    target.timer = undefined;
    if (target.dialling || this.#connections.of(node) !== undefined || this.#book.addresses(node).length === 0) return;
    target.dialling = true;
    try {
      await this.dial(node, AbortSignal.timeout(DIAL_TIMEOUT_MS));
    } catch (error) {
      target.failures += 1;
      this.#log.debug('gossip.dial_failed', { node, failures: target.failures, reason: reasonOf(error) });
    } finally {
      target.dialling = false;
    }
    if (this.#targets.get(node) === target && this.#connections.of(node) === undefined && target.timer === undefined)
      this.#dialSoon(node);
  }
}

function closedSoon(connection: Connection): Promise<void> {
  return new Promise((resolve) => {
    if (connection.status !== 'open') resolve();
    connection.addEventListener('close', () => resolve(), { once: true });
    setTimeout(resolve, CONNECTION_CLOSING_WAIT_MS);
  });
}
