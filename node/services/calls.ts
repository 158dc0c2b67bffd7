// Which apps reach which services, and where those are: a pure function of what people bound and of what runs where.

import type { AppId, InstanceId, NodeId, ServiceId } from '../../crdt/ids.ts';
import type { DesiredView, ServiceView } from '../../crdt/view.ts';

/** A service that some app is bound to, as this node sees it. */
export type BoundService = {
  service: ServiceView;
  /** Sorted. */
  apps: readonly AppId[];
  /** Where its data is, and so where it runs when it runs. */
  node: NodeId;
};

export function boundServices(view: Pick<DesiredView, 'services' | 'bindings' | 'apps'>): BoundService[] {
  const apps = new Map<ServiceId, Set<AppId>>();
  for (const { service, app } of view.bindings.values()) {
    if (!view.apps.has(app)) continue;
    const known = apps.get(service) ?? new Set();
    apps.set(service, known.add(app));
  }
  const bound: BoundService[] = [];
  for (const service of view.services.values()) {
    const own = apps.get(service.id);
    if (own === undefined || service.volume === undefined) continue;
    bound.push({ service, apps: [...own].sort(), node: service.volume.node });
  }
  return bound;
}

/** What of it is worth carrying out: equal texts mean that nothing has changed. */
export const essenceOf = (
  bound: readonly BoundService[],
  placeOf: (service: ServiceId) => { instance: InstanceId; host: string } | undefined,
): string =>
  JSON.stringify(
    bound.map(({ service, apps, node }) => [service.id, service.address, apps, node, placeOf(service.id) ?? null]),
  );
