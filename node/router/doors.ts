// Listens for bound apps of this node on behalf of services that run elsewhere. What is accepted is led on by
// service-ways.ts; who gets here at all is for the network's rules. A door that cannot be opened is tried again.

import type { AddressInfo, Server, Socket } from 'node:net';
import type { ServiceId } from '../../crdt/ids.ts';
import { formatHostPort } from '../lib/host-port.ts';
import type { OpenDoor, ServiceDoor } from '../ports/router.ts';
import type { BoundedLog } from './bounded-log.ts';
import { net, SOCKET_OPTIONS } from './builtin.ts';
import { DOOR_RETRY_DELAY_MS, DOORS_BACKLOG } from './limits.ts';
import type { ServiceWays } from './service-ways.ts';
import { breakOff } from './tunnel.ts';

type Door = { wanted: ServiceDoor; server: Server | undefined; retry: NodeJS.Timeout | undefined; port: number };

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
      if (this.#doors.has(key)) continue;
      const door: Door = { wanted: one, server: undefined, retry: undefined, port: 0 };
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
    const server = net.createServer({ ...SOCKET_OPTIONS, noDelay: true }, (client) => this.#accept(client, service));
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

  #close(key: string, door: Door): void {
    this.#doors.delete(key);
    clearTimeout(door.retry);
    door.server?.close();
  }

  #accept(client: Socket, service: ServiceId): void {
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
    this.#changed(open.map(({ wanted, port }) => ({ service: wanted.service, host: wanted.listen.host, port })));
  }
}

const doorKey = ({ service, listen }: ServiceDoor): string => `${service} ${formatHostPort(listen)}`;
