// Invariant 6: a route never leads to another app's instance, and a dead node's instances leave every routing table
// within a bounded time.
//
// Asserts on every table a core gives out: each upstream is an instance that was started for the very app of the
// route, on the node the table names; each local entry names the port its instance really has, so that the link never
// reaches another app. And after every step: the node's table names no upstream on a machine that has been without
// power for longer than the time in which this node must find out (a round of probes, then the longest suspicion;
// longer when its own loop was late, or when others were, as far as it has noticed). That time begins anew with a
// report that it had not seen before: one that a partition held back comes when its author has long been gone.

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
  /** The newest report that a node has heard of another, and when, by `node/other`. */
  readonly #news = new Map<string, { incarnation: number; sequence: number; atMs: number }>();

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

  stepped(node: NodeFacts, event: Event, effects: readonly Effect[]): void {
    for (const effect of effects) if (effect.type === 'setRoutes') this.#checkTable(node, effect.table);
    this.#noteNews(node, event);
    for (const index of this.#leadsTo.get(node.index) ?? []) {
      const other = this.#world.nodes[index]!;
      if (other.machineUp) continue;
      // Its loop was late, or members that it missed of late were only slow: then it waits longer with all (doubt.ts).
      const doubts = (node.core?.latenessScore ?? 0) > 0 || (node.core?.falseAlarms ?? 0) > 0;
      const wasLate = doubts || this.#world.clock.nowMs - node.thawedAtMs < LATE_FOR_MS;
      const boundMs = DEATH_KNOWN_MS + PER_NODE_MS * this.#world.nodes.length + (wasLate ? LATE_MS : 0);
      const newsAtMs = this.#news.get(`${node.index}/${index}`)?.atMs ?? 0;
      const sinceMs = Math.max(other.downSinceMs, node.bootedAtMs, node.thawedAtMs, newsAtMs);
      if (this.#world.clock.nowMs - sinceMs <= boundMs) continue;
      this.#world.fail(this.name, `${node.self.name} still routes to ${other.self.name}, down for ${boundMs} ms`);
    }
  }

  /** A report that it knows, or that is older than one that it knows, is none, whatever the node makes of it. */
  #noteNews(node: NodeFacts, event: Event): void {
    if (event.type !== 'reportReceived') return;
    const { incarnation, sequence, node: author } = event.report;
    const key = `${node.index}/${this.#world.indexOf(author)}`;
    const known = this.#news.get(key);
    const isNews =
      known === undefined ||
      incarnation > known.incarnation ||
      (incarnation === known.incarnation && sequence > known.sequence);
    if (isNews) this.#news.set(key, { incarnation, sequence, atMs: this.#world.clock.nowMs });
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
