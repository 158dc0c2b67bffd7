// The node-to-node control plane behind the port `Gossip`: wires the libp2p host to topics, requests, anti-entropy and
// probes. Holds no decision of its own beyond what happens when a connection opens.

import type { Connection, Stream } from '@libp2p/interface';
import type { NodeId } from '../../crdt/ids.ts';
import type { Belief, MembershipMessage, Report } from '../core/types.ts';
import type { Log } from '../lib/log.ts';
import type { DuplexRequests, Gossip, GossipListener, Unreached } from '../ports/gossip.ts';
import { AddressBook } from './address-book.ts';
import { advertisedAddresses, isLoopbackAddress, type ListenAddress, parseListen } from './addresses.ts';
import { Beats } from './beats.ts';
import { Connections, Gate } from './connections.ts';
import { Dialer } from './dialer.ts';
import { LanDiscovery, wantsDiscovery } from './discovery.ts';
import { DuplexClient, DuplexServer } from './duplex.ts';
import { GossipError, reasonOf } from './errors.ts';
import type { GossipOptions } from './gossip-options.ts';
import { createHost, type Host, silent } from './host.ts';
import * as limits from './limits.ts';
import { encodeReports } from './messages.ts';
import { ASK_REPORTS, TELL_MEMBERSHIP } from './methods.ts';
import { echo, takeHeard } from './muxer.ts';
import { isOutOfReach, Prober } from './probe.ts';
import { Quiet } from './quiet.ts';
import { createRejections, type Rejections } from './rejections.ts';
import { RpcClient } from './rpc-client.ts';
import { RpcServer } from './rpc-server.ts';
import { Semaphore } from './semaphore.ts';
import { Sync } from './sync.ts';
import { Topics, topicNames } from './topics.ts';

/** Of a report that the core waits for. */
const REPORT_REQUEST_TIMEOUT_MS = 2_000;

/** Not listening until `start`. Cannot be started again after `stop`. */
export async function createGossip(options: GossipOptions): Promise<Gossip & DuplexRequests> {
  const listen = await parseListen(options.listen);
  const rejections = createRejections(options.log);
  const gate = new Gate(rejections);
  const bound: ListenAddress = { ...listen };
  const addresses = (): string[] =>
    bound.port === 0
      ? []
      : advertisedAddresses(bound, { advertise: options.advertise?.() ?? [] }).map(
          (address) => `${address}/p2p/${options.identity.nodeId}`,
        );
  const host = await createHost({
    privateKey: options.identity.privateKey,
    psk: options.psk,
    listen,
    gater: gate.gater,
    topics: Object.values(topicNames(options.clusterId)),
    advertised: addresses,
  });
  return new LibP2PGossip({ options, host, gate, rejections, bound, addresses });
}

class LibP2PGossip implements Gossip, DuplexRequests {
  readonly self: NodeId;
  readonly #options: GossipOptions;
  readonly #log: Log;
  readonly #host: Host;
  readonly #gate: Gate;
  /** The port is set once the listener is up. */
  readonly #bound: ListenAddress;
  readonly #addresses: () => string[];
  readonly #discovery: LanDiscovery;
  readonly #book: AddressBook;
  readonly #connections: Connections;
  readonly #dialer: Dialer;
  readonly #topics: Topics;
  readonly #prober: Prober;
  readonly #beats: Beats;
  readonly #quiet: Quiet;
  readonly #server: RpcServer;
  readonly #client: RpcClient;
  readonly #duplexServer: DuplexServer;
  readonly #duplexClient: DuplexClient;
  readonly #sync: Sync;
  readonly #wideSync = new Semaphore(limits.SYNC_PARALLEL_MAX, limits.CONNECTIONS_MAX);
  readonly #listeners: Partial<GossipListener>[] = [];
  readonly #asks = new Semaphore(limits.REPORT_ASKS_PARALLEL_MAX, limits.CONNECTIONS_MAX);
  readonly #stopping = new AbortController();
  /** What a node said over a connection before it was told as connected. Each greeting comes first. */
  readonly #early = new Map<NodeId, Uint8Array[]>();
  #admittedCount = 0;
  /** When each node was asked for its reports last. */
  readonly #askedForReportsAtMs = new Map<NodeId, number>();
  #started = false;

