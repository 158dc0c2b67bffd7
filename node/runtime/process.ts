// The Runtime port without containers: each instance is a group of processes in a bubblewrap sandbox, watched through
// files, so that it outlives the daemon. Keeps the table of instances; decides nothing about what should run.

import type { AppId, InstanceId } from '../../crdt/ids.ts';
import type { AdoptedInstance, InstanceSpec } from '../core/types.ts';
import type {
  Attended,
  AttendedCommand,
  BlobStore,
  CommandRunner,
  InstanceUsage,
  Log,
  Runtime,
  RuntimeEvent,
  TaskSpec,
  UsageMeter,
} from '../ports.ts';
import { Commands, notRunning } from './commands.ts';
import { type Isolation, RUN_GROUP_PREFIX, removeGroups } from './confinement.ts';
import { RuntimeError } from './errors.ts';
import { startProblem } from './exits.ts';
import { InstanceFolder, type InstanceRecord, listInstanceFolders } from './folder.ts';
import { type LaunchOptions, launchInstance, OWN_NETWORK_PORT, prepareInstance } from './launchinstance.ts';
import type { PacedLogStore } from './logs.ts';
import type { OwnNetwork } from './networks.ts';
import { PortPool } from './portpool.ts';
import { bootId } from './processtree.ts';
import { type SuperviseContext, type Supervised, supervise } from './supervise.ts';
import { UsageSampler, type UsageSource } from './usage.ts';

export type ProcessRuntimeOptions = Pick<SuperviseContext, 'stopGraceMs' | 'diskSampleMs' | 'readyProbeMs'> & {
  isolation: Isolation;
  /** The stack that droplets must be built for. */
  stack: string;
  pourBlob: BlobStore['pour'];
  logs: PacedLogStore;
  log: Log;
};

export async function createProcessRuntime(
  options: ProcessRuntimeOptions,
): Promise<Runtime & CommandRunner & UsageMeter> {
  const { isolation, log } = options;
  log.info('runtime.started', {
    kind: 'process',
    sandbox: isolation.bwrap ?? 'none',
    users: isolation.ownUsers ? 'one per instance' : 'shared',
    controlGroups: isolation.groups?.version ?? 'none',
    network: isolation.networks === undefined ? 'shared' : isolation.networks.subnet,
  });
  return new ProcessRuntime(options, await bootId());
}

/** One instance from start to its end. */
type Entry = {
  /** While its droplet is unpacked: aborts that. */
  preparing: AbortController;
  /** Why it was stopped before it was launched. */
  stopReason: string | undefined;
  supervised: Supervised | undefined;
  /** Once it has been launched: what a command inside needs. */
  place: { record: InstanceRecord; folder: InstanceFolder; shim: number } | undefined;
  /** Resolves when nothing of it is left, or it was let go of. */
  done: Promise<void>;
};

class ProcessRuntime implements Runtime, CommandRunner, UsageMeter {
  readonly kind = 'process';
  readonly stacks: readonly string[];
  readonly #options: ProcessRuntimeOptions;
  readonly #boot: string;
  readonly #ports = new PortPool(Math.random());
  readonly #entries = new Map<InstanceId, Entry>();
  readonly #commands: Commands;
  readonly #usage = new UsageSampler();
  readonly #listeners: ((event: RuntimeEvent) => void)[] = [];
  #closed = false;

  constructor(options: ProcessRuntimeOptions, boot: string) {
    this.#options = options;
    this.stacks = [options.stack];
    this.#boot = boot;
    this.#commands = new Commands(options);
  }

  async exec(id: InstanceId, command: AttendedCommand): Promise<Attended> {
    const place = this.#entries.get(id)?.place;
    if (place === undefined) throw notRunning(id);
    return this.#commands.exec(place, command);
  }

  runTask(task: TaskSpec, command: AttendedCommand): Promise<Attended> {
    return this.#commands.runTask(task, command);
  }

