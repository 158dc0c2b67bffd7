// The Runtime port on a container engine: each instance is a container on a stack image, with the unpacked droplet as its
// home. Containers outlive the daemon and are adopted by their labels. Keeps the table of instances; decides nothing
// about what should run.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Container, ContainerInspectInfo } from 'dockerode';
import type { AppId, InstanceId, NodeId } from '../../../crdt/ids.ts';
import type { AdoptedInstance, InstanceSpec } from '../../core/types.ts';
import type {
  Attended,
  AttendedCommand,
  BlobStore,
  CommandRunner,
  InstanceUsage,
  Log,
  MachinePorts,
  Runtime,
  RuntimeEvent,
  TaskSpec,
  UsageMeter,
} from '../../ports.ts';
import { notRunning } from '../commands.ts';
import type { Isolation } from '../confinement.ts';
import { RuntimeError } from '../errors.ts';
import { startProblem } from '../exits.ts';
import { InstanceFolder, type InstanceRecord, listInstanceFolders } from '../folder.ts';
import type { PacedLogStore } from '../logs.ts';
import { killAll, killGroup } from '../termination.ts';
import { UsageSampler, type UsageSource } from '../usage.ts';
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
import { type SuperviseContext, type Supervised, superviseContainer } from './supervise.ts';

export type DockerRuntimeOptions = Pick<SuperviseContext, 'stopGraceMs' | 'diskSampleMs' | 'readyProbeMs'> & {
  engine: Engine;
  nodeId: NodeId;
  /** Droplets are unpacked in the sandbox of this machine, not by the engine. */
  isolation: Isolation;
  blobs: Pick<BlobStore, 'has' | 'read' | 'pour' | 'put' | 'onChange'>;
  policy: PolicyOptions;
  logs: PacedLogStore;
  log: Log;
};

