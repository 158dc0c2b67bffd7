// How this node reaches services: which doors its router is to have, and where packets of bound apps are to lead. A
// pure function of what is known of them.

import type { AppId, NodeId, ServiceId } from '../../crdt/ids.ts';
import type { BindingView, ServiceView } from '../../crdt/view.ts';
import { loopbackAddress, serviceHost } from './service-address.ts';
import { compareText } from './text.ts';
import type { HostEntry } from './types.ts';

type Place = { host: string; port: number } | { node: NodeId; link: string };
type HostPort = { host: string; port: number };

export type ServiceReachInput = {
  services: ReadonlyMap<ServiceId, Pick<ServiceView, 'id' | 'name' | 'address' | 'kind'>>;
  bindings: Iterable<Pick<BindingView, 'service' | 'app'>>;
  /** Where each service runs that is launched; others are refused. */
  places: ReadonlyMap<ServiceId, Place>;
  /** The engine's standard port; undefined of a kind that runs nowhere. */
  portOf(kind: string): number | undefined;
  /** Whether apps get to what runs on this node by themselves; else the router leads them there, too. */
  isDirect: boolean;
  /** Where instances reach the machine; undefined: they share its network. */
  gateway: string | undefined;
  /** Doors that the router has open, as it told. */
  doors: readonly (HostPort & { service: ServiceId; exported?: true })[];
};

export type ServiceReach = {
  /** For the router: a ServiceTable. */
  table: {
    places: { service: ServiceId; name: string; place: Place }[];
    doors: { service: ServiceId; listen: HostPort }[];
  };
  /** For the runtime: ServiceCalls. One whose door is not open yet comes later. */
  calls: { service: ServiceId; address: string; port: number; apps: AppId[]; to: HostPort }[];
};

export function serviceReach(input: ServiceReachInput): ServiceReach {
  const { services, places, gateway } = input;
  const bound = boundApps(input.bindings);
  const inner = input.doors.filter(({ exported }) => exported === undefined);
  const openDoors = new Map(inner.map(({ service, host, port }) => [service, { host, port }]));
  const reach: ServiceReach = { table: { places: [], doors: [] }, calls: [] };
  for (const { id: service, name, address, kind } of services.values()) {
    const place = places.get(service);
    if (place !== undefined) reach.table.places.push({ service, name, place });
    const apps = bound.get(service);
    const port = input.portOf(kind);
    if (apps === undefined || port === undefined) continue;
    if (gateway === undefined) {
      reach.table.doors.push({ service, listen: { host: loopbackAddress(address), port } });
      continue;
    }
    const isHere = input.isDirect && place !== undefined && 'host' in place;
    // Also for one that runs nowhere now: where it comes up, its door is open already.
    if (!isHere) reach.table.doors.push({ service, listen: { host: gateway, port: 0 } });
    const to = isHere ? place : openDoors.get(service);
    if (to !== undefined) reach.calls.push({ service, address, port, apps, to });
  }
  return reach;
}

/** What the sandbox of an app can look up. */
export function serviceHosts(app: AppId, view: Pick<ServiceReachInput, 'services' | 'bindings'>): readonly HostEntry[] {
  const hosts = new Map<string, HostEntry>();
  for (const binding of view.bindings) {
    const service = binding.app === app ? view.services.get(binding.service) : undefined;
    if (service === undefined) continue;
    const name = serviceHost(service.name);
    hosts.set(name, { name, address: service.address });
  }
  return [...hosts.values()].sort((a, b) => compareText(a.name, b.name));
}

function boundApps(bindings: ServiceReachInput['bindings']): Map<ServiceId, AppId[]> {
  const bound = new Map<ServiceId, Set<AppId>>();
  for (const { service, app } of bindings) bound.set(service, (bound.get(service) ?? new Set()).add(app));
  return new Map([...bound].map(([service, apps]) => [service, [...apps].sort(compareText)]));
}
