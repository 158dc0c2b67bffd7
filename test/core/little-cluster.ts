// A little cluster for specifications of the core: several real cores on one fake clock, joined by a network and
// runtimes that do what they are told, in order. It injects only the faults a test asks for by name.

import {
  type AppId,
  asAppId,
  asClusterId,
  asDigest,
  asNodeId,
  asReleaseId,
  type InstanceId,
  type NodeId,
  type VolumeId,
} from '../../crdt/ids.ts';
import { workloadOf } from '../../crdt/read-services.ts';
import type { AppView, DesiredView, NodeView, ReleaseView, ServiceView, VolumeView } from '../../crdt/view.ts';
import { type CoreState, initialState, type SelfInfo } from '../../node/core/state.ts';
import { step } from '../../node/core/step.ts';
import type {
  AdoptedInstance,
  ClusterEvent,
  Effect,
  Event,
  InstanceReport,
  InstanceSpec,
  Report,
} from '../../node/core/types.ts';

export const MIB = 1024 * 1024;

export function release(version: number, options: Partial<ReleaseView> = {}): ReleaseView {
  return {
    id: asReleaseId(`release-${version}`),
    version,
    createdAtMs: 0,
    createdBy: 'ada',
    description: 'push',
    droplet: { digest: asDigest(`sha256:${version}`), sizeBytes: 1, stack: 'debian12-x64' },
    buildpack: 'nodejs',
    processes: { web: 'node server.js' },
    env: {},
    failed: undefined,
    ...options,
  };
}

export function app(name: string, options: Partial<AppView> = {}): AppView {
  const first = options.release ?? release(1);
  return {
    id: asAppId(`app-${name}`),
    name,
    ownsName: true,
    createdAtMs: 0,
    owner: undefined,
    members: [],
    stopped: false,
    scale: { web: 1 },
    memoryBytes: 64 * MIB,
    diskBytes: 1024 * MIB,
    env: {},
    health: { kind: 'port', path: '/', timeoutMs: 60_000 },
    strategy: 'rolling',
    partition: 'serve',
    maxUnavailable: 1,
    maxSurge: 1,
    restartCount: 0,
    releases: [first],
    routes: [`${name}.localhost`],
    volumes: [],
    ...options,
    release: first,
  };
}

export function desired(
  nodes: readonly NodeId[],
  apps: readonly AppView[],
  options: Partial<DesiredView> = {},
): DesiredView {
  const nodeViews = nodes.map(
    (id): NodeView => ({ id, name: id, draining: false, labels: {}, admittedAtMs: 0, sealKey: undefined }),
  );
  const byId = new Map(apps.map((one) => [one.id, one]));
  return {
    cluster: { id: asClusterId('c'), name: 'test', domain: 'localhost', teams: 'flat' },
    nodes: new Map(nodeViews.map((node) => [node.id, node])),
    removedNodes: new Set(),
    users: new Map(),
    invites: new Map(),
    apps: byId,
    services: new Map(),
    volumes: new Map(),
    bindings: new Map(),
    keys: new Map(),
    workloads: byId,
    routes: new Map(apps.flatMap((one) => one.routes.map((route) => [route, one.id] as const))),
    hosts: new Map(),
    conflicts: [],
    problems: [],
    ...options,
  };
}

export function selfInfo(node: NodeId, options: Partial<SelfInfo> = {}): SelfInfo {
  return {
    node,
    name: node,
    version: '0',
    addresses: [],
    link: `${node}:1`,
    api: '',
    http: '',
    arch: 'x64',
    stacks: ['debian12-x64'],
    runtimes: ['process'],
    labels: {},
    memoryBytes: 1024 * MIB,
    ...options,
  };
}

type Host = {
  state: CoreState;
  up: boolean;
  wakeAtMs: number;
  /** Instances the runtime runs; they survive the daemon. */
  running: Map<InstanceId, InstanceSpec>;
  /** As its data directory counts its starts. */
  incarnation: number;
  /** Its newest report. */
  reported: Report | undefined;
  connected: Set<NodeId>;
};

/** How an instance behaves when it is started; by default it becomes ready after startMs. */
export type Behaviour = (spec: InstanceSpec, node: NodeId) => 'ready' | 'crash' | 'hang' | 'noDisk';

