// One chaos run: real daemons on hosts of their own, apps and requests, the faults that a seed's schedule has for them; then the
// faults stop, and the cluster has to come to rest and to stay calm. The simulator's checkers judge.

import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { Lan } from '../../scripts/lan.ts';
import { LocalCluster, type LocalNode, ROOT } from '../../scripts/local-cluster.ts';
import { Availability } from '../sim/checkers/availability.ts';
import { Calm } from '../sim/checkers/calm.ts';
import type { Violation } from '../sim/checkers/checker.ts';
import { restlessness } from '../sim/checkers/convergence.ts';
import { Fencing } from '../sim/checkers/fencing.ts';
import { Routing } from '../sim/checkers/routing.ts';
import type { FaultAction } from '../sim/faults.ts';
import { scenarioOf } from '../sim/run.ts';
import type { FaultKind } from '../sim/shape.ts';
import { Faults } from './faults.ts';
import { ObservedCluster, ObservedNode } from './observed.ts';
import { Reader, type Reading } from './reading.ts';
import { Traffic, type TrafficCounts } from './traffic.ts';

export type ChaosOptions = {
  seed: number;
  minutes: number;
  nodes: number;
  apps: number;
  instances: number;
  faults: FaultKind[];
  say: (text: string) => void;
};

export type ChaosResult = {
  violation: Violation | undefined;
  faults: number;
  restedAfterMs: number;
  requests: { during: TrafficCounts; calm: TrafficCounts };
};

const READ_EVERY_MS = 250;
const REQUESTS_PER_SECOND = 10;
/** How long healing may take, as in the simulator, whose machines start at once. */
const REST_WITHIN_MS = 150_000;
/** Nothing has to be left to do for this long. */
const QUIET_MS = 3_000;
const CALM_MS = 6_000;
const MEMORY = '64M';
/** So much that every node has room for every slot. */
const NODE_MEMORY_MIB = 2_048;

/** What of a seed's schedule is done to real daemons: the same faults at the same times as in the simulator. */
export function chaosSchedule(options: Omit<ChaosOptions, 'say'>): FaultAction[] {
  const { seed, minutes, nodes, apps, instances, faults } = options;
  const { actions } = scenarioOf(seed, { nodes, apps, instances, minutes, faults });
  return actions.filter((action): action is FaultAction => action.by === 'fault');
}

export async function runChaos(options: ChaosOptions): Promise<ChaosResult> {
  const names = Array.from({ length: options.nodes }, (_, index) => `node-${index + 1}`);
  const lan = await Lan.create(names);
  const cluster = await LocalCluster.create();
  try {
    options.say(`starting ${options.nodes} nodes`);
    await cluster.startOn(lan, names, ['--memory', `${NODE_MEMORY_MIB}M`]);
    const run = new Run(options, cluster, lan);
    return await run.go();
  } finally {
    await cluster.stop();
    await lan.remove();
  }
}

class Run {
  readonly #options: ChaosOptions;
  readonly #cluster: LocalCluster;
  readonly #reader: Reader;
  readonly #observed: ObservedCluster;
  readonly #faults: Faults;
  readonly #startMs = performance.now();
  readonly #apps: string[];

