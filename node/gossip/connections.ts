// Knows which nodes are admitted and connected: the gate nobody else passes, one connection per node, and who hears of
// it when the first comes or the last goes. Never dials (dialer.ts).

import type { Connection, ConnectionGater, IdentifyResult, PeerId } from '@libp2p/interface';
import type { NodeId } from '../../crdt/ids.ts';
import { GossipError } from './errors.ts';
import type { Host } from './host.ts';
import {
  CONNECTION_RETIRE_CHECKS_MAX,
  CONNECTION_RETIRE_INTERVAL_MS,
  CONNECTION_SETTLED_MS,
  QUIET_ANSWER_TIMEOUT_MS,
} from './limits.ts';
import { echo } from './muxer.ts';
import type { Rejections } from './rejections.ts';
import { Strangers } from './strangers.ts';

export type ConnectionEvents = {
  /** The other side has answered over the connection: it admits this node too. Once until `disconnected`. */
  connected(node: NodeId): void;
  /** The last connection is gone. Also called when it never became `connected`, with false. */
  disconnected(node: NodeId, wasConnected: boolean, livedMs: number): void;
  /** For every connection, also a second one to the same node. */
  opened(node: NodeId, connection: Connection): void;
  /** One of several connections closed; what was under way on it is lost. */
  replaced(node: NodeId): void;
};

/** Who may connect. Consulted by libp2p before every dial and after every key exchange. */
export class Gate {
  readonly gater: ConnectionGater;
  readonly strangers = new Strangers();
  #admitted: ReadonlySet<string> = new Set();

  constructor(rejections: Rejections) {
    const refuse = (kind: string, peer: PeerId): boolean => {
      if (this.admits(peer.toString())) return false;
      rejections.count(kind, { node: peer.toString() });
      return true;
    };
    const refuseInbound = (peer: PeerId): boolean => {
      const isRefused = refuse('inbound_not_admitted', peer);
      if (isRefused) this.strangers.refused(peer.toString() as NodeId, performance.now());
      return isRefused;
    };
    this.gater = {
      denyDialPeer: (peer) => refuse('dial_not_admitted', peer),
      denyDialMultiaddr: () => false,
      denyInboundEncryptedConnection: refuseInbound,
      denyOutboundEncryptedConnection: (peer) => refuse('outbound_not_admitted', peer),
      // Asked once more after the multiplexer is agreed: the node may have been removed in between.
      denyInboundUpgradedConnection: refuseInbound,
      denyOutboundUpgradedConnection: (peer) => refuse('outbound_not_admitted', peer),
      filterMultiaddrForPeer: (peer) => this.admits(peer.toString()),
    };
  }

  admits(node: string): boolean {
    return this.#admitted.has(node);
  }

  set(admitted: ReadonlySet<NodeId>): void {
    this.#admitted = admitted;
    this.strangers.forget(admitted);
  }
}

type Live = { peer: PeerId; connections: Connection[]; answered: boolean; sinceMs: number };

/** Of every version of gossipsub. */
const GOSSIP_PROTOCOL = '/meshsub/';

export class Connections {
  readonly #self: NodeId;
  readonly #host: Host;
  readonly #gate: Gate;
  readonly #events: ConnectionEvents;
  readonly #live = new Map<NodeId, Live>();
  readonly #retired = new WeakSet<Connection>();

  constructor(options: { self: NodeId; host: Host; gate: Gate; events: ConnectionEvents }) {
    this.#self = options.self;
    this.#host = options.host;
    this.#gate = options.gate;
    this.#events = options.events;
    this.#host.addEventListener('connection:open', (event: CustomEvent<Connection>) => this.#opened(event.detail));
    this.#host.addEventListener('peer:identify', (event: CustomEvent<IdentifyResult>) => this.#answered(event.detail));
  }

