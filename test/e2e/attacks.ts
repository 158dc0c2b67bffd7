// What hostile code tries on a node: shell scripts that would end with status 0 if they got what they want, and what
// is said when they do not. The same for every runtime, and for code that runs and code that is staged. Runs nothing.

import { JUDGED_CALLS } from '../../node/runtime/sandbox/seccomp.ts';

/** What an attacker could know at best. Addresses are `HOST/PORT`, as bash opens them. */
export type Place = {
  dataDir: string;
  /** Entries of the data directory. */
  files: string[];
  /** Of the command line, with a token. */
  configFile: string;
  daemonPid: number;
  neighbour: { pid: number; instance: string; address: string };
  /** What the daemon listens on, at every address that this machine has. */
  api: string[];
  link: string[];
  gossip: string[];
  /** The router, at the addresses that are not the attacker's own. */
  router: string[];
  /** A server of this machine that has nothing to do with the node, at every address. */
  service: string[];
  /** Name of an abstract unix socket on which somebody of this machine listens. */
  abstractSocket: string;
  /** A server on a host of the same local network. */
  nextDoor: string;
  /** The same server at an address of the internet. */
  internet: string;
};

export type Attack = [what: string, script: (at: Place) => string, refusal: RegExp];

const DENIED =
  /No such file or directory|Permission denied|Operation not permitted|No such process|Read-only file system/;
const FORBIDDEN = /Permission denied|Operation not permitted|must be superuser|Authentication failure|Critical error/i;
const NO_WAY = /Connection refused|Connection timed out|No route to host|Permission denied/;

const python = (program: string): string => `/usr/bin/python3 -c '${program}'`;

/** A script that makes one call of the C library. */
const call = (expression: string): string =>
  python(
    `import ctypes, os, sys; c = ctypes.CDLL(None, use_errno=True); sys.exit(0 if ${expression} == 0 else os.strerror(ctypes.get_errno()))`,
  );

/** The same for a call that answers something else than 0 when it works. */
const callFor = (expression: string): string => call(`max(0, -${expression})`);

const socketOf = (family: number, type: number, protocol: number): string =>
  callFor(`c.socket(${family}, ${type}, ${protocol})`);

/** A script that makes one system call, by its name. */
const systemCall = (name: string, args: string): string => {
  const [, x64, arm64] = JUDGED_CALLS.find((one) => one[0] === name)!;
  return callFor(`c.syscall(${process.arch === 'x64' ? x64 : arm64}, ${args})`);
};

/** A script that gets through when one of the addresses answers. Each is on this machine, and has the time for it. */
export const reach = (addresses: readonly string[]): string =>
  `for at in ${addresses.join(' ')}; do
    timeout 2 bash -c "echo >/dev/tcp/$at" && exit 0
    [ $? != 124 ] || echo Connection timed out
  done; exit 1`;

/** A script that opens files for writing, and writes nothing: where one is opened, no harm is to come of it. */
const openToWrite = (...paths: string[]): string =>
  `for f in ${paths.join(' ')}; do (exec 3>>$f) && exit 0; done; exit 1`;

const SOCKETS =
  '/run/docker.sock /var/run/docker.sock /run/podman/podman.sock /run/containerd/containerd.sock /run/dbus/system_bus_socket';

