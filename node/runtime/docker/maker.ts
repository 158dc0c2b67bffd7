// Makes the container of one instance or task, with all that it needs: a user, a folder, the unpacked droplet or the
// loaded image, its app's network. Takes all of it away again. Starts nothing and watches nothing.

import { basename } from 'node:path';
import type { Container, ContainerCreateOptions, ImageInspectInfo } from 'dockerode';
import type { AppId, InstanceId, NodeId } from '../../../crdt/ids.ts';
import type { InstanceSpec } from '../../core/types.ts';
import type { Log } from '../../lib/log.ts';
import type { BlobStore } from '../../ports/blobs.ts';
import type { Bind } from '../../ports/sandbox.ts';
import type { HeldVolumes, Volumes } from '../../ports/volumes.ts';
import { instanceEnvironment, wantedPort } from '../environment.ts';
import { RuntimeError } from '../errors.ts';
import { InstanceFolder, type InstanceRecord } from '../instance-folder.ts';
import { acquireVolumes, recordedMounts, volumeBinds } from '../mounts.ts';
import { unpackDroplet } from '../process/launch.ts';
import { SANDBOX_HOME, SANDBOX_NODE_BIN } from '../sandbox/bwrap.ts';
import { type Isolation, writeAccounts } from '../sandbox/confinement.ts';
import { attachDisk } from '../sandbox/disk.ts';
import { dropletContainer, type ImagePlan, imageContainer } from './container.ts';
import type { Engine } from './engine.ts';
import { exposedPort, ownUser } from './image-config.ts';
import { attachRoot, layersOf } from './image-root.ts';
import type { EngineImages } from './images.ts';
import type { AppNetworks } from './networks.ts';

export type MakerParts = {
  engine: Engine;
  nodeId: NodeId;
  isolation: Isolation;
  blobs: Pick<BlobStore, 'pour'>;
  /** Undefined: what has volumes is refused. */
  volumes?: Volumes | undefined;
  networks: AppNetworks;
  images: EngineImages;
  callFilter: string | undefined;
  /** Stack → id of its image. */
  stacks: ReadonlyMap<string, string>;
  /** Whether each container gets a disk of its own that the kernel enforces. */
  ownDisks: boolean;
  log: Log;
};

export type How = {
  signal: AbortSignal;
  /** What is different from an instance. */
  adapt?: (options: ContainerCreateOptions) => ContainerCreateOptions;
  dyno?: string;
  /** A task: it has its volumes beside the instance that mounts them. */
  shared?: true;
};

export type Made = { record: InstanceRecord; folder: InstanceFolder; container: Container };

/** What has been made so far. */
type Parts = {
  id: InstanceId;
  app: AppId;
  uid?: number;
  folder?: InstanceFolder;
  container?: Container;
  network?: Promise<string>;
};

/** Inside of a container, which has an address of its own; the one that apps for Cloud Foundry know. */
const INSTANCE_PORT = 8080;
const NOT_FOUND = 404;

export class ContainerMaker {
  readonly #parts: MakerParts;

  constructor(parts: MakerParts) {
    this.#parts = parts;
  }

  /** Fails with RuntimeError or an error of the engine, having taken everything away. */
  async make(spec: InstanceSpec, how: How): Promise<Made> {
    const { isolation, networks, engine } = this.#parts;
    const made: Parts = { id: spec.id, app: spec.app.id };
    try {
      const folder = new InstanceFolder(isolation.dataDir, spec.id);
      made.folder = folder;
      const image = await this.#imageOf(spec);
      const exposed = spec.image === undefined ? undefined : exposedPort(image);
      const port = wantedPort(spec) ?? exposed ?? INSTANCE_PORT;
      const held = await this.#holdVolumes(spec, image, how);
      made.uid = held?.asUser ?? isolation.users.take();
      const record = recordOf(spec, { uid: made.uid, port });
      made.network = networks.acquire(spec.app.id);
      const root = await this.#prepare(spec, { ...how, record, folder, image, network: made.network });
      how.signal.throwIfAborted();
      const volumes = await mountsOf(spec, held, folder);
      const place = { record, folder, image, root, volumes, network: await made.network };
      const options = this.#options(spec, place, how.dyno);
      made.container = await engine.docker.createContainer(how.adapt?.(options) ?? options);
      return { record, folder, container: made.container };
    } catch (error) {
      await this.#remove(made);
      throw error;
    }
  }

