// Decides what a sandbox can see: builds the arguments of bubblewrap and setpriv. Pure; it never looks at the machine.

import type { HostEntry } from '../../core/types.ts';
import type { Bind } from '../../ports/sandbox.ts';

/** Where the root of a droplet appears inside; the droplet's own folder is `app` within it. */
export const SANDBOX_HOME = '/home/vcap';
/** Where this daemon's own Node appears inside, so that apps run on machines without one. */
export const SANDBOX_NODE_BIN = '/opt/peer/node/bin';
/** The user's id as seen inside when a user namespace maps it. */
const MAPPED_UID = 1000;

/** How the sandbox's processes become an unprivileged user. */
export type SandboxUser =
  /**
   * The daemon is root: bubblewrap sets up the mounts as root, then setpriv drops to this host uid for good. The
   * mounts must be made before the drop, because a data directory below /root cannot be reached by anyone else.
   */
  | { kind: 'dropped'; uid: number }
  /** The daemon is not root: a user namespace, where the daemon's own uid shows as MAPPED_UID. */
  | { kind: 'mapped' };

/** What the sandbox finds in /etc of itself and of others. */
export type Accounts = { user: SandboxUser; hostname: string; hosts?: readonly HostEntry[] };

/** The parts of the machine that every sandbox sees, found once at start-up. */
export type HostView = {
  /** Top-level folders that lead into /usr: `/bin` → `usr/bin`. */
  links: readonly { path: string; target: string }[];
  /** Top-level folders that are real, on machines whose /usr is not merged. */
  folders: readonly string[];
  /** Harmless entries of /etc that are there. */
  etc: readonly string[];
  /** Folder with this daemon's Node. */
  nodeBin: string;
};

export type SandboxView = {
  host: HostView;
  user: SandboxUser;
  hostname: string;
  /** Folder with the made-up `passwd`, `group` and `hosts`. */
  accounts: string;
  binds: readonly Bind[];
  links: readonly { path: string; target: string }[];
  /** Shown instead of the machine's resolv.conf. */
  resolverFile?: string | undefined;
  /** No network but its own loopback. */
  offline?: boolean | undefined;
  /** Bound of /tmp and of /dev/shm, each, which live in memory. */
  tmpBytesMax: number;
};

/** Entries of /etc that programs need and that hold no secrets. The machine's users, keys and services stay hidden. */
const ETC_VISIBLE = [
  /^(ssl|ca-certificates|pki|alternatives|fonts|perl|terminfo|ImageMagick-\d+|java-[\w.-]+|python[\w.]*|ld\.so\.conf\.d)$/,
  /^(resolv\.conf|nsswitch\.conf|host\.conf|gai\.conf|ld\.so\.cache|ld\.so\.conf|localtime|timezone|mime\.types)$/,
  /^(protocols|services|os-release|debian_version|magic|inputrc)$/,
];

export function etcVisible(names: readonly string[]): string[] {
  return names.filter((name) => ETC_VISIBLE.some((pattern) => pattern.test(name))).sort();
}

