// Enters a running instance: finds the process whose namespaces it is, and decides the command line that runs
// something there as the instance's user, with as little privilege. Starts nothing.

import { open } from 'node:fs/promises';
import { descendants } from '../process-tree.ts';
import { dropArguments, type SandboxUser } from '../sandbox/bwrap.ts';

/** The environment of a process is at most what execve takes. */
const ENVIRONMENT_BYTES_MAX = 4 * 1024 * 1024;
/** bubblewrap's outer process, and its first process inside. */
const CONFINING_PROCESSES = 2;
const KILLED_WITH_PARENT = ['/usr/bin/setpriv', '--pdeathsig', 'KILL', '--'];

export type Inside = {
  /** A process of the instance, as the host numbers it. */
  pid: number;
  /** What the platform and the buildpacks gave it. */
  env: Record<string, string>;
};

/** The first process of the app itself; undefined when it has not come so far, or has ended. */
export async function insideOf(shim: number, confined: boolean): Promise<Inside | undefined> {
  const processes = await descendants(shim);
  let parents = new Set([shim]);
  for (let level = 0; confined && level < CONFINING_PROCESSES; level++) {
    parents = new Set(processes.filter(({ parent }) => parents.has(parent)).map(({ pid }) => pid));
  }
  const first = processes
    .filter(({ parent }) => parents.has(parent))
    .sort((a, b) => Number(a.startTicks) - Number(b.startTicks) || a.pid - b.pid)[0];
  if (first === undefined) return undefined;
  return { pid: first.pid, env: await environmentOf(first.pid) };
}

/** Read while it is the daemon's to read; the app may have changed what stands there, which concerns only itself. */
async function environmentOf(pid: number): Promise<Record<string, string>> {
  const file = await open(`/proc/${pid}/environ`).catch(() => undefined);
  if (file === undefined) return {};
  try {
    const env: Record<string, string> = {};
    const text = (await readBounded(file)).toString('utf8');
    for (const entry of text.split('\0')) {
      const equals = entry.indexOf('=');
      if (equals > 0) env[entry.slice(0, equals)] = entry.slice(equals + 1);
    }
    return env;
  } finally {
    await file.close();
  }
}

async function readBounded(file: Awaited<ReturnType<typeof open>>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of file.createReadStream({ autoClose: false, end: ENVIRONMENT_BYTES_MAX - 1 })) {
    chunks.push(chunk as Buffer);
    bytes += (chunk as Buffer).length;
  }
  return Buffer.concat(chunks, bytes);
}

/**
 * The command before the one to run inside: into all namespaces of the process, then, through a second bubblewrap that
 * hides nothing, under the filter of system calls and to the unprivileged user. Each step ends with its parent, so
 * that nothing outlives the daemon. `filterFd`: open already; undefined where the kernel knows no filters.
 */
export function enterArguments(options: {
  pid: number;
  user: SandboxUser;
  bwrap: string;
  filterFd: number | undefined;
}): string[] {
  const { pid, user, bwrap, filterFd } = options;
  const mapped = user.kind === 'mapped';
  const keptCapabilities = mapped ? [] : ['CAP_SETUID', 'CAP_SETGID', 'CAP_SETPCAP'];
  return [
    ...KILLED_WITH_PARENT,
    '/usr/bin/nsenter',
    `--target=${pid}`,
    ...['--mount', '--uts', '--ipc', '--net', '--pid', '--cgroup'],
    ...(mapped ? ['--user', '--preserve-credentials'] : []),
    '--',
    bwrap,
    '--die-with-parent',
    ...['--dev-bind', '/', '/'],
    ...(filterFd === undefined ? [] : ['--seccomp', String(filterFd)]),
    ...['--cap-drop', 'ALL', ...keptCapabilities.flatMap((capability) => ['--cap-add', capability])],
    '--',
    ...dropArguments(user),
  ];
}
