// Measures what this node may run out of: room and inodes of the file systems that hold its data directory, memory,
// file descriptors. Looks from time to time, and at once when something failed for want of it. Decides no level
// (core/pressure.ts).

import { readdir, readFile, stat, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type Measure, resourceBehind } from '../core/pressure.ts';
import type { Log } from '../lib/log.ts';

/** A look reads a dozen small files of the kernel. */
export const LOOK_INTERVAL_MS = 10_000;
/** Failures come in bursts: looks for their sake are at least this far apart. */
const LOOK_GAP_MS = 500;
/** Of the data directory, those that may be mounts of their own. */
const PARTS = ['', 'blobs', 'instances', 'logs', 'desired'];
/** Groups above a daemon's own; deeper ones do not occur. */
const GROUPS_MAX = 32;

export type MachinePaths = { dataDir: string; proc?: string; cgroups?: string };

/** What could be measured; the rest is missing. Never fails. */
export async function measureResources({
  dataDir,
  proc = '/proc',
  cgroups = '/sys/fs/cgroup',
}: MachinePaths): Promise<Measure[]> {
  const measures: Measure[] = [];
  // One after the other: descriptors may be what is scarce.
  for (const look of [() => descriptors(proc), () => fileSystems(dataDir), () => memory(proc, cgroups)]) {
    measures.push(...(await look().catch(() => [])));
  }
  return measures;
}

/** Of several file systems, the one with least is told. */
async function fileSystems(dataDir: string): Promise<Measure[]> {
  const devices = new Map<number, string>();
  for (const part of PARTS) {
    const path = join(dataDir, part);
    const found = await stat(path).catch(() => undefined);
    if (found !== undefined && !devices.has(found.dev)) devices.set(found.dev, path);
  }
  const disk: Measure[] = [];
  const inodes: Measure[] = [];
  for (const path of devices.values()) {
    const { bsize, blocks, bavail, bfree, files, ffree } = await statfs(path);
    // What is kept for root does not count as total either: a tenth of what can be used is what people mean.
    disk.push({ resource: 'disk', free: bavail * bsize, total: (blocks - bfree + bavail) * bsize });
    // Some file systems make them as they go, and have no number.
    if (files > 0) inodes.push({ resource: 'inodes', free: ffree, total: files });
  }
  return [...leastFree(disk), ...leastFree(inodes)];
}

const leastFree = (measures: Measure[]): Measure[] =>
  measures.length === 0 ? [] : [measures.reduce((a, b) => (b.free < a.free ? b : a))];

/** Of the machine, or of the control groups that the daemon is in, whichever leaves less. */
async function memory(proc: string, cgroups: string): Promise<Measure[]> {
  const text = await readFile(join(proc, 'meminfo'), 'utf8');
  const bytesOf = (name: string): number => 1024 * Number(new RegExp(`^${name}: +(\\d+) kB`, 'm').exec(text)?.[1]);
  const machine: Measure = { resource: 'memory', free: bytesOf('MemAvailable'), total: bytesOf('MemTotal') };
  const limited = await groupMemory(proc, cgroups);
  const [least] = leastFree([machine, ...limited].filter(({ free, total }) => free >= 0 && total > 0));
  if (least === undefined) return [];
  const stalled = await stalledShare(proc);
  return [stalled === undefined ? least : { ...least, stalled }];
}

/** PSI: of the last minute, the share in which nothing ran because everything waited for memory. */
async function stalledShare(proc: string): Promise<number | undefined> {
  const text = await readFile(join(proc, 'pressure', 'memory'), 'utf8').catch(() => '');
  const share = Number(/^full .*\bavg60=([\d.]+)/m.exec(text)?.[1]) / 100;
  return Number.isFinite(share) ? share : undefined;
}

/** Every group with a limit, from the daemon's own up to the top of what it sees. */
async function groupMemory(proc: string, cgroups: string): Promise<Measure[]> {
  const lines = (await readFile(join(proc, 'self', 'cgroup'), 'utf8').catch(() => '')).split('\n');
  const measures: Measure[] = [];
  for (const line of lines) {
    const [, controllers, path] = /^\d+:([^:]*):(\/.*)$/.exec(line) ?? [];
    if (path === undefined) continue;
    const version = controllers === '' ? V2 : controllers!.split(',').includes('memory') ? V1 : undefined;
    if (version === undefined) continue;
    const root = join(cgroups, version.folder);
    let folder = join(root, path);
    for (let depth = 0; depth < GROUPS_MAX; depth++) {
      const measure = await groupMeasure(folder, version);
      if (measure !== undefined) measures.push(measure);
      if (folder === root || !folder.startsWith(root)) break;
      folder = dirname(folder);
    }
  }
  return measures;
}