  /** Takes note of what an earlier daemon made. */
  hold({ id, uid, app, volumes }: InstanceRecord): void {
    this.#parts.isolation.users.hold(uid);
    this.#parts.networks.hold(app.id);
    if (volumes !== undefined) this.#parts.volumes?.adopt(id, volumes);
  }

  remove({ record, folder, container }: Made): Promise<void> {
    const network = Promise.resolve('');
    return this.#remove({ id: record.id, app: record.app.id, uid: record.uid, folder, container, network });
  }

  async removeContainer(container: Container, instance: string): Promise<void> {
    try {
      await container.remove({ force: true, v: true });
    } catch (error) {
      const { statusCode, message } = error as { statusCode?: number; message: string };
      if (statusCode === NOT_FOUND) return;
      this.#parts.log.warn('runtime.container_left', { instance, error: message });
    }
  }

  async removeFolder(folder: InstanceFolder): Promise<void> {
    await folder.remove().catch((error: Error) => {
      this.#parts.log.warn('runtime.folder_left', { instance: folder.name, error: error.message });
    });
  }

  /** `asUser`: the user that the container is to run as for them; undefined where the image says that itself. */
  async #holdVolumes(
    spec: InstanceSpec,
    image: ImageInspectInfo,
    { signal, shared }: Pick<How, 'signal' | 'shared'>,
  ): Promise<(HeldVolumes & { asUser: number | undefined }) | undefined> {
    const own = spec.image === undefined ? undefined : ownUser(image);
    const uid = own === undefined ? {} : { uid: Number.parseInt(own, 10) };
    const held = await acquireVolumes(this.#parts.volumes, spec, {
      ...uid,
      ...(shared === undefined ? {} : { shared }),
      signal,
    });
    if (held?.folders.some((one) => one.hardQuota) === true && !this.#parts.ownDisks) {
      this.#parts.volumes?.release(spec.id);
      const message = "the container engine does not see what this daemon mounts, and a volume's own disk is a mount";
      throw new RuntimeError('volume_unavailable', message);
    }
    return held === undefined ? undefined : { ...held, asUser: own === undefined ? held.uid : undefined };
  }

  async #imageOf({ droplet, image }: InstanceSpec): Promise<ImageInspectInfo> {
    const { images, stacks } = this.#parts;
    if (image !== undefined) return images.ensure(droplet.digest, image.id);
    const { stack } = droplet;
    const id = stacks.get(stack);
    const found = id === undefined ? undefined : await images.inspect(id);
    if (found !== undefined) return found;
    throw new RuntimeError(
      'engine_unusable',
      `this node has no image of the stack ${stack}: run 'npm run stack' on it and start it again`,
    );
  }

  /**
   * All at once, and all have ended when it settles: the caller removes what they made. Resolves with the root of an
   * image.
   */
  async #prepare(
    spec: InstanceSpec,
    place: Pick<Made, 'record' | 'folder'> & { image: ImageInspectInfo; signal: AbortSignal; network: Promise<string> },
  ): Promise<ImagePlan['root']> {
    const { isolation, blobs } = this.#parts;
    const { record, folder, image, signal, network } = place;
    await folder.create(isolation.ownUsers ? record.uid : undefined);
    let root: ImagePlan['root'];
    if (spec.image !== undefined) root = await this.#attachRoot(image, { record, folder });
    else if (this.#parts.ownDisks) await this.#attachDisk({ record, folder }, record.uid);
    const unpack = { isolation, folder, record, spec, pourBlob: blobs.pour.bind(blobs), signal };
    const steps = await Promise.allSettled([
      spec.image === undefined ? unpackDroplet(unpack) : undefined,
      writeAccounts(folder.accounts, { user: { kind: 'dropped', uid: record.uid }, hostname: record.app.name }),
      network,
    ]);
    const failed = steps.find((step) => step.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
    return root;
  }

  #attachDisk({ record, folder }: Pick<Made, 'record' | 'folder'>, owner: number): Promise<void> {
    return attachDisk({ folder: folder.path, home: folder.home, bytes: record.diskBytes, owner });
  }

  /** Undefined where that cannot be had: then its use is watched by sampling. */
  async #attachRoot(image: ImageInspectInfo, place: Pick<Made, 'record' | 'folder'>): Promise<ImagePlan['root']> {
    const { folder } = place;
    const layers = this.#parts.ownDisks ? layersOf(image) : undefined;
    if (layers === undefined) return undefined;
    try {
      await this.#attachDisk(place, 0);
      const [home, root] = [basename(folder.home), basename(folder.root)];
      return { path: folder.root, folders: await attachRoot({ folder: folder.path, home, root, layers }) };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOSPC') throw error;
      this.#parts.log.warn('runtime.disk_sampled', { image: image.Id, reason: (error as Error).message });
      await folder.remove();
      await folder.create(undefined);
      return undefined;
    }
  }

  #options(
    spec: InstanceSpec,
    place: Pick<Made, 'record' | 'folder'> & {
      image: ImageInspectInfo;
      root: ImagePlan['root'];
      volumes: readonly Bind[];
      network: string;
    },
    dyno: string | undefined,
  ): ContainerCreateOptions {
    const { nodeId, isolation, callFilter } = this.#parts;
    const { record, folder, image, root, volumes, network } = place;
    const env = instanceEnvironment(spec, {
      port: record.port,
      // Of its own network.
      host: '0.0.0.0',
      home: SANDBOX_HOME,
      nodeBin: SANDBOX_NODE_BIN,
      ...(dyno === undefined ? {} : { dyno }),
    });
    const ownDisk = spec.image === undefined ? this.#parts.ownDisks : root !== undefined;
    const plan = { network, node: nodeId, record, env, callFilter, ownDisk, volumes, hosts: spec.hosts ?? [] };
    if (spec.image !== undefined) {
      return imageContainer({ ...plan, image, root, command: spec.image.ownCommand ? undefined : spec.command });
    }
    const { home, accounts } = folder;
    const { nodeBin } = isolation.host;
    return dropletContainer({ ...plan, image: image.Id, command: spec.command, home, accounts, nodeBin });
  }

  async #remove({ id, app, uid, folder, container, network }: Parts): Promise<void> {
    const { engine, networks, isolation, volumes } = this.#parts;
    // Without a folder the id was not even a name.
    if (folder !== undefined) {
      // By its name where it is not known: the engine may have made it although its answer got lost.
      await this.removeContainer(container ?? engine.docker.getContainer(`peer-${id}`), id);
      volumes?.release(id);
      await this.removeFolder(folder);
    }
    const hasNetwork = await network?.then(
      () => true,
      () => false,
    );
    if (hasNetwork === true) await networks.release(app);
    if (uid !== undefined) isolation.users.release(uid);
  }
}

function recordOf(spec: InstanceSpec, place: { uid: number; port: number }): InstanceRecord {
  const { id, app, process, index, release, restartCount, memoryBytes, diskBytes, health } = spec;
  const of = spec.image === undefined ? {} : { image: true as const };
  const found = { ...place, boot: '' };
  return {
    version: 1,
    id,
    app,
    process,
    index,
    release,
    restartCount,
    memoryBytes,
    diskBytes,
    health,
    ...of,
    ...recordedMounts(spec),
    ...found,
  };
}

/** An image has no home that they could lie in, and the engine makes what they are mounted on. */
async function mountsOf(
  spec: InstanceSpec,
  held: HeldVolumes | undefined,
  { home }: Pick<InstanceFolder, 'home'>,
): Promise<Bind[]> {
  if (held === undefined) return [];
  if (spec.image === undefined) return volumeBinds(held, { home });
  return held.folders.map(({ from, to }) => ({ from, to, writable: true }));
}
