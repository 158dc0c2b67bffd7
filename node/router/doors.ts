// Listens for bound apps of this node on behalf of services that run elsewhere; and for whoever comes, where a service
// is exported, with TLS alone. What is accepted is led on by service-ways.ts; who gets to the former at all is for the
// network's rules. A door that cannot be opened is tried again.

import type { AddressInfo, Server } from 'node:net';
import type { Duplex } from 'node:stream';
import type { ServiceId } from '../../crdt/ids.ts';
import { formatHostPort } from '../lib/host-port.ts';
import type { OpenDoor, ServiceDoor } from '../ports/router.ts';
import type { BoundedLog } from './bounded-log.ts';
import { net, SOCKET_OPTIONS, tls } from './builtin.ts';
import { DOOR_RETRY_DELAY_MS, DOORS_BACKLOG, GUARD_TIMEOUT_MS } from './limits.ts';
import type { ServiceWays } from './service-ways.ts';
import { GuardedClient } from './tls-guard.ts';
import { breakOff } from './tunnel.ts';

type Door = {
  wanted: ServiceDoor;
  server: Server | undefined;
  retry: NodeJS.Timeout | undefined;
  port: number;
  /** Of an exported one: they end with it, as nobody may have come but through it. */
  clients: Set<Duplex>;
};

export class Doors {
  readonly #ways: ServiceWays;
  readonly #log: BoundedLog;
  readonly #changed: (open: OpenDoor[]) => void;
  readonly #doors = new Map<string, Door>();

  /** `changed` gets all that are open, whenever one opens or closes. */
  constructor(ways: ServiceWays, log: BoundedLog, changed: (open: OpenDoor[]) => void) {
    this.#ways = ways;
    this.#log = log;
    this.#changed = changed;
  }

  set(wanted: readonly ServiceDoor[]): void {
    const keys = new Set(wanted.map(doorKey));
    let closed = false;
    for (const [key, door] of this.#doors) {
      if (keys.has(key)) continue;
      closed ||= door.port !== 0;
      this.#close(key, door);
    }
    if (closed) this.#tell();
    for (const one of wanted) {
      const key = doorKey(one);
      const known = this.#doors.get(key);
      if (known !== undefined) {
        // The service may have been given a larger plan.
        if (known.server && one.exported) known.server.maxConnections = one.exported.connectionsMax;
        known.wanted = one;
        continue;
      }
      const door: Door = { wanted: one, server: undefined, retry: undefined, port: 0, clients: new Set() };
      this.#doors.set(key, door);
      this.#open(key, door);
    }
  }

  /** Accepts nothing more. What is open is for service-ways.ts to end. */
  close(): void {
    for (const [key, door] of this.#doors) this.#close(key, door);
  }

  #open(key: string, door: Door): void {
    const { service, listen } = door.wanted;
    const server = this.#serverOf(door);
    door.server = server;
    server.on('error', (error) => {
      // Later ones are failures to accept a connection (no file descriptors left): that client's alone.
      if (door.port !== 0 || this.#doors.get(key) !== door) return;
      const address = formatHostPort(listen);
      this.#log.warn('service.door_closed', { service: this.#ways.nameOf(service), address, why: error.message });
      door.retry = setTimeout(() => this.#open(key, door), DOOR_RETRY_DELAY_MS).unref();
    });
    server.listen({ ...listen, backlog: DOORS_BACKLOG }, () => {
      if (this.#doors.get(key) !== door) return;
      door.port = (server.address() as AddressInfo).port;
      this.#tell();
    });
  }

  #serverOf(door: Door): Server {
    const { service, exported } = door.wanted;
    const options = { ...SOCKET_OPTIONS, noDelay: true };
    if (exported === undefined) return net.createServer(options, (client) => this.#accept(client, service));
    const keep = (client: Duplex): void => {
      door.clients.add(client);
      client.once('close', () => door.clients.delete(client));
      this.#accept(client, service);
    };
    let server: Server;
    if ('certificate' in exported) {
      const { keyPem: key, certPem: cert } = exported.certificate;
      const secured = { ...options, key, cert, minVersion: 'TLSv1.2' as const, handshakeTimeout: GUARD_TIMEOUT_MS };
      server = tls.createServer(secured, keep).on('tlsClientError', (_error, client) => client.destroy());
    } else {
      const { startsTls } = exported;
      server = net.createServer(options, (client) => keep(new GuardedClient(client, startsTls)));
    }
    server.maxConnections = exported.connectionsMax;
    return server;
  }

  #close(key: string, door: Door): void {
    this.#doors.delete(key);
    clearTimeout(door.retry);
    door.server?.close();
    for (const client of door.clients) client.destroy();
  }

  #accept(client: Duplex, service: ServiceId): void {
    client.on('error', () => client.destroy());
    this.#ways.lead(client, service, {
      hereOnly: false,
      refuse: ({ name, why }) => {
        this.#log.warn('service.refused', { service: name, why });
        breakOff(client);
      },
    });
  }

  #tell(): void {
    const open = [...this.#doors.values()].filter(({ port }) => port !== 0);
    this.#changed(
      open.map(({ wanted: { service, listen, exported }, port }) => ({
        ...{ service, host: listen.host, port },
        ...(exported === undefined ? {} : { exported: true as const }),
      })),
    );
  }
}

/** A certificate that is made anew is no other door. */
const doorKey = ({ service, listen, exported }: ServiceDoor): string =>
  `${service} ${formatHostPort(listen)}${exported === undefined ? '' : ' exported'}`;
