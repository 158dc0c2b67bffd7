// The Runtime port without containers: each instance is a group of processes in a bubblewrap sandbox, watched through
// files, so that it outlives the daemon. Keeps the table of instances; decides nothing about what should run.

import { type AppId, asServiceId, type InstanceId } from '../../../crdt/ids.ts';
import type { AdoptedInstance, InstanceSpec } from '../../core/types.ts';
import type { Log } from '../../lib/log.ts';
import type { BlobStore } from '../../ports/blobs.ts';
import type { Attended, AttendedCommand, CommandRunner, TaskSpec } from '../../ports/commands.ts';
import type {
  Freezer,
  Frozen,
  InstanceUsage,
  Runtime,
  RuntimeEvent,
  ServiceCall,
  UsageMeter,
} from '../../ports/runtime.ts';
import type { LaunchedService, ServiceCommand, ServicePrograms } from '../../ports/services.ts';
import type { HeldVolumes, Volumes } from '../../ports/volumes.ts';
import { wantedPort } from '../environment.ts';
import { RuntimeError } from '../errors.ts';
import { freezeInstance } from '../freezer.ts';
import { InstanceFolder, type InstanceRecord, listInstanceFolders } from '../instance-folder.ts';
import { InstanceTable, type Launched } from '../instance-table.ts';
import type { PacedLogStore } from '../logs/store.ts';
import { acquireVolumes, recordedMounts } from '../mounts.ts';
import type { OwnNetwork } from '../network/networks.ts';
import { bootId } from '../process-tree.ts';
import { type Isolation, RUN_GROUP_PREFIX, removeGroups } from '../sandbox/confinement.ts';
import { probeService } from '../service-probe.ts';
import type { SuperviseContext } from '../supervision.ts';
import { Commands, notRunning, withoutSandbox } from './commands.ts';
import { type LaunchOptions, launchInstance, OWN_NETWORK_PORT, prepareInstance } from './launch.ts';
import { PortPool } from './port-pool.ts';
import { type ProcessContext, supervise } from './supervise.ts';

export type ProcessRuntimeOptions = Pick<SuperviseContext, 'stopGraceMs' | 'diskSampleMs' | 'readyProbeMs'> & {
  isolation: Isolation;
  /** The stack that droplets must be built for. */
  stack: string;
  pourBlob: BlobStore['pour'];
  /** Undefined: what has volumes is refused. */
  volumes?: Volumes | undefined;
  /** Undefined: services are refused. */
  services?: ServicePrograms | undefined;
  /** Whether another runtime on the same isolation, which has adopted before, answers for the instance. */
  isOthers?: ((id: string) => boolean) | undefined;
  /** Set: another runtime on the same isolation adopts after this one, and clears away what is nobody's. */
  adoptsFirst?: true;
  logs: PacedLogStore;
  log: Log;
};