const FILES: Attack[] = [
  ['list the data directory', ({ dataDir }) => `ls ${dataDir}`, DENIED],
  [
    "read any of the node's files",
    ({ dataDir, files }) => `for f in ${files.join(' ')}; do cat ${dataDir}/$f && exit 0; done; exit 1`,
    DENIED,
  ],
  ['read the token', ({ dataDir, configFile }) => `cat ${dataDir}/node.json || cat ${configFile}`, DENIED],
  [
    "reach the node's files through other processes",
    ({ dataDir, daemonPid }) => `ls /proc/*/root${dataDir} /proc/*/cwd${dataDir} /proc/${daemonPid}/root${dataDir}`,
    DENIED,
  ],
  ["see where other apps' files are", ({ dataDir }) => `ls ${dataDir}/instances ${dataDir}/staging-cache`, DENIED],
  [
    "see the data of others, and services' sockets in it",
    ({ dataDir }) => `ls ${dataDir}/volumes || ls ${dataDir}/volumes/*/*/data/*.sock`,
    DENIED,
  ],
  [
    "read another app's files",
    ({ dataDir, neighbour }) =>
      `cat ${dataDir}/instances/${neighbour.instance}/home/app/server.js || ls /proc/${neighbour.pid}/cwd/`,
    DENIED,
  ],
  ["read another app's log", ({ dataDir }) => `ls ${dataDir}/logs`, DENIED],
  ["read root's home", () => 'ls /root', DENIED],
  ['read the password hashes', () => 'cat /etc/shadow', DENIED],
  ["read the machine's memory", () => 'cat /dev/mem /dev/kmem /proc/kcore', DENIED],
  ['write to system folders', () => 'touch /usr/x || touch /etc/x || touch /bin/x || touch /opt/x || touch /x', DENIED],
  ['change an account', () => 'echo evil::0:0::/:/bin/sh >>/etc/passwd', DENIED],
  ["change the node's own Node", () => 'touch /opt/peer/node/bin/x || rm -f /opt/peer/node/bin/node', DENIED],
  ['read the disks', () => 'head -c1 /dev/vda /dev/sda /dev/loop0 /dev/nvme0n1', DENIED],
  ['attach a disk of its own', () => 'head -c1 /dev/loop-control /dev/fuse /dev/net/tun', DENIED],
  ['reach the socket of a container engine, or of the system', () => `ls ${SOCKETS}`, DENIED],
];

const PROCESSES: Attack[] = [
  ["read the daemon's memory", ({ daemonPid }) => `head -c1 /proc/${daemonPid}/mem`, DENIED],
  ["read another app's environment", ({ neighbour }) => `cat /proc/${neighbour.pid}/environ`, DENIED],
  [
    'look into processes of other users',
    () =>
      'for p in /proc/[0-9]*; do [ -O $p ] || { cat $p/environ && exit 0; }; done; echo No such process otherwise; exit 1',
    DENIED,
  ],
  ['signal the daemon', ({ daemonPid }) => `kill -9 ${daemonPid}`, DENIED],
  ['signal another app', ({ neighbour }) => `kill -9 ${neighbour.pid}`, DENIED],
  ['trace another process', () => call('c.ptrace(16, 1, 0, 0)'), DENIED],
  ['read the memory of another process', () => systemCall('process_vm_readv', '1, 0, 0, 0, 0, 0'), FORBIDDEN],
  ['take the files of another process', () => systemCall('pidfd_getfd', '0, 0, 0'), FORBIDDEN],
  ['type into a terminal', () => callFor('c.ioctl(0, 0x5412, b"x")'), FORBIDDEN],
];

const KERNEL: Attack[] = [
  ['change where core dumps go', () => openToWrite('/proc/sys/kernel/core_pattern'), DENIED],
  ['change what starts modules', () => openToWrite('/proc/sys/kernel/modprobe', '/proc/sys/vm/panic_on_oom'), DENIED],
  ['pull the emergency brake', () => openToWrite('/proc/sysrq-trigger'), DENIED],
  ["write into the kernel's log, or read it", () => 'head -c1 /dev/kmsg || head -c1 /proc/kmsg', DENIED],
  ['ask the kernel for its log', () => systemCall('syslog', '3, 0, 0'), FORBIDDEN],
  [
    'be called when a control group is empty',
    () => openToWrite('/sys/fs/cgroup/release_agent', '/sys/fs/cgroup/*/release_agent', '/sys/kernel/uevent_helper'),
    DENIED,
  ],
  ['make a control group', () => 'mkdir /sys/fs/cgroup/x || mkdir /sys/fs/cgroup/memory/x', DENIED],
  [
    'leave its control group',
    () => 'echo $$ >/sys/fs/cgroup/cgroup.procs || echo $$ >/sys/fs/cgroup/memory/cgroup.procs',
    DENIED,
  ],
  ['raise its limits', () => 'ulimit -Hn 100000000', FORBIDDEN],
  ['raise its priority', () => call('c.nice(-5)'), FORBIDDEN],
  ['set the clock', () => 'date -s "2001-01-01"', FORBIDDEN],
  ['rename the machine', () => call('c.sethostname(b"evil", 4)'), FORBIDDEN],
  ['load a module', () => systemCall('finit_module', '0, b"", 0'), FORBIDDEN],
  ["use the kernel's keys", () => systemCall('keyctl', '0, -3, 0'), FORBIDDEN],
  ['load a program into the kernel', () => systemCall('bpf', '0, 0, 0'), FORBIDDEN],
  ['watch the processor', () => systemCall('perf_event_open', '0, 0, -1, -1, 0'), FORBIDDEN],
  ['catch page faults', () => systemCall('userfaultfd', '0'), FORBIDDEN],
  ['queue calls past the filter', () => systemCall('io_uring_setup', '1, 0'), /Function not implemented/],
  ["use the kernel's cryptography", () => socketOf(38, 5, 0), /Address family not supported/],
  ['speak to the hypervisor', () => socketOf(40, 1, 0), /Address family not supported/],
];