  constructor(options: ChaosOptions, cluster: LocalCluster, lan: Lan) {
    this.#options = options;
    this.#cluster = cluster;
    this.#reader = new Reader(cluster);
    this.#apps = Array.from({ length: options.apps }, (_, index) => `app-${index}`);
    const memoryBytes = NODE_MEMORY_MIB * 1024 * 1024;
    const nodes = cluster.nodes.map((node, index) => new ObservedNode(node, { index, memoryBytes }));
    this.#observed = new ObservedCluster(nodes, () => performance.now() - this.#startMs);
    const judges = [Availability, Calm, Fencing, Routing].map((Kind) => new Kind(this.#observed));
    this.#observed.judgedBy(judges);
    this.#faults = new Faults({ cluster, lan, observed: this.#observed });
  }

  async go(): Promise<ChaosResult> {
    await this.#push();
    const traffic = new Traffic({
      cluster: this.#cluster,
      apps: this.#apps,
      perSecond: REQUESTS_PER_SECOND,
      through: () => this.#answering(),
      onWrong: (message) => this.#observed.fail('routing', message),
    });
    try {
      const faults = await this.#strikeAll();
      await this.#faults.healEverything();
      this.#say('no more faults');
      const during = traffic.take();
      const restedAfterMs = await this.#untilRest();
      traffic.take();
      if (!this.#isOver) await this.#stayCalm();
      const calm = traffic.take();
      if (calm.failed > 0)
        this.#observed.fail('availability', `${calm.failed} requests failed at rest: ${calm.lastFailure}`);
      return { violation: this.#observed.violation, faults, restedAfterMs, requests: { during, calm } };
    } finally {
      await traffic.stop();
      await this.#faults.healEverything().catch(() => {});
    }
  }

  /** Every other app is fenced. All are ready before the first fault. */
  async #push(): Promise<void> {
    for (const [index, name] of this.#apps.entries()) {
      const folder = join(this.#cluster.folder, name);
      await cp(join(ROOT, 'test', 'apps', 'hello-node'), folder, { recursive: true });
      const args = ['push', folder, '--name', name, '--instances', String(this.#options.instances), '--memory', MEMORY];
      await this.#cluster.json(this.#cluster.nodes[0]!, [
        ...args,
        ...(index % 2 === 1 ? ['--partition', 'fence'] : []),
      ]);
    }
    await this.#untilRest();
    this.#say(`${this.#apps.join(', ')} run`);
  }

  async #strikeAll(): Promise<number> {
    const schedule = chaosSchedule(this.#options);
    const fromMs = this.#observed.clock.nowMs;
    const untilMs = fromMs + this.#options.minutes * 60_000;
    let next = 0;
    while (!this.#isOver && this.#observed.clock.nowMs < untilMs) {
      for (
        let due = schedule[next];
        due !== undefined && due.atMs <= this.#observed.clock.nowMs - fromMs;
        due = schedule[next]
      ) {
        next++;
        this.#say(textOf(due, this.#observed.nodes));
        await this.#faults.strike(due);
      }
      await this.#look();
    }
    return next;
  }

  /** Ms until the cluster had come to rest; it has to within the bound. */
  async #untilRest(): Promise<number> {
    const fromMs = this.#observed.clock.nowMs;
    let problem: string | undefined;
    let quietSinceMs = Number.NaN;
    let said: string | undefined;
    while (!this.#isOver && this.#observed.clock.nowMs - fromMs < REST_WITHIN_MS) {
      const { all } = await this.#look();
      problem = all ? restlessness(this.#observed) : 'not every daemon answers';
      if (problem !== undefined) {
        quietSinceMs = Number.NaN;
        if (problem !== said) this.#say(`not at rest: ${problem}`);
        said = problem;
        continue;
      }
      if (Number.isNaN(quietSinceMs)) quietSinceMs = this.#observed.clock.nowMs;
      if (this.#observed.clock.nowMs - quietSinceMs >= QUIET_MS) return quietSinceMs - fromMs;
    }
    this.#observed.fail('convergence', `not at rest after ${REST_WITHIN_MS / 1_000} s: ${problem}`, 'liveness');
    return Number.NaN;
  }

  async #stayCalm(): Promise<void> {
    this.#observed.rested();
    const untilMs = this.#observed.clock.nowMs + CALM_MS;
    while (!this.#isOver && this.#observed.clock.nowMs < untilMs) await this.#look();
  }

  /** Reads every daemon that can answer, at the same time, and lets the checkers see. */
  async #look(): Promise<{ all: boolean }> {
    const nextMs = performance.now() + READ_EVERY_MS;
    const readings = new Map<ObservedNode, Reading>();
    const able = this.#observed.nodes.filter((node) => node.daemonUp && !node.frozen);
    await Promise.all(
      able.map(async (node) => {
        const { epoch } = node;
        const reading = await this.#reader.read(this.#localOf(node)).catch(() => undefined);
        // What happened to it meanwhile is newer than what it said.
        if (reading !== undefined && node.epoch === epoch) readings.set(node, reading);
      }),
    );
    this.#observed.take(readings);
    const pauseMs = nextMs - performance.now();
    if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs));
    return { all: readings.size === this.#observed.nodes.length };
  }

  #answering(): LocalNode[] {
    return this.#observed.nodes.filter((node) => node.daemonUp).map((node) => this.#localOf(node));
  }

  #localOf(node: ObservedNode): LocalNode {
    return this.#cluster.nodes.find((one) => one.name === node.self.name)!;
  }

  get #isOver(): boolean {
    return this.#observed.violation !== undefined;
  }

  #say(text: string): void {
    this.#options.say(`${(this.#observed.clock.nowMs / 1_000).toFixed(1)} s: ${text}`);
  }
}

/** `freeze node-2 for 4000 ms` */
function textOf(fault: FaultAction, nodes: readonly ObservedNode[]): string {
  const name = (index: number): string => nodes[index]!.self.name;
  const forMs = `for ${fault.forMs} ms`;
  switch (fault.do) {
    case 'cut':
      return `cut ${name(fault.node)} from ${name(fault.other)} ${forMs}`;
    case 'cutOneWay':
      return `cut the way from ${name(fault.node)} to ${name(fault.other)} ${forMs}`;
    case 'partition':
      return `partition: ${fault.side.map(name).join(', ')} apart ${forMs}`;
    case 'slow':
      return `slow link between ${name(fault.node)} and ${name(fault.other)} ${forMs}`;
    case 'loss':
      return `lose ${fault.share * 100} % of all packets ${forMs}`;
    case 'daemon':
      return `kill the daemon of ${name(fault.node)}, back after ${fault.forMs} ms`;
    case 'machine':
      return `kill all of ${name(fault.node)}, back after ${fault.forMs} ms`;
    default:
      return `${fault.do} ${name(fault.node)} ${forMs}`;
  }
}
