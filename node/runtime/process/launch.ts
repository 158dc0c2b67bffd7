// Launches one instance: its folder, its droplet, its control group, its sandbox. What comes after is watched
// elsewhere.

import { close as closeCallback, constants, open as openCallback } from 'node:fs';
import type { Duplex } from 'node:stream';
import { promisify } from 'node:util';
import type { InstanceSpec } from '../../core/types.ts';
import { formatBytes } from '../../lib/format-bytes.ts';
import { spawnChild } from '../../lib/spawn-child.ts';
import { writeBelow } from '../../lib/write-below.ts';
import type { BlobStore } from '../../ports/blobs.ts';
import type { LaunchedService } from '../../ports/services.ts';
import type { HeldVolumes } from '../../ports/volumes.ts';
import { DROPLET_PATHS, INSTANCE_FILES_MAX, instanceEnvironment, serviceEnvironment } from '../environment.ts';
import { RuntimeError } from '../errors.ts';
import { exhaustedAt, expectRoomAt } from '../exhausted.ts';
import { type Descriptors, InstanceFolder, type InstanceRecord } from '../instance-folder.ts';
import { volumeBinds } from '../mounts.ts';
import { SANDBOX_HOME, SANDBOX_NODE_BIN } from '../sandbox/bwrap.ts';
import { confinedCommand, type Isolation, knownHosts, sandboxUser, writeAccounts } from '../sandbox/confinement.ts';
import { checkDevices } from '../sandbox/devices.ts';
import { attachDisk, fileBytesMax } from '../sandbox/disk.ts';
import { runAttached } from '../sandbox/run.ts';
import { encodeLoad, LOAD_FD, type Rlimits, SHELL, SHIM, startCommand } from '../sandbox/scripts.ts';

const open = promisify(openCallback);
const close = promisify(closeCallback);

/** Processes and threads of one instance. */
export const INSTANCE_PIDS_MAX = 512;
/** Where instances are that share the machine's network. */
const LOOPBACK = '127.0.0.1';
/** PORT of every instance with a network of its own, as on Cloud Foundry. */
export const OWN_NETWORK_PORT = 8080;
const UNPACK_TIMEOUT_MS = 5 * 60_000;
const UNPACK_MEMORY_BYTES = 512 * 1024 * 1024;
const UNPACK_PIDS_MAX = 16;
const UNPACK_OUTPUT_BYTES_MAX = 4 * 1024;

/** The paths that a droplet's files may name, as links in the sandbox of whatever runs it. */
export const DROPLET_LINKS = DROPLET_PATHS.map(({ path, part }) => ({
  path,
  target: `${SANDBOX_HOME}/${part}`.slice(1),
}));

const UNPACK = 'tar --blocking-factor=128 -xf - && mkdir -p app logs tmp';
const PIPE = 'droplet';

export function instanceLimits(
  diskBytes: number,
  ownDisk: boolean,
  volumes: readonly { sizeBytes: number }[] = [],
): Rlimits {
  return {
    pidsMax: INSTANCE_PIDS_MAX,
    filesMax: INSTANCE_FILES_MAX,
    fileBytesMax: fileBytesMax(diskBytes, ownDisk, volumes),
  };
}

export type LaunchOptions = {
  isolation: Isolation;
  folder: InstanceFolder;
  record: InstanceRecord;
  spec: InstanceSpec;
  pourBlob: BlobStore['pour'];
  /** What it mounts. */
  held?: HeldVolumes | undefined;
  /** It is this service, and has no droplet. */
  service?: LaunchedService | undefined;
  signal: AbortSignal;
};

export type Launched = { descriptors: Descriptors; shim: number };

