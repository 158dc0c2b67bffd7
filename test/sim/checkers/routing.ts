// Invariant 6: a route never leads to another app's instance, and a dead node's instances leave every routing table
// within a bounded time.
//
// Asserts on every table a core gives out: each upstream is an instance that was started for the very app of the
// route, on the node the table names; each local entry names the port its instance really has, so that the link never
// reaches another app. And after every step: the node's table names no upstream on a machine that has been without
// power for longer than the time in which this node must find out (a round of probes, then the longest suspicion;
// longer when its own loop was late, or when others were, as far as it has noticed).

import type { InstanceId } from '../../../crdt/ids.ts';
import type { Effect, Event, RouteTable } from '../../../node/core/types.ts';
import type { Checker } from './checker.ts';
import type { ClusterFacts, NodeFacts, SpecFacts } from './facts.ts';

const DEATH_KNOWN_MS = 20_000;
const PER_NODE_MS = 1_500;
/** A late loop stretches suspicions up to ninefold. */
const LATE_MS = 40_000;
const LATE_FOR_MS = 60_000;

export class Routing implements Checker {
  readonly name = 'routing';
  readonly #world: ClusterFacts;
  readonly #started = new Map<InstanceId, { app: string; node: string }>();
  /** By node: the nodes its table leads to. */
  readonly #leadsTo = new Map<number, number[]>();

  constructor(world: ClusterFacts) {
    this.#world = world;
  }

  starting(node: NodeFacts, spec: SpecFacts): void {
    if (this.#started.has(spec.id)) this.#world.fail(this.name, `instance id ${spec.id} is used twice`);
    this.#started.set(spec.id, { app: spec.app.id, node: node.id });
  }

  booted(node: NodeFacts): void {
    this.#leadsTo.delete(node.index);
  }

  stepped(node: NodeFacts, _event: Event, effects: readonly Effect[]): void {
    for (const effect of effects) if (effect.type === 'setRoutes') this.#checkTable(node, effect.table);
    for (const index of this.#leadsTo.get(node.index) ?? []) {
      const other = this.#world.nodes[index]!;
      if (other.machineUp) continue;
      // Its loop was late, or members that it missed of late were only slow: then it waits longer with all (doubt.ts).
      const doubts = (node.core?.latenessScore ?? 0) > 0 || (node.core?.falseAlarms ?? 0) > 0;
      const wasLate = doubts || this.#world.clock.nowMs - node.thawedAtMs < LATE_FOR_MS;
      const boundMs = DEATH_KNOWN_MS + PER_NODE_MS * this.#world.nodes.length + (wasLate ? LATE_MS : 0);
      const sinceMs = Math.max(other.downSinceMs, node.bootedAtMs, node.thawedAtMs);
      if (this.#world.clock.nowMs - sinceMs <= boundMs) continue;
      this.#world.fail(this.name, `${node.self.name} still routes to ${other.self.name}, down for ${boundMs} ms`);
    }
  }

  #checkTable(node: NodeFacts, table: RouteTable): void {
    const leadsTo = new Set<number>();
    for (const { route, app, upstreams } of table.routes) {
      if (node.core?.desired?.routes.get(route) !== app) {
        this.#world.fail(this.name, `${node.self.name} gives ${route} to an app that does not own it`);
      }
      for (const upstream of upstreams) {
        const started = this.#started.get(upstream.instance);
        if (started?.app !== app || started.node !== upstream.node) {
          this.#world.fail(
            this.name,
            `${node.self.name} leads ${route} to ${upstream.instance}, which is not of its app`,
          );
        }
        if (upstream.node !== node.id) leadsTo.add(this.#world.indexOf(upstream.node));
      }
    }
    for (const { instance, app, port } of table.local) {
      const running = node.runtime.running.get(instance);
      if (running !== undefined && (running.port !== port || running.spec.app.id !== app)) {
        this.#world.fail(this.name, `${node.self.name} takes port ${port} for ${instance}`);
      }
    }
    this.#leadsTo.set(node.index, [...leadsTo]);
  }
}
