// The Runtime port on a container engine: each instance is a container on a stack image, with the unpacked droplet as its
// home. Containers outlive the daemon and are adopted by their labels. Keeps the table of instances; decides nothing
// about what should run.

import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Container, ContainerInspectInfo, ImageInspectInfo } from 'dockerode';
import type { Digest, InstanceId, NodeId } from '../../../crdt/ids.ts';
import type { AdoptedInstance, InstanceSpec } from '../../core/types.ts';
import type {
  Attended,
  AttendedCommand,
  BlobStore,
  CommandRunner,
  Log,
  Runtime,
  RuntimeEvent,
  TaskSpec,
} from '../../ports.ts';
import { SANDBOX_HOME, SANDBOX_NODE_BIN } from '../bwrap.ts';
import { notRunning } from '../commands.ts';
import { type Isolation, writeAccounts } from '../confinement.ts';
import { instanceEnvironment } from '../environment.ts';
import { RuntimeError } from '../errors.ts';
import { startProblem } from '../exits.ts';
import { InstanceFolder, type InstanceRecord, listInstanceFolders } from '../folder.ts';
import { unpackDroplet } from '../launchinstance.ts';
import type { PacedLogStore } from '../logs.ts';
import { killAll } from '../termination.ts';
import { DockerCommands } from './commands.ts';
import { dropletContainer, imageContainer } from './container.ts';
import type { Engine } from './engine.ts';
import { exposedPort, imageStack } from './image-config.ts';
import { type EngineImages, openImages } from './images.ts';
import { INSTANCE_LABEL, NODE_LABEL, readRecord } from './labels.ts';
import { AppNetworks } from './networks.ts';
import { type PolicyOptions, raisePolicy } from './policy.ts';
import { findStacks } from './stacks.ts';
import { type SuperviseContext, type Supervised, superviseContainer } from './supervise.ts';

export type DockerRuntimeOptions = Pick<SuperviseContext, 'stopGraceMs' | 'diskSampleMs' | 'readyProbeMs'> & {
  engine: Engine;
  nodeId: NodeId;
  /** Droplets are unpacked in the sandbox of this machine, not by the engine. */
  isolation: Isolation;
  blobs: Pick<BlobStore, 'has' | 'read' | 'put' | 'onChange'>;
  policy: PolicyOptions;
  logs: PacedLogStore;
  log: Log;
};

/** Inside of a container, which has an address of its own; the one that apps for Cloud Foundry know. */
const INSTANCE_PORT = 8080;
const NOT_FOUND = 404;

export async function createDockerRuntime(options: DockerRuntimeOptions): Promise<Runtime & CommandRunner> {
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
  return new DockerRuntime(options, { stacks, policy, networks, images });
}

type Parts = {
  stacks: ReadonlyMap<string, string>;
  policy: { lower(): Promise<void> };
  networks: AppNetworks;
  images: EngineImages;
};

/** One instance from start to its end. */
type Entry = {
  /** While it is prepared: aborts that. */
  preparing: AbortController;
  /** Why it was stopped before it was launched. */
  stopReason: string | undefined;
  supervised: Supervised | undefined;
  /** Once it has been started. */
  container?: Container;
  /** Resolves when nothing of it is left, or it was let go of. */
  done: Promise<void>;
};

class DockerRuntime implements Runtime, CommandRunner {
  readonly kind = 'docker';
  readonly stacks: readonly string[];
  readonly #options: DockerRuntimeOptions;
  readonly images: EngineImages;
  /** Stack → id of its image. */
  readonly #stacks: ReadonlyMap<string, string>;
  readonly #networks: AppNetworks;
  readonly #commands: DockerCommands;
  readonly #policy: { lower(): Promise<void> };
  readonly #entries = new Map<InstanceId, Entry>();
  readonly #listeners: ((event: RuntimeEvent) => void)[] = [];
  #closed = false;

