// The agent: a mailbox around the core. Events go in one at a time, step() decides, effects go out to the edges
// (effects.ts). Decides nothing itself.

import type { AppId, InstanceId, NodeId, ReleaseId, ServiceId } from '../../crdt/ids.ts';
import { candidatesOf, type ReportedCandidate } from '../core/candidates.ts';
import { isCaughtUp } from '../core/caught-up.ts';
import { mayRestore, type RestoreOrder } from '../core/loss.ts';
import type { CoreState } from '../core/state.ts';
import { type StepResult, step } from '../core/step.ts';
import type {
  Belief,
  ClusterEvent,
  Effect,
  Event,
  InstanceSpec,
  MembershipMessage,
  Report,
  RouteTable,
} from '../core/types.ts';
import type { Log } from '../lib/log.ts';
import type { ObservedView } from '../ports/node-service.ts';
import { Effects } from './effects.ts';

/**
 * What the effects are carried out with. Each returns at once; answers come back as events. One that throws is tried
 * again (effects.ts).
 */
export type Actors = {
  startInstance(spec: InstanceSpec): void;
  stopInstance(id: InstanceSpec['id'], reason: string): void;
  fetchDroplet(effect: Extract<Effect, { type: 'fetchDroplet' }>): void;
  probe(node: NodeId, timeoutMs: number): void;
  publishReport(report: Report, how: { relay: boolean }): void;
  /** Answered by a report, if at all. */
  askReport(node: NodeId, belief: Belief): void;
  persistStart(start: number): void;
  publishMembership(message: MembershipMessage): void;
  setRoutes(table: RouteTable): void;
  syncDesired(node: NodeId): void;
  failRelease(effect: Extract<Effect, { type: 'failRelease' }>): void;
  leaveVolume(effect: Extract<Effect, { type: 'leaveVolume' }>): void;
  restoreVolumes(effect: Extract<Effect, { type: 'restoreVolumes' }>): void;
  recordEvent(event: ClusterEvent): void;
};

/** Waiting events beyond this mean that the node cannot keep up; the oldest reports are dropped first, they repeat. */
const MAILBOX_EVENTS_MAX = 20_000;
/** A tick is asked for at least this often. */
const TICK_MAX_MS = 1_000;
/** A failure that comes with every event is said this often. */
const FAILURE_SAID_AGAIN_MS = 60_000;
/** How often the event loop is looked at, and from which lateness on the core is told. */
const BEAT_MS = 250;
const BEAT_LATE_MS = 50;

const ageOf = (nowMs: number, atMs: number | undefined) => (atMs === undefined ? undefined : nowMs - atMs);

/** `host`: as in LocalUpstream. */
export type ServiceHere = { id: InstanceId; host: string | undefined; port: number; isReady: boolean };

export class Agent {
  #state: CoreState;
  #effects: Effects | undefined;
  readonly #log: Log;
  readonly #nowMs: () => number;
  #onStep: () => void = () => {};
  #mailbox: Event[] = [];
  #draining = false;
  #timer: NodeJS.Timeout | undefined;
  #beatTimer: NodeJS.Timeout | undefined;
  #beatDueMs = Number.POSITIVE_INFINITY;
  #stopped = false;
  #failureSaidAtMs = Number.NEGATIVE_INFINITY;

  /** Events wait until it begins. */
  constructor(options: { state: CoreState; log: Log; nowMs: () => number }) {
    this.#state = options.state;
    this.#log = options.log;
    this.#nowMs = options.nowMs;
  }

