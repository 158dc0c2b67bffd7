// Decides which system calls a sandbox may make: writes the filter, a program of classic BPF, that bubblewrap loads.
// Pure. docker/seccomp-profile.ts says the same to a container engine.
//
// What Docker's default profile denies to a container without privileges, and some that it leaves to the kernel's own
// checks (ptrace, reading other processes' memory): apps need none of them, and bugs of the kernel hide behind each.
// @see https://docs.docker.com/engine/security/seccomp/

export type Architecture = 'x64' | 'arm64';

/**
 * A number per architecture, undefined where the call does not exist. From the kernel's tables. @see asm/unistd_64.h,
 * asm-generic/unistd.h
 */
type Call = [name: string, x64: number | undefined, arm64: number | undefined];

/** Refused with EPERM, as if privileges were missing. */
const DENIED: readonly Call[] = [
  // Mounts and roots.
  ['mount', 165, 40],
  ['umount2', 166, 39],
  ['pivot_root', 155, 41],
  ['chroot', 161, 51],
  ['swapon', 167, 224],
  ['swapoff', 168, 225],
  ['open_tree', 428, 428],
  ['move_mount', 429, 429],
  ['fsopen', 430, 430],
  ['fsconfig', 431, 431],
  ['fsmount', 432, 432],
  ['fspick', 433, 433],
  ['mount_setattr', 442, 442],
  ['open_by_handle_at', 304, 265],
  ['quotactl', 179, 60],
  ['quotactl_fd', 443, 443],
  // Namespaces that somebody else made.
  ['setns', 308, 268],
  // Other processes.
  ['ptrace', 101, 117],
  ['process_vm_readv', 310, 270],
  ['process_vm_writev', 311, 271],
  ['pidfd_getfd', 438, 438],
  ['kcmp', 312, 272],
  ['move_pages', 279, 239],
  ['migrate_pages', 256, 238],
  // The kernel and its keys.
  ['init_module', 175, 105],
  ['finit_module', 313, 273],
  ['delete_module', 176, 106],
  ['kexec_load', 246, 104],
  ['kexec_file_load', 320, 294],
  ['bpf', 321, 280],
  ['perf_event_open', 298, 241],
  ['userfaultfd', 323, 282],
  ['lookup_dcookie', 212, 18],
  ['add_key', 248, 217],
  ['request_key', 249, 218],
  ['keyctl', 250, 219],
  ['syslog', 103, 116],
  ['acct', 163, 89],
  // The machine.
  ['reboot', 169, 142],
  ['settimeofday', 164, 170],
  ['clock_settime', 227, 112],
  ['clock_adjtime', 305, 266],
  ['sethostname', 170, 161],
  ['setdomainname', 171, 162],
  ['iopl', 172, undefined],
  ['ioperm', 173, undefined],
  ['vhangup', 153, 58],
  ['nfsservctl', 180, 42],
  ['uselib', 134, undefined],
  ['ustat', 136, undefined],
  ['sysfs', 139, undefined],
];

/** Answered with ENOSYS, as by a kernel that does not have them yet: programs then do without, and say nothing. */
export const UNKNOWN: readonly Call[] = [
  ['io_uring_setup', 425, 425],
  ['io_uring_enter', 426, 426],
  ['io_uring_register', 427, 427],
  // Its flags are in memory, which a filter cannot read; the C library then uses clone.
  ['clone3', 435, 435],
];

/** Calls after this one did not exist when the tables above were made, so nobody judged them. */
export const LAST_CALL = 462;

const UNSHARE: Call = ['unshare', 272, 97];
const CLONE: Call = ['clone', 56, 220];
const SOCKET: Call = ['socket', 41, 198];
const IOCTL: Call = ['ioctl', 16, 29];
const PERSONALITY: Call = ['personality', 135, 92];

/** NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET. @see linux/sched.h */
export const NEW_NAMESPACES = 0x7e020000;
/** UNIX, INET, INET6 and NETLINK; not, among others, ALG, VSOCK and PACKET. @see linux/socket.h */
export const FAMILIES = [1, 2, 10, 16];
export const NETLINK = 16;
/** Addresses and routes, which getifaddrs asks for. */
export const NETLINK_ROUTE = 0;
/** TIOCSTI and TIOCLINUX: typing into a terminal that somebody else reads. */
export const TERMINAL_FORGERY = [0x5412, 0x541c];
/** Linux as it is, for 32-bit programs, and the question which it is. @see Docker's profile */
export const PERSONALITIES = [0x0, 0x8, 0x20000, 0x20008, 0xffffffff];

const AUDIT_ARCH: Record<Architecture, number> = { x64: 0xc000003e, arm64: 0xc00000b7 };
/** Numbers from here on are of the x32 ABI. */
const X32 = 0x40000000;
export const EPERM = 1;
export const ENOSYS = 38;
export const EAFNOSUPPORT = 97;

