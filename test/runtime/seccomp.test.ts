// The filter of system calls: run on literals by an interpreter of its own here, by the kernel in process.test.ts and
// hostile.test.ts. What an engine is told is held against it.

import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { UNJUDGED_CALLS } from '../../node/runtime/docker/calls.ts';
import { seccompProfile } from '../../node/runtime/docker/seccomp-profile.ts';
import {
  type Architecture,
  encodeProgram,
  filterProgram,
  JUDGED_CALLS,
  LAST_CALL,
  seccompFilter,
} from '../../node/runtime/sandbox/seccomp.ts';
import { ALLOWED, ARCH, outcome, profileOutcome } from './call-filters.ts';

describe.each<Architecture>(['x64', 'arm64'])('the filter for %s', (architecture) => {
  const program = filterProgram(architecture);
  const of = (name: string, ...args: number[]): string => {
    const [, x64, arm64] = JUDGED_CALLS.find((call) => call[0] === name)!;
    const number = (architecture === 'x64' ? x64 : arm64)!;
    return outcome(program, { arch: ARCH[architecture], number, arguments: args });
  };

  it.each([
    'mount',
    'umount2',
    'pivot_root',
    'chroot',
    'setns',
    'ptrace',
    'process_vm_readv',
    'open_by_handle_at',
    'init_module',
    'finit_module',
    'kexec_load',
    'bpf',
    'perf_event_open',
    'userfaultfd',
    'add_key',
    'keyctl',
    'reboot',
    'fsopen',
  ])('refuses %s', (name) => {
    expect(of(name)).toBe('errno 1');
  });

  it.each(['io_uring_setup', 'clone3'])('knows no %s', (name) => {
    expect(of(name)).toBe('errno 38');
  });

  it.each([
    ['a thread', 'clone', [0x3d0f00], ALLOWED],
    ['a process', 'clone', [0x1200011], ALLOWED],
    ['a user namespace', 'clone', [0x10000011], 'errno 1'],
    ['a mount namespace', 'clone', [0x20011], 'errno 1'],
    ['a copy of its table of files', 'unshare', [0x400], ALLOWED],
    ['a network namespace', 'unshare', [0x40000000], 'errno 1'],
    ['TCP', 'socket', [2, 1, 0], ALLOWED],
    ['IPv6', 'socket', [10, 1, 0], ALLOWED],
    ['a unix socket', 'socket', [1, 1, 0], ALLOWED],
    ['the list of interfaces', 'socket', [16, 3, 0], ALLOWED],
    ["the kernel's firewall", 'socket', [16, 3, 12], 'errno 97'],
    ["the kernel's cryptography", 'socket', [38, 5, 0], 'errno 97'],
    ['the hypervisor', 'socket', [40, 1, 0], 'errno 97'],
    ['raw packets', 'socket', [17, 3, 0], 'errno 97'],
    ['the size of a terminal', 'ioctl', [0, 0x5413], ALLOWED],
    ['typing into a terminal', 'ioctl', [0, 0x5412], 'errno 1'],
    ['Linux as it is', 'personality', [0xffffffff], ALLOWED],
    ['memory at fixed places', 'personality', [0x0040000], 'errno 1'],
  ])('judges %s by the arguments of %s', (_what, name, args, verdict) => {
    expect(of(name, ...args)).toBe(verdict);
  });

  it('allows what is in no table, and knows nothing newer than the tables', () => {
    expect(outcome(program, { arch: ARCH[architecture], number: 0 })).toBe(ALLOWED);
    expect(outcome(program, { arch: ARCH[architecture], number: 462 })).toBe(ALLOWED);
    expect(outcome(program, { arch: ARCH[architecture], number: 463 })).toBe('errno 38');
  });

  it('knows no call of another architecture', () => {
    const other = architecture === 'x64' ? ARCH.arm64 : ARCH.x64;
    expect(outcome(program, { arch: other, number: 0 })).toBe('errno 38');
    expect(outcome(program, { arch: 0x40000003, number: 20 })).toBe('errno 38');
    if (architecture === 'x64') expect(outcome(program, { arch: ARCH.x64, number: 0x40000001 })).toBe('errno 38');
  });

  it('fits into what the kernel takes, and no jump leads out of it', () => {
    expect(program.length).toBeLessThan(4096);
    for (const [at, { whenTrue, whenFalse }] of program.entries()) {
      expect(Math.max(whenTrue, whenFalse)).toBeLessThan(256);
      expect(at + Math.max(whenTrue, whenFalse)).toBeLessThan(program.length);
    }
  });
});

