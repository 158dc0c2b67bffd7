// Reads what the kernel counts of an instance: memory that it holds, processor time that it took, disk that it fills.
// Each read is a few small files; nothing is kept.

import { readFile, statfs } from 'node:fs/promises';
import { descendants, ownMemoryBytes, processorTimeUs } from './process-tree.ts';

/** What cannot be read is missing. `cpuUs` only ever grows. */
export type Counters = { memoryBytes?: number; cpuUs?: number; diskBytes?: number };

/** Folders of the control groups that count memory and processor time; the same in version 2. */
export type CountedGroups = { version: 1 | 2; memory: string; cpu: string };

const ROOT = '/sys/fs/cgroup';

export async function groupCounters({ version, memory, cpu }: CountedGroups): Promise<Counters> {
  const [held, detail, time] = await Promise.all([
    read(`${memory}/${version === 2 ? 'memory.current' : 'memory.usage_in_bytes'}`),
    read(`${memory}/memory.stat`),
    read(`${cpu}/${version === 2 ? 'cpu.stat' : 'cpuacct.usage'}`),
  ]);
  const idle = numberIn(version === 2 ? /^inactive_file (\d+)$/m : /^total_inactive_file (\d+)$/m, detail) ?? 0;
  const bytes = numberIn(/^(\d+)$/m, held);
  const cpuUs =
    version === 2 ? numberIn(/^usage_usec (\d+)$/m, time) : scaled(numberIn(/^(\d+)$/m, time), 1 / NANOSECONDS_PER_US);
  return {
    ...(bytes === undefined ? {} : { memoryBytes: Math.max(0, bytes - idle) }),
    ...(cpuUs === undefined ? {} : { cpuUs }),
  };
}

const NANOSECONDS_PER_US = 1_000;

/** For what no control group counts: of the processes that descend from this one, as long as they live. */
export async function treeCounters(ancestor: number): Promise<Counters> {
  const pids = (await descendants(ancestor)).map(({ pid }) => pid);
  const [memoryBytes, cpuUs] = await Promise.all([ownMemoryBytes(pids), processorTimeUs(pids)]);
  return { memoryBytes, cpuUs };
}

/** Of a file system that is the instance's alone. */
export async function diskCounter(mountPoint: string): Promise<Counters> {
  const { blocks, bfree, bsize } = await statfs(mountPoint);
  return { diskBytes: (blocks - bfree) * bsize };
}

/** The groups that a process is in, from its /proc/PID/cgroup. Pure. */
export function groupsIn(text: string): CountedGroups | undefined {
  const paths = new Map<string, string>();
  for (const line of text.split('\n')) {
    const [, controllers, path] = /^\d+:([^:]*):(\/.*)$/.exec(line) ?? [];
    for (const name of controllers?.split(',') ?? []) paths.set(name, path!);
  }
  const [memory, cpu, unified] = ['memory', 'cpuacct', ''].map((name) => paths.get(name));
  if (memory !== undefined && cpu !== undefined) {
    return { version: 1, memory: `${ROOT}/memory${memory}`, cpu: `${ROOT}/cpuacct${cpu}` };
  }
  if (unified === undefined) return undefined;
  return { version: 2, memory: `${ROOT}${unified}`, cpu: `${ROOT}${unified}` };
}

function read(path: string): Promise<string> {
  return readFile(path, 'utf8').catch(() => '');
}

function numberIn(pattern: RegExp, text: string): number | undefined {
  const found = pattern.exec(text)?.[1];
  return found === undefined ? undefined : Number(found);
}

function scaled(value: number | undefined, factor: number): number | undefined {
  return value === undefined ? undefined : Math.round(value * factor);
}
