// Watches over one instance, whichever runtime runs it and whether this daemon started or adopted it: its health, its
// disk, how it is stopped, and what is said of its end. What differs between processes and containers is the
// subject's.

import { setTimeout as delay } from 'node:timers/promises';
import { formatBytes } from '../lib/format-bytes.ts';
import type { Log } from '../lib/log.ts';
import type { RuntimeEvent } from '../ports/runtime.ts';
import type { Counters } from './counters.ts';
import { exhaustedAt } from './exhausted.ts';
import { endingReason, neverAnsweredReason, neverHealthyReason } from './exits.ts';
import { type HealthWatch, probeOnce, watchHealth } from './health.ts';
import type { InstanceRecord } from './instance-folder.ts';
import type { Watched } from './instance-table.ts';
import type { PacedLogStore } from './logs/store.ts';
import { PortFinder } from './port-finder.ts';
import { type Listener, listeningAt, type ProcessInfo } from './process-tree.ts';
import { SERVICE_STARTING_PROBE_MS } from './service-probe.ts';
import { DISK_SAMPLE_MS, type DiskWatch, watchDisk } from './watch.ts';

/** From TERM to KILL. */
export const STOP_GRACE_MS = 10_000;
/** While stopping, how often what is left is looked at. */
const STOP_LOOK_MS = 100;
/** After a KILL, before it is tried again, this many times. */
const KILL_AGAIN_MS = 500;
const KILLS_MAX = 20;
/** Last lines told when an instance never became healthy, and how much of each. */
const LAST_LINES = 3;
const LAST_LINE_CHARACTERS = 200;

export type SuperviseContext = {
  logs: PacedLogStore;
  log: Log;
  emit: (event: RuntimeEvent) => void;
  /** Defaults: STOP_GRACE_MS, DISK_SAMPLE_MS, READY_PROBE_MS. */
  stopGraceMs?: number | undefined;
  diskSampleMs?: number | undefined;
  readyProbeMs?: number | undefined;
};

/** How it ended, as far as can be told; or the whole reason, where nothing of it can be. */
export type End = { status: number | undefined; outOfMemory: boolean | 'untold' } | { reason: string };

/** What is watched over. */
export interface Subject {
  readonly record: InstanceRecord;
  /** Where it is probed. */
  readonly host: string;
  readonly ownNetwork: boolean;
  /** An earlier daemon started it. */
  readonly isAdopted: boolean;
  /** Its own folder on this machine, whose file system may be full. */
  readonly folder: string;
  /** Folder whose use is held against the disk limit. Undefined: the kernel enforces it. */
  readonly sampled: string | undefined;
  /** Its processes, oldest first, as this machine numbers them; none where they are another machine's. */
  processes(): Promise<ProcessInfo[]>;
  /** Asks it whether it answers, where it is a service; answers what is wrong. */
  readonly probe: (() => Promise<string | undefined>) | undefined;
  /** Sends TERM, or a service's own signal, to what has not got it yet; called again and again until it has ended. */
  terminate(signalled: Set<number>): Promise<void>;
  kill(): Promise<void>;
  /** `diskBytes`: as sampled. */
  counters(diskBytes: number | undefined): Promise<Counters>;
  /** It is ending, or is let go of: nothing is watched any more. */
  stopWatching(): void;
  /**
   * It has ended: its last output is in, what is left of it is cleared away. Undefined when it was let go of
   * meanwhile.
   */
  collect(): Promise<End | undefined>;
  /** It runs on, for a daemon that comes after this one. */
  letGo(): Promise<void>;
}

export class Supervision implements Watched {
  readonly ended: Promise<void>;
  readonly #context: SuperviseContext;
  readonly #subject: Subject;
  readonly #ports: PortFinder;
  readonly #health: HealthWatch;
  readonly #disk: DiskWatch | undefined;
  readonly #lastLines: string[] = [];
  readonly #finished = Promise.withResolvers<void>();
  /** Wakes the stop sequence when the instance has ended or is let go of. */
  readonly #gone = new AbortController();
  #stopReason: string | undefined;
  #stopping = false;
  #detached = false;