export async function createDockerRuntime(
  options: DockerRuntimeOptions,
): Promise<Runtime & CommandRunner & UsageMeter> {
  const { engine, log } = options;
  const stacks = await findStacks(engine.docker);
  const policy = await raisePolicy(options.nodeId, options.policy);
  log.info('runtime.started', {
    kind: 'docker',
    engine: engine.kind,
    version: engine.version,
    socket: engine.socketPath,
    stacks: [...stacks.keys()],
  });
  const networks = new AppNetworks(engine.docker, options.nodeId);
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

/** Number of the first mount that the process sees: no two namespaces have the same, and of every process it can be read. */
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

/** One instance from start to its end. */
type Entry = {
  /** While it is prepared: aborts that. */
  preparing: AbortController;
  /** Why it was stopped before it was launched. */
  stopReason: string | undefined;
  supervised: Supervised | undefined;
  /** Once it has been started. */
  made?: Made;
  /** Resolves when nothing of it is left, or it was let go of. */
  done: Promise<void>;
};

class DockerRuntime implements Runtime, CommandRunner, UsageMeter {
  readonly kind = 'docker';
  readonly stacks: readonly string[];
  readonly #options: DockerRuntimeOptions;
  readonly images: EngineImages;
  readonly #maker: ContainerMaker;
  readonly #networks: AppNetworks;
  readonly #commands: DockerCommands;
  readonly #usage = new UsageSampler();
  readonly #policy: RaisedPolicy;
  readonly #entries = new Map<InstanceId, Entry>();
  readonly #listeners: ((event: RuntimeEvent) => void)[] = [];
  #closed = false;

  constructor(options: DockerRuntimeOptions, parts: Parts) {
    this.#options = options;
    this.#policy = parts.policy;
    this.#networks = parts.networks;
    this.images = parts.images;
    this.stacks = [...parts.stacks.keys(), imageStack(options.engine.architecture)];
    this.#maker = new ContainerMaker({ ...options, ...parts });
    this.#commands = new DockerCommands(options.engine, this.#maker, options.log);
  }

  async exec(id: InstanceId, command: AttendedCommand): Promise<Attended> {
    const made = this.#entries.get(id)?.made;
    if (made === undefined) throw notRunning(id);
    return this.#commands.exec(made, command);
  }

  runTask(task: TaskSpec, command: AttendedCommand): Promise<Attended> {
    return this.#commands.runTask(task, command);
  }

  usage(app: AppId): Promise<InstanceUsage[]> {
    const sources: UsageSource[] = [];
    for (const [id, { made, supervised }] of this.#entries) {
      if (made?.record.app.id !== app || supervised === undefined) continue;
      sources.push({ id, key: supervised, counters: () => supervised.counters() });
    }
    return this.#usage.sample(sources);
  }

  onEvent(listener: (event: RuntimeEvent) => void): void {
    this.#listeners.push(listener);
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
    if (this.#closed || this.#entries.has(spec.id)) return;
    const entry: Entry = {
      preparing: new AbortController(),
      stopReason: undefined,
      supervised: undefined,
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

  setMachinePorts(ports: MachinePorts): Promise<void> {
    return this.#policy.setMachinePorts(ports);
  }

  async close(options: { keepInstances: boolean }): Promise<void> {
    this.#closed = true;
    await this.#commands.close();
    const letGo: Promise<void>[] = [];
    for (const [id, entry] of this.#entries) {
      if (options.keepInstances && entry.supervised !== undefined) letGo.push(entry.supervised.detach());
      // One that is not launched yet cannot be adopted either.
      else this.stop(id, 'the node is stopping');
    }
    const left = [...this.#entries.values()].filter(
      (entry) => !options.keepInstances || entry.supervised === undefined,
    );
    await Promise.all([...letGo, ...left.map((entry) => entry.done)]);
    if (!options.keepInstances) await this.#policy.lower();
  }

  async #run(spec: InstanceSpec, entry: Entry): Promise<void> {
    let made: Made | undefined;
    try {
      this.#say(spec, 'out', `Starting instance ${spec.process}.${spec.index} of release v${spec.release.version}`);
      made = await this.#maker.make(spec, { signal: entry.preparing.signal });
      const { container, record } = made;
      await container.start();
      const started = await container.inspect();
      this.#emit({ type: 'instanceLaunched', id: spec.id, port: record.port, host: addressOf(started) });
      entry.supervised = await this.#supervise(made, started);
      entry.made = made;
      if (entry.stopReason !== undefined) entry.supervised.stop(entry.stopReason);
      await entry.supervised.ended;
    } catch (error) {
      this.#failed(spec, entry, error);
    }
    if (made !== undefined) await this.#maker.remove(made);
  }

  async #supervise({ record, folder, container }: Made, found: ContainerInspectInfo): Promise<Supervised> {
    const { tellsOutOfMemory } = this.#options.engine;
    const context: SuperviseContext = { ...this.#options, tellsOutOfMemory, emit: (event) => this.#emit(event) };
    return superviseContainer(context, {
      record,
      container,
      host: addressOf(found),
      ...((await folder.hasDisk())
        ? { disk: folder.home, sampled: undefined }
        : { disk: undefined, sampled: writableFolder(found) ?? folder.home }),
      positionFile: join(folder.path, 'logged'),
    });
  }

  async #adopt(record: InstanceRecord, container: Container): Promise<AdoptedInstance | undefined> {
    const { isolation } = this.#options;
    // Created but never started: the daemon that made it was killed in between.
    const found = await container.inspect().catch(() => undefined);
    if (found === undefined || found.State.Status === 'created') return undefined;
    const made: Made = { record, container, folder: new InstanceFolder(isolation.dataDir, record.id) };
    this.#maker.hold(record);
    const entry: Entry = {
      preparing: new AbortController(),
      stopReason: undefined,
      supervised: undefined,
      made,
      done: Promise.resolve(),
    };
    this.#entries.set(record.id, entry);
    entry.supervised = await this.#supervise(made, found);
    // Of a daemon that was killed: nobody attends to them any more.
    await this.#commands.endAll(container);
    entry.done = entry.supervised.ended.then(async () => {
      await this.#maker.remove(made);
      this.#entries.delete(record.id);
    });
    const { id, process, index, restartCount, memoryBytes, port } = record;
    const release = record.release.id;
    return { id, app: record.app.id, process, index, release, restartCount, memoryBytes, port, host: addressOf(found) };
  }

  /** Folders without a container, also of instances that ran in the other runtime; networks without an app. */
  async #removeLeftovers(): Promise<void> {
    const { isolation } = this.#options;
    for (const folder of await listInstanceFolders(isolation.dataDir)) {
      if (this.#entries.has(folder.name as InstanceId)) continue;
      const shim = await folder.livingShim();
      if (shim !== undefined) {
        await killAll({ shim, confined: isolation.bwrap !== undefined });
        // It would wait for a daemon that reads its last words.
        killGroup(shim);
      }
      await isolation.groups?.open(folder.name).remove();
      await this.#maker.removeFolder(folder);
    }
    await isolation.networks?.settle();
    await this.#networks.sweep();
  }

  #failed(spec: InstanceSpec, entry: Entry, error: unknown): void {
    const known = error instanceof RuntimeError || error === entry.preparing.signal.reason;
    const reason = entry.stopReason ?? startProblem(error);
    if (!known) {
      const message = error instanceof Error ? error.message : String(error);
      this.#options.log.error('runtime.start_failed', { instance: spec.id, error: message });
    }
    this.#say(spec, 'err', `Instance ${spec.process}.${spec.index} was not started: ${reason}`);
    this.#emit({ type: 'instanceExited', id: spec.id, reason });
  }

  #emit(event: RuntimeEvent): void {
    for (const listener of this.#listeners) listener(event);
  }

  #say(instance: Pick<InstanceSpec, 'id' | 'app' | 'process' | 'index'>, stream: 'out' | 'err', text: string): void {
    const { id, app, process, index } = instance;
    this.#options.logs.append({ app: app.id, source: 'CELL', process, index, instance: id, stream, text });
  }
}

/** The container's address on its app's network; empty when it has ended already. */
function addressOf(container: ContainerInspectInfo): string {
  return Object.values(container.NetworkSettings.Networks)[0]?.IPAddress ?? '';
}

/** Where on the host it is kept what the container changes of its image, if it may: with the engine's usual storage. */
function writableFolder({ HostConfig, GraphDriver }: ContainerInspectInfo): string | undefined {
  return HostConfig.ReadonlyRootfs === true
    ? undefined
    : (GraphDriver?.Data as { UpperDir?: string } | undefined)?.UpperDir;
}
