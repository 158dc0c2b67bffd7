// A wide cluster: hundreds of real cores on one clock, with the real codec of gossip between them, for the figures
// that only many nodes show. Unlike world.ts it has one desired state that nobody changes, machines that start what
// they are told to, and a network that loses nothing: it measures, and leaves proving to the others.

import type { Digest, InstanceId, NodeId } from '../../../crdt/ids.ts';
import type { DesiredView } from '../../../crdt/view.ts';
import { candidatesOf } from '../../../node/core/candidates.ts';
import { heartbeatMs } from '../../../node/core/config.ts';
import { place } from '../../../node/core/placement.ts';
import { slotKey, slotsOf } from '../../../node/core/slots.ts';
import { type CoreState, initialState, type SelfInfo } from '../../../node/core/state.ts';
import { step } from '../../../node/core/step.ts';
import type { AdoptedInstance, Effect, Event, InstanceSpec, Report } from '../../../node/core/types.ts';
import {
  decodeMembership,
  decodeReportNews,
  encodeMembership,
  encodeReportNews,
} from '../../../node/gossip/messages.ts';
import { applyChange, ReportAuthor, ReportBases } from '../../../node/gossip/report-changes.ts';
import { Clock } from '../clock.ts';
import { Prng } from '../prng.ts';
import { desiredOf, dropletOf, restingInstances, selfOf } from './desired.ts';
import { Mesh } from './mesh.ts';

/** What every instance takes from its start until it is ready. */
export const START_MS = 1_000;
const LAUNCH_MS = 20;
const STOP_MS = 50;
const FETCH_MS = 200;
const TICK_MAX_MS = 1_000;
const ECHO_BYTES = 300;
/**
 * A connection of its own for one probe: handshakes of TCP, the network's key, noise, and what is negotiated on it.
 */
const KNOCK_BYTES = 2_000;
const REFUSED_AFTER_MS = 2;
/** Every node has said that its instances run before anyone decides. */
const FIRST_REPORT_MS = 400;

class WideNode {
  readonly index: number;
  readonly id: NodeId;
  core: CoreState;
  up = true;
  author = new ReportAuthor();
  authoredAtMs = 0;
  readonly bases = new ReportBases();
  readonly running = new Map<InstanceId, string>();
  readonly droplets: Set<Digest>;
  mailbox: Event[] = [];
  draining = false;
  ringsAtMs = Number.POSITIVE_INFINITY;

  constructor(index: number, self: SelfInfo, core: CoreState, droplets: Set<Digest>) {
    this.index = index;
    this.id = self.node;
    this.core = core;
    this.droplets = droplets;
  }
}

export class WideCluster {
  readonly clock = new Clock();
  readonly nodes: WideNode[] = [];
  readonly view: DesiredView;
  readonly mesh: Mesh;
  /** Real time of each step that decided, ms. */
  decisionsMs: number[] = [];
  counts = { steps: 0, starts: 0, stops: 0, deaths: 0 };
  /** Slots without a ready instance on a live node. */
  readonly empty = new Set<string>();
  filledAtMs = 0;
  readonly #rng: Prng;
  readonly #indexOf = new Map<NodeId, number>();
  readonly #ready = new Map<string, number>();
  readonly #heads = ['a1'.repeat(32)];
  #founding = true;

  constructor(options: { seed: number; nodes: number }) {
    this.#rng = new Prng(`wide/${options.seed}`);
    const selves = Array.from({ length: options.nodes }, (_, index) => selfOf(index));
    const ids = selves.map((self) => self.node);
    this.view = desiredOf(ids);
    for (const [index, id] of ids.entries()) this.#indexOf.set(id, index);
    this.mesh = new Mesh({
      clock: this.clock,
      rng: this.#rng.fork('mesh'),
      ids,
      isUp: (index) => this.nodes[index]?.up ?? true,
    });
    const resting = restingInstances(this.view, options.nodes);
    for (const [index, self] of selves.entries()) {
      const droplets = new Set(resting[index]!.map((one) => dropletOf(this.view, one.app)));
      const startedAtMs = -this.#rng.between(0, 1_000);
      const core = initialState({ self, incarnation: 1, nowMs: startedAtMs, droplets });
      this.nodes.push(new WideNode(index, self, core, droplets));
    }
    this.#found(resting);
  }