/** Makes the folder ready to launch in. Fails with RuntimeError; the caller removes what is there. */
export async function prepareInstance(options: LaunchOptions): Promise<void> {
  const { isolation, folder, record, spec } = options;
  if (isolation.bwrap !== undefined) await checkDevices(isolation.devices);
  const owner = isolation.ownUsers ? record.uid : undefined;
  await folder.create(owner);
  if (isolation.ownDisks) {
    await attachDisk({ folder: folder.path, home: folder.home, bytes: record.diskBytes, owner: record.uid });
  }
  const steps = await Promise.allSettled([
    options.service === undefined ? unpackDroplet(options) : folder.makeEmptyHome(owner),
    folder.makeFifos(owner),
    folder.writeRecord(record),
    writeAccounts(folder.accounts, {
      user: sandboxUser(isolation, record.uid),
      hostname: record.app.name,
      hosts: knownHosts(isolation, spec.hosts),
    }),
    isolation.groups?.create(record.id, { memoryBytes: record.memoryBytes, pidsMax: INSTANCE_PIDS_MAX }),
  ]);
  // Only when all have ended: the caller removes what they made.
  const failed = steps.find((step) => step.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
  if (options.service !== undefined) await writeServiceFiles(options, options.service);
}

/** Into its volumes, which the service can write to: what it has put there is not trusted. */
async function writeServiceFiles({ held, record }: LaunchOptions, { files }: LaunchedService): Promise<void> {
  for (const [path, content] of Object.entries(files)) {
    const volume = held?.folders.find(({ to }) => path.startsWith(`${to}/`));
    if (volume === undefined) throw new RuntimeError('service_unusable', `${path} is in no volume of the service`);
    const file = { path: path.slice(volume.to.length + 1), content, owner: held?.uid };
    await writeBelow(volume.from, file).catch((cause: NodeJS.ErrnoException) => {
      // What the disk says is for others to judge.
      if (cause.code !== undefined) throw cause;
      throw new RuntimeError('service_unusable', `${record.app.name}: ${cause.message}`, { cause });
    });
  }
}

export async function launchInstance(options: LaunchOptions): Promise<Launched> {
  const { isolation, folder, record, spec, held, service } = options;
  const confined = isolation.bwrap !== undefined;
  const volumes = held === undefined ? [] : await volumeBinds(held, { home: folder.home });
  const home = confined ? SANDBOX_HOME : folder.home;
  const command = confinedCommand(isolation, {
    user: sandboxUser(isolation, record.uid),
    hostname: record.app.name,
    accounts: folder.accounts,
    binds: [{ from: folder.home, to: SANDBOX_HOME, writable: true }, ...volumes],
    links: DROPLET_LINKS,
    memoryBytes: record.memoryBytes,
    network: record.network,
    limits: instanceLimits(record.diskBytes, isolation.ownDisks, record.volumes),
  });
  const place = {
    port: record.port,
    host: record.network?.host ?? LOOPBACK,
    listen: record.network === undefined ? LOOPBACK : '0.0.0.0',
    home,
    nodeBin: confined ? SANDBOX_NODE_BIN : isolation.host.nodeBin,
  };
  const env = service === undefined ? instanceEnvironment(spec, place) : serviceEnvironment(service.env, place);
  const groups = isolation.groups?.open(record.id).folders ?? [];
  const descriptors = await folder.openReaders();
  const writers = await folder.openWriters();
  try {
    const shim = await spawnShim({
      argv: [folder.path, String(groups.length), ...groups, ...command],
      stdio: writers,
      load: encodeLoad({ cwd: `${home}/app`, argv: startCommand((service ?? spec).command), env }),
    });
    return { descriptors, shim };
  } catch (error) {
    await InstanceFolder.closeReaders(descriptors);
    throw error;
  } finally {
    await writers.close();
  }
}

function spawnShim(options: { argv: string[]; stdio: { out: number; err: number }; load: Buffer }): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawnChild(SHELL, ['-c', SHIM, 'peer', ...options.argv], {
      cwd: '/',
      // Nothing of the app's environment: the shim and bubblewrap may run as root.
      env: { PATH: '/usr/bin:/bin' },
      // A session of its own, so that it outlives the daemon and the daemon's terminal.
      detached: true,
      stdio: ['ignore', options.stdio.out, options.stdio.err, 'pipe'],
    });
    child.once('error', (error) =>
      reject(new RuntimeError('spawn_failed', `could not start a process: ${error.message}`, { cause: error })),
    );
    child.once('spawn', () => {
      child.unref();
      const load = child.stdio[LOAD_FD] as Duplex;
      // The shim may have ended already; its exit status says why.
      load.on('error', () => {});
      load.end(options.load);
      resolve(child.pid!);
    });
  });
}

