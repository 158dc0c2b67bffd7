// One simulated machine: the real core and the real document between twins of disk, runtime and gossip. Starts,
// crashes, freezes and thaws; carries out effects as node/daemon/deciding.ts does. Decides nothing the core decides.

import type { Digest, InstanceId, NodeId } from '../../crdt/ids.ts';
import { type Candidate, candidatesOf } from '../../node/core/candidates.ts';
import { place } from '../../node/core/placement.ts';
import { type CoreState, initialState, SALTS, type SelfInfo } from '../../node/core/state.ts';
import { step } from '../../node/core/step.ts';
import type { Effect, Event, InstanceReport, Report, RouteTable } from '../../node/core/types.ts';
import { endOfMove } from './data-users.ts';
import { SimDisk } from './disk.ts';
import { SimGossip } from './gossip.ts';
import type { Endpoint } from './network.ts';
import type { Prng } from './prng.ts';
import { SimReplicator } from './replicator.ts';
import { type Running, SimRuntime } from './runtime.ts';
import { SimSnapshots } from './snapshots.ts';
import { SimStore } from './store.ts';
import { Thread, type Work } from './thread.ts';
import type { World } from './world.ts';

/** As node/daemon/agent.ts. */
const TICK_MAX_MS = 1_000;
const BEAT_MS = 250;
const BEAT_LATE_MS = 50;
const FAIL_RELEASE_BY = 'node';
const DISK_BYTES = 16 * 1024 ** 3;
const DISK_LOOK_AFTER_MS = 1_000;

type DataDirCopy = { files: ReadonlyMap<string, Buffer>; incarnation: number };

export class SimNode implements Endpoint {
  readonly world: World;
  readonly index: number;
  readonly id: NodeId;
  readonly self: SelfInfo;
  readonly rng: Prng;
  readonly disk = new SimDisk();
  readonly runtime: SimRuntime;
  /** On disk. */
  readonly blobs = new Set<Digest>();
  readonly snapshots = new SimSnapshots(this);
  readonly #clockRate: number;
  readonly thread: Thread;

  machineUp = true;
  daemonUp = false;
  frozen = false;
  /** Its disk is lost: it never comes back. */
  gone = false;
  /** Counts lives of the daemon: what one began, the next does not end. */
  epoch = 0;
  memoryBytes: number;
  /** Times at which it last ceased to hear or see normally, for checkers that allow for it. */
  bootedAtMs = 0;
  thawedAtMs = Number.NEGATIVE_INFINITY;
  downSinceMs = Number.NEGATIVE_INFINITY;

  core: CoreState | undefined;
  store: SimStore | undefined;
  gossip: SimGossip | undefined;
  replicator: SimReplicator | undefined;
  routes: RouteTable | undefined;
  /** The newest report of each node that was delivered here, kept apart from what the core makes of it. */
  readonly delivered = new Map<number, Report>();
  /** The event whose effects are being carried out. */
  handling: Event | undefined;
  /** As its data directory counts its starts. */
  #incarnation = 0;
  /** Its disk was put back since it ran last. */
  #isRestored = false;
  #actors = 0;
  #beatDueMs = Number.POSITIVE_INFINITY;
  #mailbox: Event[] = [];
  #draining = false;
  #wakeAtMs = Number.POSITIVE_INFINITY;
  /** When the earliest timer that is set will ring; Infinity when none is. */
  #ringsAtMs = Number.POSITIVE_INFINITY;
  #fetching = new Set<Digest>();

  constructor(
    world: World,
    options: { index: number; self: SelfInfo; clockRate: number; rng: Prng; startMs: number; stopMaxMs: number },
  ) {
    this.world = world;
    this.index = options.index;
    this.self = options.self;
    this.id = options.self.node;
    this.memoryBytes = options.self.memoryBytes;
    this.#clockRate = options.clockRate;
    this.rng = options.rng;
    this.thread = new Thread({ clock: world.clock, scale: world.shape.workScale, processors: world.processors });
    this.runtime = new SimRuntime({
      clock: world.clock,
      rng: options.rng.fork('runtime'),
      startMs: options.startMs,
      stopMaxMs: options.stopMaxMs,
      qualityOf: (spec) => world.qualityOf(spec.droplet.digest),
      lost: (instance: Running) => world.checkers.lost(this, instance),
      isDiskFull: () => this.disk.full,
    });
  }

  // ---------------------------------------------------------------- life