  constructor(context: SuperviseContext, subject: Subject) {
    this.#context = context;
    this.#subject = subject;
    this.ended = this.#finished.promise;
    this.#ports = new PortFinder({
      told: subject.record.port,
      probe: probeOnce,
      look: () => this.#listening(),
      reachesLoopback: !subject.ownNetwork,
      isOld: subject.isAdopted,
      onMoved: (port) => this.#moved(port),
    });
    this.#health = this.#watchHealth();
    this.#disk = subject.sampled === undefined ? undefined : this.#watchDisk(subject.sampled);
  }

  /** Aborted when the instance has ended or is let go of. */
  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  stop(reason: string): void {
    if (this.#stopReason !== undefined) return;
    this.#stopReason = reason;
    void this.#stopGracefully();
  }

  /** Without grace: it took more than it may. */
  endNow(reason?: string): void {
    this.#stopReason ??= reason;
    void this.#kill();
  }

  async detach(): Promise<void> {
    if (this.#detached) return;
    this.#detached = true;
    this.#gone.abort();
    this.#stopWatching();
    await this.#subject.letGo();
  }

  counters(): Promise<Counters> {
    return this.#subject.counters(this.#disk?.bytes);
  }

  /** What the instance has written; `goesOn`: a piece of a line that goes on with the next one. */
  line(stream: 'out' | 'err', text: string, goesOn: boolean): void {
    const { id, app, process, index } = this.#subject.record;
    this.#lastLines.push(text.slice(0, LAST_LINE_CHARACTERS));
    if (this.#lastLines.length > LAST_LINES) this.#lastLines.shift();
    const line = { app: app.id, source: 'APP' as const, process, index, instance: id, stream, text };
    this.#context.logs.append(goesOn ? { ...line, goesOn } : line);
  }

  /** Its processes have ended: says how, once. */
  async finish(): Promise<void> {
    if (this.#detached) return;
    const { logs, emit } = this.#context;
    const { id, app, process, index, memoryBytes, diskBytes } = this.#subject.record;
    this.#gone.abort();
    this.#stopWatching();
    const end = await this.#subject.collect();
    // Below a disk of its own, a full one comes to an app as all sorts of failures.
    const lacks = await exhaustedAt(this.#subject.folder);
    if (this.#detached || end === undefined) return;
    const stopReason = this.#stopReason;
    const reason =
      'reason' in end ? (stopReason ?? end.reason) : endingReason({ stopReason, ...end, memoryBytes, diskBytes });
    const stream = this.#stopping ? 'out' : 'err';
    const text = `Instance ${process}.${index} ended: ${reason}`;
    logs.append({ app: app.id, source: 'CELL', process, index, instance: id, stream, text });
    emit({ type: 'instanceExited', id, reason, ...(lacks === undefined ? {} : { lacks }) });
    this.#finished.resolve();
  }

  #watchHealth(): HealthWatch {
    const { record, host, probe } = this.#subject;
    const { id, health, port } = record;
    const { emit, readyProbeMs } = this.#context;
    return watchHealth({
      health,
      host,
      port,
      ...(readyProbeMs === undefined ? {} : { readyProbeMs }),
      ...(probe === undefined
        ? { probe: (target) => this.#ports.probe(target) }
        : { probe, startingProbeMs: SERVICE_STARTING_PROBE_MS }),
      listener: {
        onReady: () => emit({ type: 'instanceReady', id }),
        onUnhealthy: (reason) => emit({ type: 'instanceUnhealthy', id, reason }),
        onTimeout: (problem) => void this.#neverHealthy(problem),
      },
    });
  }

  async #neverHealthy(problem: string): Promise<void> {
    const { record, ownNetwork, probe } = this.#subject;
    const { health, port } = record;
    if (probe !== undefined) {
      const { timeoutMs } = health;
      this.stop(neverAnsweredReason({ timeoutMs, lastProblem: problem, lastLines: this.#lastLines }));
      return;
    }
    const listening = await this.#listening();
    const lastLines = this.#lastLines;
    this.stop(neverHealthyReason({ ...health, port, lastProblem: problem, listening, ownNetwork, lastLines }));
  }

  async #listening(): Promise<Listener[]> {
    const processes = await this.#subject.processes();
    return listeningAt(processes.map((info) => info.pid).reverse());
  }

  /** From now on it is reached there. */
  #moved(port: number): void {
    const { record, host, ownNetwork } = this.#subject;
    const { id, app, process, index } = record;
    const text =
      port === record.port
        ? `Instance ${process}.${index} listens on PORT ${port} now: requests go there`
        : `Instance ${process}.${index} listens on port ${port}, not on PORT ${record.port}: requests go there (to have ` +
          `it so from its start: peer env set ${app.name} PORT=${port})`;
    this.#context.logs.append({ app: app.id, source: 'CELL', process, index, instance: id, stream: 'out', text });
    this.#context.emit({ type: 'instanceLaunched', id, port, ...(ownNetwork ? { host } : {}) });
  }

  #watchDisk(folder: string): DiskWatch {
    const { diskBytes } = this.#subject.record;
    return watchDisk({
      folder,
      diskBytes,
      intervalMs: this.#context.diskSampleMs ?? DISK_SAMPLE_MS,
      onExceeded: (bytes) =>
        this.endNow(`disk limit of ${formatBytes(diskBytes)} exceeded: it used ${formatBytes(bytes)}`),
    });
  }

  /** TERM, or its own signal; again to what it spared at first; KILL when the time is up. */
  async #stopGracefully(): Promise<void> {
    this.#stopping = true;
    this.#stopWatching();
    const signalled = new Set<number>();
    const deadlineMs = performance.now() + this.#graceMs;
    while (!this.gone.aborted && performance.now() < deadlineMs) {
      await this.#subject.terminate(signalled);
      await this.#pause(Math.min(STOP_LOOK_MS, Math.max(1, deadlineMs - performance.now())));
    }
    await this.#kill();
  }

  get #graceMs(): number {
    return this.#subject.record.service?.stopGraceMs ?? this.#context.stopGraceMs ?? STOP_GRACE_MS;
  }

  async #kill(): Promise<void> {
    for (let kills = 0; kills < KILLS_MAX && !this.gone.aborted; kills++) {
      await this.#subject.kill();
      await this.#pause(KILL_AGAIN_MS);
    }
    if (!this.gone.aborted) this.#context.log.error('runtime.instance_stuck', { instance: this.#subject.record.id });
  }

  #pause(ms: number): Promise<void> {
    return delay(ms, undefined, { signal: this.gone }).catch(() => {});
  }

  #stopWatching(): void {
    this.#health.stop();
    this.#disk?.stop();
    this.#subject.stopWatching();
  }
}
