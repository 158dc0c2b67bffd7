// Looks at processes through /proc: who descends from whom, what memory they hold, where they listen. Only looks;
// deciding and killing is done by others. Everything may vanish while it is looked at, and is then left out.

import { readdir, readFile, readlink } from 'node:fs/promises';

export type ProcessInfo = {
  pid: number;
  parent: number;
  /** At most 15 bytes of the program's name. */
  name: string;
  /** In clock ticks since boot: tells a process from a later one that got the same id. */
  startTicks: string;
};

/** Parses a line of /proc/PID/stat. The name is in parentheses and may hold anything, so the last one closes it. */
export function parseStat(line: string): ProcessInfo | undefined {
  const open = line.indexOf('(');
  const close = line.lastIndexOf(')');
  if (open < 0 || close < open) return undefined;
  const pid = Number(line.slice(0, open));
  const rest = line.slice(close + 2).split(' ');
  const parent = Number(rest[1]);
  const startTicks = rest[19];
  if (!Number.isInteger(pid) || !Number.isInteger(parent) || startTicks === undefined) return undefined;
  // Z: it has ended and waits for its parent to notice.
  if (rest[0] === 'Z') return undefined;
  return { pid, parent, name: line.slice(open + 1, close), startTicks: startTicks.trim() };
}

export async function processInfo(pid: number): Promise<ProcessInfo | undefined> {
  return parseStat(await read(`/proc/${pid}/stat`));
}

/** Processes read at once, so that a machine with thousands does not fill the thread pool's queue. */
const READS_AT_ONCE = 64;

/**
 * All living descendants of the process, parents before children, without itself. Costs a look at every process of the
 * machine: for stopping and for rare samples.
 */
export async function descendants(ancestor: number): Promise<ProcessInfo[]> {
  const names = await readdir('/proc');
  const pids = names.filter((name) => /^\d+$/.test(name)).map(Number);
  const children = new Map<number, ProcessInfo[]>();
  for (let start = 0; start < pids.length; start += READS_AT_ONCE) {
    for (const info of await Promise.all(pids.slice(start, start + READS_AT_ONCE).map(processInfo))) {
      if (info === undefined) continue;
      const siblings = children.get(info.parent);
      if (siblings === undefined) children.set(info.parent, [info]);
      else siblings.push(info);
    }
  }
  const found: ProcessInfo[] = [];
  const queue = [ancestor];
  for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
    for (const child of children.get(next) ?? []) {
      found.push(child);
      queue.push(child.pid);
    }
  }
  return found;
}

/** Memory that is the processes' own (not backed by shared files), in bytes. */
export async function ownMemoryBytes(pids: readonly number[]): Promise<number> {
  const sizes = await Promise.all(
    pids.map(async (pid) => {
      const status = await read(`/proc/${pid}/status`);
      let kib = 0;
      for (const match of status.matchAll(/^Rss(?:Anon|Shmem):\s+(\d+) kB$/gm)) kib += Number(match[1]);
      return kib * 1024;
    }),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}

/** The kernel tells of processor time in these, whatever it counts in. */
const TICK_US = 10_000;

/** Processor time of the processes and of their children that have ended, in µs. */
export async function processorTimeUs(pids: readonly number[]): Promise<number> {
  const times = await Promise.all(pids.map(async (pid) => ticksIn(await read(`/proc/${pid}/stat`)) * TICK_US));
  return times.reduce((sum, time) => sum + time, 0);
}

/** User and system time, own and of children, of a line of /proc/PID/stat. */
export function ticksIn(line: string): number {
  const rest = line.slice(line.lastIndexOf(')') + 2).split(' ');
  return rest.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0);
}

/** `isIpv6`: of the family's own table, in which those for both families stand too. */
export type Listener = { port: number; onLoopback: boolean; isIpv6: boolean };

/** Where the processes listen for TCP, by port. */
export async function listeningAt(pids: readonly number[]): Promise<Listener[]> {
  const inodes = new Set<string>();
  for (const pid of pids) {
    const descriptors = await readdir(`/proc/${pid}/fd`).catch(() => []);
    for (const descriptor of descriptors) {
      const target = await readlink(`/proc/${pid}/fd/${descriptor}`).catch(() => '');
      const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1];
      if (inode !== undefined) inodes.add(inode);
    }
  }
  const found = new Map<string, Listener>();
  const [pid] = pids;
  if (pid === undefined || inodes.size === 0) return [];
  for (const table of ['tcp', 'tcp6']) {
    for (const { inode, port, onLoopback } of listeners(await read(`/proc/${pid}/net/${table}`))) {
      const key = `${port} ${onLoopback}`;
      if (inodes.has(inode) && !found.has(key)) found.set(key, { port, onLoopback, isIpv6: table === 'tcp6' });
    }
  }
  return [...found.values()].sort((a, b) => a.port - b.port);
}

/** Addresses of loopback as /proc/net/tcp and tcp6 write them: in the machine's byte order, of every 4 bytes. */
const LOOPBACK = /^(?:[0-9A-F]{6}7F|0{24}01000000|0{16}FFFF0000[0-9A-F]{6}7F)$/;

/** Every listener in a table of /proc/net/tcp's form, by the inode of its socket. */
export function listeners(table: string): (Omit<Listener, 'isIpv6'> & { inode: string })[] {
  const found: ReturnType<typeof listeners> = [];
  for (const line of table.split('\n').slice(1)) {
    const fields = line.trim().split(/\s+/);
    const [, local, , state] = fields;
    const inode = fields[9];
    // 0A is LISTEN.
    if (state !== '0A' || local === undefined || inode === undefined) continue;
    const [address = '', port = ''] = local.split(':');
    found.push({ inode, port: Number.parseInt(port, 16), onLoopback: LOOPBACK.test(address) });
  }
  return found;
}

/** Identifies the machine's current boot: process ids and start times from before it mean nothing. */
export async function bootId(): Promise<string> {
  return (await read('/proc/sys/kernel/random/boot_id')).trim();
}

function read(path: string): Promise<string> {
  return readFile(path, 'utf8').catch(() => '');
}