  /** Decides from now on; first about what has waited. `onStep`: called after all that was decided at once. */
  begin({ actors, onStep }: { actors: Actors; onStep: () => void }): void {
    this.#onStep = onStep;
    this.#effects = new Effects({ actors, log: this.#log, nowMs: this.#nowMs, post: (event) => this.post(event) });
    if (!this.#stopped) this.#drain();
  }

  post(event: Event): void {
    if (this.#stopped) return;
    if (this.#mailbox.length >= MAILBOX_EVENTS_MAX) {
      const index = this.#mailbox.findIndex((one) => one.type === 'reportReceived');
      this.#mailbox.splice(Math.max(0, index), 1);
      this.#log.warn('agent.mailbox_full', { events: MAILBOX_EVENTS_MAX });
    }
    this.#tellLateness();
    this.#mailbox.push(event);
    // Effects may post events while they are carried out: they wait for their turn.
    if (!this.#draining) this.#drain();
  }

  stop(): void {
    this.#stopped = true;
    this.#effects?.stop();
    clearTimeout(this.#timer);
    clearTimeout(this.#beatTimer);
  }

  /** Whether instances of this node, or of one app here, are still there, in any state but crashed. */
  hasLiveInstances(app?: AppId): boolean {
    for (const instance of this.#state.local.values()) {
      if (instance.state !== 'crashed' && (app === undefined || instance.app === app)) return true;
    }
    return false;
  }

  /** The instance of the service that runs on this node and is reached; `ready`: it answers. */
  serviceHere(service: ServiceId): ServiceHere | undefined {
    for (const { id, app, state, host, port } of this.#state.local.values()) {
      if ((app as string) !== service || port === undefined || (state !== 'ready' && state !== 'unhealthy')) continue;
      return { id, host, port, isReady: state === 'ready' };
    }
    return undefined;
  }

  /** Apps and releases of the instances of this node, in any state. */
  instancesHere(): { app: AppId; release: ReleaseId }[] {
    return [...this.#state.local.values()].map(({ app, release }) => ({ app, release }));
  }

  /** Whether that data may still be restored here, as this node sees the cluster now. */
  mayRestore(order: RestoreOrder): boolean {
    return mayRestore(this.#state, this.candidates(), order);
  }

  /** The nodes that placement considers now. */
  candidates(): ReportedCandidate[] {
    return candidatesOf(this.#state, this.#nowMs());
  }

  /**
   * Other members that are not known to be dead. In the first moments after a start nobody is known to be anything.
   */
  mayBeAlive(): NodeId[] {
    const { desired, members, self, settled } = this.#state;
    return [...(desired?.nodes.keys() ?? [])].filter((node) => {
      if (node === self.node) return false;
      const member = members.get(node);
      if (member?.report === undefined) return !settled;
      return member.status === 'alive' || member.status === 'suspect';
    });
  }

  /** Whether it has seen what the cluster asks for now, or has waited for that long enough. */
  isCaughtUp(): boolean {
    return this.#state.settled || isCaughtUp(this.#state);
  }

  /** What this node believes of the others, itself included. */
  observed(own: { report: Report; atMs: number } | undefined): ObservedView {
    const nowMs = this.#nowMs();
    const members: ObservedView['members'] = [];
    const view = this.#state.desired;
    for (const node of view?.nodes.values() ?? []) {
      const isSelf = node.id === this.#state.self.node;
      const member = this.#state.members.get(node.id);
      members.push({
        id: node.id,
        name: node.name,
        status: isSelf ? 'alive' : (member?.status ?? 'dead'),
        draining: node.draining,
        report: isSelf ? own?.report : member?.report,
        reportAgeMs: ageOf(nowMs, isSelf ? own?.atMs : member?.report && member.reportAtMs),
      });
    }
    return { members };
  }

  #drain(): void {
    const effects = this.#effects;
    if (effects === undefined) return;
    this.#draining = true;
    let wakeAtMs = Number.POSITIVE_INFINITY;
    try {
      for (let event = this.#mailbox.shift(); event !== undefined; event = this.#mailbox.shift()) {
        const result = this.#step(event);
        if (result === undefined) continue;
        this.#state = result.state;
        wakeAtMs = result.wakeAtMs;
        for (const effect of result.effects) effects.carryOut(effect);
      }
    } finally {
      this.#draining = false;
    }
    this.#wakeAt(wakeAtMs);
    this.#guarded('afterStep', this.#onStep);
  }

  /**
   * The core throws for a bug alone. Whatever it stumbled over may come again at every start, so the node goes on with
   * what it knows, its instances and its API with it, and says so; the next event is another try.
   */
  #step(event: Event): StepResult | undefined {
    return this.#guarded(`step ${event.type}`, () => step(this.#state, event, this.#nowMs()));
  }

  #guarded<T>(what: string, run: () => T): T | undefined {
    try {
      return run();
    } catch (error) {
      const nowMs = this.#nowMs();
      if (nowMs - this.#failureSaidAtMs >= FAILURE_SAID_AGAIN_MS) {
        this.#failureSaidAtMs = nowMs;
        const stack = error instanceof Error ? error.stack : undefined;
        this.#log.error('agent.failed', { what, reason: String(error), stack });
      }
      return undefined;
    }
  }

  #wakeAt(wakeAtMs: number): void {
    if (this.#stopped) return;
    if (this.#beatTimer === undefined) this.#beat();
    const nowMs = this.#nowMs();
    const atMs = Math.min(Math.max(wakeAtMs, nowMs + 1), nowMs + TICK_MAX_MS);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.post({ type: 'tick', lateMs: 0 }), atMs - nowMs);
  }

  /**
   * By a timer that no event sets back, as one does that for ticks: in a loop that never rests there is always another
   * event.
   */
  #beat(): void {
    clearTimeout(this.#beatTimer);
    this.#beatDueMs = this.#nowMs() + BEAT_MS;
    this.#beatTimer = setTimeout(() => {
      if (this.#nowMs() - this.#beatDueMs >= BEAT_LATE_MS) this.post({ type: 'tick', lateMs: 0 });
      else this.#beat();
    }, BEAT_MS);
  }

  /** Before the first event that is taken late: what was missed meanwhile is judged by it. */
  #tellLateness(): void {
    const lateMs = this.#nowMs() - this.#beatDueMs;
    if (lateMs < BEAT_LATE_MS) return;
    this.#mailbox.push({ type: 'tick', lateMs });
    this.#beat();
  }
}
