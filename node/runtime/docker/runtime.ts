// The Runtime port on a container engine: each instance is a container on a stack image, with the unpacked droplet as
// its home. Containers outlive the daemon and are adopted by their labels. Keeps the table of instances; decides
// nothing about what should run.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Container, ContainerInspectInfo } from 'dockerode';
import type { AppId, InstanceId, NodeId } from '../../../crdt/ids.ts';
import type { AdoptedInstance, InstanceSpec } from '../../core/types.ts';
import type { Log } from '../../lib/log.ts';
import type { BlobStore } from '../../ports/blobs.ts';
import type { Attended, AttendedCommand, CommandRunner, TaskSpec } from '../../ports/commands.ts';
import type {
  Freezer,
  Frozen,
  InstanceUsage,
  MachinePorts,
  Runtime,
  RuntimeEvent,
  ServiceCall,
  UsageMeter,
} from '../../ports/runtime.ts';
import type { Volumes } from '../../ports/volumes.ts';
import { RuntimeError } from '../errors.ts';
import { FREEZE_MAX_MS } from '../freezer.ts';
import { InstanceFolder, type InstanceRecord, listInstanceFolders } from '../instance-folder.ts';
import { InstanceTable, type Launched, type Watched } from '../instance-table.ts';
import type { PacedLogStore } from '../logs/store.ts';
import { notRunning } from '../process/commands.ts';
import type { Isolation } from '../sandbox/confinement.ts';
import type { SuperviseContext } from '../supervision.ts';
import { killAll, killGroup } from '../termination.ts';
import { callFilter } from './call-filter.ts';
import { DockerCommands } from './commands.ts';
import type { Engine } from './engine.ts';
import { imageStack } from './image-config.ts';
import { type EngineImages, openImages } from './images.ts';
import { INSTANCE_LABEL, NODE_LABEL, readRecord } from './labels.ts';
import { ContainerMaker, type Made } from './maker.ts';
import { AppNetworks } from './networks.ts';
import { type PolicyOptions, type RaisedPolicy, raisePolicy } from './policy.ts';
import { findStacks } from './stacks.ts';
import { type ContainerContext, superviseContainer } from './supervise.ts';

export type DockerRuntimeOptions = Pick<SuperviseContext, 'stopGraceMs' | 'diskSampleMs' | 'readyProbeMs'> & {
  engine: Engine;
  nodeId: NodeId;
  /** Droplets are unpacked in the sandbox of this machine, not by the engine. */
  isolation: Isolation;
  blobs: Pick<BlobStore, 'has' | 'read' | 'pour' | 'put' | 'onChange'>;
  policy: PolicyOptions;
  /** Undefined: what has volumes is refused. */
  volumes?: Volumes | undefined;
  logs: PacedLogStore;
  log: Log;
};

export async function createDockerRuntime(
  options: DockerRuntimeOptions,
): Promise<Runtime & CommandRunner & UsageMeter & Freezer> {
  const { engine, log } = options;
  const stacks = await findStacks(engine.docker);
  const networks = new AppNetworks(engine.docker, options.nodeId);
  const policy = await raisePolicy(options.nodeId, options.policy, (bridge) => networks.placesOf(bridge));
  log.info('runtime.started', {
    kind: 'docker',
    engine: engine.kind,
    version: engine.version,
    socket: engine.socketPath,
    stacks: [...stacks.keys()],
  });
  const images = await openImages({
    engine,
    blobs: options.blobs,
    file: join(options.isolation.dataDir, 'images.json'),
    log,
    place: { node: options.nodeId, networks },
  });
  const ownDisks = options.isolation.ownDisks && (await seesMounts(log));
  const filter = await callFilter(engine, { dataDir: options.isolation.dataDir, log });
  return new DockerRuntime(options, { stacks, policy, networks, images, ownDisks, callFilter: filter });
}

/**
 * Number of the first mount that the process sees: no two namespaces have the same, and of every process it can be
 * read.
 */
async function firstMountOf(process: string): Promise<string> {
  const mounts = await readFile(`/proc/${process}/mountinfo`, 'utf8').catch(() => '');
  return mounts.split(' ', 1)[0] || process;
}