  constructor(options: DockerRuntimeOptions, parts: Parts) {
    this.#options = options;
    this.#policy = parts.policy;
    this.#networks = parts.networks;
    this.#stacks = parts.stacks;
    this.images = parts.images;
    this.stacks = [...parts.stacks.keys(), imageStack(options.engine.architecture)];
    const imageOf = (stack: string): string => {
      const image = parts.stacks.get(stack);
      if (image !== undefined) return image;
      throw new RuntimeError('engine_unusable', `tasks need a droplet, and this node runs none of the stack ${stack}`);
    };
    this.#commands = new DockerCommands({
      ...options,
      readBlob: (digest) => options.blobs.read(digest),
      networks: this.#networks,
      imageOf,
    });
  }

  async exec(id: InstanceId, command: AttendedCommand): Promise<Attended> {
    const container = this.#entries.get(id)?.container;
    if (container === undefined) throw notRunning(id);
    return this.#commands.exec(container, command);
  }

  runTask(task: TaskSpec, command: AttendedCommand): Promise<Attended> {
    return this.#commands.runTask(task, command);
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
        if (found === undefined) await this.#removeContainer(container, Id);
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
    const { isolation } = this.#options;
    const { app } = spec;
    let uid: number | undefined;
    let folder: InstanceFolder | undefined;
    let container: Container | undefined;
    let network: Promise<string> | undefined;
    try {
      uid = isolation.users.take();
      folder = new InstanceFolder(isolation.dataDir, spec.id);
      const image = await this.#imageOf(spec);
      const port = (spec.image === undefined ? undefined : exposedPort(image)) ?? INSTANCE_PORT;
      const record = recordOf(spec, { uid, port });
      this.#say(spec, 'out', `Starting instance ${spec.process}.${spec.index} of release v${spec.release.version}`);
      network = this.#networks.acquire(app.id);
      await this.#prepare(spec, record, folder, entry.preparing.signal, network);
      entry.preparing.signal.throwIfAborted();
      container = await this.#create(spec, record, folder, { image, network: await network });
      await container.start();
      const started = await container.inspect();
      this.#emit({ type: 'instanceLaunched', id: spec.id, port, host: addressOf(started) });
      entry.supervised = await this.#supervise(record, folder, container, started);
      entry.container = container;
      if (entry.stopReason !== undefined) entry.supervised.stop(entry.stopReason);
      await entry.supervised.ended;
    } catch (error) {
      this.#failed(spec, entry, error);
    }
    await this.#cleanUp(spec.id, { container, folder });
    const hasNetwork = await network?.then(
      () => true,
      () => false,
    );
    if (hasNetwork === true) await this.#networks.release(app.id);
    if (uid !== undefined) isolation.users.release(uid);
  }

  async #imageOf({ droplet, image }: InstanceSpec): Promise<ImageInspectInfo> {
    if (image !== undefined) return this.images.ensure(droplet.digest, image.id);
    const { stack } = droplet;
    const id = this.#stacks.get(stack);
    const found = id === undefined ? undefined : await this.images.inspect(id);
    if (found !== undefined) return found;
    throw new RuntimeError(
      'engine_unusable',
      `this node has no image of the stack ${stack}: run 'npm run stack' on it and start it again`,
    );
  }

  /** All at once, and all have ended when it settles: the caller removes what they made. */
  async #prepare(
    spec: InstanceSpec,
    record: InstanceRecord,
    folder: InstanceFolder,
    signal: AbortSignal,
    network: Promise<string>,
  ): Promise<void> {
    const { isolation, blobs } = this.#options;
    await folder.create(isolation.ownUsers ? record.uid : undefined);
    const readBlob = (digest: Digest) => blobs.read(digest);
    const steps = await Promise.allSettled([
      spec.image === undefined ? unpackDroplet({ isolation, folder, record, spec, readBlob, signal }) : undefined,
      writeAccounts(folder.accounts, { kind: 'dropped', uid: record.uid }, record.app.name),
      network,
    ]);
    const failed = steps.find((step) => step.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  }

  #create(
    spec: InstanceSpec,
    record: InstanceRecord,
    folder: InstanceFolder,
    place: { image: ImageInspectInfo; network: string },
  ): Promise<Container> {
    const { engine, nodeId, isolation } = this.#options;
    const env = instanceEnvironment(spec, {
      port: record.port,
      // Of its own network.
      host: '0.0.0.0',
      home: SANDBOX_HOME,
      nodeBin: SANDBOX_NODE_BIN,
    });
    const plan = { network: place.network, node: nodeId, record, env };
    if (spec.image !== undefined) {
      const command = spec.image.ownCommand ? undefined : spec.command;
      return engine.docker.createContainer(imageContainer({ ...plan, image: place.image, command }));
    }
    return engine.docker.createContainer(
      dropletContainer({
        ...plan,
        image: place.image.Id,
        command: spec.command,
        home: folder.home,
        accounts: folder.accounts,
        nodeBin: isolation.host.nodeBin,
      }),
    );
  }

  #supervise(
    record: InstanceRecord,
    folder: InstanceFolder,
    container: Container,
    found: ContainerInspectInfo,
  ): Promise<Supervised> {
    const context: SuperviseContext = { ...this.#options, emit: (event) => this.#emit(event) };
    return superviseContainer(context, {
      record,
      container,
      host: addressOf(found),
      home: writableFolder(found) ?? folder.home,
      positionFile: join(folder.path, 'logged'),
    });
  }

  async #adopt(record: InstanceRecord, container: Container): Promise<AdoptedInstance | undefined> {
    const { isolation } = this.#options;
    // Created but never started: the daemon that made it was killed in between.
    const found = await container.inspect().catch(() => undefined);
    if (found === undefined || found.State.Status === 'created') return undefined;
    const host = addressOf(found);
    const folder = new InstanceFolder(isolation.dataDir, record.id);
    isolation.users.hold(record.uid);
    this.#networks.hold(record.app.id);
    const entry: Entry = {
      preparing: new AbortController(),
      stopReason: undefined,
      supervised: undefined,
      done: Promise.resolve(),
    };
    this.#entries.set(record.id, entry);
    entry.supervised = await this.#supervise(record, folder, container, found);
    entry.container = container;
    // Of a daemon that was killed: nobody attends to them any more.
    await this.#commands.endAll(container);
    entry.done = entry.supervised.ended.then(async () => {
      await this.#cleanUp(record.id, { container, folder });
      await this.#networks.release(record.app.id);
      isolation.users.release(record.uid);
      this.#entries.delete(record.id);
    });
    const { id, process, index, restartCount, memoryBytes, port } = record;
    const release = record.release.id;
    return { id, app: record.app.id, process, index, release, restartCount, memoryBytes, port, host };
  }

  /** Folders without a container, also of instances that ran in the other runtime; networks without an app. */
  async #removeLeftovers(): Promise<void> {
    const { isolation } = this.#options;
    for (const folder of await listInstanceFolders(isolation.dataDir)) {
      if (this.#entries.has(folder.name as InstanceId)) continue;
      const shim = await folder.livingShim();
      if (shim !== undefined) await killAll({ shim, confined: isolation.bwrap !== undefined });
      await isolation.groups?.open(folder.name).remove();
      await this.#removeFolder(folder);
    }
    await this.#networks.sweep();
  }

  async #cleanUp(
    id: InstanceId,
    made: { container: Container | undefined; folder: InstanceFolder | undefined },
  ): Promise<void> {
    // By its name where it is not known: the engine may have made it although its answer got lost.
    if (made.folder === undefined) return;
    await this.#removeContainer(made.container ?? this.#options.engine.docker.getContainer(`peer-${id}`), id);
    await this.#removeFolder(made.folder);
  }

  async #removeContainer(container: Container, instance: string): Promise<void> {
    try {
      await container.remove({ force: true, v: true });
    } catch (error) {
      const { statusCode, message } = error as { statusCode?: number; message: string };
      if (statusCode === NOT_FOUND) return;
      this.#options.log.warn('runtime.container_left', { instance, error: message });
    }
  }

  async #removeFolder(folder: InstanceFolder): Promise<void> {
    await rm(folder.path, { recursive: true, force: true }).catch((error: Error) => {
      this.#options.log.warn('runtime.folder_left', { instance: folder.name, error: error.message });
    });
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

function recordOf(spec: InstanceSpec, place: { uid: number; port: number }): InstanceRecord {
  const { id, app, process, index, release, restartCount, memoryBytes, diskBytes, health } = spec;
  const found = { ...place, boot: '' };
  return { version: 1, id, app, process, index, release, restartCount, memoryBytes, diskBytes, health, ...found };
}
