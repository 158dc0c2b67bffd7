// Finds the processes of a container, as this machine numbers them, and kills those of one command in it: an engine
// ends no exec, and many an image has no program that could. What is in the container has no say in it.

import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { descendants } from '../process-tree.ts';

const READS_AT_ONCE = 64;
/** Passes over the processes until none is found, which outpaces what starts others while it is killed. */
const KILLS_MAX = 20;
const KILL_AGAIN_MS = 50;

/** Costs a look at every process of the machine. */
export async function processesIn(container: string): Promise<number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  const found: number[] = [];
  for (let start = 0; start < pids.length; start += READS_AT_ONCE) {
    const some = pids.slice(start, start + READS_AT_ONCE);
    const inside = await Promise.all(some.map((pid) => isIn(pid, container)));
    found.push(...some.filter((_, index) => inside[index]));
  }
  return found;
}

/** Whether the process is one of the container's, by the control groups that the engine names after it. */
export async function isIn(pid: number, container: string): Promise<boolean> {
  const groups = await readFile(`/proc/${pid}/cgroup`, 'utf8').catch(() => '');
  return groups.includes(container);
}

export type CommandTrace = {
  container: string;
  /** `NAME=value`, or the start of it: in the environment of all that the command started. */
  mark: string;
  /** Its first process, whose descendants may have given up their environment. */
  first?: number | undefined;
};

/** Until nothing is left of the command. */
export async function killCommand(trace: CommandTrace): Promise<void> {
  for (let kills = 0; kills < KILLS_MAX; kills++) {
    const pids = await processesOf(trace);
    if (pids.length === 0) return;
    for (const pid of pids) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has gone by itself.
      }
    }
    await delay(KILL_AGAIN_MS);
  }
}

async function processesOf({ container, mark, first }: CommandTrace): Promise<number[]> {
  const tree = new Set<number>();
  if (first !== undefined && (await isIn(first, container))) {
    tree.add(first);
    for (const { pid } of await descendants(first)) tree.add(pid);
  }
  const found: number[] = [];
  for (const pid of await processesIn(container)) {
    if (tree.has(pid) || (await hasMark(pid, mark))) found.push(pid);
  }
  return found;
}

/** One at a time: an environment may have megabytes. A process that has ended has none. */
async function hasMark(pid: number, mark: string): Promise<boolean> {
  const environment = await readFile(`/proc/${pid}/environ`, 'latin1').catch(() => '');
  return environment.startsWith(mark) || environment.includes(`\0${mark}`);
}
