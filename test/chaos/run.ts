// One chaos run: real daemons on hosts of their own, apps, requests and writes, the faults that a seed's schedule has
// for them; then the faults stop, and the cluster has to come to rest and to stay so. The simulator's checkers judge,
// and three things beside them: no daemon ends by itself, no acknowledged write is lost, and what rests goes on to
// rest.

import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { Lan } from '../../scripts/lan.ts';
import { LocalCluster, type LocalNode, ROOT } from '../../scripts/local-cluster.ts';
import { isRunning } from '../../scripts/processes.ts';
import { Availability } from '../sim/checkers/availability.ts';
import { Calm } from '../sim/checkers/calm.ts';
import type { Violation } from '../sim/checkers/checker.ts';
import { restlessness } from '../sim/checkers/convergence.ts';
import { Fencing } from '../sim/checkers/fencing.ts';
import { Routing } from '../sim/checkers/routing.ts';
import { NodeDisk } from './disks.ts';
import { Faults } from './faults.ts';
import { ObservedCluster, ObservedNode } from './observed.ts';
import { Reader, type Reading } from './reading.ts';
import { type ChaosShape, chaosSchedule, textOf } from './schedule.ts';
import { Traffic, type TrafficCounts } from './traffic.ts';
import { Writer } from './writer.ts';

export type ChaosOptions = ChaosShape & {
  say: (text: string) => void;
  /** Ends the run early, with everything cleaned up; what it says then means nothing. */
  signal?: AbortSignal;
};

export type ChaosResult = {
  violation: Violation | undefined;
  faults: number;
  restedAfterMs: number;
  requests: { during: TrafficCounts; calm: TrafficCounts };
  /** Acknowledged by two nodes or more. */
  writes: number;
};

const READ_EVERY_MS = 250;
/** Reading is work for the daemons: many together are each read less often. */
const READ_EVERY_PER_NODE_MS = 50;
const REQUESTS_PER_SECOND = 10;
const WRITE_EVERY_MS = 3_000;
/** How long healing may take, as in the simulator, whose machines start at once. */
const REST_WITHIN_MS = 150_000;
/** Nothing has to be left to do for this long. */
const QUIET_MS = 3_000;
const CALM_MS = 10_000;
/**
 * At rest one may suspect another for a moment, and hear that it was wrong; on a busy machine one may not answer at
 * once.
 */
const LAPSE_MAX_MS = 5_000;
const MEMORY = '64M';
/** So much that every node has room for every slot. */
const NODE_MEMORY_MIB = 2_048;

