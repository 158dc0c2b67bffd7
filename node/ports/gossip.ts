// Ports between nodes: the control plane, requests and streams of bytes. Types only; each says what it guarantees and
// how it fails.

import type { NodeId } from '../../crdt/ids.ts';
import type { MembershipMessage, Report } from '../core/types.ts';

/**
 * Answers one request of another admitted node. Throwing sends the message to the caller as a RemoteError. `signal`:
 * the caller has gone.
 */
export type RpcHandler = (payload: unknown, from: NodeId, signal: AbortSignal) => Promise<unknown>;
/** Answers with a stream of JSON values until done or the caller goes away (signal). */
export type RpcStreamHandler = (payload: unknown, from: NodeId, signal: AbortSignal) => AsyncIterable<unknown>;

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
  request(
    node: NodeId,
    method: string,
    payload: unknown,
    options: { timeoutMs: number; signal?: AbortSignal },
  ): Promise<unknown>;
  requestStream(
    node: NodeId,
    method: string,
    payload: unknown,
    options: { signal: AbortSignal },
  ): AsyncIterable<unknown>;
  /**
   * `whileWanted`: it is not called for a request that had waited while this node stood still, when its caller has
   * given up.
   */
  handle(method: string, handler: RpcHandler, options?: { whileWanted?: boolean }): void;
  handleStream(method: string, handler: RpcStreamHandler): void;
  /** Runs anti-entropy with the node until heads agree or it fails; one at a time per node. */
  syncDesired(node: NodeId): Promise<void>;
  on(listener: GossipListener): void;
}

/**
 * Bytes in both directions between two nodes, each side held back while the other is busy. Both sides have to say
 * something from time to time (SESSION_BEAT_MS): a silent one is taken for gone. The input's end closes that direction
 * alone.
 */
export interface DuplexRequests {
  /** Fails, at the first read at the latest, with a RemoteError when the other node's handler does. */
  requestDuplex(
    node: NodeId,
    method: string,
    payload: unknown,
    options: { input: AsyncIterable<Uint8Array>; signal: AbortSignal },
  ): AsyncIterable<Uint8Array>;
  handleDuplex(method: string, handler: DuplexHandler): void;
}
/** `signal`: the caller has gone. */
export type DuplexHandler = (
  payload: unknown,
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
  changes(changes: Uint8Array[], from: NodeId): void;
};
