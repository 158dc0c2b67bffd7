// Puts processes into control groups, version 1 or 2: limits, out-of-memory evidence, killing, removal. Knows nothing
// of instances. Where no control group is writable there is no ControlGroups, and others watch the limits by sampling.

import { randomBytes } from 'node:crypto';
import { access, constants, mkdir, readdir, readFile, realpath, rmdir, statfs, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type Counters, groupCounters } from '../counters.ts';
import { CPU_PERIOD_US, cpuQuotaUs, cpuShares, cpuWeight } from './cpu.ts';

export type GroupLimits = { memoryBytes: number; pidsMax: number };

export type ControlGroups = {
  readonly version: 1 | 2;
  /** Makes the group with its limits; a group of that name that is there is taken over. */
  create(name: string, limits: GroupLimits): Promise<ControlGroup>;
  /** The group of that name, made earlier, perhaps by an earlier daemon. */
  open(name: string): ControlGroup;
  /** Names of the groups that are there. */
  list(): Promise<string[]>;
  /** Removes the node's own group when no instance is left in it. */
  close(): Promise<void>;
};

export type ControlGroup = {
  /** Folders whose cgroup.procs a process must write to, to join. */
  readonly folders: readonly string[];
  /** How all in it is held still; undefined where the kernel offers nothing for it. */
  readonly freezer:
    | { folder: string; file: string; frozen: string; thawed: string; isFrozen: () => Promise<boolean> }
    | undefined;
  /** What the kernel has counted of all that are and were in it. */
  counters(): Promise<Counters>;
  /** How many processes the kernel killed in it for lack of memory. */
  outOfMemoryKills(): Promise<number>;
  /** KILLs all in it and removes it. False when something in it would not die in time. */
  remove(): Promise<boolean>;
};

const ROOT = '/sys/fs/cgroup';
/** What statfs(2) calls the file systems of either version. */
const FILE_SYSTEM_TYPE = { 1: 0x27e0eb, 2: 0x63677270 } as const;
/** Children of this group belong to daemons of this kind, one per node. */
const FAMILY = 'peer';
const V1_CONTROLLERS = ['memory', 'pids', 'cpu'];
/** Holds all in it still. Not mounted everywhere. */
const V1_FREEZER = 'freezer';
/** Only counts. On many machines it is the same folder as `cpu`, on some there is none. */
const V1_COUNTER = 'cpuacct';

/**
 * A killed process needs a moment to leave its group. Attempts after 1, 2, 4… ms, at most REMOVE_PAUSE_MAX_MS: 5 s in
 * all.
 */
const REMOVE_ATTEMPTS_MAX = 20;
const REMOVE_PAUSE_MAX_MS = 400;

/** One file of a group and what to write to it; `optional` ones are not there on every kernel. */
export type Setting = { file: string; value: string; optional?: true };

/**
 * Settings by controller; version 2 has one folder for all. Order matters: the limit with swap must not be below the
 * one without.
 */
export function groupSettings(version: 1 | 2, limits: GroupLimits): Record<string, Setting[]> {
  const memory = String(limits.memoryBytes);
  const quota = String(cpuQuotaUs(limits.memoryBytes));
  if (version === 2) {
    return {
      '': [
        { file: 'memory.max', value: memory },
        { file: 'memory.swap.max', value: '0', optional: true },
        // All or nothing: a half-killed app looks healthy and is not.
        { file: 'memory.oom.group', value: '1', optional: true },
        { file: 'pids.max', value: String(limits.pidsMax) },
        { file: 'cpu.weight', value: String(cpuWeight(limits.memoryBytes)), optional: true },
        { file: 'cpu.max', value: `${quota} ${CPU_PERIOD_US}`, optional: true },
      ],
    };
  }
  return {
    memory: [
      { file: 'memory.limit_in_bytes', value: memory },
      { file: 'memory.memsw.limit_in_bytes', value: memory, optional: true },
    ],
    pids: [{ file: 'pids.max', value: String(limits.pidsMax) }],
    cpu: [
      { file: 'cpu.shares', value: String(cpuShares(limits.memoryBytes)), optional: true },
      { file: 'cpu.cfs_period_us', value: String(CPU_PERIOD_US), optional: true },
      { file: 'cpu.cfs_quota_us', value: quota, optional: true },
    ],
  };
}

