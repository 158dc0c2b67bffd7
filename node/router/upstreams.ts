// Keeps the connections to upstreams: a pool per local instance, and one per link of another node, with a sign of life
// asked for while requests wait on it. Never chooses an upstream.

import type { Socket } from 'node:net';
import type { SecureContext } from 'node:tls';
import type { Dispatcher } from 'undici';
import type { NodeId } from '../../crdt/ids.ts';
import type { LocalUpstream, Upstream } from '../core/types.ts';
import type { BoundedLog } from './bounded-log.ts';
import { net, Pool, SOCKET_OPTIONS } from './builtin.ts';
import { LinkError } from './errors.ts';
import {
  LINK_KEEP_ALIVE_MS,
  LOCAL_DIAL_TIMEOUT_MS,
  LOCAL_KEEP_ALIVE_MS,
  UPSTREAM_BODY_IDLE_TIMEOUT_MS,
  UPSTREAM_HEADER_BYTES_MAX,
  UPSTREAM_HEADERS_TIMEOUT_MS,
  UPSTREAM_SOCKETS_MAX,
} from './limits.ts';
import { dialLink } from './link-dial.ts';
import { type Down, LinkReach } from './link-reach.ts';
import { LinkWatch } from './link-watch.ts';

const POOL_OPTIONS = {
  connections: UPSTREAM_SOCKETS_MAX,
  pipelining: 1,
  headersTimeout: UPSTREAM_HEADERS_TIMEOUT_MS,
  bodyTimeout: UPSTREAM_BODY_IDLE_TIMEOUT_MS,
  maxHeaderSize: UPSTREAM_HEADER_BYTES_MAX,
} as const;

type LocalAddress = Pick<LocalUpstream, 'instance' | 'host' | 'port'>;
type LinkedNode = Pick<Upstream, 'node' | 'link'>;
/** Where instances are that share the machine's network. */
const LOOPBACK = '127.0.0.1';

export class Upstreams {
  readonly #credentials: SecureContext;
  readonly #log: BoundedLog;
  /** By instance and address. */
  readonly #local = new Map<string, Pool>();
  /** By node and address. */
  readonly #links = new Map<string, Link>();
  readonly #down = new Set<Link>();
  /** Called when `down` has changed. */
  onDownChange: () => void = () => {};

  constructor(credentials: SecureContext, log: BoundedLog) {
    this.#credentials = credentials;
    this.#log = log;
  }