  /** Whether the node would have everything as it is now, if it could say. */
  get isSettled(): boolean {
    return this.empty.size === 0;
  }

  /** Instances of slots that more than one node runs. */
  duplicates(): number {
    let count = 0;
    for (const ready of this.#ready.values()) count += Math.max(0, ready - 1);
    return count;
  }

  heartbeatMs(): number {
    return heartbeatMs(this.nodes[0]!.core.config, this.nodes.length - 1);
  }

  /** The processes end, with all that runs under them; their hosts refuse connections. */
  kill(indexes: readonly number[]): void {
    for (const index of indexes) this.nodes[index]!.up = false;
    for (const index of indexes) {
      const node = this.nodes[index]!;
      for (const [, key] of node.running) this.#lose(key);
      node.running.clear();
      for (const other of this.mesh.neighbours[index]!) {
        this.clock.in(this.mesh.delayMs(), () =>
          this.#post(this.nodes[other]!, { type: 'disconnected', node: node.id }),
        );
      }
    }
  }

  someNodes(count: number): number[] {
    return this.#rng.shuffle([...this.nodes.keys()]).slice(0, count);
  }

  /**
   * Noise that no decision reads: in quarters, which is how loads are told, it stays below one waiting process per
   * core.
   */
  shakeLoads(): void {
    for (const node of this.nodes) this.#post(node, { type: 'resourcesMeasured', load: this.#rng.share() * 0.85 });
  }

  /** Begins at rest: everything runs, everyone has heard of everyone. */
  #found(resting: AdoptedInstance[][]): void {
    const { nodes, view } = this;
    for (const app of view.apps.values()) for (const slot of slotsOf(app)) this.empty.add(slotKey(slot));
    for (const node of nodes) {
      this.#post(node, { type: 'desiredChanged', view, heads: this.#heads });
      this.#post(node, { type: 'instancesAdopted', instances: resting[node.index]! });
      for (const one of resting[node.index]!) {
        node.running.set(one.id, slotKey(one));
        this.#fill(slotKey(one));
        this.#post(node, { type: 'instanceReady', id: one.id });
      }
    }
    // Droplets that successors would have fetched long ago.
    this.clock.runTo(FIRST_REPORT_MS);
    for (const node of nodes)
      for (const other of this.mesh.neighbours[node.index]!) {
        this.#post(node, { type: 'connected', node: nodes[other]!.id });
      }
    const reports = nodes.map((node) => node.author.whole().at(-1)!);
    const droplets = this.#successorsDroplets(reports);
    for (const node of nodes) {
      for (const digest of droplets.get(node.id) ?? []) node.droplets.add(digest);
      this.#post(node, { type: 'dropletsHeld', digests: [...node.droplets].sort() });
    }
    this.clock.runTo(2 * FIRST_REPORT_MS);
    const newest = nodes.map((node) => node.author.whole().at(-1)!);
    for (const node of nodes) {
      node.author = new ReportAuthor();
      // As of when it was made: how long its instances have been ready is counted from then.
      node.author.next(newest[node.index]!, node.authoredAtMs);
      for (const report of newest) {
        if (report.node === node.id) continue;
        node.bases.learn(report);
        this.#post(node, { type: 'reportReceived', report });
      }
    }
    this.#founding = false;
    this.decisionsMs = [];
    // Heartbeats at different times, as of nodes that started at different times.
    for (const node of nodes) {
      const neighbour = this.nodes[this.mesh.neighbours[node.index]![0]!]!;
      this.clock.in(this.#rng.share() * this.heartbeatMs(), () =>
        this.#post(node, { type: 'connected', node: neighbour.id }),
      );
    }
  }

