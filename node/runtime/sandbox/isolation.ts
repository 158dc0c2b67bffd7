// Finds out, once at start-up, how this machine can isolate what it runs, and proves it by running something. Refuses
// rather than running code with less isolation than was asked for.

import { constants } from 'node:fs';
import { access, mkdir, readdir, readlink, realpath, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import writeFileAtomic from 'write-file-atomic';
import type { NodeId } from '../../../crdt/ids.ts';
import type { Log } from '../../lib/log.ts';
import { RuntimeError } from '../errors.ts';
import { type Networks, prepareNetworks } from '../network/networks.ts';
import type { Network } from '../network/policy.ts';
import { etcVisible, type HostView } from './bwrap.ts';
import { findControlGroups } from './cgroup.ts';
import { type Isolation, RUN_GROUP_PREFIX, removeGroups, scratchFolder } from './confinement.ts';
import { checkDevices } from './devices.ts';
import { proveDisks } from './disk.ts';
import { runAttached } from './run.ts';
import { seccompFilter } from './seccomp.ts';
import { UserPool } from './users.ts';

export type IsolationOptions = {
  dataDir: string;
  nodeId: NodeId;
  log: Log;
  /** Runs everything unprotected, as the daemon's own user. */
  insecure?: boolean;
  /** Networks that instances may reach although they are private. */
  allowNetworks?: readonly Network[];
  /** Folder of the machine's devices; absent: /dev. */
  devices?: string;
  /** Folders to look for bubblewrap in. */
  searchPath?: readonly string[];
};

/** The end of a node's id differs between nodes; its start does not. */
const NODE_SUFFIX_LENGTH = 12;
const NO_FILTER =
  'apps may make every system call that their user may: bugs of the kernel are within their reach; use a kernel with CONFIG_SECCOMP_FILTER';
const NO_GROUPS =
  'limits of memory and processes are enforced by looking now and then: mount the control groups at /sys/fs/cgroup, writable for the daemon, to have them enforced at once';
const PROBE_TIMEOUT_MS = 10_000;
export async function prepareIsolation(options: IsolationOptions): Promise<Isolation> {
  const { dataDir, nodeId, log } = options;
  const suffix = nodeId.slice(-NODE_SUFFIX_LENGTH).replace(/[^A-Za-z0-9]/g, '');
  const insecure = options.insecure === true;
  const bwrap = insecure ? undefined : await findProgram('bwrap', options.searchPath ?? defaultSearchPath());
  if (bwrap === undefined && !insecure) {
    throw new RuntimeError(
      'sandbox_missing',
      'bubblewrap (bwrap) is not installed, so apps cannot be isolated: install it (Debian: apt-get install bubblewrap), or pass --insecure-process-runtime to run apps unprotected',
    );
  }
  // Before anything is made: what bubblewrap says of a damaged one is no help.
  if (!insecure) await checkDevices(options.devices);
  const found = await findControlGroups(suffix);
  const isolation: Isolation = {
    dataDir,
    bwrap,
    host: await readHost(),
    devices: options.devices,
    filter: bwrap === undefined ? undefined : await writeFilter(options),
    groups: found.groups,
    networks: bwrap === undefined ? undefined : await ownNetworks(options),
    ownDisks: false,
    users: new UserPool(nodeId),
    ownUsers: bwrap !== undefined && process.getuid?.() === 0,
    log,
  };
  await rm(scratchFolder(isolation), { recursive: true, force: true });
  await mkdir(scratchFolder(isolation), { recursive: true, mode: 0o700 });
  Object.assign(isolation, { ownDisks: isolation.ownUsers && (await canHaveDisks(isolation)) });
  if (found.groups === undefined) {
    log.warn('runtime.no_control_groups', { reason: found.reason, message: NO_GROUPS });
  } else await removeGroups(found.groups, (name) => name.startsWith(RUN_GROUP_PREFIX));
  if (insecure) log.error('runtime.insecure', { message: 'apps run without a sandbox and as the user of the daemon' });
  else {
    await prove(isolation).catch(async (error) => {
      // A kernel without filters; whether it is that, the second try says.
      const unfiltered = { ...isolation, filter: undefined };
      if (
        isolation.filter !== undefined &&
        (await prove(unfiltered).then(
          () => true,
          () => false,
        ))
      ) {
        Object.assign(isolation, unfiltered);
        log.warn('runtime.no_call_filter', { reason: (error as Error).message, message: NO_FILTER });
        return;
      }
      await isolation.networks?.giveUp();
      throw error;
    });
  }
  return isolation;
}

/** The last thing a daemon does. What runs keeps its network and its control groups. */
export async function closeIsolation(isolation: Isolation, options: { keepInstances: boolean }): Promise<void> {
  if (options.keepInstances) await isolation.networks?.detach();
  else await isolation.networks?.close();
  await isolation.groups?.close();
}

async function canHaveDisks(isolation: Isolation): Promise<boolean> {
  try {
    await proveDisks(scratchFolder(isolation));
    return true;
  } catch (error) {
    isolation.log.warn('runtime.disk_sampled', {
      reason: (error as Error).message,
      message:
        'disk limits are enforced by looking now and then: loop devices and mkfs.ext4 would enforce them at once',
    });
    return false;
  }
}

/** Written anew at every start, so that it is this version's. */
async function writeFilter({ dataDir, log }: IsolationOptions): Promise<string | undefined> {
  const filter = seccompFilter(process.arch);
  if (filter === undefined) {
    log.warn('runtime.no_call_filter', { reason: `there is no table for ${process.arch}`, message: NO_FILTER });
    return undefined;
  }
  const path = join(dataDir, 'seccomp.bpf');
  await writeFileAtomic(path, filter, { mode: 0o600, fsync: false });
  return path;
}

async function ownNetworks({ dataDir, log, allowNetworks }: IsolationOptions): Promise<Networks | undefined> {
  const found = await prepareNetworks({ dataDir, allowed: allowNetworks ?? [], log });
  if (found.networks !== undefined) return found.networks;
  log.warn('runtime.network_shared', {
    reason: found.reason,
    message:
      "apps share this machine's network and reach whatever it reaches, its loopback too: start as root, with iproute2 and nftables installed, to give each app a network of its own",
  });
  return undefined;
}

async function prove(isolation: Isolation): Promise<void> {
  let output = '';
  const result = await runAttached(isolation, {
    name: 'probe',
    uid: isolation.users.stagingUid,
    network: 'none',
    argv: ['true'],
    cwd: '/',
    env: { PATH: '/usr/bin:/bin' },
    binds: [],
    memoryBytes: 64 * 1024 * 1024,
    pidsMax: 16,
    timeoutMs: PROBE_TIMEOUT_MS,
    outputBytesMax: 4096,
    onOutput: (chunk) => {
      output += chunk.toString();
    },
  });
  if (result.code === 0) return;
  const problem = output.trim().split('\n').at(-1) ?? '';
  throw new RuntimeError(
    'sandbox_unusable',
    `bubblewrap is installed but cannot make a sandbox here (${problem === '' ? `status ${result.code}` : problem}): allow this user to make namespaces, run the daemon as root, or pass --insecure-process-runtime to run apps unprotected`,
  );
}

async function readHost(): Promise<HostView> {
  const links: HostView['links'][number][] = [];
  const folders: string[] = [];
  for (const name of (await readdir('/')).filter((entry) => /^(bin|sbin|lib|lib\d+|libx32)$/.test(entry)).sort()) {
    const path = `/${name}`;
    const target = await readlink(path).catch(() => undefined);
    if (target === undefined) folders.push(path);
    else links.push({ path, target });
  }
  return {
    links,
    folders,
    etc: etcVisible(await readdir('/etc')),
    nodeBin: dirname(await realpath(process.execPath)),
  };
}

/** Paths to look for programs in, also when the daemon was started with a poor environment. */
function defaultSearchPath(): string[] {
  return [...(process.env.PATH ?? '').split(':'), '/usr/bin', '/usr/local/bin', '/bin'].filter((path) =>
    path.startsWith('/'),
  );
}

async function findProgram(name: string, searchPath: readonly string[]): Promise<string | undefined> {
  for (const folder of searchPath) {
    const path = join(folder, name);
    const found = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (found) return path;
  }
  return undefined;
}
