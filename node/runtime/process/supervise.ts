// What supervision (supervision.ts) watches over without containers: the processes below a shim, with their output in
// FIFOs.

import { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { type Counters, diskCounter, treeCounters } from '../counters.ts';
import type { Descriptors, InstanceFolder, InstanceRecord } from '../instance-folder.ts';
import type { Watched } from '../instance-table.ts';
import { type OutputReader, Pace, readOutput } from '../logs/fifo.ts';
import { descendants, type ProcessInfo } from '../process-tree.ts';
import type { Isolation } from '../sandbox/confinement.ts';
import { type End, type Subject, type SuperviseContext, Supervision } from '../supervision.ts';
import { killAll, killGroup, terminate, terminateMain } from '../termination.ts';
import { type Watch, watchMemory } from '../watch.ts';

/** How long the last output may take to arrive after everything has ended. */
const LAST_OUTPUT_TIMEOUT_MS = 5_000;
/** Where an instance without a network of its own is probed. */
const LOOPBACK = '127.0.0.1';

export type SupervisedProcess = {
  record: InstanceRecord;
  folder: InstanceFolder;
  descriptors: Descriptors;
  shim: number;
  /** Whether the kernel enforces the disk limit; else its use is sampled. */
  ownDisk: boolean;
  ended?: boolean;
  /** An earlier daemon started it. */
  isAdopted?: true;
  /** Of a service. */
  probe?: (() => Promise<string | undefined>) | undefined;
};

export type ProcessContext = Omit<SuperviseContext, 'log'> & { isolation: Isolation };

export function supervise(context: ProcessContext, instance: SupervisedProcess): Watched {
  const { isolation } = context;
  const subject = new ProcessSubject(isolation, instance);
  const supervision = new Supervision({ ...context, log: isolation.log }, subject);
  subject.watchedBy(supervision, context);
  return supervision;
}

class ProcessSubject implements Subject {
  readonly record: InstanceRecord;
  readonly host: string;
  readonly ownNetwork: boolean;
  readonly folder: string;
  readonly sampled: string | undefined;
  readonly probe: Subject['probe'];
  readonly isAdopted: boolean;
  readonly #isolation: Isolation;
  readonly #instance: SupervisedProcess;
  readonly #shim: number;
  readonly #confined: boolean;
  readonly #control: Socket;
  #readers: OutputReader[] = [];
  #memory: Watch | undefined;
  #outOfMemory = false;
  readonly #mainSignalled = new Set<string>();
  #letGo = false;

  constructor(isolation: Isolation, instance: SupervisedProcess) {
    const { record, folder, ownDisk, shim, descriptors } = instance;
    this.record = record;
    this.host = record.network?.host ?? LOOPBACK;
    this.ownNetwork = record.network !== undefined;
    this.folder = folder.path;
    this.sampled = ownDisk ? undefined : folder.home;
    this.probe = instance.probe;
    this.isAdopted = instance.isAdopted === true;
    this.#isolation = isolation;
    this.#instance = instance;
    this.#shim = shim;
    this.#confined = isolation.bwrap !== undefined;
    // The shim holds the other end for as long as it lives.
    this.#control = new Socket({ fd: descriptors.control, readable: true, writable: false });
  }

  watchedBy(supervision: Supervision, { logs }: Pick<SuperviseContext, 'logs'>): void {
    const pace = new Pace();
    const { out, err } = this.#instance.descriptors;
    const ready = () => logs.full();
    this.#readers = [
      readOutput(out, { pace, onLine: (text, goesOn) => supervision.line('out', text, goesOn), ready }),
      readOutput(err, { pace, onLine: (text, goesOn) => supervision.line('err', text, goesOn), ready }),
    ];
    this.#control.resume();
    this.#control.on('error', () => this.#control.destroy());
    this.#control.once('close', () => {
      if (!this.#letGo) void supervision.finish();
    });
    if (this.#instance.ended === true) this.#control.destroy();
    if (this.#isolation.groups !== undefined) return;
    const onExceeded = (): void => {
      this.#outOfMemory = true;
      supervision.endNow();
    };
    this.#memory = watchMemory({ ancestor: this.#shim, memoryBytes: this.record.memoryBytes, onExceeded });
  }

  processes(): Promise<ProcessInfo[]> {
    return descendants(this.#shim);
  }

  terminate(signalled: Set<number>): Promise<void> {
    const { service } = this.record;
    const of = { shim: this.#shim, confined: this.#confined };
    if (service === undefined) return terminate({ ...of, signalled });
    return terminateMain({ ...of, signalled: this.#mainSignalled, signal: service.stopSignal });
  }

  kill(): Promise<void> {
    return killAll({ shim: this.#shim, confined: this.#confined });
  }

  async counters(diskBytes: number | undefined): Promise<Counters> {
    const { groups } = this.#isolation;
    const [processes, disk] = await Promise.all([
      groups === undefined ? treeCounters(this.#shim) : groups.open(this.record.id).counters(),
      this.sampled === undefined
        ? diskCounter(this.#instance.folder.home)
        : diskBytes === undefined
          ? {}
          : { diskBytes },
    ]);
    return { ...processes, ...disk };
  }

  stopWatching(): void {
    this.#memory?.stop();
  }

  /** The shim has ended: collects the evidence, and removes what is left of the processes. */
  async collect(): Promise<End | undefined> {
    const { groups, log } = this.#isolation;
    const { id } = this.record;
    const group = groups?.open(id);
    const outOfMemory = this.#outOfMemory || ((await group?.outOfMemoryKills()) ?? 0) > 0;
    if (!this.#confined) killGroup(this.#shim);
    if ((await group?.remove()) === false) log.warn('runtime.group_stuck', { instance: id });
    await this.#lastOutput();
    return { status: await this.#instance.folder.exitStatus(), outOfMemory };
  }

  async letGo(): Promise<void> {
    this.#letGo = true;
    this.#control.destroy();
    for (const reader of this.#readers) reader.detach();
  }

  async #lastOutput(): Promise<void> {
    const timeout = new AbortController();
    const patience = delay(LAST_OUTPUT_TIMEOUT_MS, undefined, { signal: timeout.signal }).catch(() => {});
    await Promise.race([Promise.all(this.#readers.map((reader) => reader.ended)), patience]);
    timeout.abort();
    for (const reader of this.#readers) reader.detach();
  }
}