export class LittleCluster {
  nowMs = 0;
  /** Of the next daemon to start. */
  nextSalt = 0;
  readonly hosts = new Map<NodeId, Host>();
  readonly events: { atMs: number; by: NodeId; event: ClusterEvent }[] = [];
  readonly starts: { atMs: number; node: NodeId; spec: InstanceSpec }[] = [];
  readonly stops: { atMs: number; node: NodeId; id: InstanceId; reason: string }[] = [];
  readonly left: { atMs: number; node: NodeId; volume: VolumeId }[] = [];
  readonly restores: { atMs: number; node: NodeId; effect: Extract<Effect, { type: 'restoreVolumes' }> }[] = [];
  readonly failed: { atMs: number; release: string; reason: string }[] = [];
  behaviour: Behaviour = () => 'ready';
  startMs = 200;
  /** From when an instance is told to stop until it has gone. */
  stopMs = 20;
  /** From when a daemon finds an instance until it knows that it serves. */
  adoptionMs = 10;
  /** Those never become ready again once another daemon has found them. */
  readonly hangsAfterAdoption = new Set<InstanceId>();
  /** Called after every step, for invariants. */
  afterStep: () => void = () => {};
  #view: DesiredView;
  #due: { atMs: number; order: number; run: () => void }[] = [];
  #order = 0;
  #cut = new Set<string>();

  constructor(
    names: readonly string[],
    apps: readonly AppView[],
    options: { self?: (node: NodeId) => Partial<SelfInfo> } = {},
  ) {
    const nodes = names.map(asNodeId);
    this.#view = desired(nodes, apps);
    for (const node of nodes) this.#boot(node, 1, options.self?.(node));
    for (const node of nodes) this.#connectAll(node);
  }

  get view(): DesiredView {
    return this.#view;
  }

  /** A person's change, heard by every node that is up, or by those given. */
  change(view: DesiredView, by?: readonly string[]): void {
    this.#view = view;
    for (const [node, host] of this.hosts)
      if (host.up && by?.includes(node) !== false) this.#post(node, { type: 'desiredChanged', view, heads: ['h'] });
  }

