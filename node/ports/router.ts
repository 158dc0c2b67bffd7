// Port of the router: its process, as the daemon sees it. Types only; each says what it guarantees and how it fails.

import type { Duplex } from 'node:stream';
import type { NodeId, ServiceId } from '../../crdt/ids.ts';
import type { RouteTable } from '../core/types.ts';
import type { Unreached } from './gossip.ts';

/** Where a service runs: at an address of this node, or behind another node's link. */
export type ServicePlace = { host: string; port: number } | { node: NodeId; link: string };

/**
 * A service that apps here reach through the router. Port 0: any free one, which is told by onDoors. `exported`: a
 * door for whoever reaches it.
 */
export type ServiceDoor = { service: ServiceId; listen: { host: string; port: number }; exported?: ExportedDoor };

/**
 * Nothing passes without TLS. `certificate`: the router ends it, and shows this. `startsTls`: the engine does, once
 * the client has asked for it in the words of its protocol, which the router sees to.
 */
export type ExportedDoor = { connectionsMax: number } & (
  | { certificate: { keyPem: string; certPem: string } }
  | { startsTls: StartsTls }
);

/** Protocols that begin in clear, and in which a client asks for TLS. */
export type StartsTls = 'postgres' | 'mysql';

export type ServiceTable = {
  /**
   * Every service that runs, and where, as far as is known. One that runs here is open to other nodes; connections to
   * others are refused.
   */
  places: readonly { service: ServiceId; name: string; place: ServicePlace }[];
  doors: readonly ServiceDoor[];
};

/** One that accepts connections. */
export type OpenDoor = { service: ServiceId; host: string; port: number; exported?: true };

/** The router process as the daemon sees it. */
export interface RouterHandle {
  /** Addresses it listens on, `host:port`. */
  readonly http: string;
  readonly link: string;
  setTable(table: RouteTable): void;
  /** Calls back with every link that cannot be used, whenever that changes; `link` is its `host:port`. */
  onUnreachable(listener: (links: (Unreached & { link: string })[]) => void): void;
  /** Called when a request to join arrives at the link from a TLS client with the given identity. */
  onJoin(handler: (request: unknown, from: NodeId) => Promise<unknown>): void;
  /**
   * Replaces what the router knows of services. Connections that lead to where a service no longer is are broken off;
   * those through a door that is no longer wanted go on.
   */
  setServices(table: ServiceTable): void;
  /** Calls back with every door that is open, whenever that changes; with none when the process has crashed. */
  onDoors(listener: (doors: readonly OpenDoor[]) => void): void;
  /**
   * A connection to the service, wherever it runs, for people who reach it through the API: its bytes pass through the
   * daemon's process. Fails with an error that says why, within SERVICE_CONNECT_TIMEOUT_MS and the link's own.
   */
  openService(service: ServiceId): Promise<Duplex>;
  close(): Promise<void>;
}