  #successorsDroplets(reports: readonly Report[]): Map<NodeId, Digest[]> {
    const candidates = reports.map((report) => ({
      node: report.node,
      status: 'alive' as const,
      draining: false,
      report,
      labels: report.labels,
      freeBytes: report.memoryBytes,
    }));
    const placement = place(this.view, candidates);
    const droplets = new Map<NodeId, Digest[]>();
    for (const app of this.view.apps.keys()) {
      for (const node of placement.successorsOf(app)) {
        const list = droplets.get(node) ?? [];
        list.push(dropletOf(this.view, app));
        droplets.set(node, list);
      }
    }
    return droplets;
  }

  // ---------------------------------------------------------------- the mailbox, as node/daemon/agent.ts

  #post(node: WideNode, event: Event): void {
    if (!node.up) return;
    node.mailbox.push(event);
    if (!node.draining) this.#drain(node);
  }

  #drain(node: WideNode): void {
    node.draining = true;
    const nowMs = this.clock.nowMs;
    let wakeAtMs = Number.POSITIVE_INFINITY;
    for (let next = 0; next < node.mailbox.length; next++) {
      const event = node.mailbox[next]!;
      this.counts.steps++;
      const decidedAtMs = node.core.decidedAtMs;
      const beganMs = performance.now();
      const result = step(node.core, event, nowMs);
      if (result.state.decidedAtMs !== decidedAtMs && result.state.settled) {
        this.decisionsMs.push(performance.now() - beganMs);
      }
      node.core = result.state;
      wakeAtMs = result.wakeAtMs;
      for (const effect of result.effects) this.#carryOut(node, effect);
    }
    node.mailbox = [];
    node.draining = false;
    this.#wakeAt(node, Math.min(Math.max(wakeAtMs, nowMs + 1), nowMs + TICK_MAX_MS));
  }

  #wakeAt(node: WideNode, atMs: number): void {
    if (atMs >= node.ringsAtMs) return;
    node.ringsAtMs = atMs;
    this.clock.at(atMs, () => {
      if (node.ringsAtMs !== atMs) return;
      node.ringsAtMs = Number.POSITIVE_INFINITY;
      this.#post(node, { type: 'tick', lateMs: 0 });
    });
  }

  // ---------------------------------------------------------------- effects

  #carryOut(node: WideNode, effect: Effect): void {
    switch (effect.type) {
      case 'startInstance':
        this.counts.starts++;
        this.#start(node, effect.spec);
        return;
      case 'stopInstance':
        this.counts.stops++;
        this.clock.in(STOP_MS, () => this.#end(node, effect.id));
        return;
      case 'fetchDroplet':
        this.clock.in(FETCH_MS, () => {
          node.droplets.add(effect.digest);
          this.#post(node, { type: 'dropletsHeld', digests: [...node.droplets].sort() });
        });
        return;
      case 'probe':
        this.#probe(node, this.#indexOf.get(effect.node)!);
        return;
      case 'publishReport':
        this.#publishReport(node, effect.report);
        return;
      case 'publishMembership': {
        const bytes = encodeMembership(effect.message);
        const decoded = decodeMembership(bytes);
        if (!decoded.ok) throw new Error(`the codec refuses a claim that it encoded: ${decoded.reason}`);
        this.mesh.publish(node.index, 'membership', bytes.byteLength, (to) =>
          this.#post(this.nodes[to]!, { type: 'membershipReceived', message: decoded.value }),
        );
        return;
      }
      case 'recordEvent':
        if (effect.event.name === 'member.dead') this.counts.deaths++;
        return;
      case 'setRoutes':
      case 'askReport':
        return;
      case 'syncDesired':
      case 'persistStart':
      case 'failRelease':
      case 'leaveVolume':
      case 'restoreVolumes':
        throw new Error(`nothing calls for ${effect.type} here`);
    }
  }

  #start(node: WideNode, spec: InstanceSpec): void {
    const key = slotKey({ app: spec.app.id, process: spec.process, index: spec.index });
    this.clock.in(LAUNCH_MS, () =>
      this.#post(node, { type: 'instanceLaunched', id: spec.id, port: 40_000 + (this.counts.starts % 20_000) }),
    );
    this.clock.in(START_MS, () => {
      if (!node.up) return;
      node.running.set(spec.id, key);
      this.#fill(key);
      this.#post(node, { type: 'instanceReady', id: spec.id });
    });
  }

  #end(node: WideNode, id: InstanceId): void {
    const key = node.running.get(id);
    if (key !== undefined) {
      node.running.delete(id);
      this.#lose(key);
    }
    this.#post(node, { type: 'instanceExited', id, reason: 'stopped' });
  }

  #fill(key: string): void {
    this.#ready.set(key, (this.#ready.get(key) ?? 0) + 1);
    if (this.empty.delete(key) && this.empty.size === 0) this.filledAtMs = this.clock.nowMs;
  }

  #lose(key: string): void {
    const left = this.#ready.get(key)! - 1;
    this.#ready.set(key, left);
    if (left === 0) this.empty.add(key);
  }

  #probe(node: WideNode, to: number): void {
    const other = this.nodes[to]!;
    const isConnected = other.up && this.mesh.neighbours[node.index]!.includes(to);
    const bytes = isConnected ? ECHO_BYTES : KNOCK_BYTES;
    if (other.up) {
      this.mesh.count(node.index, to, bytes);
      this.mesh.count(to, node.index, bytes);
    }
    this.clock.in(REFUSED_AFTER_MS + 2 * this.mesh.delayMs(), () =>
      this.#post(
        node,
        other.up
          ? { type: 'probeSucceeded', node: other.id }
          : { type: 'probeFailed', node: other.id, reason: 'refused' },
      ),
    );
  }

  #publishReport(node: WideNode, report: Report): void {
    node.authoredAtMs = this.clock.nowMs;
    const news = node.author.next(report, node.authoredAtMs);
    if ('tooLargeBytes' in news) throw new Error(`a report of ${news.tooLargeBytes} bytes`);
    if (this.#founding) return;
    const bytes = encodeReportNews(news);
    const decoded = decodeReportNews(bytes);
    if (!decoded.ok) throw new Error(`the codec refuses a report that it encoded: ${decoded.reason}`);
    const { value } = decoded;
    // Whoever has the same base makes the same report of it: one is made for all.
    const whole = 'report' in value ? value.report : undefined;
    let made: { base: Report; report: Report } | undefined;
    this.mesh.publish(node.index, 'reports', bytes.byteLength, (to) => {
      const reader = this.nodes[to]!;
      if (whole !== undefined) {
        reader.bases.learn(whole);
        this.#post(reader, { type: 'reportReceived', report: whole });
        return;
      }
      if (!('change' in value)) return;
      const base = reader.bases.of(node.id, value.change);
      if (base === undefined) {
        // Asked for over a connection: seen here only when two whole reports overtake each other.
        const [asked, newest = asked] = node.author.whole();
        this.mesh.count(node.index, to, encodeReportNews({ report: asked! }).byteLength * 2 + KNOCK_BYTES);
        reader.bases.learn(asked!);
        this.#post(reader, { type: 'reportReceived', report: newest! });
        return;
      }
      if (made?.base !== base) made = { base, report: applyChange(base, value.change) };
      this.#post(reader, { type: 'reportReceived', report: made.report });
    });
  }

  /** Checks that what the nodes believe places every slot where it is: nothing would move. */
  moves(index: number): number {
    const node = this.nodes[index]!;
    const { assigned } = place(this.view, candidatesOf(node.core, this.clock.nowMs));
    const held = new Map<string, NodeId>();
    for (const one of this.nodes) for (const key of one.running.values()) held.set(key, one.id);
    let moves = 0;
    for (const [key, owner] of assigned) if (held.get(key) !== owner) moves++;
    return moves;
  }
}
