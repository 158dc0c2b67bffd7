// Watches over one container, whether this daemon started or adopted it: its output, its health, its disk, and its
// end. Says what became of it through events; creating and removing it is done elsewhere.

import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Container, ContainerInspectInfo } from 'dockerode';
import writeFileAtomic from 'write-file-atomic';
import type { Log } from '../../lib/log.ts';
import type { RuntimeEvent } from '../../ports/runtime.ts';
import { type CountedGroups, type Counters, diskCounter, groupCounters, groupsIn } from '../counters.ts';
import { exhaustedAt } from '../exhausted.ts';
import { endingReason, formatBytes, neverHealthyReason } from '../exits.ts';
import { type HealthWatch, watchHealth } from '../health.ts';
import type { InstanceRecord } from '../instance-folder.ts';
import type { Watched } from '../instance-table.ts';
import { Pace } from '../logs/fifo.ts';
import type { PacedLogStore } from '../logs/store.ts';
import { STOP_GRACE_MS } from '../process/supervise.ts';
import { descendants, listeningAt } from '../process-tree.ts';
import { terminate } from '../termination.ts';
import { DISK_SAMPLE_MS, type DiskWatch, watchDisk } from '../watch.ts';
import { formatPosition, type LogPosition, parsePosition } from './frames.ts';
import { LogFollower } from './output.ts';

/** While stopping, how often what is left is looked at. */
const STOP_LOOK_MS = 100;
/** After a KILL, before it is tried again, this many times. */
const KILL_AGAIN_MS = 500;
const KILLS_MAX = 20;
/** How often an engine that does not answer is asked again. */
const ENGINE_RETRY_MS = 1_000;
/** How far the log was read is noted so often, for a daemon that comes after one that was killed. */
const POSITION_INTERVAL_MS = 1_000;
/** Last lines told when an instance never became healthy, and how much of each. */
const LAST_LINES = 3;
const LAST_LINE_CHARACTERS = 200;
const NOT_FOUND = 404;

export type SuperviseContext = {
  logs: PacedLogStore;
  log: Log;
  emit: (event: RuntimeEvent) => void;
  /** As the engine does (engine.ts). */
  tellsOutOfMemory: boolean;
  /** Defaults: STOP_GRACE_MS, DISK_SAMPLE_MS, READY_PROBE_MS. */
  stopGraceMs?: number;
  diskSampleMs?: number;
  readyProbeMs?: number;
};

export type SupervisedContainer = {
  record: InstanceRecord;
  container: Container;
  /** Its address, at which this machine reaches it. */
  host: string;
  /** Where a disk of its own is mounted. */
  disk: string | undefined;
  /** Folder on the host whose use is held against the disk limit. Undefined: the kernel enforces it. */
  sampled: string | undefined;
  /** File that remembers how far the container's log was read. */
  positionFile: string;
};

export async function superviseContainer(context: SuperviseContext, instance: SupervisedContainer): Promise<Watched> {
  const position = await readFile(instance.positionFile, 'utf8').catch(() => '');
  return new Supervision(context, instance, parsePosition(position));
}

class Supervision implements Watched {
  readonly ended: Promise<void>;
  readonly #context: SuperviseContext;
  readonly #instance: SupervisedContainer;
  readonly #output: LogFollower;
  readonly #health: HealthWatch;
  readonly #disk: DiskWatch | undefined;
  #groups: CountedGroups | undefined;
  readonly #positionTimer: NodeJS.Timeout;
  readonly #lastLines: string[] = [];
  readonly #finished = Promise.withResolvers<void>();
  /** Wakes what waits when the container has ended or is let go of. */
  readonly #gone = new AbortController();
  #notedPosition: LogPosition | undefined;
  #stopReason: string | undefined;
  #stopping = false;
  #detached = false;

