// Watches over one launched instance, whether this daemon started or adopted it: its output, its health, its limits,
// and its end. Says what became of it through events; launching is done elsewhere.

import { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { RuntimeEvent } from '../../ports/runtime.ts';
import { type Counters, diskCounter, treeCounters } from '../counters.ts';
import { exhaustedAt } from '../exhausted.ts';
import { endingReason, formatBytes, neverHealthyReason } from '../exits.ts';
import { type HealthWatch, watchHealth } from '../health.ts';
import type { Descriptors, InstanceFolder, InstanceRecord } from '../instance-folder.ts';
import type { Watched } from '../instance-table.ts';
import { type OutputReader, Pace, readOutput } from '../logs/fifo.ts';
import type { PacedLogStore } from '../logs/store.ts';
import { descendants, listeningAt } from '../process-tree.ts';
import type { Isolation } from '../sandbox/confinement.ts';
import { killAll, killGroup, terminate } from '../termination.ts';
import { DISK_SAMPLE_MS, type DiskWatch, type Watch, watchDisk, watchMemory } from '../watch.ts';

/** From TERM to KILL. */
export const STOP_GRACE_MS = 10_000;
/** While stopping, how often what is left is looked at. */
const STOP_LOOK_MS = 100;
/** After a KILL, before it is tried again, this many times. */
const KILL_AGAIN_MS = 500;
const KILLS_MAX = 20;
/** How long the last output may take to arrive after everything has ended. */
const LAST_OUTPUT_TIMEOUT_MS = 5_000;
/** Last lines told when an instance never became healthy, and how much of each. */
const LAST_LINES = 3;
/** Where an instance without a network of its own is probed. */
const LOOPBACK = '127.0.0.1';
const LAST_LINE_CHARACTERS = 200;

export type SuperviseContext = {
  isolation: Isolation;
  logs: PacedLogStore;
  emit: (event: RuntimeEvent) => void;
  /** Defaults: STOP_GRACE_MS, DISK_SAMPLE_MS, READY_PROBE_MS. */
  stopGraceMs?: number;
  diskSampleMs?: number;
  readyProbeMs?: number;
};

export type SupervisedProcess = {
  record: InstanceRecord;
  folder: InstanceFolder;
  descriptors: Descriptors;
  shim: number;
  /** Whether the kernel enforces the disk limit; else its use is sampled. */
  ownDisk: boolean;
  ended?: boolean;
};

export function supervise(context: SuperviseContext, instance: SupervisedProcess): Watched {
  return new Supervision(context, instance);
}

class Supervision implements Watched {
  readonly ended: Promise<void>;
  readonly #context: SuperviseContext;
  readonly #record: InstanceRecord;
  readonly #folder: InstanceFolder;
  readonly #shim: number;
  readonly #confined: boolean;
  readonly #control: Socket;
  readonly #readers: OutputReader[];
  readonly #watches: Watch[] = [];
  #disk: DiskWatch | undefined;
  readonly #health: HealthWatch;
  readonly #lastLines: string[] = [];
  readonly #finished = Promise.withResolvers<void>();
  /** Wakes the stop sequence when the instance has gone. */
  readonly #gone = new AbortController();
  #stopReason: string | undefined;
  #stopping = false;
  #outOfMemory = false;
  #detached = false;

  constructor(context: SuperviseContext, instance: SupervisedProcess) {
    this.#context = context;
    this.#record = instance.record;
    this.#folder = instance.folder;
    this.#shim = instance.shim;
    this.#confined = context.isolation.bwrap !== undefined;
    this.ended = this.#finished.promise;

    const pace = new Pace();
    const { out, err, control } = instance.descriptors;
    this.#readers = [
      readOutput(out, { pace, onLine: (text) => this.#line('out', text), ready: () => context.logs.full() }),
      readOutput(err, { pace, onLine: (text) => this.#line('err', text), ready: () => context.logs.full() }),
    ];
    // The shim holds the other end for as long as it lives.
    this.#control = new Socket({ fd: control, readable: true, writable: false });
    this.#control.resume();
    this.#control.on('error', () => this.#control.destroy());
    this.#control.once('close', () => {
      if (!this.#detached) void this.#finish();
    });
    if (instance.ended === true) this.#control.destroy();
    this.#health = this.#watchHealth();
    if (!instance.ownDisk) this.#watchDisk();
    if (context.isolation.groups === undefined) this.#watchMemory();
  }

  stop(reason: string): void {
    if (this.#stopReason !== undefined) return;
    this.#stopReason = reason;
    void this.#stopGracefully();
  }

  async detach(): Promise<void> {
    if (this.#detached) return;
    this.#detached = true;
    this.#stopWatching();
    this.#control.destroy();
    for (const reader of this.#readers) reader.detach();
  }

  async counters(): Promise<Counters> {
    const { groups } = this.#context.isolation;
    const bytes = this.#disk?.bytes;
    const [processes, disk] = await Promise.all([
      groups === undefined ? treeCounters(this.#shim) : groups.open(this.#record.id).counters(),
      this.#disk === undefined ? diskCounter(this.#folder.home) : bytes === undefined ? {} : { diskBytes: bytes },
    ]);
    return { ...processes, ...disk };
  }

  #line(stream: 'out' | 'err', text: string): void {
    const { id, app, process, index } = this.#record;
    this.#lastLines.push(text.slice(0, LAST_LINE_CHARACTERS));
    if (this.#lastLines.length > LAST_LINES) this.#lastLines.shift();
    this.#context.logs.append({ app: app.id, source: 'APP', process, index, instance: id, stream, text });
  }

  #watchHealth(): HealthWatch {
    const { id, health, port } = this.#record;
    return watchHealth({
      health,
      host: this.#record.network?.host ?? LOOPBACK,
      port,
      readyProbeMs: this.#context.readyProbeMs,
      listener: {
        onReady: () => this.#context.emit({ type: 'instanceReady', id }),
        onUnhealthy: (reason) => this.#context.emit({ type: 'instanceUnhealthy', id, reason }),
        onTimeout: (problem) => void this.#neverHealthy(problem),
      },
    });
  }

  async #neverHealthy(problem: string): Promise<void> {
    const { health, port } = this.#record;
    const processes = await descendants(this.#shim);
    const listening = await listeningAt(processes.map((info) => info.pid).reverse());
    const reason = neverHealthyReason({
      ...health,
      port,
      lastProblem: problem,
      listening,
      ownNetwork: this.#record.network !== undefined,
      lastLines: this.#lastLines,
    });
    this.stop(reason);
  }

  #watchDisk(): void {
    const { diskBytes } = this.#record;
    this.#disk = watchDisk({
      folder: this.#folder.home,
      diskBytes,
      intervalMs: this.#context.diskSampleMs ?? DISK_SAMPLE_MS,
      onExceeded: (bytes) =>
        this.#endNow(`disk limit of ${formatBytes(diskBytes)} exceeded: it used ${formatBytes(bytes)}`),
    });
    this.#watches.push(this.#disk);
  }

  #watchMemory(): void {
    const onExceeded = (): void => {
      this.#outOfMemory = true;
      void this.#kill();
    };
    const { memoryBytes } = this.#record;
    this.#watches.push(watchMemory({ ancestor: this.#shim, memoryBytes, onExceeded }));
  }

  #endNow(reason: string): void {
    this.#stopReason ??= reason;
    void this.#kill();
  }

  /** TERM; again to what it spared at first; KILL when the time is up. */
  async #stopGracefully(): Promise<void> {
    this.#stopping = true;
    this.#stopWatching();
    const shim = this.#shim;
    const signalled = new Set<number>();
    const deadlineMs = performance.now() + (this.#context.stopGraceMs ?? STOP_GRACE_MS);
    while (!this.#over && performance.now() < deadlineMs) {
      await terminate({ shim, confined: this.#confined, signalled });
      await this.#pause(Math.min(STOP_LOOK_MS, Math.max(1, deadlineMs - performance.now())));
    }
    await this.#kill();
  }

  async #kill(): Promise<void> {
    for (let kills = 0; kills < KILLS_MAX && !this.#over; kills++) {
      await killAll({ shim: this.#shim, confined: this.#confined });
      await this.#pause(KILL_AGAIN_MS);
    }
    if (!this.#over) this.#context.isolation.log.error('runtime.instance_stuck', { instance: this.#record.id });
  }

  get #over(): boolean {
    return this.#detached || this.#gone.signal.aborted;
  }

  #pause(ms: number): Promise<void> {
    return delay(ms, undefined, { signal: this.#gone.signal }).catch(() => {});
  }

  #stopWatching(): void {
    this.#health.stop();
    for (const watch of this.#watches) watch.stop();
  }

  /** The shim has ended: collects the evidence, removes what is left of the processes, and says how it ended. */
  async #finish(): Promise<void> {
    const { isolation, logs, emit } = this.#context;
    const { id, app, process, index, memoryBytes, diskBytes } = this.#record;
    this.#gone.abort();
    this.#stopWatching();
    const group = isolation.groups?.open(id);
    const outOfMemory = this.#outOfMemory || ((await group?.outOfMemoryKills()) ?? 0) > 0;
    if (!this.#confined) killGroup(this.#shim);
    if ((await group?.remove()) === false) isolation.log.warn('runtime.group_stuck', { instance: id });
    await this.#lastOutput();
    const status = await this.#folder.exitStatus();
    // Below a disk of its own, a full one comes to an app as all sorts of failures.
    const lacks = await exhaustedAt(this.#folder.path);
    if (this.#detached) return;
    const reason = endingReason({ stopReason: this.#stopReason, status, outOfMemory, memoryBytes, diskBytes });
    const text = `Instance ${process}.${index} ended: ${reason}`;
    logs.append({
      app: app.id,
      source: 'CELL',
      process,
      index,
      instance: id,
      stream: this.#stopping ? 'out' : 'err',
      text,
    });
    emit({ type: 'instanceExited', id, reason, ...(lacks === undefined ? {} : { lacks }) });
    this.#finished.resolve();
  }

  async #lastOutput(): Promise<void> {
    const timeout = new AbortController();
    const patience = delay(LAST_OUTPUT_TIMEOUT_MS, undefined, { signal: timeout.signal }).catch(() => {});
    await Promise.race([Promise.all(this.#readers.map((reader) => reader.ended)), patience]);
    timeout.abort();
    for (const reader of this.#readers) reader.detach();
  }
}
