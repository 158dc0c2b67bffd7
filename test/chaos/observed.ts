// A cluster of real daemons as the checkers of the simulator read one (test/sim/checkers/facts.ts): what each daemon's
// API said last, and what was done to it. Judges nothing; tells the checkers what has changed.

import {
  type AppId,
  asAppId,
  asInstanceId,
  asNodeId,
  asReleaseId,
  type Digest,
  type InstanceId,
  type NodeId,
} from '../../crdt/ids.ts';
import type { DesiredView } from '../../crdt/view.ts';
import type { AppShape, InstanceShape } from '../../node/api/shapes.ts';
import { slotKey, slotsOf } from '../../node/core/slots.ts';
import type { InstanceReport, RouteTable } from '../../node/core/types.ts';
import type { LocalNode } from '../../scripts/local-cluster.ts';
import type { Checker, Violation } from '../sim/checkers/checker.ts';
import type { ClusterFacts, CoreFacts, NodeFacts, RunningFacts } from '../sim/checkers/facts.ts';
import type { Quality } from '../sim/runtime.ts';
import type { Reading } from './reading.ts';

type Told = Pick<InstanceReport, 'id' | 'app' | 'process' | 'index' | 'state'>;

export class ObservedNode implements NodeFacts {
  readonly index: number;
  readonly self: { readonly name: string };
  readonly id: NodeId;
  readonly memoryBytes: number;
  machineUp = true;
  daemonUp = true;
  frozen = false;
  readonly gone = false;
  /** Counts what was done to it: a reading that was asked for before is out of date. */
  epoch = 0;
  bootedAtMs = 0;
  thawedAtMs = Number.NEGATIVE_INFINITY;
  downSinceMs = Number.NEGATIVE_INFINITY;
  core: CoreFacts | undefined;
  store: NodeFacts['store'];
  readonly running = new Map<InstanceId, RunningFacts>();
  readonly delivered = new Map<number, { instances: Told[] }>();
  readonly handling = undefined;
  /** The droplets of a chaos run are on every node before it begins. */
  readonly blobs = { has: (_digest: Digest): boolean => true };
  readonly runtime = {
    running: this.running,
    readyOf: (app: AppId): RunningFacts[] =>
      [...this.running.values()].filter((one) => one.spec.app.id === app && one.state === 'ready'),
    memoryBytes: (): number => [...this.running.values()].reduce((sum, { spec }) => sum + spec.memoryBytes, 0),
  };
  /** What is not known before its first answer since it started is no news when that comes. */
  hasAnswered = false;

  constructor(node: LocalNode, options: { index: number; memoryBytes: number }) {
    this.index = options.index;
    this.id = asNodeId(node.id);
    this.self = { name: node.name };
    this.memoryBytes = options.memoryBytes;
  }

  /** Every node of a chaos run has room for every slot. */
  slotsPlacedBeforeStops(): ReadonlySet<string> {
    const apps = this.core?.desired?.apps.values() ?? [];
    return new Set([...apps].flatMap((app) => slotsOf(app).map(slotKey)));
  }
}

export class ObservedCluster implements ClusterFacts {
  readonly nodes: ObservedNode[];
  readonly cuts = new Set<string>();
  readonly network = { isCut: (from: number, to: number): boolean => this.cuts.has(`${from} ${to}`) };
  readonly clock: { readonly nowMs: number };
  violation: Violation | undefined;
  #checkers: readonly Checker[] = [];
  /** Instances that the node they run on has told of itself. */
  readonly #told = new Set<InstanceId>();

  constructor(nodes: ObservedNode[], nowMs: () => number) {
    this.nodes = nodes;
    this.clock = {
      get nowMs() {
        return nowMs();
      },
    };
  }

  judgedBy(checkers: readonly Checker[]): void {
    this.#checkers = checkers;
  }

  indexOf(id: NodeId): number {
    return this.nodes.findIndex((node) => node.id === id);
  }