/** Arguments of bubblewrap up to and including `--`; the command follows. */
export function bwrapArguments(view: SandboxView): string[] {
  const { host } = view;
  const arguments_ = [
    // Its parent is the shim (or the daemon, for a staging run), never something that ends while it should live on.
    '--die-with-parent',
    '--new-session',
    ...(view.user.kind === 'mapped'
      ? ['--unshare-user', '--uid', String(MAPPED_UID), '--gid', String(MAPPED_UID)]
      : []),
    '--unshare-pid',
    '--unshare-ipc',
    '--unshare-uts',
    '--unshare-cgroup-try',
    ...(view.offline ? ['--unshare-net'] : []),
    '--hostname',
    sandboxHostname(view.hostname),
    '--cap-drop',
    'ALL',
    // What setpriv needs to give up the rest.
    ...(view.user.kind === 'dropped'
      ? ['CAP_SETUID', 'CAP_SETGID', 'CAP_SETPCAP'].flatMap((capability) => ['--cap-add', capability])
      : []),
    '--ro-bind',
    '/usr',
    '/usr',
  ];
  for (const { path, target } of host.links) arguments_.push('--symlink', target, path);
  for (const path of host.folders) arguments_.push('--ro-bind', path, path);
  arguments_.push('--perms', '0755', '--dir', '/etc');
  const { resolverFile } = view;
  for (const name of host.etc) {
    if (name === 'resolv.conf' && resolverFile !== undefined) continue;
    arguments_.push('--ro-bind-try', `/etc/${name}`, `/etc/${name}`);
  }
  if (resolverFile !== undefined) arguments_.push('--ro-bind', resolverFile, '/etc/resolv.conf');
  for (const name of ['passwd', 'group', 'hosts']) {
    arguments_.push('--ro-bind', `${view.accounts}/${name}`, `/etc/${name}`);
  }
  arguments_.push('--proc', '/proc', '--dev', '/dev');
  for (const path of ['/tmp', '/var/tmp', '/dev/shm']) {
    if (path === '/var/tmp') arguments_.push('--perms', '0755', '--dir', '/var');
    arguments_.push('--perms', '1777', '--size', String(view.tmpBytesMax), '--tmpfs', path);
  }
  const binds: Bind[] = [{ from: host.nodeBin, to: SANDBOX_NODE_BIN, writable: false }, ...view.binds];
  // Folders that bubblewrap makes by itself on the way are closed to everyone but root.
  for (const folder of parentFolders(binds.map((bind) => bind.to))) {
    arguments_.push('--perms', '0755', '--dir', folder);
  }
  for (const { from, to, writable } of binds) arguments_.push(writable ? '--bind' : '--ro-bind', from, to);
  for (const { path, target } of view.links) arguments_.push('--symlink', target, path);
  arguments_.push('--remount-ro', '/', '--chdir', '/', '--clearenv', '--setenv', 'PATH', '/usr/bin:/bin', '--');
  return arguments_;
}

/**
 * The command that gives up root inside the sandbox, to be put before the command to run. Empty when there is none to
 * give up.
 */
export function dropArguments(user: SandboxUser): string[] {
  if (user.kind === 'mapped') return [];
  return [
    '/usr/bin/setpriv',
    `--reuid=${user.uid}`,
    `--regid=${user.uid}`,
    '--clear-groups',
    '--inh-caps=-all',
    '--ambient-caps=-all',
    '--bounding-set=-all',
    '--no-new-privs',
    '--',
  ];
}

/** /etc/passwd, /etc/group and /etc/hosts as the sandbox sees them. */
export function accountFiles({ user, hostname, hosts = [] }: Accounts): Record<string, string> {
  const uid = user.kind === 'dropped' ? user.uid : MAPPED_UID;
  const known = hosts.map(({ name, address }) => `${address} ${name}\n`).join('');
  return {
    passwd: `root:x:0:0:root:/root:/usr/sbin/nologin\nvcap:x:${uid}:${uid}:app:${SANDBOX_HOME}:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n`,
    group: `root:x:0:\nvcap:x:${uid}:\nnogroup:x:65534:\n`,
    hosts: `127.0.0.1 localhost ${sandboxHostname(hostname)}\n::1 localhost ip6-localhost ip6-loopback\n${known}`,
  };
}

/** At most 63 of the letters that a host name may have. */
export function sandboxHostname(name: string): string {
  const hostname = name
    .toLowerCase()
    .replace(/[^a-z0-9-]+/g, '-')
    .slice(0, 63)
    .replace(/^-+|-+$/g, '');
  return hostname === '' ? 'app' : hostname;
}

/** Every folder above the paths, outermost first, each once, without those that exist anyway. */
function parentFolders(paths: readonly string[]): string[] {
  const folders = new Set<string>();
  for (const path of paths) {
    const parts = path.split('/').filter((part) => part !== '');
    for (let depth = 1; depth < parts.length; depth++) folders.add(`/${parts.slice(0, depth).join('/')}`);
  }
  const present = /^\/(usr|proc|dev|bin|sbin|lib\w*)(\/|$)|^\/(etc|tmp|var|var\/tmp)$/;
  return [...folders].filter((folder) => !present.test(folder)).sort();
}