  usage(app: AppId): Promise<InstanceUsage[]> {
    const sources: UsageSource[] = [];
    for (const [id, { place, supervised }] of this.#entries) {
      if (place?.record.app.id !== app || supervised === undefined) continue;
      sources.push({ id, key: supervised, counters: () => supervised.counters() });
    }
    return this.#usage.sample(sources);
  }

  onEvent(listener: (event: RuntimeEvent) => void): void {
    this.#listeners.push(listener);
  }

  async adopt(): Promise<AdoptedInstance[]> {
    const { isolation } = this.#options;
    const folders = await listInstanceFolders(isolation.dataDir);
    const adopted = (await Promise.all(folders.map((folder) => this.#adopt(folder)))).filter(
      (found) => found !== undefined,
    );
    await isolation.networks?.settle();
    if (isolation.groups !== undefined) {
      await removeGroups(
        isolation.groups,
        (name) => !name.startsWith(RUN_GROUP_PREFIX) && !this.#entries.has(name as InstanceId),
      );
    }
    return adopted;
  }

  start(spec: InstanceSpec): void {
    if (this.#closed || this.#entries.has(spec.id)) return;
    const entry: Entry = {
      preparing: new AbortController(),
      stopReason: undefined,
      supervised: undefined,
      place: undefined,
      done: Promise.resolve(),
    };
    this.#entries.set(spec.id, entry);
    entry.done = this.#run(spec, entry).finally(() => this.#entries.delete(spec.id));
  }

  stop(id: InstanceId, reason: string): void {
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    entry.stopReason ??= reason;
    entry.preparing.abort();
    entry.supervised?.stop(reason);
  }

  async close(options: { keepInstances: boolean }): Promise<void> {
    this.#closed = true;
    await this.#commands.close();
    for (const [id, entry] of this.#entries) {
      if (options.keepInstances && entry.supervised !== undefined) entry.supervised.detach();
      // One that is not launched yet cannot be adopted either.
      else this.stop(id, 'the node is stopping');
    }
    const left = [...this.#entries.values()].filter(
      (entry) => !options.keepInstances || entry.supervised === undefined,
    );
    await Promise.all(left.map((entry) => entry.done));
  }

  #emit(event: RuntimeEvent): void {
    for (const listener of this.#listeners) listener(event);
  }

  async #run(spec: InstanceSpec, entry: Entry): Promise<void> {
    const { isolation, log } = this.#options;
    let uid: number | undefined;
    let port: number | undefined;
    let network: OwnNetwork | undefined;
    let folder: InstanceFolder | undefined;
    try {
      uid = isolation.users.take();
      network = await isolation.networks?.take('instance');
      if (network === undefined) port = await this.#ports.take();
      folder = new InstanceFolder(isolation.dataDir, spec.id);
      const record = recordOf(spec, { uid, port: port ?? OWN_NETWORK_PORT, network, boot: this.#boot });
      const launch: LaunchOptions = { ...this.#options, folder, record, spec, signal: entry.preparing.signal };
      this.#say(
        record,
        'out',
        `Starting instance ${record.process}.${record.index} of release v${record.release.version}`,
      );
      await prepareInstance(launch);
      entry.preparing.signal.throwIfAborted();
      const ownDisk = await folder.hasDisk();
      const launched = await launchInstance(launch);
      this.#emit({ type: 'instanceLaunched', id: spec.id, port: record.port, ...hostOf(record) });
      entry.supervised = supervise(this.#context(), { record, folder, ownDisk, ...launched });
      entry.place = { record, folder, shim: launched.shim };
      if (entry.stopReason !== undefined) entry.supervised.stop(entry.stopReason);
      await entry.supervised.ended;
    } catch (error) {
      this.#failed(spec, entry, error);
      // Without a folder the id was not even a name.
      if (folder !== undefined) await isolation.groups?.open(spec.id).remove();
    }
    await folder?.remove().catch((error: unknown) => {
      log.warn('runtime.folder_left', {
        instance: spec.id,
        error: error instanceof Error ? error.message : String(error),
      });
    });
    if (port !== undefined) this.#ports.release(port);
    if (network !== undefined) await isolation.networks?.release(network);
    if (uid !== undefined) isolation.users.release(uid);
  }

  #failed(spec: InstanceSpec, entry: Entry, error: unknown): void {
    const known = error instanceof RuntimeError || error === entry.preparing.signal.reason;
    const message = error instanceof Error ? error.message : String(error);
    const reason = entry.stopReason ?? startProblem(error);
    if (!known) this.#options.log.error('runtime.start_failed', { instance: spec.id, error: message });
    this.#say(spec, 'err', `Instance ${spec.process}.${spec.index} was not started: ${reason}`);
    this.#emit({ type: 'instanceExited', id: spec.id, reason });
  }

  async #adopt(folder: InstanceFolder): Promise<AdoptedInstance | undefined> {
    const { isolation, log } = this.#options;
    const record = await folder.readRecord();
    const shim = record?.boot === this.#boot ? await folder.livingShim() : undefined;
    const descriptors = shim === undefined ? undefined : await folder.openReaders().catch(() => undefined);
    if (record === undefined || descriptors === undefined || shim === undefined) {
      await isolation.groups?.open(folder.name).remove();
      await folder.remove().catch((error: unknown) => {
        log.warn('runtime.folder_left', {
          instance: folder.name,
          error: error instanceof Error ? error.message : String(error),
        });
      });
      return undefined;
    }
    if (record.network === undefined) this.#ports.hold(record.port);
    else isolation.networks?.hold(record.network);
    isolation.users.hold(record.uid);
    const ownDisk = await folder.hasDisk();
    // Looked for again: the end of a shim that ended before its FIFOs were open would never be heard of.
    const ended = (await folder.livingShim()) === undefined;
    await this.#commands.removeLeftovers(record.id);
    const supervised = supervise(this.#context(), { record, folder, descriptors, shim, ownDisk, ended });
    const entry: Entry = {
      preparing: new AbortController(),
      stopReason: undefined,
      supervised,
      place: { record, folder, shim },
      done: Promise.resolve(),
    };
    this.#entries.set(record.id, entry);
    entry.done = supervised.ended.then(async () => {
      await folder.remove().catch(() => {});
      if (record.network === undefined) this.#ports.release(record.port);
      else isolation.networks?.releaseLater(record.network);
      isolation.users.release(record.uid);
      this.#entries.delete(record.id);
    });
    const { id, process, index, restartCount, memoryBytes, port } = record;
    return {
      id,
      app: record.app.id,
      process,
      index,
      release: record.release.id,
      restartCount,
      memoryBytes,
      port,
      ...hostOf(record),
    };
  }

  #context(): SuperviseContext {
    return { ...this.#options, emit: (event) => this.#emit(event) };
  }

  #say(instance: Pick<InstanceSpec, 'id' | 'app' | 'process' | 'index'>, stream: 'out' | 'err', text: string): void {
    const { id, app, process, index } = instance;
    this.#options.logs.append({ app: app.id, source: 'CELL', process, index, instance: id, stream, text });
  }
}

function recordOf(
  spec: InstanceSpec,
  found: Pick<InstanceRecord, 'port' | 'uid' | 'boot'> & { network: OwnNetwork | undefined },
): InstanceRecord {
  const { id, app, process, index, release, restartCount, memoryBytes, diskBytes, health } = spec;
  const { network, ...rest } = found;
  const record = {
    version: 1 as const,
    id,
    app,
    process,
    index,
    release,
    restartCount,
    memoryBytes,
    diskBytes,
    health,
  };
  return { ...record, ...rest, ...(network === undefined ? {} : { network }) };
}

/** Undefined stays out: the machine's loopback goes without saying. */
function hostOf({ network }: InstanceRecord): { host?: string } {
  return network === undefined ? {} : { host: network.host };
}
