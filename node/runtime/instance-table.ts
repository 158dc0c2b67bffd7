// The table of a runtime's instances, from start to end: which there are, how each is stopped or let go of, and what
// is said of it. The same for every runtime; how an instance is launched, watched and taken away is the runtime's.

import type { AppId, InstanceId } from '../../crdt/ids.ts';
import { resourceBehind } from '../core/pressure.ts';
import type { AdoptedInstance, InstanceSpec } from '../core/types.ts';
import type { Log } from '../lib/log.ts';
import type { LogStore } from '../ports/logs.ts';
import type { InstanceUsage, RuntimeEvent } from '../ports/runtime.ts';
import type { Counters } from './counters.ts';
import { RuntimeError } from './errors.ts';
import { startProblem } from './exits.ts';
import type { InstanceRecord } from './instance-folder.ts';
import { UsageSampler, type UsageSource } from './usage.ts';

/** Watches over a launched instance; says itself what becomes of it. */
export type Watched = {
  stop(reason: string): void;
  /** Lets go of the instance, which runs on. Resolves when what the next daemon needs is on disk. */
  detach(): Promise<void>;
  /** What it has used so far. */
  counters(): Promise<Counters>;
  /** Resolves when it has ended, all of it, and that was said; never after detach. */
  readonly ended: Promise<void>;
};

/** `place`: where it runs, in the runtime's own terms. */
export type Launched<Place> = { place: Place; watched: Watched };

export type Steps<Place> = {
  /** Says that it was launched. Fails with everything taken away. */
  launch(signal: AbortSignal): Promise<Launched<Place>>;
  /** Once it has ended. Never rejects. */
  remove(place: Place): Promise<void>;
};

type Entry<Place> = {
  /** While it is prepared: aborts that. */
  preparing: AbortController;
  /** Why it was stopped before it was launched. */
  stopReason: string | undefined;
  launched: Launched<Place> | undefined;
  /** Resolves when nothing of it is left; never once it was let go of. */
  done: Promise<void>;
};

const refOf = ({ id, lineage }: NonNullable<InstanceRecord['volumes']>[number]) => ({ id, lineage });

export class InstanceTable<Place extends { record: InstanceRecord }> {
  readonly #log: Log;
  readonly #logs: Pick<LogStore, 'append'>;
  readonly #entries = new Map<InstanceId, Entry<Place>>();
  readonly #listeners: ((event: RuntimeEvent) => void)[] = [];
  readonly #usage = new UsageSampler();
  #closed = false;

  constructor({ log, logs }: { log: Log; logs: Pick<LogStore, 'append'> }) {
    this.#log = log;
    this.#logs = logs;
  }

  onEvent(listener: (event: RuntimeEvent) => void): void {
    this.#listeners.push(listener);
  }

  readonly emit = (event: RuntimeEvent): void => {
    for (const listener of this.#listeners) listener(event);
  };

  has(id: string): boolean {
    return this.#entries.has(id as InstanceId);
  }

  /** Of an instance that has been launched. */
  placeOf(id: InstanceId): Place | undefined {
    return this.#entries.get(id)?.launched?.place;
  }

  usage(app: AppId): Promise<InstanceUsage[]> {
    const sources: UsageSource[] = [];
    for (const [id, { launched }] of this.#entries) {
      if (launched?.place.record.app.id !== app) continue;
      const { watched } = launched;
      sources.push({ id, key: watched, counters: () => watched.counters() });
    }
    return this.#usage.sample(sources);
  }

  start(spec: InstanceSpec, steps: Steps<Place>): void {
    if (this.#closed || this.#entries.has(spec.id)) return;
    const entry = newEntry<Place>(undefined);
    this.#entries.set(spec.id, entry);
    entry.done = this.#run(spec, entry, steps)
      .catch((error: unknown) => this.#failed(spec.id, error))
      .finally(() => this.#entries.delete(spec.id));
  }

  /** Takes in what an earlier daemon launched. */
  adopt(launched: Launched<Place>, remove: Steps<Place>['remove'], host: { host?: string }): AdoptedInstance {
    const { record } = launched.place;
    const entry = newEntry(launched);
    this.#entries.set(record.id, entry);
    entry.done = launched.watched.ended
      .then(() => remove(launched.place))
      .catch((error: unknown) => this.#failed(record.id, error))
      .finally(() => this.#entries.delete(record.id));
    const { id, process, index, restartCount, memoryBytes, port } = record;
    const release = record.release.id;
    // By them the core sees whether what it has mounted is still what it is to have.
    const volumes = record.volumes === undefined ? {} : { volumes: record.volumes.map(refOf) };
    return { id, app: record.app.id, process, index, release, restartCount, memoryBytes, port, ...volumes, ...host };
  }

  stop(id: InstanceId, reason: string): void {
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    entry.stopReason ??= reason;
    entry.preparing.abort();
    entry.launched?.watched.stop(reason);
  }

  async close({ keepInstances }: { keepInstances: boolean }): Promise<void> {
    this.#closed = true;
    const closing = [...this.#entries].map(([id, entry]) => {
      if (keepInstances && entry.launched !== undefined) return entry.launched.watched.detach();
      // One that is not launched yet cannot be adopted either.
      this.stop(id, 'the node is stopping');
      return entry.done;
    });
    await Promise.all(closing);
  }

  async #run(spec: InstanceSpec, entry: Entry<Place>, { launch, remove }: Steps<Place>): Promise<void> {
    this.#say(spec, 'out', `Starting instance ${spec.process}.${spec.index} of release v${spec.release.version}`);
    try {
      entry.launched = await launch(entry.preparing.signal);
    } catch (error) {
      this.#notStarted(spec, entry, error);
      return;
    }
    const { place, watched } = entry.launched;
    if (entry.stopReason !== undefined) watched.stop(entry.stopReason);
    await watched.ended;
    await remove(place);
  }

  #notStarted(spec: InstanceSpec, entry: Entry<Place>, error: unknown): void {
    const known = error instanceof RuntimeError || error === entry.preparing.signal.reason;
    const reason = entry.stopReason ?? startProblem(error);
    if (!known) {
      const message = error instanceof Error ? error.message : String(error);
      this.#log.error('runtime.start_failed', { instance: spec.id, error: message });
    }
    this.#say(spec, 'err', `Instance ${spec.process}.${spec.index} was not started: ${reason}`);
    const lacks = entry.stopReason === undefined ? resourceBehind(error) : undefined;
    this.emit({ type: 'instanceExited', id: spec.id, reason, ...(lacks === undefined ? {} : { lacks }) });
  }

  /** A bug, or a machine in disorder: it costs this instance, and the core decides about the next one. */
  #failed(id: InstanceId, error: unknown): void {
    const reason = startProblem(error);
    this.#log.error('runtime.instance_failed', { instance: id, error: error instanceof Error ? error.stack : reason });
    this.emit({ type: 'instanceExited', id, reason });
  }

  #say({ id, app, process, index }: InstanceSpec, stream: 'out' | 'err', text: string): void {
    this.#logs.append({ app: app.id, source: 'CELL', process, index, instance: id, stream, text });
  }
}

function newEntry<Place>(launched: Launched<Place> | undefined): Entry<Place> {
  return { preparing: new AbortController(), stopReason: undefined, launched, done: Promise.resolve() };
}