/** Whether the engine, which runs where the machine's first process does, sees what this daemon mounts. */
async function seesMounts(log: Log): Promise<boolean> {
  const [own, first] = await Promise.all(['self', '1'].map(firstMountOf));
  if (own === first) return true;
  log.warn('runtime.disk_sampled', {
    reason: 'this daemon has a mount namespace of its own, so the engine does not see the disks that it would make',
    message: 'disk limits of containers are enforced by looking now and then',
  });
  return false;
}

type Parts = {
  stacks: ReadonlyMap<string, string>;
  policy: RaisedPolicy;
  networks: AppNetworks;
  images: EngineImages;
  ownDisks: boolean;
  callFilter: string | undefined;
};

class DockerRuntime implements Runtime, CommandRunner, UsageMeter, Freezer {
  readonly kind = 'docker';
  readonly stacks: readonly string[];
  readonly #options: DockerRuntimeOptions;
  readonly images: EngineImages;
  readonly #maker: ContainerMaker;
  readonly #networks: AppNetworks;
  readonly #commands: DockerCommands;
  readonly #policy: RaisedPolicy;
  readonly #instances: InstanceTable<Made>;

  constructor(options: DockerRuntimeOptions, parts: Parts) {
    this.#options = options;
    this.#instances = new InstanceTable(options);
    this.#policy = parts.policy;
    this.#networks = parts.networks;
    this.images = parts.images;
    this.stacks = [...parts.stacks.keys(), imageStack(options.engine.architecture)];
    this.#maker = new ContainerMaker({ ...options, ...parts });
    this.#commands = new DockerCommands(options.engine, this.#maker, options.log);
    options.volumes?.onEvent(({ type, instance, message }) => {
      if (type !== 'overfull') return;
      this.#instances.stop(instance, message);
      this.#commands.endTask(instance, message);
    });
  }

  async exec(id: InstanceId, command: AttendedCommand): Promise<Attended> {
    const made = this.#instances.placeOf(id);
    if (made === undefined) throw notRunning(id);
    return this.#commands.exec(made, command);
  }

  runTask(task: TaskSpec, command: AttendedCommand): Promise<Attended> {
    return this.#commands.runTask(task, command);
  }

  async freeze(id: InstanceId): Promise<Frozen> {
    const container = this.#instances.placeOf(id)?.container ?? this.#commands.containerOf(id);
    if (container === undefined) throw notRunning(id);
    return freezeContainer(container);
  }

  usage(app: AppId): Promise<InstanceUsage[]> {
    return this.#instances.usage(app);
  }

  onEvent(listener: (event: RuntimeEvent) => void): void {
    this.#instances.onEvent(listener);
  }

  async adopt(): Promise<AdoptedInstance[]> {
    const { engine, nodeId } = this.#options;
    const filters = JSON.stringify({ label: [`${NODE_LABEL}=${nodeId}`, INSTANCE_LABEL] });
    const containers = await engine.docker.listContainers({ all: true, filters });
    const adopted = await Promise.all(
      containers.map(async ({ Id, Labels }) => {
        const container = engine.docker.getContainer(Id);
        const record = readRecord(Labels);
        const found = record === undefined ? undefined : await this.#adopt(record, container);
        if (found === undefined) await this.#maker.removeContainer(container, Id);
        return found;
      }),
    );
    await this.#removeLeftovers();
    return adopted.filter((found) => found !== undefined);
  }

