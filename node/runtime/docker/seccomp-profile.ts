// Says to a container engine which system calls a container may make: the same as the sandbox's filter (seccomp.ts)
// decides, as an engine's profile. An engine's own profile lets through what apps do not need: sockets to the
// hypervisor, io_uring. Pure.
// @see https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#seccomp

import {
  EAFNOSUPPORT,
  ENOSYS,
  EPERM,
  FAMILIES,
  NETLINK,
  NETLINK_ROUTE,
  NEW_NAMESPACES,
  PERSONALITIES,
  TERMINAL_FORGERY,
  UNKNOWN,
} from '../sandbox/seccomp.ts';
import { UNJUDGED_CALLS } from './calls.ts';

/** With this operator `value` is the mask, and `valueTwo` what must be left. */
type Argument = { index: number; op: 'SCMP_CMP_MASKED_EQ'; value: number; valueTwo: number };
type Rule = { names: string[]; action: 'SCMP_ACT_ALLOW' | 'SCMP_ACT_ERRNO'; errnoRet?: number; args?: Argument[] };
export type Profile = {
  defaultAction: 'SCMP_ACT_ERRNO';
  defaultErrnoRet: number;
  architectures: string[];
  syscalls: Rule[];
};

const ARCHITECTURES: Readonly<Record<string, string>> = { x64: 'SCMP_ARCH_X86_64', arm64: 'SCMP_ARCH_AARCH64' };
const ALL_BITS = 0xffffffff;

/** Undefined for an architecture without a table: the engine's own profile is in force. */
export function seccompProfile(architecture: string): Profile | undefined {
  const name = ARCHITECTURES[architecture];
  if (name === undefined) return undefined;
  return {
    // What is not named is refused, as without privileges; the engine answers ENOSYS to what is newer than all that is
    // named.
    defaultAction: 'SCMP_ACT_ERRNO',
    defaultErrnoRet: EPERM,
    architectures: [name],
    syscalls: [
      allow([...UNJUDGED_CALLS]),
      refuse(
        UNKNOWN.map(([call]) => call),
        ENOSYS,
      ),
      allow(['unshare', 'clone'], [masked(0, NEW_NAMESPACES, 0)]),
      ...PERSONALITIES.map((one) => allow(['personality'], [is(0, one)])),
      ...without(1, TERMINAL_FORGERY).map((other) => allow(['ioctl'], [other])),
      ...FAMILIES.filter((family) => family !== NETLINK).map((family) => allow(['socket'], [is(0, family)])),
      allow(['socket'], [is(0, NETLINK), is(2, NETLINK_ROUTE)]),
      ...without(2, [NETLINK_ROUTE]).map((other) => refuse(['socket'], EAFNOSUPPORT, [is(0, NETLINK), other])),
      ...without(0, FAMILIES).map((other) => refuse(['socket'], EAFNOSUPPORT, [other])),
    ],
  };
}

const allow = (names: string[], args?: Argument[]): Rule => ({
  names,
  action: 'SCMP_ACT_ALLOW',
  ...(args === undefined ? {} : { args }),
});

const refuse = (names: string[], errno: number, args?: Argument[]): Rule => ({
  names,
  action: 'SCMP_ACT_ERRNO',
  errnoRet: errno,
  ...(args === undefined ? {} : { args }),
});

const masked = (index: number, mask: number, rest: number): Argument => ({
  index,
  op: 'SCMP_CMP_MASKED_EQ',
  value: mask,
  valueTwo: rest,
});

/**
 * By the lower half, which is all that the kernel reads of such an argument: the upper one must not tell two apart.
 */
const is = (index: number, value: number): Argument => masked(index, ALL_BITS, value);

/**
 * Arguments one of which holds when the value is none of these: a rule may ask one thing only of an argument, and only
 * for equality.
 */
function without(index: number, values: readonly number[]): Argument[] {
  const cover = (bits: number, prefix: number): Argument[] => {
    const mask = bits === 0 ? 0 : (ALL_BITS << (32 - bits)) >>> 0;
    if (!values.some((value) => (value & mask) >>> 0 === prefix)) return [masked(index, mask, prefix)];
    if (bits === 32) return [];
    return [...cover(bits + 1, prefix), ...cover(bits + 1, (prefix | (1 << (31 - bits))) >>> 0)];
  };
  return cover(0, 0);
}
