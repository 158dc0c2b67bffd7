// Decides what a container may see, do and use: builds what is asked of the engine. Pure; it never talks to one.

import type { ContainerCreateOptions, ImageInspectInfo, MountSettings } from 'dockerode';
import type { HostEntry } from '../../core/types.ts';
import type { Bind } from '../../ports/sandbox.ts';
import { INSTANCE_FILES_MAX } from '../environment.ts';
import type { InstanceRecord } from '../instance-folder.ts';
import { INSTANCE_PIDS_MAX } from '../process/launch.ts';
import { SANDBOX_HOME, SANDBOX_NODE_BIN, sandboxHostname } from '../sandbox/bwrap.ts';
import { CPU_PERIOD_US, cpuQuotaUs, cpuShares } from '../sandbox/cpu.ts';
import { fileBytesMax } from '../sandbox/disk.ts';
import { startCommand } from '../sandbox/scripts.ts';
import { IMAGE_SHELL, ownUser, volumes } from './image-config.ts';
import { INSTANCE_LABEL, NODE_LABEL, RECORD_LABEL } from './labels.ts';

/** The engine keeps so much of a container's output, in two files, for a daemon that is away or slow. */
const LOG_FILE_MAX = '4m';
const LOG_FILES = '2';
/** Of a user that images may share on this machine; each container has a limit of its own besides. */
const SHARED_USER_PROCESSES_MAX = 16_384;
/** /tmp and /dev/shm live in memory, so each may take this share of the limit. */
const TMP_SHARE = 0.5;

type Plan = {
  node: string;
  record: InstanceRecord;
  network: string;
  env: Readonly<Record<string, string>>;
  /** Names that it can look up, besides public ones. */
  hosts: readonly HostEntry[];
  /** The filter of system calls, as the engine wants it told. Undefined: the engine's own. */
  callFilter: string | undefined;
  /** Whether what it writes lies on a disk of its own. */
  ownDisk: boolean;
  /** Of volumes. */
  volumes: readonly Bind[];
};

export type DropletPlan = Plan & {
  /** Id of the stack image. */
  image: string;
  command: string;
  /** Folder on the host with the unpacked droplet. */
  home: string;
  /** Folder on the host with `passwd` and `group`. */
  accounts: string;
  /** Folder on the host with the daemon's own Node. */
  nodeBin: string;
};

export function containerName(record: InstanceRecord): string {
  return `peer-${record.id}`;
}

export type ImagePlan = Plan & {
  image: ImageInspectInfo;
  /** Undefined: its own entry point. */
  command: string | undefined;
  /**
   * A root on this machine that ends with the disk limit, and the paths in it of what is mounted. Undefined: the
   * engine's, which does not.
   */
  root: { path: string; folders: readonly string[] } | undefined;
};

/** A droplet on its stack image, which it cannot change. */
export function dropletContainer(plan: DropletPlan): ContainerCreateOptions {
  const common = commonOptions(plan, userOf(plan.record));
  return {
    ...common,
    Image: plan.image,
    User: userOf(plan.record),
    WorkingDir: `${SANDBOX_HOME}/app`,
    Entrypoint: [],
    Cmd: startCommand(plan.command),
    HostConfig: {
      ...common.HostConfig,
      ReadonlyRootfs: true,
      Binds: [
        `${plan.home}:${SANDBOX_HOME}:rw`,
        `${plan.nodeBin}:${SANDBOX_NODE_BIN}:ro`,
        `${plan.accounts}/passwd:/etc/passwd:ro`,
        `${plan.accounts}/group:/etc/group:ro`,
      ],
      Mounts: plan.volumes.map(bindMount),
    },
  };
}

/**
 * An image as it is. It may write where its files let its user, which counts towards the disk limit; into the root
 * itself, which is only root's in nearly every image, it may not. What it declares as volumes lives in memory, because
 * an engine keeps those outside of every limit.
 */
export function imageContainer(plan: ImagePlan): ContainerCreateOptions {
  const user = ownUser(plan.image) ?? userOf(plan.record);
  const common = commonOptions(plan, user);
  const kept = plan.volumes.map(({ to }) => to);
  const declared = volumes(plan.image).filter((path) => !kept.includes(path.replace(/\/+$/, '')));
  const scratch = Object.fromEntries(declared.map((path) => [path, tmpfs(plan.record.memoryBytes)]));
  const inMemory = { ...scratch, ...common.HostConfig.Tmpfs };
  const mounts = plan.volumes.map(bindMount);
  return {
    ...common,
    Image: plan.image.Id,
    User: user,
    ...(plan.command === undefined ? {} : { Entrypoint: [IMAGE_SHELL, '-c'], Cmd: [plan.command] }),
    Healthcheck: { Test: ['NONE'] },
    HostConfig: {
      ...common.HostConfig,
      Tmpfs: inMemory,
      ...(plan.root === undefined
        ? { Mounts: mounts }
        : {
            ReadonlyRootfs: true,
            Mounts: [...rootMounts(plan.root, [...Object.keys(inMemory), ...kept]), ...mounts],
          }),
    },
  };
}