/** Finds the version that can be written to; undefined when there is none, with the reason. */
export async function findControlGroups(
  node: string,
  root: string = ROOT,
): Promise<{ groups: ControlGroups } | { groups: undefined; reason: string }> {
  const version = (await exists(`${root}/cgroup.controllers`)) ? 2 : 1;
  try {
    if (version === 2) {
      await checkMounted(root, version);
      let folder = root;
      for (const part of [FAMILY, node]) {
        await writeFile(`${folder}/cgroup.subtree_control`, '+memory +pids +cpu');
        folder = `${folder}/${part}`;
        await makeFolder(folder);
      }
      await writeFile(`${folder}/cgroup.subtree_control`, '+memory +pids +cpu');
    }
    const controllers = version === 2 ? [''] : await v1Controllers(root);
    if (version === 1) for (const name of controllers) await checkMounted(`${root}/${name}`, version);
    const groups = new Groups(version, { root, node, controllers });
    const probe = await groups.create(`probe-${randomBytes(4).toString('hex')}`, { memoryBytes: 1 << 26, pidsMax: 8 });
    await probe.remove();
    return { groups };
  } catch (error) {
    return { groups: undefined, reason: error instanceof Error ? error.message : String(error) };
  }
}

/** In another file system the files of a group would be files like others: written to, and without any effect. */
async function checkMounted(folder: string, version: 1 | 2): Promise<void> {
  const found = await statfs(folder).catch(() => undefined);
  if (found?.type !== FILE_SYSTEM_TYPE[version]) throw new Error(`no control groups are mounted at ${folder}`);
}

async function makeFolder(folder: string): Promise<void> {
  await mkdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error;
  });
}

/**
 * `<root>/peer/<node>/<name>`, one by one from the family on: mkdir with all the folders above tries for ever where
 * the file system answers that a folder is missing which it has just refused to make.
 */
async function makeFolders(base: string, name: string): Promise<void> {
  for (const folder of [dirname(base), base, `${base}/${name}`]) await makeFolder(folder);
}

async function v1Controllers(root: string): Promise<string[]> {
  const [counter, cpu] = await Promise.all(
    [V1_COUNTER, 'cpu'].map((name) => realpath(`${root}/${name}`).catch(() => undefined)),
  );
  const hasFreezer = await checkMounted(`${root}/${V1_FREEZER}`, 1).then(
    () => true,
    () => false,
  );
  // Memory is the first, what counts processor time the last.
  const limiting = hasFreezer ? ['memory', V1_FREEZER, 'pids', 'cpu'] : V1_CONTROLLERS;
  return counter === undefined || counter === cpu ? limiting : [...limiting, V1_COUNTER];
}

class Groups implements ControlGroups {
  readonly version: 1 | 2;
  readonly #bases: string[];
  readonly #controllers: readonly string[];

  constructor(
    version: 1 | 2,
    { root, node, controllers }: { root: string; node: string; controllers: readonly string[] },
  ) {
    this.version = version;
    this.#controllers = controllers;
    this.#bases = controllers.map((name) => [root, name, FAMILY, node].filter((part) => part !== '').join('/'));
  }