export async function unpackDroplet(options: LaunchOptions): Promise<void> {
  const { isolation, folder, record, spec } = options;
  // A droplet's size is that of its content. Beyond its own limit it is not poured.
  await expectRoomAt(folder.path, Math.min(spec.droplet.sizeBytes, spec.diskBytes));
  const pouring = await pourDroplet(options);
  let problem = '';
  try {
    const result = await runAttached(isolation, {
      name: `unpack-${record.id.replace(/[^A-Za-z0-9-]/g, '-')}`,
      uid: record.uid,
      network: 'none',
      argv: ['/bin/sh', '-c', UNPACK],
      cwd: SANDBOX_HOME,
      env: { PATH: '/usr/bin:/bin', LC_ALL: 'C' },
      binds: [{ from: folder.home, to: SANDBOX_HOME, writable: true }],
      memoryBytes: UNPACK_MEMORY_BYTES,
      pidsMax: UNPACK_PIDS_MAX,
      timeoutMs: UNPACK_TIMEOUT_MS,
      stdin: pouring.pipe,
      outputBytesMax: UNPACK_OUTPUT_BYTES_MAX,
      onOutput: (chunk) => {
        problem += chunk.toString();
      },
      signal: options.signal,
    });
    if (result.code === 0) return;
    const detail = /Unexpected EOF|No space left/i.test(problem)
      ? `it is damaged, or larger than the disk limit of ${formatBytes(spec.diskBytes)}`
      : (problem.trim().split('\n')[0] ?? '') || `status ${result.code ?? result.signal}`;
    const fullDisk = await fullDiskBehind(options, problem);
    if (fullDisk !== undefined) throw fullDisk;
    throw await pouring.problem(new RuntimeError('droplet_unpack_failed', `could not unpack the droplet: ${detail}`));
  } finally {
    await pouring.end();
  }
}

/** Set when the node has no room for the droplet: its own limit is not what it met. */
async function fullDiskBehind({ isolation, folder }: LaunchOptions, problem: string): Promise<Error | undefined> {
  const isFull =
    (await exhaustedAt(folder.path)) !== undefined || (!isolation.ownDisks && /No space left/i.test(problem));
  if (!isFull) return undefined;
  return Object.assign(new Error('no space left for the droplet'), { code: 'ENOSPC' });
}

type Pouring = {
  /** Descriptor of the end that is read. */
  pipe: number;
  /** What went wrong with the droplet's content, or else what it is taken for. */
  problem(otherwise: RuntimeError): Promise<Error>;
  end(): Promise<void>;
};

/**
 * Stops at the disk limit, so that a small droplet that unpacks to something huge cannot fill the disk.
 * @returns when a writer is there: a reader would take a pipe without one for an empty droplet.
 */
async function pourDroplet({ folder, spec, pourBlob, signal }: LaunchOptions): Promise<Pouring> {
  const into = await folder.makePipe(PIPE);
  // Both ends, so that neither of those after it has to wait for the other.
  const both = await open(into, constants.O_RDWR);
  let pipe: number | undefined;
  try {
    pipe = await open(into, constants.O_RDONLY);
    const enough = new AbortController();
    const signals = AbortSignal.any([signal, enough.signal]);
    const { done } = await pourBlob(spec.droplet.digest, { into, bytesMax: spec.diskBytes, signal: signals });
    const lost = done.then(
      () => undefined,
      (error: Error & { code?: string }) => (error.code === 'EPIPE' || enough.signal.aborted ? undefined : error),
    );
    const reader = pipe;
    return {
      pipe: reader,
      async problem(otherwise) {
        enough.abort();
        const error = await lost;
        return error === undefined ? otherwise : dropletMissing(spec, error);
      },
      async end() {
        enough.abort();
        await close(reader);
      },
    };
  } catch (error) {
    if (pipe !== undefined) await close(pipe);
    throw dropletMissing(spec, error);
  } finally {
    await close(both);
  }
}

/**
 * Says what it was: a droplet that is not here comes from another node, a damaged one or a disk that fails is this
 * node's fault.
 */
function dropletMissing({ droplet }: InstanceSpec, cause: unknown): RuntimeError {
  const { code, message } = cause as { code?: unknown; message?: unknown };
  const what =
    code === 'not_held'
      ? `this node does not hold the droplet ${droplet.digest}`
      : code === 'corrupt'
        ? `the copy of the droplet ${droplet.digest} on this node is damaged`
        : `the droplet ${droplet.digest} cannot be read on this node (${String(message ?? cause)})`;
  return new RuntimeError('droplet_missing', what, { cause });
}
