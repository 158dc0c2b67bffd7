// Ports between nodes: the control plane, requests and streams of bytes. Types only; each says what it guarantees and
// how it fails.

import type { NodeId } from '../../crdt/ids.ts';
import type { Belief, MembershipMessage, Report } from '../core/types.ts';
import type { DuplexMethod, Method, StreamMethod } from './methods.ts';

/**
 * Answers one request of another admitted node. Throwing sends the message to the caller as a RemoteError. `signal`:
 * the caller has gone.
 */
export type RpcHandler<Request, Reply> = (payload: Request, from: NodeId, signal: AbortSignal) => Promise<Reply>;
/** Answers with a stream of JSON values until done or the caller goes away (signal). */
export type RpcStreamHandler<Request, Item> = (
  payload: Request,
  from: NodeId,
  signal: AbortSignal,
) => AsyncIterable<Item>;

/**
 * The node-to-node control plane. Only admitted nodes get past the connection gate; every message is authenticated,
 * validated and bounded before a listener sees it. Listeners are called with what another node authored, never with
 * what a third node claims it said.
 */
export interface Gossip {
  readonly self: NodeId;
  /** Addresses other nodes can dial, with the peer id. */
  addresses(): string[];
  /** This machine has lost an address: connections that do not answer any more are replaced at once. */
  checkConnections(): void;
  /** Nodes that it should have a connection to, and cannot dial. */
  unreachable(): Unreached[];
  /** Nodes that hold the cluster's key and dial again and again, but are not admitted. */
  strangers(): NodeId[];
  start(): Promise<void>;
  stop(): Promise<void>;
  /** Closes connections to nodes that are no longer admitted; dials new ones. Called at every desired change. */
  setAdmitted(nodes: ReadonlyMap<NodeId, { addresses: string[] }>): void;
  /** Adds addresses learnt from reports or an invite; remembered on disk by the caller of onAddresses. */
  learnAddresses(node: NodeId, addresses: string[]): void;
  connected(): NodeId[];
  /** `relay`: neighbours pass it on. Otherwise it goes to the connected nodes alone, over their connections. */
  publishReport(report: Report, how: { relay: boolean }): void;
  publishMembership(message: MembershipMessage): void;
  /** Changes of the desired state, as Automerge change bytes. */
  publishChanges(changes: Uint8Array[]): void;
  probe(node: NodeId, timeoutMs: number): Promise<'ok' | 'refused' | 'timeout' | 'error'>;
  /**
   * Asks as the table of methods says (methods.ts); `timeoutMs` where the caller has less time, or more. Fails with
   * GossipError, `protocol` when the answer is not what was asked for, or RemoteError when the other node's handler
   * failed.
   */
  request<Request, Reply>(
    node: NodeId,
    method: Method<Request, Reply>,
    payload: Request,
    options?: { timeoutMs?: number; signal?: AbortSignal },
  ): Promise<Reply>;
  requestStream<Request, Item>(
    node: NodeId,
    method: StreamMethod<Request, Item>,
    payload: Request,
    options: { signal: AbortSignal },
  ): AsyncIterable<Item>;
  /** The handler sees no request that is not as the table says. */
  handle<Request, Reply>(method: Method<Request, Reply>, handler: RpcHandler<Request, Reply>): void;
  handleStream<Request, Item>(method: StreamMethod<Request, Item>, handler: RpcStreamHandler<Request, Item>): void;
  /**
   * Asks a node for its report, telling it what is believed of it; the answer comes as any report does. Never fails.
   */
  askReport(node: NodeId, belief: Belief): Promise<void>;
  /** Runs anti-entropy with the node until heads agree or it fails; one at a time per node. */
  syncDesired(node: NodeId): Promise<void>;
  on(listener: Partial<GossipListener>): void;
}

/**
 * Bytes in both directions between two nodes, each side held back while the other is busy. Both sides have to say
 * something from time to time (SESSION_BEAT_MS): a silent one is taken for gone. The input's end closes that direction
 * alone.
 */
export interface DuplexRequests {
  /** Fails, at the first read at the latest, with a RemoteError when the other node's handler does. */
  requestDuplex<Request>(
    node: NodeId,
    method: DuplexMethod<Request>,
    payload: Request,
    options: { input: AsyncIterable<Uint8Array>; signal: AbortSignal },
  ): AsyncIterable<Uint8Array>;
  handleDuplex<Request>(method: DuplexMethod<Request>, handler: DuplexHandler<Request>): void;
}
/** `signal`: the caller has gone. */
export type DuplexHandler<Request> = (
  payload: Request,
  from: NodeId,
  input: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
) => AsyncIterable<Uint8Array>;

/** A node that does not let itself be reached. `why`: a few words for people. `sinceMs`: for how long, by now. */
export type Unreached = { node: NodeId; why: string; sinceMs: number };

export type GossipListener = {
  connected(node: NodeId): void;
  disconnected(node: NodeId): void;
  /** The newest of its author, or one of an earlier life: then its author has not heard of the later one. */
  report(report: Report): void;
  membership(message: MembershipMessage): void;
  /** What another node believes of this one. */
  belief(belief: Belief): void;
  changes(changes: Uint8Array[], from: NodeId): void;
};