const bindMount = ({ from, to }: Bind): MountSettings => ({ Type: 'bind', Source: from, Target: to });

/** Of each folder, except where something else is mounted already. */
function rootMounts({ path, folders }: NonNullable<ImagePlan['root']>, taken: readonly string[]): MountSettings[] {
  return folders
    .filter((name) => !taken.includes(`/${name}`))
    .map((name) => ({ Type: 'bind', Source: `${path}/${name}`, Target: `/${name}` }));
}

const userOf = ({ uid }: InstanceRecord): string => `${uid}:${uid}`;

function commonOptions(
  plan: Plan,
  user: string,
): ContainerCreateOptions & { HostConfig: NonNullable<ContainerCreateOptions['HostConfig']> } {
  const { record } = plan;
  const tmpBytesMax = Math.floor(record.memoryBytes * TMP_SHARE);
  const tmp = tmpfs(record.memoryBytes);
  const fileBytes = fileBytesMax(record.diskBytes, plan.ownDisk, record.volumes);
  // Counts all of a user. A fork beyond it costs nothing; beyond the container's own limit, nearly as much as one that
  // succeeds: a bomb would keep every processor busy with them. What an engine asks for by default may be more than it
  // may itself.
  const userProcesses = user === userOf(record) ? INSTANCE_PIDS_MAX : SHARED_USER_PROCESSES_MAX;
  return {
    name: containerName(record),
    Hostname: sandboxHostname(record.app.name),
    Env: environmentList(plan.env),
    Labels: {
      [NODE_LABEL]: plan.node,
      [INSTANCE_LABEL]: record.id,
      [RECORD_LABEL]: JSON.stringify(record),
    },
    // No port is published: the router reaches the container at its own address.
    HostConfig: {
      // Collects orphans, and hands a status on that the first process of a container could not end with by itself.
      Init: true,
      CapDrop: ['ALL'],
      SecurityOpt: ['no-new-privileges', ...(plan.callFilter === undefined ? [] : [`seccomp=${plan.callFilter}`])],
      IpcMode: 'private',
      Memory: record.memoryBytes,
      // Memory and swap together: no swap.
      MemorySwap: record.memoryBytes,
      CpuShares: cpuShares(record.memoryBytes),
      CpuPeriod: CPU_PERIOD_US,
      CpuQuota: cpuQuotaUs(record.memoryBytes),
      PidsLimit: INSTANCE_PIDS_MAX,
      Ulimits: [
        { Name: 'core', Soft: 0, Hard: 0 },
        { Name: 'nproc', Soft: userProcesses, Hard: userProcesses },
        { Name: 'nofile', Soft: INSTANCE_FILES_MAX, Hard: INSTANCE_FILES_MAX },
        { Name: 'fsize', Soft: fileBytes, Hard: fileBytes },
      ],
      Tmpfs: { '/tmp': tmp, '/var/tmp': tmp },
      ShmSize: tmpBytesMax,
      NetworkMode: plan.network,
      ExtraHosts: plan.hosts.map(({ name, address }) => `${name}:${address}`),
      LogConfig: { Type: 'json-file', Config: { 'max-size': LOG_FILE_MAX, 'max-file': LOG_FILES, compress: 'false' } },
      RestartPolicy: { Name: 'no' },
    },
  };
}

function tmpfs(memoryBytes: number): string {
  return `rw,exec,nosuid,nodev,mode=1777,size=${Math.floor(memoryBytes * TMP_SHARE)}`;
}

/** The same container for a task: attended to from its start, its output kept nowhere, never adopted. */
export function taskOptions(
  instance: ContainerCreateOptions,
  { argv, terminal }: { argv: readonly string[]; terminal: boolean },
): ContainerCreateOptions {
  const { [RECORD_LABEL]: _, ...labels } = instance.Labels ?? {};
  return {
    ...instance,
    // Not the entry point of an image: what was asked for is what runs.
    Entrypoint: [...argv.slice(0, 1)],
    Cmd: [...argv.slice(1)],
    Labels: labels,
    Tty: terminal,
    OpenStdin: true,
    StdinOnce: true,
    AttachStdin: true,
    AttachStdout: true,
    AttachStderr: true,
    HostConfig: {
      ...instance.HostConfig,
      LogConfig: { Type: 'none', Config: {} },
    },
  };
}

/** `NAME=value`; a value cannot hold NUL, so it is cut there. */
export function environmentList(env: Readonly<Record<string, string>>): string[] {
  return Object.entries(env)
    .filter(([name]) => /^[A-Za-z_][A-Za-z0-9_]*$/.test(name))
    .map(([name, value]) => `${name}=${value.split('\0', 1)[0]}`);
}