export async function createProcessRuntime(
  options: ProcessRuntimeOptions,
): Promise<Runtime & CommandRunner & UsageMeter & Freezer> {
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

type Place = { record: InstanceRecord; folder: InstanceFolder; shim: number };

/** What has been taken for an instance so far. */
type Taken = {
  volumesOf?: InstanceId;
  uid?: number;
  port?: number;
  network?: OwnNetwork | undefined;
  folder?: InstanceFolder;
};

class ProcessRuntime implements Runtime, CommandRunner, UsageMeter, Freezer {
  readonly kind = 'process';
  readonly stacks: readonly string[];
  readonly #options: ProcessRuntimeOptions;
  readonly #boot: string;
  readonly #ports = new PortPool(Math.random());
  readonly #instances: InstanceTable<Place>;
  readonly #commands: Commands;

  constructor(options: ProcessRuntimeOptions, boot: string) {
    this.#options = options;
    this.#instances = new InstanceTable(options);
    this.stacks = [options.stack];
    this.#boot = boot;
    this.#commands = new Commands(options);
    options.volumes?.onEvent(({ type, instance, message }) => {
      if (type !== 'overfull') return;
      this.#instances.stop(instance, message);
      this.#commands.endTask(instance, message);
    });
  }

  async exec(id: InstanceId, command: AttendedCommand): Promise<Attended> {
    const place = this.#instances.placeOf(id);
    if (place === undefined) throw notRunning(id);
    return this.#commands.exec(place, command);
  }

  runTask(task: TaskSpec, command: AttendedCommand): Promise<Attended> {
    return this.#commands.runTask(task, command);
  }

  async freeze(id: InstanceId): Promise<Frozen> {
    const place = this.#instances.placeOf(id);
    if (place === undefined) {
      const task = await this.#commands.freezeTask(id);
      if (task === undefined) throw notRunning(id);
      return task;
    }
    return freezeInstance({ group: this.#options.isolation.groups?.open(id), shim: place.shim });
  }

  usage(app: AppId): Promise<InstanceUsage[]> {
    return this.#instances.usage(app);
  }

  onEvent(listener: (event: RuntimeEvent) => void): void {
    this.#instances.onEvent(listener);
  }

  async adopt(): Promise<AdoptedInstance[]> {
    const { isolation } = this.#options;
    const folders = await listInstanceFolders(isolation.dataDir);
    const adopted = (await Promise.all(folders.map((folder) => this.#adopt(folder)))).filter(
      (found) => found !== undefined,
    );
    if (this.#options.adoptsFirst) return adopted;
    await isolation.networks?.settle();
    if (isolation.groups !== undefined) {
      const isOwn = (name: string) => !name.startsWith(RUN_GROUP_PREFIX) && this.#options.isOthers?.(name) !== true;
      await removeGroups(isolation.groups, (name) => isOwn(name) && !this.#instances.has(name));
    }
    return adopted;
  }

  start(spec: InstanceSpec): void {
    this.#instances.start(spec, {
      launch: (signal) => this.#launch(spec, signal),
      remove: async ({ record, folder }) => {
        const { id, uid, network } = record;
        await this.#giveBack({ volumesOf: id, uid, network, folder, ...pooledPort(record) });
      },
    });
  }

  stop(id: InstanceId, reason: string): void {
    this.#instances.stop(id, reason);
  }

  async setServiceCalls(calls: readonly ServiceCall[]): Promise<void> {
    await this.#options.isolation.networks?.setServiceCalls(calls);
  }

  async close(options: { keepInstances: boolean }): Promise<void> {
    await this.#commands.close();
    await this.#instances.close(options);
  }

  async #launch(spec: InstanceSpec, signal: AbortSignal): Promise<Launched<Place>> {
    const { isolation } = this.#options;
    const taken: Taken = {};
    try {
      const service = await this.#programOf(spec);
      const held = await this.#holdVolumes(spec, signal);
      if (held !== undefined) taken.volumesOf = spec.id;
      taken.uid = held?.uid ?? isolation.users.take();
      const answersOnly = service !== undefined;
      const network = await isolation.networks?.take('instance', spec.app.id, { answersOnly });
      taken.network = network;
      if (network === undefined && service === undefined) taken.port = await this.#ports.take(wantedPort(spec));
      const folder = new InstanceFolder(isolation.dataDir, spec.id);
      taken.folder = folder;
      const port = service?.port ?? taken.port ?? wantedPort(spec) ?? OWN_NETWORK_PORT;
      if (network !== undefined) await isolation.networks?.openPort(network, port);
      const record = recordOf(spec, { uid: taken.uid, port, network, boot: this.#boot, service });
      const launch: LaunchOptions = { ...this.#options, folder, record, spec, held, service, signal };
      await prepareInstance(launch);
      signal.throwIfAborted();
      const ownDisk = await folder.hasDisk();
      const launched = await launchInstance(launch);
      this.#instances.emit({ type: 'instanceLaunched', id: spec.id, port: record.port, ...hostOf(record) });
      const place = { record, folder, shim: launched.shim };
      const probe = service === undefined ? undefined : this.#probe(place, async () => service.probe);
      const watched = supervise(this.#context(), { record, folder, ownDisk, probe, ...launched });
      return { place, watched };
    } catch (error) {
      // Without a folder the id was not even a name.
      if (taken.folder !== undefined) await isolation.groups?.open(spec.id).remove();
      await this.#giveBack(taken);
      throw error;
    }
  }

  async #holdVolumes(spec: InstanceSpec, signal: AbortSignal): Promise<HeldVolumes | undefined> {
    const { isolation, volumes } = this.#options;
    if ((spec.volumes ?? []).length > 0 && isolation.bwrap === undefined) throw withoutSandbox();
    return acquireVolumes(volumes, spec, { signal });
  }

  async #programOf(spec: InstanceSpec): Promise<LaunchedService | undefined> {
    if (spec.service === undefined) return undefined;
    const { services } = this.#options;
    if (services === undefined) throw new RuntimeError('service_unusable', 'this node runs no services');
    return services.programOf(spec).catch((cause: Error) => {
      throw new RuntimeError('service_unusable', cause.message, { cause });
    });
  }

  /** Asks for the command until it is known: an adopted service may be heard of before its kind is. */
  #probe(place: Place, find: () => Promise<ServiceCommand | undefined>): () => Promise<string | undefined> {
    let command: ServiceCommand | undefined;
    return async () => {
      command ??= await find().catch(() => undefined);
      if (command === undefined) return 'this node does not know (yet) how to ask it whether it answers';
      return probeService((attended) => this.#commands.exec(place, attended), command);
    };
  }

  async #giveBack({ volumesOf, uid, port, network, folder }: Taken): Promise<void> {
    const { isolation, volumes } = this.#options;
    // First: whoever comes next waits for them.
    if (volumesOf !== undefined) volumes?.release(volumesOf);
    if (folder !== undefined) await this.#removeFolder(folder);
    if (port !== undefined) this.#ports.release(port);
    if (network !== undefined) await isolation.networks?.release(network);
    if (uid !== undefined) isolation.users.release(uid);
  }

  async #removeFolder(folder: InstanceFolder): Promise<void> {
    await folder.remove().catch((error: Error) => {
      this.#options.log.warn('runtime.folder_left', { instance: folder.name, error: error.message });
    });
  }

  async #adopt(folder: InstanceFolder): Promise<AdoptedInstance | undefined> {
    const { isolation } = this.#options;
    const record = await folder.readRecord();
    const shim = record?.boot === this.#boot ? await folder.livingShim() : undefined;
    const descriptors = shim === undefined ? undefined : await folder.openReaders().catch(() => undefined);
    if (record === undefined || descriptors === undefined || shim === undefined) {
      await isolation.groups?.open(folder.name).remove();
      await this.#removeFolder(folder);
      return undefined;
    }
    const { port } = pooledPort(record);
    if (port !== undefined) this.#ports.hold(port);
    if (record.network !== undefined) isolation.networks?.hold(record.network, record.app.id);
    isolation.users.hold(record.uid);
    if (record.volumes !== undefined) this.#options.volumes?.adopt(record.id, record.volumes);
    const ownDisk = await folder.hasDisk();
    // Looked for again: the end of a shim that ended before its FIFOs were open would never be heard of.
    const ended = (await folder.livingShim()) === undefined;
    await this.#commands.removeLeftovers(record.id);
    const place = { record, folder, shim };
    const findProbe = async () => this.#options.services?.probeOf(asServiceId(record.app.id));
    const probe = record.service === undefined ? undefined : this.#probe(place, findProbe);
    const found = { record, folder, descriptors, shim, ownDisk, ended, probe };
    const watched = supervise(this.#context(), { ...found, isAdopted: true });
    const remove = async (): Promise<void> => {
      this.#options.volumes?.release(record.id);
      await this.#removeFolder(folder);
      if (port !== undefined) this.#ports.release(port);
      if (record.network !== undefined) isolation.networks?.releaseLater(record.network);
      isolation.users.release(record.uid);
    };
    return this.#instances.adopt({ place, watched }, remove, hostOf(record));
  }

  #context(): ProcessContext {
    return { ...this.#options, emit: this.#instances.emit };
  }
}

function recordOf(
  spec: InstanceSpec,
  found: Pick<InstanceRecord, 'port' | 'uid' | 'boot'> & {
    network: OwnNetwork | undefined;
    service: LaunchedService | undefined;
  },
): InstanceRecord {
  const { id, app, process, index, release, restartCount, memoryBytes, diskBytes, health } = spec;
  const { network, service, ...rest } = found;
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
  const { stopSignal, stopGraceMs } = service ?? {};
  return {
    ...record,
    ...rest,
    ...recordedMounts(spec),
    ...(stopSignal === undefined || stopGraceMs === undefined ? {} : { service: { stopSignal, stopGraceMs } }),
    ...(network === undefined ? {} : { network }),
  };
}

/** The port of the machine that it has from the pool: without a network of its own, and unless it is a service's. */
function pooledPort({ network, service, port }: InstanceRecord): { port?: number } {
  return network === undefined && service === undefined ? { port } : {};
}

/** Undefined stays out: the machine's loopback goes without saying. */
function hostOf({ network }: InstanceRecord): { host?: string } {
  return network === undefined ? {} : { host: network.host };
}