export async function runChaos(options: ChaosOptions): Promise<ChaosResult> {
  const names = Array.from({ length: options.nodes }, (_, index) => `node-${index + 1}`);
  const lan = await Lan.create(names);
  const cluster = await LocalCluster.create();
  try {
    options.say(`starting ${options.nodes} nodes`);
    const isLimited = options.faults.includes('full-disk');
    const disks: NodeDisk[] = [];
    for (const name of names) disks.push(await NodeDisk.create({ folder: cluster.folder, name, isLimited }));
    await cluster.startOn(lan, names, ['--memory', `${NODE_MEMORY_MIB}M`], NodeDisk.dataDirName);
    const run = new Run(options, { cluster, lan, disks });
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

  constructor(options: ChaosOptions, on: { cluster: LocalCluster; lan: Lan; disks: readonly NodeDisk[] }) {
    const { cluster, lan, disks } = on;
    this.#options = options;
    this.#cluster = cluster;
    this.#reader = new Reader(cluster);
    this.#apps = Array.from({ length: options.apps }, (_, index) => `app-${index}`);
    const memoryBytes = NODE_MEMORY_MIB * 1024 * 1024;
    const nodes = cluster.nodes.map((node, index) => new ObservedNode(node, { index, memoryBytes }));
    this.#observed = new ObservedCluster(nodes, () => performance.now() - this.#startMs);
    const judges = [Availability, Calm, Fencing, Routing].map((Kind) => new Kind(this.#observed));
    this.#observed.judgedBy(judges);
    this.#faults = new Faults({ cluster, lan, disks, observed: this.#observed });
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
    const writer = new Writer({
      cluster: this.#cluster,
      app: this.#apps[0]!,
      everyMs: WRITE_EVERY_MS,
      through: () => this.#answering(),
    });
    try {
      const faults = await this.#strikeAll();
      await writer.stop();
      await this.#faults.healEverything();
      this.#say('no more faults');
      const during = traffic.take();
      const restedAfterMs = await this.#untilRest();
      traffic.take();
      if (!this.#isOver) await this.#stayCalm(writer);
      const calm = traffic.take();
      if (calm.failed > 0)
        this.#observed.fail('availability', `${calm.failed} requests failed at rest: ${calm.lastFailure}`);
      return {
        violation: this.#observed.violation,
        faults,
        restedAfterMs,
        requests: { during, calm },
        writes: writer.acknowledged,
      };
    } finally {
      await writer.stop();
      await traffic.stop();
      await this.#faults.healEverything().catch(() => {});
    }
  }

  /** Every other app is fenced. All are ready before the first fault. */
  async #push(): Promise<void> {
    for (const [index, name] of this.#apps.entries()) {
      if (this.#isOver) return;
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

  /** Everything that the schedule has, each at its time or, where doing those before it took longer, after them. */
  async #strikeAll(): Promise<number> {
    const schedule = chaosSchedule(this.#options);
    const nameOf = (index: number): string => this.#observed.nodes[index]!.self.name;
    const fromMs = this.#observed.clock.nowMs;
    const lastMs = fromMs + this.#options.minutes * 60_000;
    let next = 0;
    while (!this.#isOver && (next < schedule.length || this.#observed.clock.nowMs < lastMs)) {
      for (let due = schedule[next]; due !== undefined; due = schedule[next]) {
        if (this.#isOver || due.atMs > this.#observed.clock.nowMs - fromMs) break;
        next++;
        this.#say(textOf(due, nameOf));
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
    if (this.#isOver) return Number.NaN;
    this.#observed.fail('convergence', `not at rest after ${REST_WITHIN_MS / 1_000} s: ${problem}`, 'liveness');
    return Number.NaN;
  }

  /** Nothing starts or stops, everyone goes on to hold everyone alive, and all that was acknowledged is everywhere. */
  async #stayCalm(writer: Writer): Promise<void> {
    this.#observed.rested();
    const untilMs = this.#observed.clock.nowMs + CALM_MS;
    let restedAtMs = this.#observed.clock.nowMs;
    while (!this.#isOver && this.#observed.clock.nowMs < untilMs) {
      const { all, readings } = await this.#look();
      const problem = all ? restlessness(this.#observed) : 'not every daemon answers';
      if (problem === undefined) restedAtMs = this.#observed.clock.nowMs;
      else if (this.#observed.clock.nowMs - restedAtMs > LAPSE_MAX_MS) {
        this.#observed.fail('rest', `it was at rest, and no longer is: ${problem}`);
      }
      for (const [node, reading] of readings) {
        const [missing] = writer.missingIn(reading);
        if (missing === undefined) continue;
        this.#observed.fail('durability', `${node.self.name} has lost an acknowledged write: the route ${missing}`);
      }
    }
  }

  /** Reads every daemon that can answer, at the same time, and lets the checkers see. */
  async #look(): Promise<{ all: boolean; readings: ReadonlyMap<ObservedNode, Reading> }> {
    const everyMs = Math.max(READ_EVERY_MS, READ_EVERY_PER_NODE_MS * this.#observed.nodes.length);
    const nextMs = performance.now() + everyMs;
    const readings = new Map<ObservedNode, Reading>();
    const able = this.#observed.nodes.filter((node) => node.daemonUp && !node.frozen);
    await Promise.all(
      able.map(async (node) => {
        const { epoch } = node;
        const reading = await this.#reader.read(this.#localOf(node)).catch(() => undefined);
        // What happened to it meanwhile is newer than what it said.
        if (node.epoch !== epoch) return;
        if (reading !== undefined) readings.set(node, reading);
        else if (!(await isRunning(this.#localOf(node).pid)) && node.epoch === epoch) {
          this.#observed.fail('life', `the daemon of ${node.self.name} ended by itself`);
        }
      }),
    );
    this.#observed.take(readings);
    const pauseMs = nextMs - performance.now();
    if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs));
    return { all: readings.size === this.#observed.nodes.length, readings };
  }

  #answering(): LocalNode[] {
    return this.#observed.nodes.filter((node) => node.daemonUp).map((node) => this.#localOf(node));
  }

  #localOf(node: ObservedNode): LocalNode {
    return this.#cluster.nodes.find((one) => one.name === node.self.name)!;
  }

  get #isOver(): boolean {
    return this.#observed.violation !== undefined || this.#options.signal?.aborted === true;
  }

  #say(text: string): void {
    this.#options.say(`${(this.#observed.clock.nowMs / 1_000).toFixed(1)} s: ${text}`);
  }
}