type GroupFiles = { folder: string; limit: string; used: string; cached: RegExp };
const V1: GroupFiles = {
  folder: 'memory',
  limit: 'memory.limit_in_bytes',
  used: 'memory.usage_in_bytes',
  cached: /^total_inactive_file (\d+)/m,
};
const V2: GroupFiles = { folder: '', limit: 'memory.max', used: 'memory.current', cached: /^inactive_file (\d+)/m };
/** What version 1 says where there is no limit is near 2^63. */
const UNLIMITED_BYTES = 2 ** 60;

async function groupMeasure(folder: string, files: GroupFiles): Promise<Measure | undefined> {
  const read = (name: string): Promise<string> => readFile(join(folder, name), 'utf8').catch(() => '');
  const total = Number.parseInt(await read(files.limit), 10);
  if (!(total < UNLIMITED_BYTES)) return undefined;
  const [used, stats] = await Promise.all([read(files.used), read('memory.stat')]);
  const usedBytes = Number.parseInt(used, 10);
  if (!Number.isFinite(usedBytes)) return undefined;
  // What the kernel would drop of cached files is free.
  const cachedBytes = Number(files.cached.exec(stats)?.[1] ?? 0);
  return { resource: 'memory', free: Math.max(0, total - usedBytes + cachedBytes), total };
}

/** Of the last look, for when the next one cannot be. */
let knownLimit = 1024;

/** Of the daemon, whose limit is its own, or of the machine, whichever leaves less. */
async function descriptors(proc: string): Promise<Measure[]> {
  let open: number;
  try {
    open = (await readdir(join(proc, 'self', 'fd'))).length;
  } catch (error) {
    // The look needs one itself.
    if (resourceBehind(error) !== 'descriptors') throw error;
    return [{ resource: 'descriptors', free: 0, total: knownLimit }];
  }
  const limits = await readFile(join(proc, 'self', 'limits'), 'utf8');
  const machine = await readFile(join(proc, 'sys', 'fs', 'file-nr'), 'utf8').catch(() => '');
  const limit = Number(/^Max open files +(\d+)/m.exec(limits)?.[1]);
  if (limit > 0) knownLimit = limit;
  const [used, , max] = machine.trim().split(/\s+/).map(Number);
  const measures = [
    { open, total: limit },
    { open: used ?? Number.NaN, total: max ?? Number.NaN },
  ].map(({ open, total }): Measure => ({ resource: 'descriptors', free: Math.max(0, total - open), total }));
  return leastFree(measures.filter(({ free, total }) => Number.isFinite(free) && total > 0));
}

/** Looks by itself, one look at a time. */
export class ResourceMeter {
  readonly #options: { paths: MachinePaths; onMeasures: (measures: Measure[]) => void; log: Log };
  readonly #timer: NodeJS.Timeout;
  #soon: NodeJS.Timeout | undefined;
  #looking: Promise<void> | undefined;
  #again = false;
  #stopped = false;

  constructor(options: { paths: MachinePaths; onMeasures: (measures: Measure[]) => void; log: Log }) {
    this.#options = options;
    this.#timer = setInterval(() => void this.look(), LOOK_INTERVAL_MS);
    this.#timer.unref();
  }

  /** Resolves when what was there when it was called has been told. */
  look(): Promise<void> {
    // One under way may have read before.
    this.#again = true;
    this.#looking ??= this.#lookUntilQuiet().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  /** Something failed: looks soon when it was for want of a resource. Answers whether it was. */
  failed(error: unknown): boolean {
    const resource = resourceBehind(error);
    if (resource === undefined || this.#stopped) return resource !== undefined;
    this.#soon ??= setTimeout(() => {
      this.#soon = undefined;
      void this.look();
    }, LOOK_GAP_MS);
    this.#soon.unref();
    return true;
  }

  stop(): void {
    this.#stopped = true;
    clearInterval(this.#timer);
    clearTimeout(this.#soon);
  }

  async #lookUntilQuiet(): Promise<void> {
    while (this.#again && !this.#stopped) {
      this.#again = false;
      const measures = await measureResources(this.#options.paths);
      if (measures.length === 0) this.#options.log.warn('resources.not_measured', {});
      if (!this.#stopped) this.#options.onMeasures(measures);
    }
  }
}
