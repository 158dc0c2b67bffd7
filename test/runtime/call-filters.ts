// What a filter of system calls makes of a call: interpreters of the sandbox's program and of an engine's profile.

import type { Profile } from '../../node/runtime/docker/seccomp-profile.ts';
import type { Architecture, Instruction } from '../../node/runtime/sandbox/seccomp.ts';

export const ARCH: Record<Architecture, number> = { x64: 0xc000003e, arm64: 0xc00000b7 };
export const ALLOWED = 'allowed';

/** What the kernel would make of a call: an errno, or that it is allowed. */
export function outcome(
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

/** What libseccomp would make of the rules, where at most one of them fits. */
export function profileOutcome(profile: Profile, name: string, args: readonly number[]): string {
  const fitting = profile.syscalls.filter(
    (rule) =>
      rule.names.includes(name) &&
      (rule.args ?? []).every(({ index, value, valueTwo }) => (args[index]! & value) >>> 0 === valueTwo >>> 0),
  );
  const verdicts = new Set(
    fitting.map(({ action, errnoRet }) => (action === 'SCMP_ACT_ALLOW' ? ALLOWED : `errno ${errnoRet}`)),
  );
  if (verdicts.size > 1) throw new Error(`the rules of ${name} contradict one another`);
  return [...verdicts][0] ?? `errno ${profile.defaultErrnoRet}`;
}
