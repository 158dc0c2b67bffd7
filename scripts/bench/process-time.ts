// Processor time that processes have taken so far, from the kernel.

import { readFile } from 'node:fs/promises';

/** Linux reports process times in these, on every architecture that Node runs on. */
const TICKS_PER_SECOND = 100;

/** User and system time of the processes together, in seconds. */
export async function cpuSeconds(pids: readonly number[]): Promise<number> {
  let ticks = 0;
  for (const pid of pids) {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks / TICKS_PER_SECOND;
}
