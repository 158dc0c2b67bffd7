// Finds and ends the processes of one node, as a power cut would: the daemon, its router and every instance at once.
// Only for the demo, the benchmarks and the tests.

import { readdirSync, readFileSync } from 'node:fs';

type Process = { pid: number; parent: number; command: string };

/** The daemon, everything started by it, and every instance that runs from its data directory, also adopted ones. */
export async function processesOfNode(daemonPid: number, dataDir: string): Promise<number[]> {
  const all = await processTable();
  const chosen = new Set<number>();
  for (const one of all) {
    if (one.pid === daemonPid || mentions(one.command, dataDir)) chosen.add(one.pid);
  }
  // Grows until no child is missing; the table is a few hundred rows.
  for (let grown = true; grown; ) {
    grown = false;
    for (const one of all) {
      if (chosen.has(one.pid) || !chosen.has(one.parent)) continue;
      chosen.add(one.pid);
      grown = true;
    }
  }
  chosen.delete(process.pid);
  return [...chosen];
}

/** The router of a daemon. Fails when there is none, which is so only for a moment after it crashed. */
export async function routerOf(daemonPid: number): Promise<number> {
  const all = await processTable();
  const router = all.find((one) => one.parent === daemonPid && one.command.startsWith(ROUTER_TITLE));
  if (router === undefined) throw new Error(`the daemon ${daemonPid} has no router`);
  return router.pid;
}

/** What it calls itself (node/router/main.ts). */
const ROUTER_TITLE = 'peer-router';

/** Whether the path itself, or one below it, stands in the command: not a longer name that begins with it. */
function mentions(command: string, path: string): boolean {
  const at = command.indexOf(path);
  return at !== -1 && /^(["/ ]|$)/.test(command.slice(at + path.length));
}

/** Ends all of them with SIGKILL, at once. */
export const killAll = (pids: readonly number[]): void => signalAll(pids, 'SIGKILL');

/** Those that have gone meanwhile do not matter. */
export function signalAll(pids: readonly number[], signal: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
}

export async function isRunning(pid: number): Promise<boolean> {
  return processOf(pid) !== undefined;
}

export async function processTable(): Promise<Process[]> {
  const names = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return names.map((name) => processOf(Number(name))).filter((one) => one !== undefined);
}

/** Nothing there waits for a disk, and to read it in another thread takes several times as long: tests ask often. */
function processOf(pid: number): Process | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (state === 'Z' || state === 'X') return undefined;
    const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
    return { pid, parent: Number(parent), command };
  } catch {
    return undefined;
  }
}
