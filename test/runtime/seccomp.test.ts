// The filter of system calls: run on literals by an interpreter of its own here, by the kernel in process.test.ts and hostile.test.ts.

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  type Architecture,
  encodeProgram,
  filterProgram,
  type Instruction,
  JUDGED_CALLS,
  seccompFilter,
} from '../../node/runtime/seccomp.ts';

const ARCH: Record<Architecture, number> = { x64: 0xc000003e, arm64: 0xc00000b7 };
const ALLOWED = 'allowed';

/** What the kernel would make of a call: an errno, or that it is allowed. */
function outcome(
  program: readonly Instruction[],
  call: { arch: number; number: number; arguments?: number[] },
): string {
  const data = new DataView(new ArrayBuffer(64));
  data.setUint32(0, call.number, true);
  data.setUint32(4, call.arch, true);
  for (const [index, value] of (call.arguments ?? []).entries()) data.setUint32(16 + 8 * index, value >>> 0, true);
  let loaded = 0;
  for (let at = 0; at < program.length; at++) {
    const { code, whenTrue, whenFalse, k } = program[at]!;
    if (code === 0x20) loaded = data.getUint32(k, true);
    else if (code === 0x06) return k === 0x7fff0000 ? ALLOWED : `errno ${k & 0xffff}`;
    else {
      const holds = code === 0x15 ? loaded === k : code === 0x35 ? loaded >= k : (loaded & k) !== 0;
      at += holds ? whenTrue : whenFalse;
    }
  }
  throw new Error('ran off the end');
}

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

describe('the numbers of calls', () => {
  // Only a machine of that kind has the first; every machine has the second.
  const tables = [
    ['x64', '/usr/include/x86_64-linux-gnu/asm/unistd_64.h', 1],
    ['arm64', '/usr/include/asm-generic/unistd.h', 2],
  ] as const;
  it.each(tables.slice(process.arch === 'x64' ? 0 : 1))(
    "are the kernel's own on %s",
    (_architecture, header, column) => {
      const text = readFileSync(header, 'utf8');
      for (const call of JUDGED_CALLS) {
        const number = new RegExp(`#\\s*define __NR(?:3264)?_${call[0]}\\s+(\\d+)`).exec(text)?.[1];
        expect(`${call[0]} ${call[column]}`).toBe(`${call[0]} ${number}`);
      }
    },
  );
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