const PRIVILEGES: Attack[] = [
  ['become root', () => call('c.setuid(0)'), FORBIDDEN],
  ['become root through a set-user-id program', () => 'echo | su -c true', FORBIDDEN],
  ['make a device', () => 'mknod /tmp/disk b 8 0', FORBIDDEN],
  ['change its root folder', () => call('c.chroot(b"/tmp")'), FORBIDDEN],
  ['mount a file system', () => 'mount -t tmpfs none /tmp', FORBIDDEN],
  ['mount the control groups', () => 'mount -t cgroup -o memory none /tmp', FORBIDDEN],
  ['move a mount', () => systemCall('open_tree', '-100, b"/", 1'), FORBIDDEN],
  ['open a file by its number on the disk', () => systemCall('open_by_handle_at', '-100, 0, 0'), FORBIDDEN],
  ['make a namespace of users', () => systemCall('unshare', '0x10000000'), FORBIDDEN],
  ['make one past the filter', () => systemCall('clone3', '0, 0'), /Function not implemented/],
  ['join the namespace of another', () => systemCall('setns', '0, 0'), FORBIDDEN],
  [
    'make what is read-only writable in namespaces of its own',
    () => 'unshare --user --map-root-user --mount bash -c "mount -o remount,rw,bind /usr && touch /usr/x"',
    /Permission denied|Operation not permitted|denied/i,
  ],
];

const NETWORK: Attack[] = [
  ['make packets by itself', () => socketOf(2, 3, 255), FORBIDDEN],
  ['listen to the wire', () => socketOf(17, 3, 0x0300), /Address family not supported/],
  ['change the firewall', () => socketOf(16, 3, 12), /Address family not supported/],
  [
    'take another address',
    () =>
      python(
        'import fcntl, socket; fcntl.ioctl(socket.socket(), 0x8916, b"eth0".ljust(16, b"\\0") + b"\\2\\0\\0\\0\\12\\11\\11\\11".ljust(24, b"\\0"))',
      ),
    FORBIDDEN,
  ],
  ['reach the API', ({ api }) => reach(api), NO_WAY],
  ['reach the link', ({ link }) => reach(link), NO_WAY],
  ["reach the other nodes' listener", ({ gossip }) => reach(gossip), NO_WAY],
  ['reach a service of the machine', ({ service }) => reach(service), NO_WAY],
  ['reach another app past the router', ({ neighbour }) => reach([neighbour.address]), NO_WAY],
  ['reach a host next door', ({ nextDoor }) => reach([nextDoor]), NO_WAY],
  [
    "reach a socket of the machine's that is no file",
    ({ abstractSocket }) => python(`import socket; socket.socket(socket.AF_UNIX).connect("\\0${abstractSocket}")`),
    NO_WAY,
  ],
];

export const ATTACKS: readonly Attack[] = [...FILES, ...PROCESSES, ...KERNEL, ...PRIVILEGES, ...NETWORK];

/** What root in a container of its own does to that alone, or what an engine's own filter lets through. */
const BY_ROOT: ReadonlySet<string> = new Set([
  "read root's home",
  'read the password hashes',
  'write to system folders',
  'change an account',
  "change the node's own Node",
  'trace another process',
  'type into a terminal',
  'be called when a control group is empty',
  'make a control group',
  'leave its control group',
  'queue calls past the filter',
  "use the kernel's cryptography",
  'speak to the hypervisor',
  'become root',
  'become root through a set-user-id program',
  'make a device',
  'change its root folder',
  'make packets by itself',
  'listen to the wire',
  'change the firewall',
]);

/** For a Dockerfile, which is built as root. */
export const ATTACKS_AS_ROOT = ATTACKS.filter(([what]) => !BY_ROOT.has(what));