  /** Those of which nobody should expect anything now. */
  get down(): readonly Link[] {
    return [...this.#down];
  }

  /** Asked for every request, so that nothing else is while all is well. */
  get hasDown(): boolean {
    return this.#down.size > 0;
  }

  /**
   * Why the node of an upstream cannot be reached; undefined when nothing is known against it, and for those of this
   * node.
   */
  downOf({ node, link }: Upstream): Down | undefined {
    if (link === undefined) return undefined;
    return this.#links.get(linkKey(node, link))?.down;
  }

  local(upstream: LocalAddress): Dispatcher {
    const key = localKey(upstream);
    let pool = this.#local.get(key);
    if (!pool) {
      pool = new Pool('http://instance', {
        ...POOL_OPTIONS,
        keepAliveTimeout: LOCAL_KEEP_ALIVE_MS,
        connect: (_options, callback) => dialLocal(upstream, callback),
      });
      this.#local.set(key, pool);
    }
    return pool;
  }

  /** `begin` and `end` bracket every exchange, so that a silent link is noticed. */
  link(node: NodeId, address: string): Link {
    const key = linkKey(node, address);
    let link = this.#links.get(key);
    if (!link) {
      link = new Link({ node, address, credentials: this.#credentials, log: this.#log }, (changed) => {
        if (changed.down === undefined) this.#down.delete(changed);
        else this.#down.add(changed);
        this.onDownChange();
      });
      this.#links.set(key, link);
    }
    return link;
  }

  /**
   * Lets go of everything the table no longer names: idle connections close, requests in flight finish. Connections to
   * nodes that are no longer admitted are cut.
   */
  retain(table: { local: readonly LocalAddress[]; remote: Iterable<LinkedNode>; admitted: ReadonlySet<NodeId> }): void {
    const localKeys = new Set(table.local.map(localKey));
    for (const [key, pool] of this.#local) {
      if (localKeys.has(key)) continue;
      this.#local.delete(key);
      pool.close().catch(() => {});
    }
    const linkKeys = new Set<string>();
    const nodes = new Set<NodeId>();
    for (const { node, link } of table.remote) {
      if (link === undefined) continue;
      linkKeys.add(linkKey(node, link));
      nodes.add(node);
    }
    for (const [key, link] of this.#links) {
      if (linkKeys.has(key)) continue;
      this.#links.delete(key);
      if (table.admitted.has(link.node)) link.close({ moved: nodes.has(link.node) });
      else link.cut(`node ${link.node} was removed`);
    }
  }

  destroy(): void {
    for (const pool of this.#local.values()) pool.destroy().catch(() => {});
    for (const link of this.#links.values()) link.cut('the router closes');
  }
}

/** One other node's link: its pool, and the connections that are open, tunnels included. */
export class Link {
  readonly node: NodeId;
  /** `host:port`. */
  readonly address: string;
  readonly pool: Dispatcher;
  readonly #sockets = new Set<Socket>();
  readonly #watch: LinkWatch;
  readonly #reach: LinkReach;
  /** Read from connections that are closed by now. */
  #closedBytes = 0;

  constructor(
    { node, address, credentials, log }: { node: NodeId; address: string; credentials: SecureContext; log: BoundedLog },
    onChange: (link: Link) => void,
  ) {
    this.node = node;
    this.address = address;
    this.#reach = new LinkReach((callback) => dialLink({ link: address, expectedNode: node, credentials }, callback), {
      heardBytes: () => this.#heardBytes(),
      changed: () => {
        if (this.down !== undefined) log.warn('link.down', { node, link: address, why: this.down.why });
        onChange(this);
      },
    });
    const { dial } = this.#reach;
    // The name stands for the address that is dialled. Plain http to undici, because its own TLS would reconnect for
    // every other Host; the connection is TLS all the same.
    this.pool = new Pool('http://link', {
      ...POOL_OPTIONS,
      keepAliveTimeout: LINK_KEEP_ALIVE_MS,
      connect: (_options, callback) => this.#open(callback),
    });
    this.#watch = new LinkWatch(dial, () => {
      log.warn('link.silent', { node, link: address });
      this.#reach.lost('timed out');
      this.#cutSockets(`node ${node} gave no sign of life`);
    });
  }

  /** Why no request should be sent there now. */
  get down(): Down | undefined {
    return this.#reach.down;
  }

  /** A connection of its own beside the pool's, cut with them; refused at once while the link is down. */
  connect(callback: (...args: [null, Socket] | [Error, null]) => void): void {
    const why = this.down?.why;
    if (why === undefined) this.#open(callback);
    else
      callback(new LinkError('unreachable', `The link ${this.address} of node ${this.node} is down (${why}).`), null);
  }

  begin(): void {
    this.#watch.begin();
  }

  end(): void {
    this.#watch.end();
  }

  /** Requests in flight finish, and are watched until then; closely when the node is reached elsewhere from now on. */
  close({ moved }: { moved: boolean }): void {
    this.#reach.stop();
    if (moved) this.#watch.doubt();
    this.pool.close().catch(() => {});
  }

  cut(why: string): void {
    this.#reach.stop();
    this.#cutSockets(why);
    this.pool.destroy(new Error(why)).catch(() => {});
  }

  #open(callback: (...args: [null, Socket] | [Error, null]) => void): void {
    this.#reach.dial((error, socket) => {
      if (!socket) {
        callback(error ?? new Error('no connection'), null);
        return;
      }
      this.#sockets.add(socket);
      socket.once('close', () => {
        this.#sockets.delete(socket);
        this.#closedBytes += socket.bytesRead;
      });
      callback(null, socket);
    });
  }

  #heardBytes(): number {
    let bytes = this.#closedBytes;
    for (const { bytesRead } of this.#sockets) bytes += bytesRead;
    return bytes;
  }

  #cutSockets(why: string): void {
    for (const socket of this.#sockets) socket.destroy(new Error(why));
  }
}

export function dialLocal(
  { host = LOOPBACK, port }: Pick<LocalUpstream, 'host' | 'port'>,
  callback: (...args: [null, Socket] | [Error, null]) => void,
  timeoutMs = LOCAL_DIAL_TIMEOUT_MS,
): void {
  const socket = net.connect({ host, port, noDelay: true, ...SOCKET_OPTIONS });
  let settled = false;
  const settle = (error: Error | null) => {
    clearTimeout(timer);
    if (settled) return;
    settled = true;
    if (!error) {
      callback(null, socket);
      return;
    }
    socket.on('error', () => {});
    socket.destroy();
    callback(error, null);
  };
  const timer = setTimeout(
    () => settle(new Error(`port ${port} accepted no connection within ${timeoutMs} ms`)),
    timeoutMs,
  );
  socket.once('connect', () => settle(null));
  socket.once('error', settle);
}

const localKey = ({ instance, host = LOOPBACK, port }: LocalAddress) => `${instance} ${host} ${port}`;
const linkKey = (node: NodeId, address: string) => `${node} ${address}`;