// Only a machine of that kind has the first; every machine has the second.
const TABLES = [
  ['x64', '/usr/include/x86_64-linux-gnu/asm/unistd_64.h', 1],
  ['arm64', '/usr/include/asm-generic/unistd.h', 2],
] as const;
const tables = TABLES.slice(process.arch === 'x64' ? 0 : 1);

/** The kernel's own, as far as this machine has the table. */
function numbers(architecture: Architecture): Map<string, number> {
  const header = tables.find(([name]) => name === architecture)?.[1];
  const text = header === undefined ? '' : readFileSync(header, 'utf8');
  const found = text.matchAll(/#\s*define __NR(?:3264)?_(\w+)\s+(\d+)/g);
  return new Map([...found].map((match) => [match[1]!, Number(match[2])]));
}

describe('the numbers of calls', () => {
  it.each(tables)("are the kernel's own on %s", (architecture, _header, column) => {
    const known = numbers(architecture);
    for (const call of JUDGED_CALLS) expect(`${call[0]} ${call[column]}`).toBe(`${call[0]} ${known.get(call[0])}`);
  });
});

/** In the common table for machines of 32 bits, and words that are no calls. */
const OF_32_BITS = /time64$|(adj|get|set)time64$|^(syscalls|arch_specific_syscall|fstatat|sync_file_range2)$/;

describe('the profile for an engine', () => {
  const named = [...UNJUDGED_CALLS, ...JUDGED_CALLS.map(([name]) => name)];

  it('names every call once', () => {
    expect(new Set(named).size).toBe(named.length);
  });

  it.each(tables)("names all of the kernel's calls on %s", (architecture) => {
    const known = [...numbers(architecture)].filter(([name, number]) => number <= LAST_CALL && !OF_32_BITS.test(name));
    expect(known.map(([name]) => name).filter((name) => !named.includes(name))).toEqual([]);
  });

  it.each<Architecture>(['x64', 'arm64'])('judges on %s as the filter does', (architecture) => {
    const profile = seccompProfile(architecture)!;
    const program = filterProgram(architecture);
    const number = (name: string): number | undefined => {
      const judged = JUDGED_CALLS.find((call) => call[0] === name);
      return judged === undefined ? numbers(architecture).get(name) : judged[architecture === 'x64' ? 1 : 2];
    };
    // Those that some argument is compared with, their neighbours, and any.
    const telling = [
      0, 1, 2, 3, 8, 9, 10, 15, 16, 17, 38, 40, 64, 0x5412, 0x5413, 0x541c, 0x20000, 0x20008, 0x10000011,
    ];
    const argument = fc.oneof(
      fc.constantFrom(...telling, 0xffffffff, 0x7e020000),
      fc.nat({ max: 0xffffffff }),
      fc.nat({ max: 31 }).map((bit) => 2 ** bit),
    );
    const call = fc.constantFrom(...named);
    const argued = fc.constantFrom('clone', 'unshare', 'socket', 'ioctl', 'personality');
    fc.assert(
      fc.property(fc.oneof(call, argued), fc.tuple(argument, argument, argument), (name, args) => {
        const found = number(name);
        if (found === undefined || found > LAST_CALL) return;
        const byFilter = outcome(program, { arch: ARCH[architecture], number: found, arguments: args });
        expect(`${name} ${args}: ${profileOutcome(profile, name, args)}`).toBe(`${name} ${args}: ${byFilter}`);
      }),
      { numRuns: 5_000 },
    );
  });

  it('is none for an architecture without a table', () => {
    expect(seccompProfile('riscv64')).toBeUndefined();
  });
});

describe('the encoding', () => {
  it('is an array of struct sock_filter', () => {
    expect(encodeProgram([{ code: 0x15, whenTrue: 1, whenFalse: 2, k: 0xc000003e }]).toString('hex')).toBe(
      '150001023e0000c0',
    );
    expect(seccompFilter('x64')!.length % 8).toBe(0);
  });

  it('is none for an architecture without a table', () => {
    expect(seccompFilter('riscv64')).toBeUndefined();
  });
});