/** Offsets in struct seccomp_data; of arguments, the lower halves, which come first on both architectures. */
const NUMBER_AT = 0;
const ARCH_AT = 4;
const argumentAt = (index: number): number => 16 + 8 * index;

/** @see linux/bpf_common.h */
const LOAD = 0x20;
const JUMP_EQUAL = 0x15;
const JUMP_AT_LEAST = 0x35;
const JUMP_ANY_BIT = 0x45;
const RETURN = 0x06;
const ALLOW = 0x7fff0000;
const ERRNO = 0x00050000;

/** One instruction; `whenTrue` and `whenFalse` are how many to skip. */
export type Instruction = { code: number; whenTrue: number; whenFalse: number; k: number };

const load = (offset: number): Instruction => ({ code: LOAD, whenTrue: 0, whenFalse: 0, k: offset });
const refuse = (errno: number): Instruction => ({ code: RETURN, whenTrue: 0, whenFalse: 0, k: ERRNO | errno });
const allow: Instruction = { code: RETURN, whenTrue: 0, whenFalse: 0, k: ALLOW };

/** Does `then` when the comparison with the loaded value holds, else goes on behind it. */
function when(code: number, k: number, then: readonly Instruction[]): Instruction[] {
  return [{ code, whenTrue: 0, whenFalse: then.length, k: k >>> 0 }, ...then];
}

/** The rules of one call, by its arguments; what none of them decides is allowed. */
function judge([, x64, arm64]: Call, architecture: Architecture, rules: readonly Instruction[]): Instruction[] {
  const number = architecture === 'x64' ? x64 : arm64;
  return number === undefined ? [] : when(JUMP_EQUAL, number, [...rules, allow]);
}

export function filterProgram(architecture: Architecture): Instruction[] {
  const refused = (calls: readonly Call[], errno: number): Instruction[] =>
    calls.flatMap(([, x64, arm64]) => {
      const number = architecture === 'x64' ? x64 : arm64;
      return number === undefined ? [] : when(JUMP_EQUAL, number, [refuse(errno)]);
    });
  return [
    load(ARCH_AT),
    // Of another architecture, where the same numbers mean other calls.
    { code: JUMP_EQUAL, whenTrue: 1, whenFalse: 0, k: AUDIT_ARCH[architecture] },
    refuse(ENOSYS),
    load(NUMBER_AT),
    ...(architecture === 'x64' ? when(JUMP_AT_LEAST, X32, [refuse(ENOSYS)]) : []),
    ...when(JUMP_AT_LEAST, LAST_CALL + 1, [refuse(ENOSYS)]),
    ...refused(DENIED, EPERM),
    ...refused(UNKNOWN, ENOSYS),
    ...judge(UNSHARE, architecture, [load(argumentAt(0)), ...when(JUMP_ANY_BIT, NEW_NAMESPACES, [refuse(EPERM)])]),
    ...judge(CLONE, architecture, [load(argumentAt(0)), ...when(JUMP_ANY_BIT, NEW_NAMESPACES, [refuse(EPERM)])]),
    ...judge(SOCKET, architecture, [
      load(argumentAt(0)),
      ...when(JUMP_EQUAL, NETLINK, [
        load(argumentAt(2)),
        ...when(JUMP_EQUAL, NETLINK_ROUTE, [allow]),
        refuse(EAFNOSUPPORT),
      ]),
      ...FAMILIES.flatMap((family) => when(JUMP_EQUAL, family, [allow])),
      refuse(EAFNOSUPPORT),
    ]),
    ...judge(IOCTL, architecture, [
      load(argumentAt(1)),
      ...TERMINAL_FORGERY.flatMap((request) => when(JUMP_EQUAL, request, [refuse(EPERM)])),
    ]),
    ...judge(PERSONALITY, architecture, [
      load(argumentAt(0)),
      ...PERSONALITIES.flatMap((one) => when(JUMP_EQUAL, one, [allow])),
      refuse(EPERM),
    ]),
    allow,
  ];
}

/** An array of struct sock_filter, as bubblewrap reads it. Undefined for an architecture without a table. */
export function seccompFilter(architecture: string): Buffer | undefined {
  if (architecture !== 'x64' && architecture !== 'arm64') return undefined;
  return encodeProgram(filterProgram(architecture));
}

export function encodeProgram(program: readonly Instruction[]): Buffer {
  const bytes = Buffer.alloc(program.length * 8);
  for (const [index, { code, whenTrue, whenFalse, k }] of program.entries()) {
    bytes.writeUInt16LE(code, index * 8);
    bytes.writeUInt8(whenTrue, index * 8 + 2);
    bytes.writeUInt8(whenFalse, index * 8 + 3);
    bytes.writeUInt32LE(k >>> 0, index * 8 + 4);
  }
  return bytes;
}

/** Every call that the filter looks at, for the tests to hold against the kernel's own tables. */
export const JUDGED_CALLS: readonly Call[] = [...DENIED, ...UNKNOWN, UNSHARE, CLONE, SOCKET, IOCTL, PERSONALITY];