  changeApps(apps: readonly AppView[]): void {
    const routes = new Map(apps.flatMap((one) => one.routes.map((route) => [route, one.id] as const)));
    const services = [...this.#view.workloads.values()].filter(({ release }) => release?.service !== undefined);
    const workloads = new Map([...apps, ...services].map((one) => [one.id, one]));
    this.change({ ...this.#view, apps: new Map(apps.map((one) => [one.id, one])), workloads, routes });
  }

  /** Volumes that are new, or otherwise than before. */
  changeVolumes(changed: readonly VolumeView[], by?: readonly string[]): void {
    const volumes = new Map([...this.#view.volumes, ...changed.map((one) => [one.id, one] as const)]);
    const withVolumes = ([id, one]: [AppId, AppView]) =>
      [id, { ...one, volumes: [...volumes.values()].filter(({ owner }) => owner === id) }] as const;
    const workloads = new Map([...this.#view.workloads].map(withVolumes));
    const apps = new Map([...workloads].filter(([id]) => this.#view.apps.has(id)));
    this.change({ ...this.#view, volumes, apps, workloads }, by);
  }

  /** A service instance whose data is on the node. */
  addService(service: ServiceView): void {
    const { volume } = service;
    const workload = workloadOf(service);
    const volumes = new Map(this.#view.volumes);
    if (volume !== undefined) volumes.set(volume.id, volume);
    const services = new Map(this.#view.services).set(service.id, service);
    this.change({
      ...this.#view,
      volumes,
      services,
      workloads: new Map(this.#view.workloads).set(workload.id, workload),
    });
  }

  post(name: string, event: Event): void {
    this.#post(asNodeId(name), event);
  }

  /** The whole machine goes: daemon and instances. Its kernel refuses connections from then on, or stays silent. */
  kill(name: string, how: 'refused' | 'silent' = 'refused'): void {
    this.hosts.get(asNodeId(name))!.running.clear();
    this.killDaemon(name, how);
  }

  /** Its instances run on. */
  killDaemon(name: string, how: 'refused' | 'silent' = 'refused'): void {
    const node = asNodeId(name);
    const host = this.hosts.get(node)!;
    host.up = false;
    host.connected.clear();
    if (how === 'silent') return;
    for (const [other, peer] of this.hosts) {
      if (peer.connected.delete(node)) this.#in(1, () => this.#post(other, { type: 'disconnected', node }));
    }
  }

  /** `from`: what its data directory counts, when that is not what it was. */
  restart(name: string, from?: { incarnation: number }): void {
    const node = asNodeId(name);
    const before = this.hosts.get(node)!;
    const counted = from?.incarnation ?? before.incarnation;
    this.#boot(node, counted + 1, before.state.self, before.running);
    for (const [other, peer] of this.hosts) if (other !== node) peer.connected.delete(node);
    this.#connectAll(node);
  }

  cut(a: string, b: string): void {
    this.#cut.add(`${a} ${b}`).add(`${b} ${a}`);
  }

  heal(): void {
    this.#cut.clear();
    for (const [node, host] of this.hosts) {
      host.connected.clear();
      if (host.up) this.#connectAll(node);
    }
  }

  crash(name: string, id: InstanceId, reason = 'exited with status 1'): void {
    const host = this.hosts.get(asNodeId(name))!;
    if (host.running.delete(id)) this.#post(asNodeId(name), { type: 'instanceExited', id, reason });
  }

  run(forMs: number): void {
    const untilMs = this.nowMs + forMs;
    for (;;) {
      this.#due.sort((a, b) => a.atMs - b.atMs || a.order - b.order);
      let nextMs = this.#due[0]?.atMs ?? Number.POSITIVE_INFINITY;
      let ticking: NodeId | undefined;
      for (const [node, host] of this.hosts) {
        if (host.up && host.wakeAtMs < nextMs) {
          nextMs = host.wakeAtMs;
          ticking = node;
        }
      }
      if (nextMs > untilMs) break;
      this.nowMs = Math.max(this.nowMs, nextMs);
      if (ticking !== undefined) this.#post(ticking, { type: 'tick', lateMs: 0 });
      else this.#due.shift()!.run();
    }
    this.nowMs = untilMs;
  }

  /** What every node that is up says it runs. */
  instances(): (InstanceReport & { node: string })[] {
    const all: (InstanceReport & { node: string })[] = [];
    for (const [node, host] of this.hosts) {
      if (!host.up) continue;
      for (const one of host.state.local.values()) {
        all.push({ ...one, node, sinceMs: this.nowMs - one.stateSinceMs, crashes: 0 } as InstanceReport & {
          node: string;
        });
      }
    }
    return all.sort((a, b) => (a.app + a.index < b.app + b.index ? -1 : 1));
  }

  ready(): string[] {
    return this.instances()
      .filter((one) => one.state === 'ready')
      .map((one) => `${one.app}/${one.index}@${one.node}`);
  }

  #boot(
    node: NodeId,
    incarnation: number,
    self: Partial<SelfInfo> = {},
    running = new Map<InstanceId, InstanceSpec>(),
  ): void {
    const state = initialState({ self: selfInfo(node, self), incarnation, salt: this.nextSalt++, nowMs: this.nowMs });
    this.hosts.set(node, {
      state,
      up: true,
      wakeAtMs: this.nowMs,
      running,
      incarnation,
      reported: undefined,
      connected: new Set(),
    });
    this.#post(node, { type: 'desiredChanged', view: this.#view, heads: ['h'] });
    const adopted = [...running.values()].map(
      (spec): AdoptedInstance => ({
        id: spec.id,
        app: spec.app.id,
        process: spec.process,
        index: spec.index,
        release: spec.release.id,
        restartCount: spec.restartCount,
        memoryBytes: spec.memoryBytes,
        port: 1,
        ...(spec.volumes === undefined ? {} : { volumes: spec.volumes }),
      }),
    );
    this.#post(node, { type: 'instancesAdopted', instances: adopted });
    const answers = adopted.filter(({ id }) => !this.hangsAfterAdoption.has(id));
    for (const { id } of answers) this.#in(this.adoptionMs, () => this.#post(node, { type: 'instanceReady', id }));
    this.#post(node, { type: 'dropletsHeld', digests: [1, 2, 3].map((version) => asDigest(`sha256:${version}`)) });
  }

  #connectAll(node: NodeId): void {
    const host = this.hosts.get(node)!;
    for (const [other, peer] of this.hosts) {
      if (other === node || !peer.up || this.#isCut(node, other) || host.connected.has(other)) continue;
      host.connected.add(other);
      peer.connected.add(node);
      this.#in(5, () => {
        this.#post(node, { type: 'connected', node: other });
        this.#post(other, { type: 'connected', node });
      });
    }
  }

  #isCut(a: string, b: string): boolean {
    return this.#cut.has(`${a} ${b}`);
  }

  #in(delayMs: number, run: () => void): void {
    this.#due.push({ atMs: this.nowMs + delayMs, order: this.#order++, run });
  }

  #post(node: NodeId, event: Event): void {
    const host = this.hosts.get(node)!;
    if (!host.up) return;
    const result = step(host.state, event, this.nowMs);
    host.state = result.state;
    host.wakeAtMs = Math.max(result.wakeAtMs, this.nowMs);
    for (const effect of result.effects) this.#carryOut(node, host, effect);
    this.afterStep();
  }

  #toOthers(from: NodeId, event: Event): void {
    for (const [other, peer] of this.hosts) {
      if (other === from || !peer.up || this.#isCut(from, other)) continue;
      this.#in(3, () => this.#post(other, structuredClone(event)));
    }
  }

  #carryOut(node: NodeId, host: Host, effect: Effect): void {
    switch (effect.type) {
      case 'publishReport':
        host.reported = structuredClone(effect.report);
        this.#toOthers(node, { type: 'reportReceived', report: effect.report });
        break;
      case 'publishMembership':
        this.#toOthers(node, { type: 'membershipReceived', message: effect.message });
        break;
      case 'probe': {
        const other = this.hosts.get(effect.node)!;
        if (other.up && !this.#isCut(node, effect.node)) {
          this.#in(2, () => this.#post(node, { type: 'probeSucceeded', node: effect.node }));
        } else if (!other.up && !this.#isCut(node, effect.node) && !host.connected.has(effect.node)) {
          this.#in(2, () => this.#post(node, { type: 'probeFailed', node: effect.node, reason: 'refused' }));
        } else {
          this.#in(effect.timeoutMs, () =>
            this.#post(node, { type: 'probeFailed', node: effect.node, reason: 'timeout' }),
          );
        }
        break;
      }
      case 'startInstance': {
        const { spec } = effect;
        this.starts.push({ atMs: this.nowMs, node, spec });
        host.running.set(spec.id, spec);
        const behaviour = this.behaviour(spec, node);
        if (behaviour === 'noDisk') {
          host.running.delete(spec.id);
          const reason = 'no space left on device';
          this.#in(30, () => this.#post(node, { type: 'instanceExited', id: spec.id, reason, lacks: 'disk' }));
          break;
        }
        this.#in(1, () => this.#post(node, { type: 'instanceLaunched', id: spec.id, port: 1 }));
        if (behaviour === 'ready') {
          this.#in(
            this.startMs,
            () => host.running.has(spec.id) && this.#post(node, { type: 'instanceReady', id: spec.id }),
          );
        } else if (behaviour === 'crash') {
          this.#in(50, () => this.crash(node, spec.id));
        } else {
          this.#in(spec.health.timeoutMs, () => this.crash(node, spec.id, 'did not listen'));
        }
        break;
      }
      case 'stopInstance':
        this.stops.push({ atMs: this.nowMs, node, id: effect.id, reason: effect.reason });
        this.#in(this.stopMs, () => this.crash(node, effect.id, 'stopped'));
        break;
      case 'failRelease': {
        this.failed.push({ atMs: this.nowMs, release: effect.release, reason: effect.reason });
        const apps = [...this.#view.apps.values()].map((one) => {
          if (one.id !== effect.app) return one;
          const failed = { reason: effect.reason, atMs: this.nowMs };
          const releases = one.releases.map((r) => (r.id === effect.release ? { ...r, failed } : r));
          return { ...one, releases, release: releases.filter((r) => r.failed === undefined).at(-1)! };
        });
        this.#in(5, () => this.changeApps(apps));
        break;
      }
      case 'askReport': {
        const other = this.hosts.get(effect.node);
        if (other === undefined || !other.up || this.#isCut(node, effect.node)) break;
        this.#in(2, () => {
          this.#post(effect.node, { type: 'beliefHeard', belief: effect.belief });
          if (!other.up || other.reported === undefined) return;
          const report = structuredClone(other.reported);
          this.#in(2, () => this.#post(node, { type: 'reportReceived', report }));
        });
        break;
      }
      case 'persistStart':
        host.incarnation = effect.start;
        break;
      case 'recordEvent':
        this.events.push({ atMs: this.nowMs, by: node, event: effect.event });
        break;
      case 'leaveVolume': {
        this.left.push({ atMs: this.nowMs, node, volume: effect.volume });
        const { movedFrom: _, ...left } = this.#view.volumes.get(effect.volume)!;
        this.#in(5, () => this.changeVolumes([left]));
        break;
      }
      case 'restoreVolumes':
        this.restores.push({ atMs: this.nowMs, node, effect });
        break;
      case 'fetchDroplet':
      case 'setRoutes':
      case 'syncDesired':
        break;
    }
  }
}
