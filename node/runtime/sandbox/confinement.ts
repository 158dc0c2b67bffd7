// Decides how a command is confined on this machine: turns what a run needs into one command line. Starts nothing.

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { loopbackAddress } from '../../core/service-address.ts';
import type { HostEntry } from '../../core/types.ts';
import type { Log } from '../../lib/log.ts';
import type { Bind } from '../../ports/sandbox.ts';
import type { Networks, OwnNetwork } from '../network/networks.ts';
import { within } from '../network/nft.ts';
import {
  type Accounts,
  accountFiles,
  bwrapArguments,
  dropArguments,
  type HostView,
  type SandboxUser,
} from './bwrap.ts';
import type { ControlGroups } from './cgroup.ts';
import { FILTER_FD, loaderArguments, OPEN_FILTER, type Rlimits, SHELL } from './scripts.ts';
import type { UserPool } from './users.ts';

export type Isolation = {
  readonly dataDir: string;
  /** Undefined: none, as the operator insisted. */
  readonly bwrap: string | undefined;
  readonly host: HostView;
  /** Folder of the devices that sandboxes show; absent: the machine's. */
  readonly devices?: string | undefined;
  /**
   * File with the filter of system calls. Undefined: the machine has no table or the kernel no filters, and the log
   * says so.
   */
  readonly filter: string | undefined;
  /** Undefined: no control group is writable; limits are watched by sampling. */
  readonly groups: ControlGroups | undefined;
  /** Whether each instance gets a disk of its own; else its use is watched by sampling. */
  readonly ownDisks: boolean;
  /** Undefined: all share the machine's network. */
  readonly networks: Networks | undefined;
  readonly users: UserPool;
  /** Whether each sandbox gets a host user of its own. */
  readonly ownUsers: boolean;
  readonly log: Log;
};

/** Control groups of runs that end with the daemon start so; those of instances do not. */
export const RUN_GROUP_PREFIX = 'run-';

/** Folder for what a run needs while it lasts. Emptied at start-up. */
export function scratchFolder(isolation: Isolation): string {
  return join(isolation.dataDir, 'sandbox');
}

/** /tmp and /dev/shm live in memory, so each may take this share of the limit. */
const TMP_SHARE = 0.5;

export type Confinement = {
  user: SandboxUser;
  hostname: string;
  accounts: string;
  binds: readonly Bind[];
  links: readonly { path: string; target: string }[];
  memoryBytes: number;
  limits: Rlimits;
  /** `none`: only its own loopback. Undefined: the machine's network. */
  network: OwnNetwork | 'none' | undefined;
  /** Arguments of bubblewrap besides those that decide what is visible. */
  extra?: readonly string[];
};

/** The command that runs a load (scripts.ts) confined. The load comes on descriptor LOAD_FD. */
export function confinedCommand(isolation: Isolation, confinement: Confinement): string[] {
  const loader = loaderArguments(confinement.limits);
  if (isolation.bwrap === undefined) return loader;
  const own = confinement.network === 'none' ? undefined : confinement.network;
  const view = bwrapArguments({
    host: isolation.host,
    user: confinement.user,
    hostname: confinement.hostname,
    accounts: confinement.accounts,
    binds: confinement.binds,
    links: confinement.links,
    resolverFile: own === undefined ? undefined : isolation.networks?.resolverFile,
    offline: confinement.network === 'none',
    tmpBytesMax: Math.floor(confinement.memoryBytes * TMP_SHARE),
  });
  return [
    ...(isolation.filter === undefined ? [] : [SHELL, '-c', OPEN_FILTER, isolation.filter]),
    ...within(own?.namespace),
    isolation.bwrap,
    ...(isolation.filter === undefined ? [] : ['--seccomp', String(FILTER_FD)]),
    ...(confinement.extra ?? []),
    ...view,
    ...dropArguments(confinement.user),
    ...loader,
  ];
}

/** The user a sandbox with this host uid runs as, here. */
export function sandboxUser(isolation: Isolation, uid: number): SandboxUser {
  return isolation.ownUsers ? { kind: 'dropped', uid } : { kind: 'mapped' };
}

/** Where sandboxes share the machine's network a service is reached at an address of its loopback. */
export function knownHosts({ networks }: Isolation, hosts: readonly HostEntry[] = []): readonly HostEntry[] {
  if (networks !== undefined) return hosts;
  return hosts.map(({ name, address }) => ({ name, address: loopbackAddress(address) }));
}

export async function writeAccounts(folder: string, accounts: Accounts): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o755 });
  const files = Object.entries(accountFiles(accounts));
  await Promise.all(files.map(([name, text]) => writeFile(join(folder, name), text, { mode: 0o644 })));
}

export async function removeGroups(groups: ControlGroups, chosen: (name: string) => boolean): Promise<void> {
  await Promise.all((await groups.list()).filter(chosen).map((name) => groups.open(name).remove()));
}