  boot(): void {
    if (this.gone || this.daemonUp) return;
    this.machineUp = true;
    this.daemonUp = true;
    this.frozen = false;
    this.epoch++;
    this.bootedAtMs = this.world.clock.nowMs;
    this.#incarnation++;
    this.#actors = 0;
    this.world.trace(this, 'boot', String(this.#incarnation));
    const store = SimStore.open({
      disk: this.disk,
      synced: (then) => this.later(this.world.fsyncMs(this), then),
      newActor: () => this.#newActor(),
      changed: () => this.#desiredChanged(),
    });
    this.store = store;
    this.gossip = new SimGossip(this);
    this.replicator = new SimReplicator(this);
    const self = { ...this.self, memoryBytes: this.memoryBytes };
    this.core = initialState({
      self,
      incarnation: this.#incarnation,
      salt: this.rng.fork(`salt/${this.epoch}`).between(0, SALTS - 1),
      nowMs: this.localMs(),
      droplets: this.blobs,
      ...(this.world.shape.lossDelayMs === undefined ? {} : { config: { lossDelayMs: this.world.shape.lossDelayMs } }),
    });
    if (this.#isRestored) this.world.checkers.restored(this);
    this.#isRestored = false;
    this.world.checkers.booted(this);
    this.#desiredChanged();
    if (this.disk.full) this.measureDisk();
    this.gossip.admit();
    if (this.world.shape.lossDelayMs !== undefined) this.snapshots.booted();
    this.#beat();
    const epoch = this.epoch;
    this.later(this.rng.between(5, 80), () => {
      this.post({ type: 'instancesAdopted', instances: this.runtime.adopt() });
      this.runtime.listener = (event) => {
        if (this.epoch === epoch) this.deliver(() => this.post(event));
      };
      this.runtime.checkAdopted();
    });
  }

  /** As node/daemon/resource-meter.ts: the core hears of it some time later. */
  measureDisk(): void {
    this.later(DISK_LOOK_AFTER_MS, () => {
      if (this.core === undefined) return;
      const free = this.disk.full ? 0 : DISK_BYTES / 2;
      const measures = [{ resource: 'disk' as const, free, total: DISK_BYTES }];
      this.post({ type: 'resourcesMeasured', load: this.core.load, measures });
    });
  }

  /** The daemon alone ends; its instances run on. */
  crashDaemon(): void {
    if (!this.daemonUp) return;
    this.#end(true);
  }

  /** The power goes: nobody answers any more, and nothing runs. */
  crashMachine(): void {
    if (!this.machineUp) return;
    this.machineUp = false;
    this.runtime.powerOff();
    this.#end(false);
  }

  wipe(): void {
    this.crashMachine();
    this.gone = true;
    this.blobs.clear();
    this.snapshots.held.clear();
  }

  copyDataDir(): DataDirCopy {
    return { files: this.disk.copy(), incarnation: this.#incarnation };
  }

  /** While its daemon is down. */
  restoreDataDir(copy: DataDirCopy): void {
    this.world.trace(this, 'restored', String(copy.incarnation));
    this.disk.restore(copy.files);
    this.#incarnation = copy.incarnation;
    this.#isRestored = true;
  }

  freeze(): void {
    if (!this.daemonUp) return;
    this.frozen = true;
    this.thread.stop();
  }

  thaw(): void {
    if (!this.frozen) return;
    this.frozen = false;
    this.thawedAtMs = this.world.clock.nowMs;
    this.thread.go();
  }

  #end(kernelRuns: boolean): void {
    if (this.daemonUp) {
      this.disk.crash(this.rng.share() * 1.2);
      this.world.network.ended(this.index, kernelRuns);
      this.store?.close();
    }
    this.world.trace(this, kernelRuns ? 'daemon-down' : 'machine-down', '');
    this.downSinceMs = this.world.clock.nowMs;
    this.daemonUp = false;
    this.frozen = false;
    this.epoch++;
    this.runtime.daemonEnded();
    this.core = undefined;
    this.store = undefined;
    this.gossip = undefined;
    this.replicator = undefined;
    this.routes = undefined;
    this.delivered.clear();
    this.thread.clear();
    this.#mailbox = [];
    this.#fetching.clear();
    this.#wakeAtMs = Number.POSITIVE_INFINITY;
    this.#beatDueMs = Number.POSITIVE_INFINITY;
    this.#ringsAtMs = Number.POSITIVE_INFINITY;
  }

  // ---------------------------------------------------------------- time

  /** This node's monotonic clock, which runs a little fast or slow. */
  localMs(): number {
    return (this.world.clock.nowMs - this.bootedAtMs) * this.#clockRate;
  }

  /** Unix time as this node believes it to be. */
  wallMs(): number {
    return Math.floor(this.world.wallMs(this.index));
  }

  later(delayMs: number, run: () => void): void {
    const epoch = this.epoch;
    this.world.clock.in(delayMs / this.#clockRate, () => {
      if (this.epoch === epoch) this.thread.ring(run);
    });
  }

  deliver(run: () => void): void {
    if (this.daemonUp) this.thread.arrive(run);
  }

  /** What runs now takes time. Returns when it will be done, in ms from now. */
  work(kind: Work): number {
    if (kind === 'handshake') this.world.shookHands(this);
    return this.thread.work(kind);
  }

  // ---------------------------------------------------------------- network

  admits(index: number): boolean {
    return this.core?.desired?.nodes.has(this.world.idOf(index)) ?? false;
  }

  admittedOthers(): number[] {
    const others: number[] = [];
    for (const id of this.core?.desired?.nodes.keys() ?? []) if (id !== this.id) others.push(this.world.indexOf(id));
    return others.sort((a, b) => a - b);
  }

  connected(index: number): void {
    this.gossip?.connected(index);
  }

  disconnected(index: number): void {
    this.world.lostConnection(this, index);
    this.gossip?.disconnected(index);
  }

  takeReport(report: Report): void {
    const from = this.world.indexOf(report.node);
    const known = this.delivered.get(from);
    const isNewer =
      known === undefined ||
      report.incarnation > known.incarnation ||
      (report.incarnation === known.incarnation && report.sequence > known.sequence);
    if (isNewer) this.delivered.set(from, report);
    this.post({ type: 'reportReceived', report });
  }

  // ---------------------------------------------------------------- the mailbox, as node/daemon/agent.ts

  post(event: Event): void {
    if (this.core === undefined) return;
    this.#tellLateness();
    this.#mailbox.push(event);
    if (!this.#draining) this.#drain();
  }

  #drain(): void {
    this.#draining = true;
    let wakeAtMs = Number.POSITIVE_INFINITY;
    for (let event = this.#mailbox.shift(); event !== undefined; event = this.#mailbox.shift()) {
      if (this.core === undefined) break;
      if (event.type === 'instanceReady') this.runtime.told(event.id);
      const { decidedAtMs } = this.core;
      const result = step(this.core, event, this.localMs());
      this.work('step');
      if (result.state.decidedAtMs !== decidedAtMs) this.work('decision');
      this.core = result.state;
      wakeAtMs = result.wakeAtMs;
      this.world.traceStep(this, event, result.effects);
      this.handling = event;
      for (const effect of result.effects) this.#carryOut(effect);
      this.handling = undefined;
      this.world.checkers.stepped(this, event, result.effects);
    }
    this.#draining = false;
    if (this.core !== undefined) this.#wakeAt(wakeAtMs);
  }

  #wakeAt(localMs: number): void {
    const now = this.localMs();
    this.#wakeAtMs = Math.min(Math.max(localMs, now + 1), now + TICK_MAX_MS);
    const ringsAtMs = this.bootedAtMs + this.#wakeAtMs / this.#clockRate;
    if (ringsAtMs >= this.#ringsAtMs) return;
    this.#ringsAtMs = ringsAtMs;
    const epoch = this.epoch;
    this.world.clock.at(ringsAtMs, () => {
      if (this.epoch !== epoch || this.#ringsAtMs !== ringsAtMs) return;
      this.#ringsAtMs = Number.POSITIVE_INFINITY;
      this.thread.ring(() => this.#ring());
    });
  }

  #ring(): void {
    if (this.core === undefined) return;
    if (this.localMs() < this.#wakeAtMs - 0.01) this.#wakeAt(this.#wakeAtMs);
    else this.post({ type: 'tick', lateMs: 0 });
  }

  #beat(): void {
    const dueMs = this.localMs() + BEAT_MS;
    this.#beatDueMs = dueMs;
    this.later(BEAT_MS, () => {
      if (this.#beatDueMs !== dueMs) return;
      if (this.localMs() - dueMs >= BEAT_LATE_MS) this.post({ type: 'tick', lateMs: 0 });
      else this.#beat();
    });
  }

  #tellLateness(): void {
    const lateMs = this.localMs() - this.#beatDueMs;
    if (lateMs < BEAT_LATE_MS) return;
    this.#mailbox.push({ type: 'tick', lateMs });
    this.#beat();
  }

  #desiredChanged(): void {
    const document = this.store?.document;
    if (document === undefined) return;
    this.post({ type: 'desiredChanged', view: document.view(), heads: document.heads() });
    this.world.checkers.desiredChanged(this);
    this.gossip?.admit();
  }

  #newActor(): string {
    return this.rng.fork(`actor/${this.epoch}/${this.#actors++}`).hex(16);
  }

  // ---------------------------------------------------------------- for the checkers

  /** The slots that it gave to someone when it decided on its stops: what it stops now still had its memory then. */
  slotsPlacedBeforeStops(): ReadonlySet<string> {
    const view = this.core?.desired;
    if (this.core === undefined || view === undefined) return new Set();
    const candidates = candidatesOf(this.core, this.localMs()).map((candidate): Candidate => {
      if (candidate.node !== this.id) return candidate;
      const instances = candidate.report.instances.map(
        (one): InstanceReport => (one.state === 'stopping' && one.sinceMs === 0 ? { ...one, state: 'ready' } : one),
      );
      return { ...candidate, report: { ...candidate.report, instances } };
    });
    return new Set(place(view, candidates).assigned.keys());
  }

  // ---------------------------------------------------------------- effects, as node/daemon/deciding.ts

  #carryOut(effect: Effect): void {
    switch (effect.type) {
      case 'startInstance':
        this.world.checkers.starting(this, effect.spec);
        this.runtime.start(effect.spec);
        return;
      case 'stopInstance':
        this.world.checkers.stopping(this, effect.id, effect.reason);
        this.runtime.stop(effect.id as InstanceId);
        return;
      case 'fetchDroplet':
        this.#fetch(effect);
        return;
      case 'probe':
        this.gossip?.probe(this.world.indexOf(effect.node), effect.timeoutMs);
        return;
      case 'publishReport':
        this.gossip?.publishReport(effect.report);
        return;
      case 'askReport':
        this.gossip?.askReport(this.world.indexOf(effect.node), effect.belief);
        return;
      case 'persistStart':
        this.#incarnation = effect.start;
        return;
      case 'publishMembership':
        this.gossip?.publishMembership(effect.message);
        return;
      case 'setRoutes':
        this.routes = effect.table;
        return;
      case 'syncDesired':
        this.gossip?.sync(this.world.indexOf(effect.node));
        return;
      case 'failRelease': {
        const { app, release, reason } = effect;
        const author = { by: `${FAIL_RELEASE_BY} ${this.self.name}`, atMs: this.wallMs() };
        this.replicator?.write([{ change: 'failRelease', app, release, reason }], author, (result) =>
          this.world.written(this, result),
        );
        return;
      }
      case 'leaveVolume': {
        const author = { by: `node ${this.self.name}`, atMs: this.wallMs() };
        const changes = endOfMove(effect.volume, { view: this.store?.document.view(), self: this.id, author });
        this.replicator?.write(changes, author, (result) => this.world.written(this, result));
        return;
      }
      case 'restoreVolumes':
        this.snapshots.restore(effect);
        return;
      case 'recordEvent':
        return;
    }
  }

  holdBlob(digest: Digest): void {
    this.blobs.add(digest);
    this.post({ type: 'dropletsHeld', digests: [...this.blobs].sort() });
  }

  #fetch({ digest, holders }: Extract<Effect, { type: 'fetchDroplet' }>): void {
    if (this.#fetching.has(digest)) return;
    this.#fetching.add(digest);
    this.later(this.rng.between(20, 400), () => {
      this.#fetching.delete(digest);
      const source = holders
        .map((holder) => this.world.nodes[this.world.indexOf(holder)]!)
        .find(
          (other) =>
            other.daemonUp &&
            !other.frozen &&
            other.blobs.has(digest) &&
            this.world.network.reaches(this.index, other.index),
        );
      if (this.disk.full) {
        this.post({ type: 'dropletFetchFailed', digest, reason: 'no space left', lacks: 'disk' });
      } else if (source === undefined) {
        this.post({ type: 'dropletFetchFailed', digest, reason: 'no holder answers' });
      } else {
        this.holdBlob(digest);
      }
    });
  }
}