  connected(): NodeId[] {
    return [...this.#live].filter(([, live]) => live.answered).map(([node]) => node);
  }

  /** Also those whose other side has not answered yet. */
  nodes(): NodeId[] {
    return [...this.#live.keys()];
  }

  isConnected(node: NodeId): boolean {
    return this.#live.get(node)?.answered === true;
  }

  /** The newest open connection that is not about to be closed, and none of those excepted. */
  of(node: NodeId, except?: ReadonlySet<Connection>): Connection | undefined {
    const open = this.#live
      .get(node)
      ?.connections.filter((connection) => connection.status === 'open' && !except?.has(connection));
    return open?.findLast((connection) => !this.#retired.has(connection)) ?? open?.at(-1);
  }

  allOf(node: NodeId): readonly Connection[] {
    return this.#live.get(node)?.connections ?? [];
  }

  /** Closes every connection to nodes the gate no longer admits, before it returns. */
  closeUnadmitted(): void {
    for (const [node, live] of [...this.#live]) {
      if (this.#gate.admits(node)) continue;
      for (const connection of [...live.connections])
        connection.abort(new GossipError('closed', 'the node is no longer admitted'));
      void this.#host.peerStore.delete(live.peer).catch(() => undefined);
    }
  }

  /** Has the other side say again which protocols it speaks, which makes gossipsub open the streams it lacks. */
  refresh(node: NodeId): void {
    const connection = this.of(node);
    if (connection !== undefined) void this.#host.services.identify.identify(connection).catch(() => undefined);
  }

  /**
   * Ends the gossip streams that the other side opened, so that it opens them anew and says again what it subscribes
   * to: gossipsub forgets that with the end of any stream of the node, also of one over a connection that was
   * replaced.
   */
  reopen(node: NodeId): void {
    for (const stream of this.of(node)?.streams ?? []) {
      if (stream.direction !== 'inbound' || !stream.protocol.startsWith(GOSSIP_PROTOCOL)) continue;
      stream.abort(new GossipError('closed', 'no gossip flows over it'));
    }
    this.refresh(node);
  }

  #opened(connection: Connection): void {
    if (connection.status !== 'open') return;
    const node = connection.remotePeer.toString() as NodeId;
    if (!this.#gate.admits(node)) {
      connection.abort(new GossipError('closed', 'the node is not admitted'));
      return;
    }
    const live = this.#live.get(node) ?? {
      peer: connection.remotePeer,
      connections: [],
      answered: false,
      sinceMs: performance.now(),
    };
    live.connections.push(connection);
    this.#live.set(node, live);
    connection.addEventListener('close', () => this.#closed(node, connection), { once: true });
    this.#events.opened(node, connection);
    if (live.connections.length > 1) this.#keepOne(node, live);
  }

  #closed(node: NodeId, connection: Connection): void {
    const live = this.#live.get(node);
    if (live === undefined) return;
    live.connections = live.connections.filter((other) => other !== connection);
    if (live.connections.length > 0) {
      // Gossip streams that ran over the closed one are opened on the other.
      this.refresh(node);
      this.#events.replaced(node);
      return;
    }
    this.#live.delete(node);
    this.#events.disconnected(node, live.answered, performance.now() - live.sinceMs);
  }

  #answered({ peerId, connection }: IdentifyResult): void {
    const node = peerId.toString() as NodeId;
    const live = this.#live.get(node);
    if (live === undefined || live.answered || !live.connections.includes(connection)) return;
    live.answered = true;
    this.#events.connected(node);
  }

  /**
   * Of two connections to one node the newer stays: an old one that the other side replaced is likely dead. Of two
   * that were opened at nearly the same time nothing of the kind can be told.
   */
  #keepOne(node: NodeId, live: Live): void {
    const newest = live.connections.at(-1)!;
    const isOld = (connection: Connection): boolean =>
      newest.timeline.open - connection.timeline.open >= CONNECTION_SETTLED_MS;
    if (live.connections.every((connection) => !isOld(connection))) {
      void this.#keepOneThatAnswers(node, [...live.connections]);
      return;
    }
    for (const connection of live.connections)
      if (connection !== newest) connection.abort(new GossipError('closed', 'replaced by a newer connection'));
  }

  /**
   * They may be simultaneous dials: the one dialled by the smaller id stays, and only the smaller id closes the other,
   * so that the two ends never close one each. But the other side may also have moved to another address, and then the
   * old ones lead nowhere, which neither side hears of. So all are asked, and where some answer, those that do not are
   * closed, on both sides. Where none does, the other side may be busy.
   */
  async #keepOneThatAnswers(node: NodeId, connections: readonly Connection[]): Promise<void> {
    const signal = AbortSignal.timeout(QUIET_ANSWER_TIMEOUT_MS);
    const answers = await Promise.allSettled(connections.map((connection) => echo(connection, signal)));
    const answering = connections.filter((_, index) => answers[index]!.status === 'fulfilled');
    for (const connection of answering.length === 0 ? [] : connections) {
      if (!answering.includes(connection))
        connection.abort(new GossipError('closed', 'the other side answers over another connection'));
    }
    if (this.#self > node) return;
    const left = (answering.length === 0 ? connections : answering).filter(({ status }) => status === 'open');
    const keep = left.findLast(({ direction }) => direction === 'outbound') ?? left.at(-1);
    for (const connection of left) if (connection !== keep) this.#retire(connection, CONNECTION_RETIRE_CHECKS_MAX);
  }

  /** Closes it once no exchange runs over it any more, or after a while. */
  #retire(connection: Connection, checksLeft: number): void {
    this.#retired.add(connection);
    setTimeout(() => {
      if (connection.status !== 'open') return;
      const busy = connection.streams.some((stream) => stream.protocol.startsWith('/peer/'));
      if (busy && checksLeft > 0) this.#retire(connection, checksLeft - 1);
      else void connection.close().catch((error: Error) => connection.abort(error));
    }, CONNECTION_RETIRE_INTERVAL_MS).unref();
  }
}