  qualityOf(_digest: Digest): Quality {
    return 'good';
  }

  fail(checker: string, message: string, kind: Violation['kind'] = 'safety'): void {
    this.violation ??= { checker, kind, message, atMs: this.clock.nowMs };
  }

  setCut(ways: readonly (readonly [from: number, to: number])[], isCut: boolean): void {
    for (const [from, to] of ways) {
      if (isCut) this.cuts.add(`${from} ${to}`);
      else this.cuts.delete(`${from} ${to}`);
    }
    for (const one of this.#checkers) one.cutsChanged?.();
  }

  daemonEnded(node: ObservedNode): void {
    node.epoch++;
    node.daemonUp = false;
    node.frozen = false;
    node.hasAnswered = false;
    node.core = undefined;
    node.store = undefined;
    node.delivered.clear();
    node.downSinceMs = this.clock.nowMs;
  }

  machineEnded(node: ObservedNode): void {
    node.machineUp = false;
    for (const one of node.running.values()) if (one.state === 'ready') this.#lost(node, one);
    node.running.clear();
    this.daemonEnded(node);
  }

  booted(node: ObservedNode): void {
    node.epoch++;
    node.machineUp = true;
    node.daemonUp = true;
    node.bootedAtMs = this.clock.nowMs;
    for (const one of this.#checkers) one.booted?.(node);
  }

  freeze(node: ObservedNode): void {
    node.epoch++;
    node.frozen = true;
  }

  thaw(node: ObservedNode): void {
    node.epoch++;
    node.frozen = false;
    node.thawedAtMs = this.clock.nowMs;
  }

  rested(): void {
    for (const one of this.#checkers) one.rested?.();
  }

  /**
   * Takes what the nodes answered at about the same time. What is new is taken before anything that has gone: a copy
   * that went for another one is judged with that one there.
   */
  take(readings: ReadonlyMap<ObservedNode, Reading>): void {
    for (const [node, reading] of readings) this.#takeView(node, reading);
    for (const [node, reading] of readings) this.#takeNew(node, reading);
    for (const [node, reading] of readings) this.#takeGone(node, reading);
    for (const [node, reading] of readings) {
      node.hasAnswered = true;
      this.#takeDelivered(node, reading);
      const effects = [{ type: 'setRoutes' as const, table: this.#tableOf(reading) }];
      for (const one of this.#checkers) one.stepped?.(node, { type: 'tick', lateMs: 0 }, effects);
    }
  }

  #takeView(node: ObservedNode, { nodes, view, heads, apps }: Reading): void {
    const before = node.core?.heads.join();
    node.core = {
      desired: view,
      heads,
      members: new Map(
        nodes.flatMap(({ id, status }) => (status === 'unknown' ? [] : [[asNodeId(id), { status }] as const])),
      ),
      local: new Map(ownOf(node, apps).map(({ app, one }) => [asInstanceId(one.id), localOf(app, one)])),
    };
    node.store = { document: { heads: () => heads, view: () => view } };
    if (before !== undefined && before !== heads.join()) for (const one of this.#checkers) one.desiredChanged?.(node);
  }

  #takeNew(node: ObservedNode, { apps, view }: Reading): void {
    for (const { app, one } of ownOf(node, apps)) {
      const id = asInstanceId(one.id);
      const known = node.running.get(id);
      if (one.state === 'crashed' || (one.state === 'stopping' && known === undefined)) continue;
      if (known === undefined) {
        const facts = runningOf(app, one, view);
        this.#told.add(id);
        for (const checker of this.#checkers) checker.starting?.(node, facts.spec);
        node.running.set(id, facts);
      } else if (one.state !== 'stopping') {
        if (known.state === 'ready' && one.state !== 'ready') this.#lost(node, known);
        known.state = one.state;
      }
    }
  }

  #takeGone(node: ObservedNode, { apps }: Reading): void {
    const own = ownOf(node, apps);
    for (const [id, known] of node.running) {
      const said = own.find(({ one }) => one.id === id)?.one;
      if (said !== undefined && said.state !== 'stopping' && said.state !== 'crashed') continue;
      // A copy that crashed is told of by the next one in its place, for as long as that starts.
      const next = own.find(({ app, one }) => isSameSlot(known, app, one) && one.id !== id)?.one;
      const crashed = said?.state === 'crashed' || (said === undefined && (next?.restarts ?? 0) > 0);
      if (known.state === 'stopping') {
        if (said === undefined) node.running.delete(id);
        continue;
      }
      if (crashed || !node.hasAnswered) {
        if (known.state === 'ready') this.#lost(node, known);
      } else if (said !== undefined || known.state !== 'ready' || !mayBeFenced(node, known)) {
        // Why a copy of a fenced app went is not known once it has gone: for lack of a majority, perhaps.
        for (const checker of this.#checkers) checker.stopping?.(node, id, said?.reason ?? 'gone between two readings');
      }
      if (said?.state === 'stopping') known.state = 'stopping';
      else node.running.delete(id);
    }
  }

  #takeDelivered(node: ObservedNode, { apps }: Reading): void {
    for (const other of this.nodes) {
      if (other === node) continue;
      node.delivered.set(other.index, { instances: ownOf(other, apps).map(({ app, one }) => localOf(app, one)) });
    }
  }

  /**
   * The routes that follow from what the node says is ready: the API does not show the table itself. An instance of
   * which the node that ran it was never asked in time cannot be judged.
   */
  #tableOf({ apps }: Reading): RouteTable {
    const nodeOf = new Map(this.nodes.map((node) => [node.self.name, node.id]));
    const upstreamsOf = (app: AppShape): RouteTable['routes'][number]['upstreams'] =>
      app.instances
        .filter((one) => one.state === 'ready' && one.process === 'web' && this.#told.has(asInstanceId(one.id)))
        .map((one) => ({
          instance: asInstanceId(one.id),
          app: asAppId(app.id),
          index: one.index,
          node: nodeOf.get(one.node)!,
        }));
    const routes = apps.flatMap((app) =>
      app.routes.map((route) => ({ route, app: asAppId(app.id), appName: app.name, upstreams: upstreamsOf(app) })),
    );
    return { routes, local: [], admitted: [] };
  }

  #lost(node: ObservedNode, instance: RunningFacts): void {
    for (const one of this.#checkers) one.lost?.(node, instance);
  }
}

/** Instances of the node, in what any node says. */
const ownOf = (node: ObservedNode, apps: readonly AppShape[]): { app: AppShape; one: InstanceShape }[] =>
  apps.flatMap((app) => app.instances.filter((one) => one.node === node.self.name).map((one) => ({ app, one })));

const localOf = (app: AppShape, one: InstanceShape) => ({
  id: asInstanceId(one.id),
  app: asAppId(app.id),
  process: one.process,
  index: one.index,
  state: one.state,
  memoryBytes: one.memoryBytes,
});

function runningOf(app: AppShape, one: InstanceShape, view: DesiredView): RunningFacts {
  const version = Number(one.release.slice(1));
  const release = view.apps.get(asAppId(app.id))?.releases.find((candidate) => candidate.version === version);
  return {
    port: 0,
    state: one.state === 'crashed' ? 'stopping' : one.state,
    spec: {
      id: asInstanceId(one.id),
      app: { id: asAppId(app.id), name: app.name },
      process: one.process,
      index: one.index,
      release: { id: release?.id ?? asReleaseId(one.release), version },
      restartCount: 0,
      memoryBytes: one.memoryBytes,
    },
  };
}

const isSameSlot = ({ spec }: RunningFacts, app: AppShape, one: InstanceShape): boolean =>
  spec.app.id === app.id && spec.process === one.process && spec.index === one.index;

const mayBeFenced = (node: ObservedNode, { spec }: RunningFacts): boolean =>
  node.core?.desired?.apps.get(spec.app.id)?.partition === 'fence';
