// One core under script: the commands of a trace as events, and its effects as lines. Time stands still but for
// `until` and `late`; other nodes do and say only what a command tells.

import { asAppId, asDigest, asNodeId, type InstanceId, type NodeId } from '../../crdt/ids.ts';
import type { AppView, DesiredView } from '../../crdt/view.ts';
import { candidatesOf } from '../../node/core/candidates.ts';
import { defaultConfig } from '../../node/core/config.ts';
import { place } from '../../node/core/placement.ts';
import { type CoreState, initialState } from '../../node/core/state.ts';
import { step } from '../../node/core/step.ts';
import type {
  AdoptedInstance,
  Event,
  InstanceReport,
  InstanceState,
  MembershipMessage,
  Report,
} from '../../node/core/types.ts';
import { app, desired, MIB, release, selfInfo } from './little-cluster.ts';
import { DecisionWriter, incarnationOf, offerOf } from './trace-text.ts';

import { assertTaken, numberOf, oneOf, take } from './trace-words.ts';

const DROPLETS = [1, 2, 3].map((version) => asDigest(`sha256:${version}`));
const HEARD_EVERY_MS = 1_000;
const WAKES_MAX = 1_000;

export class TracePlayer {
  #nowMs = 0;
  #wakeAtMs = Number.POSITIVE_INFINITY;
  #state: CoreState | undefined;
  #writer: DecisionWriter | undefined;
  #isStarted = false;
  #nodes: NodeId[] = [];
  #apps = new Map<string, AppView>();
  #draining = new Set<NodeId>();
  #changes = 0;
  /** The newest of each other node. */
  #reports = new Map<NodeId, Report>();

  get isStarted(): boolean {
    return this.#isStarted;
  }

  cluster(options: Map<string, string>): string[] {
    const self = asNodeId(take(options, 'self', 'a'));
    this.#nodes = take(options, 'nodes', self).split(',').map(asNodeId);
    const memoryBytes = numberOf(take(options, 'memory', '1024')) * MIB;
    const config = Object.fromEntries([...options].map(([key, value]) => [key, numberOf(value)]));
    for (const key of options.keys()) oneOf(key, Object.keys(defaultConfig));
    const info = selfInfo(self, { memoryBytes });
    this.#state = initialState({ self: info, incarnation: 1, nowMs: 0, droplets: DROPLETS, config });
    this.#writer = new DecisionWriter(firstReport(self, { ...info, lateMs: 0, droplets: DROPLETS, heads: [] }));
    return [];
  }

  wants(name: string, options: Map<string, string>): string[] {
    const before = this.#apps.get(name);
    const newest = numberOf(take(options, 'release', `${before?.release?.version ?? 1}`));
    const versions = Array.from({ length: newest }, (_, index) => release(index + 1));
    const view = app(name, {
      ...before,
      scale: { web: numberOf(take(options, 'instances', `${before?.scale.web ?? 1}`)) },
      memoryBytes: numberOf(take(options, 'memory', `${(before?.memoryBytes ?? 64 * MIB) / MIB}`)) * MIB,
      partition: oneOf<AppView['partition']>(take(options, 'partition', before?.partition ?? 'serve'), [
        'serve',
        'fence',
      ]),
      strategy: oneOf<AppView['strategy']>(take(options, 'strategy', before?.strategy ?? 'rolling'), [
        'rolling',
        'recreate',
      ]),
      maxSurge: numberOf(take(options, 'surge', `${before?.maxSurge ?? 1}`)),
      release: versions.at(-1)!,
    });
    assertTaken(options);
    this.#apps.set(name, { ...view, releases: versions });
    return this.#change();
  }

  drains(nodes: readonly NodeId[]): string[] {
    for (const node of nodes) this.#draining.add(node);
    return this.#change();
  }