  async create(name: string, limits: GroupLimits): Promise<ControlGroup> {
    const settings = groupSettings(this.version, limits);
    await Promise.all(
      this.#bases.map(async (base, index) => {
        await makeFolders(base, name);
        for (const { file, value, optional } of settings[this.#controllers[index]!] ?? []) {
          const written = writeFile(`${base}/${name}/${file}`, value);
          await (optional ? written.catch(() => {}) : written);
        }
      }),
    );
    return this.open(name);
  }

  open(name: string): ControlGroup {
    const folders = this.#bases.map((base) => `${base}/${name}`);
    const freezer = this.version === 2 ? folders[0] : folders[this.#controllers.indexOf(V1_FREEZER)];
    return new Group(this.version, folders, freezer);
  }

  async list(): Promise<string[]> {
    const names = new Set<string>();
    for (const base of this.#bases) {
      const entries = await readdir(base, { withFileTypes: true }).catch(() => []);
      for (const entry of entries) if (entry.isDirectory()) names.add(entry.name);
    }
    return [...names];
  }

  async close(): Promise<void> {
    await Promise.all(this.#bases.map((base) => removeFolder(base)));
  }
}

class Group implements ControlGroup {
  readonly folders: readonly string[];
  readonly freezer: ControlGroup['freezer'];
  readonly #version: 1 | 2;

  constructor(version: 1 | 2, folders: readonly string[], freezer: string | undefined) {
    this.#version = version;
    this.folders = folders;
    this.freezer = freezer === undefined ? undefined : freezerOf(version, freezer);
  }

  counters(): Promise<Counters> {
    const [memory = ''] = this.folders;
    // The last of version 1 counts processor time; without that controller there is no such file in it.
    return groupCounters({ version: this.#version, memory, cpu: this.folders.at(-1) ?? '' });
  }

  async outOfMemoryKills(): Promise<number> {
    const file = this.#version === 2 ? 'memory.events' : 'memory.oom_control';
    const text = await readFile(`${this.folders[0]}/${file}`, 'utf8').catch(() => '');
    return Number(/^oom_kill (\d+)$/m.exec(text)?.[1] ?? 0);
  }

  async remove(): Promise<boolean> {
    for (let attempt = 0; attempt < REMOVE_ATTEMPTS_MAX; attempt++) {
      const left = await Promise.all(this.folders.map((folder) => removeFolder(folder)));
      if (left.every((removed) => removed)) return true;
      await this.#kill();
      await delay(Math.min(REMOVE_PAUSE_MAX_MS, 2 ** attempt));
    }
    return false;
  }

  async #kill(): Promise<void> {
    if (this.#version === 2) {
      await writeFile(`${this.folders[0]}/cgroup.kill`, '1').catch(() => {});
    } else if (this.freezer !== undefined) {
      // What is held still cannot even die.
      await writeFile(this.freezer.file, this.freezer.thawed).catch(() => {});
    }
    for (const folder of this.folders) {
      const text = await readFile(`${folder}/cgroup.procs`, 'utf8').catch(() => '');
      for (const pid of text.split('\n')) {
        // 0 stands for a process of another pid namespace.
        if (Number(pid) > 1) killQuietly(Number(pid));
      }
    }
  }
}

function freezerOf(version: 1 | 2, folder: string): NonNullable<ControlGroup['freezer']> {
  const read = (name: string) => readFile(`${folder}/${name}`, 'utf8').catch(() => '');
  return version === 2
    ? {
        folder,
        file: `${folder}/cgroup.freeze`,
        frozen: '1',
        thawed: '0',
        isFrozen: async () => /^frozen 1$/m.test(await read('cgroup.events')),
      }
    : {
        folder,
        file: `${folder}/freezer.state`,
        frozen: 'FROZEN',
        thawed: 'THAWED',
        isFrozen: async () => (await read('freezer.state')).trim() === 'FROZEN',
      };
}

async function removeFolder(folder: string): Promise<boolean> {
  try {
    await rmdir(folder);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT';
  }
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has gone by itself.
  }
}

function exists(path: string): Promise<boolean> {
  return access(path, constants.F_OK).then(
    () => true,
    () => false,
  );
}