  start(spec: InstanceSpec): void {
    this.#instances.start(spec, {
      launch: (signal) => this.#launch(spec, signal),
      remove: (made) => this.#maker.remove(made),
    });
  }

  stop(id: InstanceId, reason: string): void {
    this.#instances.stop(id, reason);
  }

  setMachinePorts(ports: MachinePorts): Promise<void> {
    return this.#policy.setMachinePorts(ports);
  }

  setServiceCalls(calls: readonly ServiceCall[]): Promise<void> {
    return this.#policy.setServiceCalls(calls);
  }

  async close(options: { keepInstances: boolean }): Promise<void> {
    await this.#commands.close();
    await this.#instances.close(options);
    if (!options.keepInstances) await this.#policy.lower();
  }

  async #launch(spec: InstanceSpec, signal: AbortSignal): Promise<Launched<Made>> {
    const made = await this.#maker.make(spec, { signal });
    try {
      const { container, record } = made;
      await container.start();
      const started = await container.inspect();
      this.#instances.emit({ type: 'instanceLaunched', id: spec.id, port: record.port, host: addressOf(started) });
      return { place: made, watched: await this.#supervise(made, started, false) };
    } catch (error) {
      await this.#maker.remove(made);
      throw error;
    }
  }

  async #supervise(
    { record, folder, container }: Made,
    found: ContainerInspectInfo,
    isAdopted: boolean,
  ): Promise<Watched> {
    const { tellsOutOfMemory } = this.#options.engine;
    const context: ContainerContext = { ...this.#options, tellsOutOfMemory, emit: this.#instances.emit };
    return superviseContainer(context, {
      record,
      container,
      host: addressOf(found),
      ...((await folder.hasDisk())
        ? { disk: folder.home, sampled: undefined }
        : { disk: undefined, sampled: writableFolder(found) ?? folder.home }),
      positionFile: join(folder.path, 'logged'),
      isAdopted,
    });
  }

  async #adopt(record: InstanceRecord, container: Container): Promise<AdoptedInstance | undefined> {
    const { isolation } = this.#options;
    // Created but never started: the daemon that made it was killed in between.
    const found = await container.inspect().catch(() => undefined);
    if (found === undefined || found.State.Status === 'created') return undefined;
    // The daemon before this one ended while it held it still.
    if (found.State.Paused) await container.unpause();
    const made: Made = { record, container, folder: new InstanceFolder(isolation.dataDir, record.id) };
    this.#maker.hold(record);
    const watched = await this.#supervise(made, found, true);
    // Of a daemon that was killed: nobody attends to them any more.
    await this.#commands.endAll(container);
    return this.#instances.adopt({ place: made, watched }, () => this.#maker.remove(made), { host: addressOf(found) });
  }

  /** Folders without a container, also of instances that ran in the other runtime; networks without an app. */
  async #removeLeftovers(): Promise<void> {
    const { isolation } = this.#options;
    for (const folder of await listInstanceFolders(isolation.dataDir)) {
      if (this.#instances.has(folder.name)) continue;
      const shim = await folder.livingShim();
      if (shim !== undefined) {
        await killAll({ shim, confined: isolation.bwrap !== undefined });
        // It would wait for a daemon that reads the rest of its output.
        killGroup(shim);
      }
      await isolation.groups?.open(folder.name).remove();
      await this.#maker.removeFolder(folder);
    }
    await isolation.networks?.settle();
    await this.#networks.sweep();
  }
}

async function freezeContainer(container: Container): Promise<Frozen> {
  await container.pause().catch((cause: Error) => {
    throw new RuntimeError('not_frozen', `the engine could not hold it still: ${cause.message}`, { cause });
  });
  let letGo: Promise<boolean> | undefined;
  const unpause = (inTime: boolean): Promise<boolean> => {
    letGo ??= container.unpause().then(
      () => inTime,
      () => false,
    );
    return letGo;
  };
  const timer = setTimeout(() => void unpause(false), FREEZE_MAX_MS);
  return {
    thaw() {
      clearTimeout(timer);
      return unpause(true);
    },
  };
}

/** The container's address on its app's network; empty when it has ended already. */
function addressOf(container: ContainerInspectInfo): string {
  return Object.values(container.NetworkSettings.Networks)[0]?.IPAddress ?? '';
}

/**
 * Where on the host it is kept what the container changes of its image, if it may: with the engine's usual storage.
 */
function writableFolder({ HostConfig, GraphDriver }: ContainerInspectInfo): string | undefined {
  return HostConfig.ReadonlyRootfs === true
    ? undefined
    : (GraphDriver?.Data as { UpperDir?: string } | undefined)?.UpperDir;
}
