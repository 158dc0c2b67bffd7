// What supervision (supervision.ts) watches over on a container engine: one container, with its output in the
// engine's log.

import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Container, ContainerInspectInfo } from 'dockerode';
import writeFileAtomic from 'write-file-atomic';
import { type CountedGroups, type Counters, diskCounter, groupCounters, groupsIn } from '../counters.ts';
import type { InstanceRecord } from '../instance-folder.ts';
import type { Watched } from '../instance-table.ts';
import { Pace } from '../logs/fifo.ts';
import { descendants, type ProcessInfo } from '../process-tree.ts';
import { type End, type Subject, type SuperviseContext, Supervision } from '../supervision.ts';
import { terminate } from '../termination.ts';
import { formatPosition, type LogPosition, parsePosition } from './frames.ts';
import { LogFollower } from './output.ts';

/** How often an engine that does not answer is asked again. */
const ENGINE_RETRY_MS = 1_000;
/** How far the log was read is noted so often, for a daemon that comes after one that was killed. */
const POSITION_INTERVAL_MS = 1_000;
const NOT_FOUND = 404;

/** `tellsOutOfMemory`: as the engine does (engine.ts). */
export type ContainerContext = SuperviseContext & { tellsOutOfMemory: boolean };

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
  /** An earlier daemon started it. */
  isAdopted: boolean;
};

export async function superviseContainer(context: ContainerContext, instance: SupervisedContainer): Promise<Watched> {
  const position = parsePosition(await readFile(instance.positionFile, 'utf8').catch(() => ''));
  const subject = new ContainerSubject(context, instance, position);
  const supervision = new Supervision(context, subject);
  subject.watchedBy(supervision);
  return supervision;
}

class ContainerSubject implements Subject {
  readonly record: InstanceRecord;
  readonly host: string;
  readonly ownNetwork = true;
  readonly probe = undefined;
  readonly isAdopted: boolean;
  readonly folder: string;
  readonly sampled: string | undefined;
  readonly #context: ContainerContext;
  readonly #instance: SupervisedContainer;
  #output: LogFollower | undefined;
  #positionTimer: NodeJS.Timeout | undefined;
  #notedPosition: LogPosition | undefined;
  #groups: CountedGroups | undefined;
  /** The container as it ended; 'removed' when somebody else took it away. */
  #last: ContainerInspectInfo | 'removed' | undefined;
  /**
   * Host id of its init, once it was looked for to stop it: undefined in it when its processes are not this
   * machine's.
   */
  #stopped: { first: number | undefined } | undefined;

  constructor(context: ContainerContext, instance: SupervisedContainer, position: LogPosition | undefined) {
    this.record = instance.record;
    this.host = instance.host;
    this.folder = dirname(instance.positionFile);
    this.sampled = instance.sampled;
    this.isAdopted = instance.isAdopted;
    this.#context = context;
    this.#instance = instance;
    this.#notedPosition = position;
  }

  watchedBy(supervision: Supervision): void {
    const { logs, log } = this.#context;
    this.#output = new LogFollower({
      container: this.#instance.container,
      after: this.#notedPosition,
      pace: new Pace(),
      onLine: (stream, text, goesOn) => supervision.line(stream, text, goesOn),
      ready: () => logs.full(),
      onError: (error) => log.warn('runtime.log_lost', { instance: this.record.id, error: error.message }),
    });
    this.#positionTimer = setInterval(() => void this.#notePosition(), POSITION_INTERVAL_MS);
    void this.#awaitEnd(supervision.gone).then((last) => {
      if (last === undefined) return;
      this.#last = last;
      void supervision.finish();
    });
  }

  async processes(): Promise<ProcessInfo[]> {
    const first = await this.#firstProcess();
    return first === undefined ? [] : descendants(first);
  }

  /** As the process runtime does, where the processes are this machine's. */
  async terminate(signalled: Set<number>): Promise<void> {
    if (this.#stopped === undefined) {
      this.#stopped = { first: await this.#firstProcess() };
      if (this.#stopped.first === undefined) await this.#instance.container.kill({ signal: 'SIGTERM' }).catch(() => {});
    }
    const { first } = this.#stopped;
    if (first !== undefined) await terminate({ shim: first, confined: false, signalled });
  }

  async kill(): Promise<void> {
    await this.#instance.container.kill({ signal: 'SIGKILL' }).catch(() => {});
  }

  async counters(diskBytes: number | undefined): Promise<Counters> {
    const { disk } = this.#instance;
    const [processes, used] = await Promise.all([
      this.#processCounters(),
      disk !== undefined ? diskCounter(disk) : diskBytes === undefined ? {} : { diskBytes },
    ]);
    return { ...processes, ...used };
  }

  stopWatching(): void {}

  async collect(): Promise<End | undefined> {
    await this.#output?.finish();
    clearInterval(this.#positionTimer);
    const last = this.#last;
    if (last === undefined) return undefined;
    if (last === 'removed') return { reason: 'its container was removed from outside' };
    const outOfMemory = last.State.OOMKilled || (this.#context.tellsOutOfMemory ? false : ('untold' as const));
    return { status: last.State.ExitCode, outOfMemory };
  }

  async letGo(): Promise<void> {
    clearInterval(this.#positionTimer);
    await this.#output?.detach();
    await this.#notePosition();
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

  async #notePosition(): Promise<void> {
    const position = this.#output?.position;
    if (position === undefined || position === this.#notedPosition) return;
    this.#notedPosition = position;
    await writeFileAtomic(this.#instance.positionFile, formatPosition(position), { mode: 0o600, fsync: false }).catch(
      () => {},
    );
  }

  /**
   * Host id of the container's init, when its processes are this machine's: an engine may run in a machine of its
   * own.
   */
  async #firstProcess(): Promise<number | undefined> {
    const { container } = this.#instance;
    const pid = (await container.inspect().catch(() => undefined))?.State.Pid ?? 0;
    if (pid <= 0) return undefined;
    const groups = await readFile(`/proc/${pid}/cgroup`, 'utf8').catch(() => '');
    return groups.includes(container.id) ? pid : undefined;
  }

  /** Undefined when it was let go of. */
  async #awaitEnd(signal: AbortSignal): Promise<ContainerInspectInfo | 'removed' | undefined> {
    const { container } = this.#instance;
    while (!signal.aborted) {
      try {
        await container.wait({ condition: 'not-running', abortSignal: signal });
        const found = await container.inspect();
        if (!found.State.Running) return found;
      } catch (error) {
        if (signal.aborted) return undefined;
        if ((error as { statusCode?: number }).statusCode === NOT_FOUND) return 'removed';
        // The engine is restarting, or gone: the container's end, if it came, is told when it is back.
        this.#context.log.warn('runtime.engine_silent', { instance: this.record.id });
      }
      await delay(ENGINE_RETRY_MS, undefined, { signal }).catch(() => {});
    }
    return undefined;
  }
}
