// What this router knows: the route table as it was last told, indexed for requests, and the load and connections of
// every upstream in it. Replaces the table whole; never edits it.

import type { SecureContext } from 'node:tls';
import type { InstanceId, NodeId } from '../../crdt/ids.ts';
import type { LocalUpstream, RouteTable, Upstream } from '../core/types.ts';
import type { ServiceTable } from '../ports/router.ts';
import { Balancer } from './balancer.ts';
import type { BoundedLog } from './bounded-log.ts';
import { indexRoutes, type RouteIndex } from './lookup.ts';
import { ServiceWays } from './service-ways.ts';
import { Upstreams } from './upstreams.ts';

export class Routing {
  readonly self: NodeId;
  readonly balancer = new Balancer();
  readonly upstreams: Upstreams;
  readonly log: BoundedLog;
  index: RouteIndex = new Map();
  /** Instances on this node, by id. */
  local: ReadonlyMap<InstanceId, LocalUpstream> = new Map();
  admitted: ReadonlySet<NodeId> = new Set();
  readonly services: ServiceWays;
  /** What the route table needs connections to. */
  #routed: { local: LocalUpstream[]; remote: Upstream[] } = { local: [], remote: [] };

  constructor(self: NodeId, credentials: SecureContext, log: BoundedLog) {
    this.self = self;
    this.log = log;
    this.upstreams = new Upstreams(credentials, log);
    this.services = new ServiceWays(this.upstreams);
  }

  /** Those on nodes that can be reached, as far as is known. */
  reachable(upstreams: readonly Upstream[]): readonly Upstream[] {
    if (!this.upstreams.hasDown) return upstreams;
    return upstreams.filter((upstream) => this.upstreams.downOf(upstream) === undefined);
  }

  setTable(table: RouteTable): void {
    this.index = indexRoutes(table.routes);
    this.local = new Map(table.local.map((local) => [local.instance, local]));
    this.admitted = new Set(table.admitted);
    const remote: Upstream[] = [];
    const local = [...table.local];
    const instances = new Set<InstanceId>(this.local.keys());
    for (const { upstreams } of table.routes) {
      for (const upstream of upstreams) {
        instances.add(upstream.instance);
        if (upstream.node !== this.self) remote.push(upstream);
        else if (upstream.port !== undefined) local.push({ ...upstream, port: upstream.port });
      }
    }
    this.#routed = { local, remote };
    this.#retain();
    this.balancer.retain(instances);
  }

  setServices(places: ServiceTable['places']): void {
    this.services.set(places);
    this.#retain();
  }

  #retain(): void {
    const { local, remote } = this.#routed;
    this.upstreams.retain({ local, remote: [...remote, ...this.services.remote], admitted: this.admitted });
  }
}