  start(found: readonly string[]): string[] {
    const { self } = this.#core();
    const instances = found.map((text, at): AdoptedInstance => {
      const { restartCount, memoryBytes, ...one } = this.#instance(text);
      return { ...one, id: `${self.node}-0-${at + 1}` as InstanceId, restartCount, memoryBytes, port: at + 1 };
    });
    this.#isStarted = true;
    return [...this.#change(), ...this.post({ type: 'instancesAdopted', instances })];
  }

  post(event: Event): string[] {
    if (!this.#isStarted) throw new Error('should come after start');
    const { state, effects, wakeAtMs } = step(this.#core(), event, this.#nowMs);
    this.#state = state;
    this.#wakeAtMs = wakeAtMs;
    return effects.map((effect) => this.#writer!.line(effect));
  }

  until(untilMs: number, heard: readonly NodeId[]): string[] {
    if (untilMs < this.#nowMs) throw new Error(`it is ${this.#nowMs} ms already`);
    const decisions: string[] = [];
    let heardAtMs = this.#nowMs + HEARD_EVERY_MS;
    for (let wakes = 0; ; wakes++) {
      if (wakes > WAKES_MAX) throw new Error('the core is called over and over');
      // As a timer: not before, and at a whole millisecond.
      const wakeAtMs = Math.max(this.#nowMs, Math.ceil(this.#wakeAtMs));
      const hears = heard.length > 0 && heardAtMs < wakeAtMs;
      const nextMs = hears ? heardAtMs : wakeAtMs;
      if (nextMs > untilMs) break;
      this.#nowMs = nextMs;
      const lines = hears
        ? heard.flatMap((node) => this.reports(node, [], new Map()))
        : this.post({ type: 'tick', lateMs: 0 });
      decisions.push(...lines.map((line) => `@${nextMs} ${line}`));
      if (hears) heardAtMs += HEARD_EVERY_MS;
    }
    this.#nowMs = untilMs;
    return joinHeartbeats(decisions);
  }

  late(lateMs: number): string[] {
    this.#nowMs += lateMs;
    return this.post({ type: 'tick', lateMs });
  }

  reports(node: NodeId, words: readonly string[], options: Map<string, string>): string[] {
    const before = this.#reports.get(node) ?? firstReport(node, { droplets: DROPLETS });
    const instances =
      words.length === 0
        ? before.instances
        : words[0] === 'nothing'
          ? []
          : words.map((one) => this.#reported(node, one));
    const incarnation = options.has('incarnation')
      ? incarnationOf(take(options, 'incarnation', ''))
      : before.incarnation;
    const report: Report = {
      ...before,
      incarnation,
      sequence: incarnation === before.incarnation ? before.sequence + 1 : 1,
      instances,
      status: oneOf(take(options, 'status', before.status), ['alive', 'leaving']),
      heads: take(options, 'heads', this.#heads().join()).split(','),
      lateMs: numberOf(take(options, 'lateMs', `${before.lateMs ?? 0}`)),
    };
    assertTaken(options);
    this.#reports.set(node, report);
    return this.post({ type: 'reportReceived', report });
  }

  claims(words: readonly string[]): string[] {
    const [, from, about, incarnation = '1', kind, refused] =
      words.join(' ').match(/^(\S+) says (\S+)(?: ([\d+]+))? is (suspect|alive|dead|left)( refused)?$/) ?? [];
    if (from === undefined) throw new Error('should be: membership NODE says NODE [INCARNATION] is KIND [refused]');
    const claim = { node: asNodeId(about!), from: asNodeId(from), incarnation: incarnationOf(incarnation) };
    const evidence = refused === undefined ? 'silence' : 'refused';
    const message = (kind === 'suspect' ? { kind, ...claim, evidence } : { kind, ...claim }) as MembershipMessage;
    return this.post({ type: 'membershipReceived', message });
  }

  placed(): string[] {
    const { assigned } = place(this.#view(), candidatesOf(this.#core(), this.#nowMs));
    return [...assigned].sort().map(([slot, node]) => `${slot} on ${node}`);
  }

  #core(): CoreState {
    if (this.#state === undefined) throw new Error('should come after cluster');
    return this.#state;
  }

  #heads = (): string[] => [`h${this.#changes}`];

  #change(): string[] {
    this.#core();
    if (!this.#isStarted) return [];
    this.#changes++;
    return this.post({ type: 'desiredChanged', view: this.#view(), heads: this.#heads() });
  }

  #view(): DesiredView {
    const view = desired(this.#nodes, [...this.#apps.values()]);
    const nodes = [...view.nodes.values()].map((node) => ({ ...node, draining: this.#draining.has(node.id) }));
    return { ...view, nodes: new Map(nodes.map((node) => [node.id, node])) };
  }

  /** Of `APP/INDEX[@RELEASE]`; without a release, of the one that is wanted. */
  #instance(text: string): Omit<InstanceReport, 'id' | 'state' | 'sinceMs' | 'crashes'> {
    const [, name = '', index, version] = text.match(/^([^/]+)\/(\d+)(?:@(\d+))?$/) ?? [];
    const wanted = this.#apps.get(name);
    if (wanted === undefined) throw new Error(`${text}: should be APP/INDEX or APP/INDEX@RELEASE of an app there is`);
    return {
      app: asAppId(wanted.id),
      process: 'web',
      index: Number(index),
      release: release(Number(version ?? wanted.release?.version)).id,
      restartCount: wanted.restartCount,
      memoryBytes: wanted.memoryBytes,
    };
  }

  #reported(node: NodeId, text: string): InstanceReport {
    const [what = '', how = ''] = text.split('=');
    const [state, ...fields] = how.split(',');
    const one = this.#instance(what);
    const report: InstanceReport = {
      ...one,
      id: `${node}-${what.replace('/', '-')}` as InstanceId,
      state: oneOf<InstanceState>(state!, ['starting', 'ready', 'unhealthy', 'crashed', 'stopping']),
      sinceMs: 0,
      crashes: 0,
      port: 1,
    };
    for (const field of fields) {
      const [key, value = ''] = field.split(':');
      if (key === 'offered' || key === 'vacates') report[key] = offerOf(value);
      else if (key === 'covers') report.covers = [...(report.covers ?? []), offerOf(value)];
      else if (key === 'crashes') report.crashes = numberOf(value);
      else throw new Error(`${field}: should be offered, vacates, covers or crashes`);
    }
    return report;
  }
}

/** Reports in a row that say nothing new are one line. */
function joinHeartbeats(decisions: readonly string[]): string[] {
  const lines: string[] = [];
  for (const line of decisions) {
    const [, now] = line.match(/^@\d+ report (\d+): nothing new$/) ?? [];
    const [, since, first] = lines.at(-1)?.match(/^@(\d+).* report (\d+).*: nothing new$/) ?? [];
    if (now === undefined || since === undefined) lines.push(line);
    else lines.splice(-1, 1, `@${since} to ${line.slice(0, line.indexOf(' '))} report ${first} to ${now}: nothing new`);
  }
  return lines;
}

const firstReport = (node: NodeId, options: Partial<Report>): Report => ({
  ...selfInfo(node),
  incarnation: incarnationOf('1'),
  sequence: 0,
  status: 'alive',
  load: 0,
  pressure: [],
  instances: [],
  droplets: [],
  heads: [],
  unreachable: [],
  warnings: [],
  ...options,
});
