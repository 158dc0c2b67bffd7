// Keeps the ways of bound apps to services as core/service-reach.ts says: to those of this node in the kernel, to
// others through doors of the router. Decides nothing.

import type { ServiceId } from '../../crdt/ids.ts';
import type { KnownCluster } from '../cluster/known-cluster.ts';
import { type ServiceReachInput, serviceReach } from '../core/service-reach.ts';
import type { OpenDoor, ServicePlace } from '../ports/router.ts';
import type { ServiceCall } from '../ports/runtime.ts';
import { kindOf } from '../services/catalogue.ts';
import { exportedDoors } from '../services/exports.ts';
import type { Agent } from './agent.ts';
import type { Ground } from './ground.ts';
import type { Lines } from './lines.ts';
import type { Works } from './works.ts';

const LOOPBACK = '127.0.0.1';

type Parts = { ground: Ground; lines: Lines; works: Works; agent: Agent; known: KnownCluster };

export class ServiceWays {
  readonly #parts: Parts;
  #doors: readonly OpenDoor[] = [];
  /** What was said last, and is not said again. */
  #tableSaid = '';
  #callsSaid = '';
  /** Those of which was said that they cannot be, as a secret cannot be opened here. */
  readonly #notExported = new Set<ServiceId>();
  #setting: Promise<void> = Promise.resolve();
  #begun = false;

  constructor(parts: Parts) {
    this.#parts = parts;
    parts.lines.router.onDoors((doors) => {
      this.#doors = doors;
      this.look();
    });
  }

  /**
   * Call when what an earlier daemon left running is known, and what is asked for: until then its ways hold as they
   * are.
   */
  begin(): void {
    this.#begun = true;
    this.look();
  }

  /** Call whenever the desired state has changed, or what runs somewhere; costs little where nothing has. */
  look(): void {
    const { ground, lines, works } = this.#parts;
    const { services, bindings } = ground.view();
    if (!this.#begun || (services.size === 0 && this.#tableSaid === '')) return;
    const { table, calls } = serviceReach({
      services,
      bindings: bindings.values(),
      places: this.#places(services),
      portOf: (kind) => kindOf(kind)?.port,
      // A container's network is another bridge than the one that services are plugged into.
      isDirect: works.runtime.kind === 'process',
      gateway: works.isolation.networks?.gateway,
      doors: this.#doors,
    });
    const exports = [...services.values()].flatMap(({ export: exported, plan }) =>
      exported?.node === ground.self ? [{ ...exported, plan }] : [],
    );
    // Without certificates, which are made anew each time.
    const said = JSON.stringify([table, exports]);
    if (said !== this.#tableSaid) {
      const doors = this.#exportedDoors();
      // One that is missing is looked for again.
      this.#tableSaid = doors.length === exports.length ? said : '';
      lines.router.setServices({ ...table, doors: [...table.doors, ...doors] });
    }
    this.#setCalls(calls);
  }

  /** Whether the service's door to others than apps is open on this node. */
  isExported(service: ServiceId): boolean {
    return this.#doors.some((door) => door.service === service && door.exported === true);
  }

  #exportedDoors(): ReturnType<typeof exportedDoors> {
    const { ground } = this.#parts;
    return exportedDoors({
      view: ground.view(),
      self: ground.self,
      kindOf,
      open: (...sealed) => ground.keyring.open(...sealed),
      failed: ({ name, id }, error) => {
        if (this.#notExported.has(id)) return;
        this.#notExported.add(id);
        ground.log.warn('service.not_exported', { service: name, error });
      },
    });
  }

  #places(services: ServiceReachInput['services']): Map<ServiceId, ServicePlace> {
    const { agent, known } = this.#parts;
    const places = new Map<ServiceId, ServicePlace>();
    for (const { id, report } of known.aliveOtherMembers()) {
      if (report === undefined) continue;
      for (const { app, state } of report.instances) {
        const service = app as string as ServiceId;
        if (state === 'ready' && services.has(service)) places.set(service, { node: id, link: report.link });
      }
    }
    for (const service of services.keys()) {
      const here = agent.serviceHere(service);
      if (here !== undefined) places.set(service, { host: here.host ?? LOOPBACK, port: here.port });
    }
    return places;
  }

  /** One after the other, and of those that wait only the newest. */
  #setCalls(calls: readonly ServiceCall[]): void {
    const { works, ground } = this.#parts;
    const said = JSON.stringify(calls);
    if (said === this.#callsSaid) return;
    this.#callsSaid = said;
    this.#setting = this.#setting.then(async () => {
      if (said !== this.#callsSaid) return;
      try {
        await works.runtime.setServiceCalls?.(calls);
      } catch (error) {
        // The next look tries again.
        this.#callsSaid = '';
        ground.log.error('service.ways_not_set', { error });
      }
    });
  }
}