  constructor(parts: {
    options: GossipOptions;
    host: Host;
    gate: Gate;
    rejections: Rejections;
    bound: ListenAddress;
    addresses: () => string[];
  }) {
    const { options, host, gate, rejections } = parts;
    const { clusterId, log } = options;
    this.self = options.identity.nodeId;
    this.#options = options;
    this.#log = log;
    this.#host = host;
    this.#gate = gate;
    this.#bound = parts.bound;
    this.#addresses = parts.addresses;
    this.#discovery = new LanDiscovery({
      clusterId,
      addresses: parts.addresses,
      logger: silent,
      log,
      found: (node, addresses) => this.#onDiscovered(node as NodeId, addresses),
    });
    this.#book = new AddressBook(options.dataDir, log);
    this.#connections = new Connections({
      self: this.self,
      host,
      gate,
      events: {
        opened: (node, connection) => this.#onOpened(node, connection),
        replaced: (node) => this.#greet(node),
        connected: (node) => this.#onConnected(node),
        disconnected: (node, wasConnected, livedMs) => this.#onDisconnected(node, wasConnected, livedMs),
      },
    });
    this.#dialer = new Dialer({ self: this.self, host, connections: this.#connections, book: this.#book, log });
    this.#topics = new Topics({
      self: this.self,
      host,
      gate,
      names: topicNames(clusterId),
      rejections,
      log,
      events: {
        report: (report) => {
          this.#dialer.learn(report.node, report.addresses, 'told');
          this.#tell((listener) => listener.report?.(report));
        },
        reportMissed: (node) => void this.#askForReports(node),
        membership: (message) => this.#tell((listener) => listener.membership?.(message)),
        changes: (changes, from) => this.#tell((listener) => listener.changes?.(changes, from)),
      },
    });
    this.#prober = new Prober(this.#connections, this.#dialer);
    this.#beats = new Beats({
      connections: this.#connections,
      dialer: this.#dialer,
      protocol: this.#protocol('beats'),
      log,
      received: (frame, from) => this.#onBeat(frame, from),
    });
    this.#quiet = new Quiet(
      {
        nodes: () => this.#connections.nodes(),
        connectionOf: (node) => this.#connections.of(node),
        allOf: (node) => this.#connections.allOf(node),
        takeHeard,
        joined: () => this.#topics.joined(),
        looksMax: () =>
          this.#admittedCount < limits.FULL_MESH_NODES_MAX ? limits.QUIET_LOOKS_MAX : limits.QUIET_LOOKS_MAX_LARGE,
        ask: echo,
        renew: (node) => this.#dialer.renew(node),
        isOutOfReach: (error) => isOutOfReach((error as Error).cause),
        refresh: (node) => this.#connections.refresh(node),
        reopen: (node) => this.#connections.reopen(node),
      },
      log,
    );
    this.#server = new RpcServer(log, options.standstill);
    this.#client = new RpcClient(this.#dialer, this.#protocol('rpc'));
    this.#duplexServer = new DuplexServer(log, options.standstill);
    this.#duplexClient = new DuplexClient(this.#dialer, this.#protocol('duplex'));
    this.#sync = new Sync({ source: options.desired, dialer: this.#dialer, protocol: this.#protocol('sync'), log });
  }

  addresses(): string[] {
    return this.#started ? this.#addresses() : [];
  }

  /**
   * Over an address that is gone nothing comes back, not even an end: a connection that does not answer is replaced.
   */
  checkConnections(): void {
    this.#quiet.askAll(limits.CONNECTION_CHECK_TIMEOUT_MS);
  }

  unreachable(): Unreached[] {
    return this.#dialer.unreachable(performance.now());
  }

  strangers(): NodeId[] {
    return this.#gate.strangers.insisting(performance.now());
  }

  async start(): Promise<void> {
    await this.#book.load();
    await this.#serve('rpc', (stream, connection) => this.#server.serve(stream, connection), limits.RPC_STREAMS_MAX);
    await this.#serve(
      'duplex',
      (stream, connection) => this.#duplexServer.serve(stream, connection),
      limits.DUPLEX_STREAMS_MAX,
    );
    await this.#serve('sync', (stream, connection) => this.#sync.serve(stream, connection), limits.SYNC_STREAMS_MAX);
    await this.#serve('beats', (stream, connection) => this.#beats.serve(stream, connection), limits.BEAT_STREAMS_MAX);
    this.#server.handle(ASK_REPORTS, async ({ belief }) => {
      // If it is wrong, the report that is told says so.
      if (belief !== undefined) this.#tell((listener) => listener.belief?.(belief));
      return this.#topics.ownReports();
    });
    this.#server.handle(TELL_MEMBERSHIP, async (message, from) =>
      this.#topics.receiveMembership({ ok: true, value: message }, from),
    );
    this.#host.addEventListener('transport:listening', (event) => {
      this.#bound.port = Number(
        event.detail
          .getAddrs()[0]
          ?.getComponents()
          .find((part) => part.name === 'tcp')?.value ?? 0,
      );
    });
    try {
      await this.#host.start();
    } catch (cause) {
      throw new Error(
        `cannot listen on ${this.#options.listen}: ${reasonOf(cause)}; choose another --listen HOST:PORT`,
        { cause },
      );
    }
    this.#started = true;
    this.#topics.start();
    this.#dialer.start();
    if (this.#options.discovery ?? wantsDiscovery(this.#bound)) await this.#discovery.start();
    this.#quiet.start();
    this.#log.info('gossip.started', { addresses: this.addresses() });
  }

  async stop(): Promise<void> {
    if (this.#stopping.signal.aborted) return;
    this.#stopping.abort(new GossipError('closed', 'this node is stopping'));
    this.#quiet.stop();
    this.#dialer.stop();
    await this.#discovery.stop();
    await this.#host.stop();
    await this.#book.flush();
    this.#log.info('gossip.stopped', {});
  }

  setAdmitted(nodes: ReadonlyMap<NodeId, { addresses: string[] }>): void {
    const others = [...nodes.keys()].filter((node) => node !== this.self);
    this.#gate.set(new Set(others));
    this.#admittedCount = others.length;
    this.#dialer.setNodes(others);
    this.#connections.closeUnadmitted();
    this.#topics.prune();
    for (const node of this.#askedForReportsAtMs.keys()) if (!nodes.has(node)) this.#askedForReportsAtMs.delete(node);
    for (const node of others) this.#dialer.learn(node, nodes.get(node)?.addresses ?? [], 'told');
  }

  learnAddresses(node: NodeId, addresses: string[]): void {
    if (node !== this.self) this.#dialer.learn(node, addresses, 'told');
  }

  connected(): NodeId[] {
    return this.#connections.connected();
  }

  publishReport(report: Report, { relay }: { relay: boolean }): void {
    const { data, isWhole } = this.#topics.nextReport(report);
    if (!relay && !isWhole) {
      this.#beats.send(data, this.#connections.nodes());
      return;
    }
    this.#topics.spreadReport(data);
    this.#beats.send(data, this.#notJoined());
  }

  publishMembership(message: MembershipMessage): void {
    this.#topics.publishMembership(message);
    for (const node of this.#notJoined()) this.#tellNode(node, message);
  }

  publishChanges(changes: Uint8Array[]): void {
    const fits = this.#topics.publishChanges(changes);
    for (const node of fits ? this.#notJoined() : this.#connections.nodes()) void this.#syncSoon(node);
  }

  async probe(node: NodeId, timeoutMs: number): Promise<'ok' | 'refused' | 'timeout' | 'error'> {
    return this.#prober.probe(node, timeoutMs);
  }

  request: Gossip['request'] = (...asked) => this.#client.request(...asked);

  requestStream: Gossip['requestStream'] = (...asked) => this.#client.requestStream(...asked);

  handle: Gossip['handle'] = (...handled) => this.#server.handle(...handled);

  handleStream: Gossip['handleStream'] = (...handled) => this.#server.handleStream(...handled);

  async askReport(node: NodeId, belief: Belief): Promise<void> {
    try {
      await this.#hearReports(node, { belief }, { timeoutMs: REPORT_REQUEST_TIMEOUT_MS });
    } catch (error) {
      this.#log.debug('gossip.ask_failed', { node, reason: reasonOf(error) });
    }
  }

  syncDesired(node: NodeId): Promise<void> {
    return this.#sync.run(node);
  }

  on(listener: Partial<GossipListener>): void {
    this.#listeners.push(listener);
  }

  requestDuplex: DuplexRequests['requestDuplex'] = (...asked) => this.#duplexClient.request(...asked);

  handleDuplex: DuplexRequests['handleDuplex'] = (...handled) => this.#duplexServer.handle(...handled);

  #protocol(name: 'rpc' | 'duplex' | 'sync' | 'beats'): string {
    return `/peer/${this.#options.clusterId}/${name}/1`;
  }

  async #serve(
    name: 'rpc' | 'duplex' | 'sync' | 'beats',
    handler: (stream: Stream, connection: Connection) => Promise<void>,
    streamsMax: number,
  ): Promise<void> {
    await this.#host.handle(this.#protocol(name), handler, {
      maxInboundStreams: streamsMax,
      maxOutboundStreams: streamsMax,
    });
  }

  #onOpened(node: NodeId, connection: Connection): void {
    this.#log.debug('gossip.connection_opened', {
      node,
      direction: connection.direction,
      address: connection.remoteAddr.toString(),
    });
    this.#greet(node);
  }

  /** What the two must know of each other, whatever was lost before. */
  #greet(node: NodeId): void {
    // One side is enough; what it learns goes both ways.
    if (this.self < node) void this.#syncSoon(node);
    const reports = this.#topics.ownReports();
    if (reports.length > 0) this.#beats.greet(node, encodeReports(reports));
  }

  /** Nobody acts on what a node says before it is known to be connected: it might be taken for its last words. */
  #onBeat(frame: Uint8Array, from: NodeId): void {
    if (this.#connections.isConnected(from)) this.#topics.receiveBeat(frame, from);
    else {
      const early = this.#early.get(from) ?? [];
      if (early.length >= limits.BEATS_EARLY_MAX) early.splice(1, 1);
      this.#early.set(from, [...early, frame]);
    }
  }

  /** Connected nodes that gossip would not reach. */
  #notJoined(): NodeId[] {
    const joined = this.#topics.joined();
    return this.#connections.nodes().filter((node) => !joined.has(node));
  }

  #tellNode(node: NodeId, message: MembershipMessage): void {
    this.#client.request(node, TELL_MEMBERSHIP, message).catch((error: unknown) => {
      this.#log.debug('gossip.tell_failed', { node, method: TELL_MEMBERSHIP.name, reason: reasonOf(error) });
    });
  }

  async #hearReports(node: NodeId, asked: { belief?: Belief }, options?: { timeoutMs: number }): Promise<void> {
    const reports = await this.#client.request(node, ASK_REPORTS, asked, options);
    this.#topics.receiveReports({ ok: true, value: reports }, node);
  }

  /** The next report that is missed asks again. */
  async #askForReports(node: NodeId): Promise<void> {
    const now = performance.now();
    if (now - (this.#askedForReportsAtMs.get(node) ?? Number.NEGATIVE_INFINITY) < limits.REPORT_ASK_INTERVAL_MS) return;
    this.#askedForReportsAtMs.set(node, now);
    try {
      const release = await this.#asks.acquire(this.#stopping.signal);
      try {
        await this.#hearReports(node, {});
      } finally {
        release();
      }
    } catch (error) {
      this.#log.debug('gossip.ask_failed', { node, reason: reasonOf(error) });
    }
  }

  #onConnected(node: NodeId): void {
    this.#log.info('gossip.connected', { node });
    this.#tell((listener) => listener.connected?.(node));
    for (const frame of this.#early.get(node) ?? []) this.#topics.receiveBeat(frame, node);
    this.#early.delete(node);
  }

  #onDisconnected(node: NodeId, wasConnected: boolean, livedMs: number): void {
    this.#early.delete(node);
    this.#dialer.lost(node, livedMs);
    if (!wasConnected || this.#stopping.signal.aborted) return;
    this.#log.info('gossip.disconnected', { node, livedMs: Math.round(livedMs) });
    this.#tell((listener) => listener.disconnected?.(node));
  }

  #onDiscovered(node: NodeId, addresses: string[]): void {
    if (!this.#gate.admits(node)) return;
    this.#dialer.learn(
      node,
      addresses.filter((address) => !isLoopbackAddress(address)),
      'discovered',
    );
  }

  async #syncSoon(node: NodeId): Promise<void> {
    try {
      const release = await this.#wideSync.acquire(this.#stopping.signal);
      try {
        await this.#sync.run(node);
      } finally {
        release();
      }
    } catch (error) {
      this.#log.debug('gossip.sync_failed', { node, initiator: true, reason: reasonOf(error) });
    }
  }

  #tell(call: (listener: Partial<GossipListener>) => void): void {
    for (const listener of this.#listeners) {
      try {
        call(listener);
      } catch (error) {
        this.#log.error('gossip.listener_failed', { reason: reasonOf(error) });
      }
    }
  }
}
