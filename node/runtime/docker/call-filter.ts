// How this machine's engine is told the profile of system calls (seccomp-profile.ts): Docker wants the profile itself,
// Podman a file with it. Decides nothing about calls.

import { join } from 'node:path';
import writeFileAtomic from 'write-file-atomic';
import type { Log } from '../../lib/log.ts';
import type { Engine } from './engine.ts';
import { seccompProfile } from './seccomp-profile.ts';

const FILE = 'seccomp.json';

/**
 * The value of the security option `seccomp`. Undefined, and the log says so: the engine's own profile is in force, or
 * none.
 */
export async function callFilter(
  { docker, kind }: Engine,
  { dataDir, log }: { dataDir: string; log: Log },
): Promise<string | undefined> {
  const none = (reason: string): undefined => {
    log.warn('runtime.no_call_filter', {
      reason,
      message:
        'containers may make every system call that the engine lets through: bugs of the kernel are within reach',
    });
  };
  const profile = seccompProfile(process.arch);
  if (profile === undefined) return none(`there is no table for ${process.arch}`);
  const { SecurityOptions: offered } = (await docker.info()) as { SecurityOptions?: string[] | null };
  // An engine that has no filters starts no container with one.
  if (!offered?.some((option) => option.includes('seccomp'))) return none('the engine has no filters');
  const text = JSON.stringify(profile);
  if (kind === 'docker') return text;
  // Written anew at every start, so that it is this version's.
  const path = join(dataDir, FILE);
  await writeFileAtomic(path, text, { mode: 0o600, fsync: false });
  return path;
}
