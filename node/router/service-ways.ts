// Where services run, and the connections that lead to them: from doors of this node, and from other nodes over the
// link. A way ends when its service is elsewhere from then on. Never looks at the bytes.

import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { NodeId, ServiceId } from '../../crdt/ids.ts';
import type { ServicePlace, ServiceTable } from '../ports/router.ts';
import { LinkError } from './errors.ts';
import { SERVICE_CONNECT_TIMEOUT_MS, SERVICE_CONNECTIONS_MAX } from './limits.ts';
import { openThrough, serviceTarget } from './link-dial.ts';
import { breakOff, joinConnections } from './tunnel.ts';
import { dialLocal, type Upstreams } from './upstreams.ts';

type Known = { name: string; place: ServicePlace };
type Dialled = (error: Error | null, upstream: Socket | null, onClosed?: () => void) => void;

/**
 * - `unknown_service`: it runs nowhere, as far as is known here; over the link: not here.
 * - `saturated`: as many lead there as may.
 * - `dial`: it is known where it runs, and it does not answer there.
 */
export type WayRefusal = { code: 'unknown_service' | 'saturated' | 'dial'; name: string; why: string };

type Way = { service: ServiceId; place: string; client: Duplex; upstream: Socket | undefined };

export class ServiceWays {
  readonly #upstreams: Upstreams;
  #known: ReadonlyMap<ServiceId, Known> = new Map();
  readonly #ways = new Map<ServiceId, Set<Way>>();

  constructor(upstreams: Upstreams) {
    this.#upstreams = upstreams;
  }

  /** Nodes that services run on, with their links. */
  get remote(): { node: NodeId; link: string }[] {
    return [...this.#known.values()].flatMap(({ place }) => ('node' in place ? [place] : []));
  }

  nameOf(service: ServiceId): string {
    return this.#known.get(service)?.name ?? service;
  }

  set(places: ServiceTable['places']): void {
    this.#known = new Map(places.map(({ service, name, place }) => [service, { name, place }]));
    for (const [service, ways] of this.#ways) {
      const known = this.#known.get(service);
      const place = known && placeText(known.place);
      for (const way of ways) if (way.place !== place) end(way);
    }
  }

  /**
   * Leads the client to the service, or calls `refuse`, which sees to its end. `hereOnly`: another node has led it
   * here already.
   */
  lead(
    client: Duplex,
    service: ServiceId,
    answer: { hereOnly: boolean; refuse: (refusal: WayRefusal) => void; accept?: (upstream: Socket) => void },
  ): void {
    const known = this.#known.get(service);
    const refuse = (code: WayRefusal['code'], why: string) => answer.refuse({ code, name: this.nameOf(service), why });
    if (known === undefined || (answer.hereOnly && 'node' in known.place)) {
      refuse('unknown_service', 'it does not run');
      return;
    }
    const ways = this.#ways.get(service) ?? new Set();
    this.#ways.set(service, ways);
    if (ways.size >= SERVICE_CONNECTIONS_MAX) {
      refuse('saturated', `${SERVICE_CONNECTIONS_MAX} connections are open already`);
      return;
    }
    const way: Way = { service, place: placeText(known.place), client, upstream: undefined };
    ways.add(way);
    const forget = () => {
      ways.delete(way);
      if (ways.size === 0 && this.#ways.get(service) === ways) this.#ways.delete(service);
    };
    client.once('close', forget);
    this.#dial(known.place, service, (error, upstream, onClosed) => {
      client.off('close', forget);
      if (upstream && client.destroyed) {
        upstream.destroy();
        forget();
        onClosed?.();
        return;
      }
      if (error || !upstream) {
        forget();
        if (!client.destroyed) refuse('dial', error?.message ?? 'no connection');
        return;
      }
      way.upstream = upstream;
      upstream.on('error', () => {});
      answer.accept?.(upstream);
      joinConnections(client, upstream, {
        onClosed: () => {
          forget();
          onClosed?.();
        },
        onBroken: breakOff,
      });
    });
  }

  /** All of them, at once. */
  end(): void {
    for (const ways of this.#ways.values()) for (const way of ways) end(way);
  }

  #dial(place: ServicePlace, service: ServiceId, callback: Dialled): void {
    if ('host' in place) {
      dialLocal(place, (error, socket) => callback(error, socket), SERVICE_CONNECT_TIMEOUT_MS);
      return;
    }
    const link = this.#upstreams.link(place.node, place.link);
    link.connect((error, connection) => {
      if (error || !connection) {
        callback(error ?? new LinkError('unreachable', 'no connection'), null);
        return;
      }
      openThrough(connection, { link: place.link, to: serviceTarget(service), timeoutMs: SERVICE_CONNECT_TIMEOUT_MS })
        .then((socket) => {
          // From now on a node that gives no sign of life ends the way.
          link.begin();
          callback(null, socket, () => link.end());
        })
        .catch((failure: Error) => callback(failure, null));
    });
  }
}

function end({ client, upstream }: Way): void {
  breakOff(client);
  if (upstream) breakOff(upstream);
}

/** The link of a node may change while what is open goes on. */
const placeText = (place: ServicePlace): string => ('host' in place ? `${place.host}:${place.port}` : place.node);
