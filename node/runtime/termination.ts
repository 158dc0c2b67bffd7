// Decides which processes of an instance get TERM, and ends processes when told to. Never waits.

import type { ServiceProgram } from '../ports/services.ts';
import { descendants, type ProcessInfo } from './process-tree.ts';

/** Programs that wait for a child without passing TERM on: ending one first would take the app's chance to finish. */
const SHELLS = new Set(['sh', 'bash', 'dash', 'ash', 'zsh', 'ksh', 'busybox']);
/** bubblewrap's outer process, and its first process inside. */
const CONFINING_PROCESSES = 2;

/**
 * Pure: who gets TERM now. Everything inside gets it once, except the shell that runs the app's command: the sandbox
 * ends with it, so it is left waiting for its children, until they have gone or it starts new ones.
 */
export function terminationTargets(options: {
  shim: number;
  /** Descendants of the shim. */
  processes: readonly ProcessInfo[];
  confined: boolean;
  /** Those that got TERM already. */
  signalled: ReadonlySet<number>;
}): number[] {
  const { signalled } = options;
  const { first, inside } = firstInside(options);
  if (first === undefined) return [];
  const children = inside.filter((info) => info.parent === first.pid);
  const again = signalled.size > 0;
  const newChildren = children.filter((info) => !signalled.has(info.pid));
  const spared = SHELLS.has(first.name) && children.length > 0 && !(again && newChildren.length > 0);
  const targets = again ? [first, ...newChildren] : inside;
  return targets.filter((info) => !signalled.has(info.pid) && !(spared && info === first)).map((info) => info.pid);
}

function firstInside(options: { shim: number; processes: readonly ProcessInfo[]; confined: boolean }): {
  first: ProcessInfo | undefined;
  inside: ProcessInfo[];
} {
  const { processes } = options;
  let outer = new Set([options.shim]);
  const confining = new Set<number>();
  for (let level = 0; options.confined && level < CONFINING_PROCESSES; level++) {
    outer = new Set(processes.filter((info) => outer.has(info.parent)).map((info) => info.pid));
    for (const pid of outer) confining.add(pid);
  }
  const inside = processes.filter((info) => !confining.has(info.pid));
  // The oldest: what was orphaned inside has the same parent, but came later.
  const first = inside
    .filter((info) => outer.has(info.parent))
    .sort((a, b) => Number(a.startTicks) - Number(b.startTicks) || a.pid - b.pid)[0];
  return { first, inside };
}

/**
 * Pure: the process that a service's own signal goes to, and nothing else: the server, which ends its children in
 * order. The program's name goes with it, as a shell that has become another program is to be told again.
 */
export function mainProcess(options: {
  shim: number;
  processes: readonly ProcessInfo[];
  confined: boolean;
}): ProcessInfo | undefined {
  return firstInside(options).first;
}

/** Sends the signal to the main process, once to each program that it is. `signalled`: who got it. */
export async function terminateMain(options: {
  shim: number;
  confined: boolean;
  signalled: Set<string>;
  signal: ServiceProgram['stopSignal'];
}): Promise<void> {
  const main = mainProcess({ ...options, processes: await descendants(options.shim) });
  if (main === undefined) return;
  const who = `${main.pid} ${main.name}`;
  if (options.signalled.has(who)) return;
  options.signalled.add(who);
  signal(main.pid, options.signal);
}

/** Sends TERM; returns who got it. */
export async function terminate(options: { shim: number; confined: boolean; signalled: Set<number> }): Promise<void> {
  const processes = await descendants(options.shim);
  for (const pid of terminationTargets({ ...options, processes })) {
    options.signalled.add(pid);
    signal(pid, 'SIGTERM');
  }
}

/**
 * Kills what the instance runs. Confined, the outer process is enough: the kernel ends all that is inside with it, and
 * the shim lives to report. Otherwise every descendant, then the process group, which has the shim in it.
 */
export async function killAll(options: { shim: number; confined: boolean }): Promise<void> {
  const processes = await descendants(options.shim);
  const targets = options.confined ? processes.filter((info) => info.parent === options.shim) : processes;
  for (const { pid } of targets) signal(pid, 'SIGKILL');
  if (targets.length === 0) signal(options.shim, 'SIGKILL');
}

/** Kills the process group of a shim: what an unconfined app left behind, and the shim itself when it is there. */
export function killGroup(shim: number): void {
  signal(-shim, 'SIGKILL');
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It has gone by itself.
  }
}