  constructor(context: SuperviseContext, instance: SupervisedContainer, position: LogPosition | undefined) {
    this.#context = context;
    this.#instance = instance;
    this.#notedPosition = position;
    this.ended = this.#finished.promise;
    const { record, container } = instance;
    this.#output = new LogFollower({
      container,
      after: position,
      pace: new Pace(),
      onLine: (stream, text) => this.#line(stream, text),
      ready: () => context.logs.full(),
      onError: (error) => context.log.warn('runtime.log_lost', { instance: record.id, error: error.message }),
    });
    this.#positionTimer = setInterval(() => void this.#notePosition(), POSITION_INTERVAL_MS);
    this.#health = watchHealth({
      health: record.health,
      host: instance.host,
      port: record.port,
      ...(context.readyProbeMs === undefined ? {} : { readyProbeMs: context.readyProbeMs }),
      listener: {
        onReady: () => context.emit({ type: 'instanceReady', id: record.id }),
        onUnhealthy: (reason) => context.emit({ type: 'instanceUnhealthy', id: record.id, reason }),
        onTimeout: (problem) => void this.#neverHealthy(problem),
      },
    });
    this.#disk = instance.sampled === undefined ? undefined : this.#watchDisk(instance.sampled);
    void this.#awaitEnd().then((last) => {
      if (last !== undefined) void this.#finish(last);
    });
  }

  async counters(): Promise<Counters> {
    const bytes = this.#disk?.bytes;
    const { disk } = this.#instance;
    const [processes, used] = await Promise.all([
      this.#processCounters(),
      disk !== undefined ? diskCounter(disk) : bytes === undefined ? {} : { diskBytes: bytes },
    ]);
    return { ...processes, ...used };
  }

  /** Read from the kernel: an engine takes two seconds over such a question, or a process of its own. */
  async #processCounters(): Promise<Counters> {
    if (this.#groups === undefined) {
      const first = await this.#firstProcess();
      if (first === undefined) return {};
      this.#groups = groupsIn(await readFile(`/proc/${first}/cgroup`, 'utf8').catch(() => ''));
    }
    return this.#groups === undefined ? {} : groupCounters(this.#groups);
  }

  #watchDisk(folder: string): DiskWatch {
    const { diskBytes } = this.#instance.record;
    return watchDisk({
      folder,
      diskBytes,
      intervalMs: this.#context.diskSampleMs ?? DISK_SAMPLE_MS,
      onExceeded: (bytes) => {
        this.#stopReason ??= `disk limit of ${formatBytes(diskBytes)} exceeded: it used ${formatBytes(bytes)}`;
        void this.#kill();
      },
    });
  }

  stop(reason: string): void {
    if (this.#stopReason !== undefined) return;
    this.#stopReason = reason;
    void this.#stopGracefully();
  }

  async detach(): Promise<void> {
    if (this.#detached) return;
    this.#detached = true;
    this.#gone.abort();
    this.#stopWatching();
    clearInterval(this.#positionTimer);
    await this.#output.detach();
    await this.#notePosition();
  }

  #line(stream: 'out' | 'err', text: string): void {
    const { id, app, process, index } = this.#instance.record;
    this.#lastLines.push(text.slice(0, LAST_LINE_CHARACTERS));
    if (this.#lastLines.length > LAST_LINES) this.#lastLines.shift();
    this.#context.logs.append({ app: app.id, source: 'APP', process, index, instance: id, stream, text });
  }

  async #notePosition(): Promise<void> {
    const { position } = this.#output;
    if (position === undefined || position === this.#notedPosition) return;
    this.#notedPosition = position;
    await writeFileAtomic(this.#instance.positionFile, formatPosition(position), { mode: 0o600, fsync: false }).catch(
      () => {},
    );
  }

  async #neverHealthy(problem: string): Promise<void> {
    const { health, port } = this.#instance.record;
    const first = await this.#firstProcess();
    const processes = first === undefined ? [] : await descendants(first);
    const listening = await listeningAt(processes.map((info) => info.pid).reverse());
    const found = { ...health, port, lastProblem: problem, listening, ownNetwork: true, lastLines: this.#lastLines };
    this.stop(neverHealthyReason(found));
  }

  /** TERM as the process runtime sends it; again to what it spared at first; KILL when the time is up. */
  async #stopGracefully(): Promise<void> {
    this.#stopping = true;
    this.#stopWatching();
    const deadlineMs = performance.now() + (this.#context.stopGraceMs ?? STOP_GRACE_MS);
    const first = await this.#firstProcess();
    if (first === undefined) await this.#instance.container.kill({ signal: 'SIGTERM' }).catch(() => {});
    const signalled = new Set<number>();
    while (!this.#over && performance.now() < deadlineMs) {
      if (first !== undefined) await terminate({ shim: first, confined: false, signalled });
      await this.#pause(Math.min(STOP_LOOK_MS, Math.max(1, deadlineMs - performance.now())));
    }
    await this.#kill();
  }

  /**
   * Host id of the container's init, when its processes are this machine's: an engine may run in a machine of its own.
   */
  async #firstProcess(): Promise<number | undefined> {
    const { container } = this.#instance;
    const pid = (await container.inspect().catch(() => undefined))?.State.Pid ?? 0;
    if (pid <= 0) return undefined;
    const groups = await readFile(`/proc/${pid}/cgroup`, 'utf8').catch(() => '');
    return groups.includes(container.id) ? pid : undefined;
  }

  async #kill(): Promise<void> {
    for (let kills = 0; kills < KILLS_MAX && !this.#over; kills++) {
      await this.#instance.container.kill({ signal: 'SIGKILL' }).catch(() => {});
      await this.#pause(KILL_AGAIN_MS);
    }
    if (!this.#over) this.#context.log.error('runtime.instance_stuck', { instance: this.#instance.record.id });
  }

  get #over(): boolean {
    return this.#gone.signal.aborted;
  }

  #pause(ms: number): Promise<void> {
    return delay(ms, undefined, { signal: this.#gone.signal }).catch(() => {});
  }

  #stopWatching(): void {
    this.#health.stop();
    this.#disk?.stop();
  }

  /** The container as it ended; 'removed' when somebody else took it away; undefined when it was let go of. */
  async #awaitEnd(): Promise<ContainerInspectInfo | 'removed' | undefined> {
    const { container } = this.#instance;
    const signal = this.#gone.signal;
    while (!signal.aborted) {
      try {
        await container.wait({ condition: 'not-running', abortSignal: signal });
        const found = await container.inspect();
        if (!found.State.Running) return found;
      } catch (error) {
        if (signal.aborted) return undefined;
        if ((error as { statusCode?: number }).statusCode === NOT_FOUND) return 'removed';
        // The engine is restarting, or gone: the container's end, if it came, is told when it is back.
        this.#context.log.warn('runtime.engine_silent', { instance: this.#instance.record.id });
      }
      await this.#pause(ENGINE_RETRY_MS);
    }
    return undefined;
  }

  async #finish(last: ContainerInspectInfo | 'removed'): Promise<void> {
    const { logs, emit } = this.#context;
    const { id, app, process, index, memoryBytes, diskBytes } = this.#instance.record;
    this.#gone.abort();
    this.#stopWatching();
    await this.#output.finish();
    clearInterval(this.#positionTimer);
    const removed = last === 'removed';
    const reason =
      removed && this.#stopReason === undefined
        ? 'its container was removed from outside'
        : endingReason({
            stopReason: this.#stopReason,
            status: removed ? undefined : last.State.ExitCode,
            outOfMemory: removed ? false : last.State.OOMKilled || (this.#context.tellsOutOfMemory ? false : 'untold'),
            memoryBytes,
            diskBytes,
          });
    const stream = this.#stopping ? 'out' : 'err';
    const text = `Instance ${process}.${index} ended: ${reason}`;
    logs.append({ app: app.id, source: 'CELL', process, index, instance: id, stream, text });
    // Below a disk of its own, a full one comes to an app as all sorts of failures.
    const lacks = await exhaustedAt(dirname(this.#instance.positionFile));
    emit({ type: 'instanceExited', id, reason, ...(lacks === undefined ? {} : { lacks }) });
    this.#finished.resolve();
  }
}
