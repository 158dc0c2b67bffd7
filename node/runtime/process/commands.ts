// The CommandRunner of the process runtime: commands inside a running instance, and tasks in a sandbox of their own.
// Keeps track of what runs, so that nothing of it outlives the daemon.

import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, readdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { InstanceId } from '../../../crdt/ids.ts';
import { formatBytes } from '../../lib/format-bytes.ts';
import type { BlobStore } from '../../ports/blobs.ts';
import type { Attended, AttendedCommand, TaskSpec } from '../../ports/commands.ts';
import type { Frozen } from '../../ports/runtime.ts';
import type { Bind } from '../../ports/sandbox.ts';
import type { HeldVolumes, Volumes } from '../../ports/volumes.ts';
import { type AttendedProcess, type AttendedRun, startAttended } from '../commands/attended-command.ts';
import { instanceEnvironment } from '../environment.ts';
import { RuntimeError } from '../errors.ts';
import { freezeInstance } from '../freezer.ts';
import { InstanceFolder, type InstanceRecord } from '../instance-folder.ts';
import { acquireVolumes, volumeBinds } from '../mounts.ts';
import type { OwnNetwork } from '../network/networks.ts';
import { descendants } from '../process-tree.ts';
import { SANDBOX_HOME, SANDBOX_NODE_BIN } from '../sandbox/bwrap.ts';
import { confinedCommand, type Isolation, knownHosts, sandboxUser, writeAccounts } from '../sandbox/confinement.ts';
import { attachDisk } from '../sandbox/disk.ts';
import { FILTER_FD, loaderArguments, OPEN_FILTER, SHELL } from '../sandbox/scripts.ts';
import { TASK_PORT, taskDyno, taskInstance, taskRecord } from '../task.ts';
import { DISK_SAMPLE_MS, watchDisk, watchMemory } from '../watch.ts';
import { enterArguments, insideOf } from './enter.ts';
import { DROPLET_LINKS, INSTANCE_PIDS_MAX, instanceLimits, unpackDroplet } from './launch.ts';

/** Control groups of commands, within the one of their instance. */
const EXEC_GROUP_PREFIX = 'exec-';
const ALIVE_FD = 4;

export type CommandsOptions = {
  isolation: Isolation;
  pourBlob: BlobStore['pour'];
  /** Undefined: tasks with volumes are refused. */
  volumes?: Volumes | undefined;
};

export class Commands {
  readonly #options: CommandsOptions;
  readonly #running = new Set<Attended>();
  readonly #tasks = new Map<InstanceId, AttendedProcess>();
  #closed = false;

  constructor(options: CommandsOptions) {
    this.#options = options;
  }

  async exec(
    instance: { record: InstanceRecord; folder: InstanceFolder; shim: number },
    command: AttendedCommand,
  ): Promise<Attended> {
    const { isolation } = this.#options;
    const { record, folder, shim } = instance;
    const confined = isolation.bwrap !== undefined;
    const inside = await insideOf(shim, confined);
    if (inside === undefined) throw notRunning(record.id);
    const name = `${record.id}/${EXEC_GROUP_PREFIX}${randomBytes(4).toString('hex')}`;
    const group = isolation.groups?.open(name);
    await Promise.all((group?.folders ?? []).map(makeGroupFolder));
    const limits = instanceLimits(record.diskBytes, await folder.hasDisk(), record.volumes);
    const enter = this.#enter(inside.pid, record.uid);
    return this.#start({
      confined: [...enter, ...loaderArguments(limits)],
      groups: group?.folders ?? [],
      cwd: confined ? `${SANDBOX_HOME}/app` : `${folder.home}/app`,
      env: { ...inside.env, ...command.env },
      command,
      killAll: (child) => {
        if (group === undefined) void killTree(child);
        else {
          child.kill('SIGKILL');
          void group.remove();
        }
      },
      cleanUp: async () => {
        if ((await group?.remove()) === false) isolation.log.warn('runtime.group_stuck', { instance: record.id });
        return undefined;
      },
    });
  }

  #enter(pid: number, uid: number): string[] {
    const { isolation } = this.#options;
    const { bwrap, filter } = isolation;
    if (bwrap === undefined) return [];
    const filterFd = filter === undefined ? undefined : FILTER_FD;
    return [
      ...(filter === undefined ? [] : [SHELL, '-c', OPEN_FILTER, filter]),
      ...enterArguments({ pid, user: sandboxUser(isolation, uid), bwrap, filterFd }),
    ];
  }

  /** Control groups of commands that an earlier daemon ran in the instance: what is in them is killed. */
  async removeLeftovers(id: InstanceId): Promise<void> {
    const { groups } = this.#options.isolation;
    for (const path of groups?.open(id).folders ?? []) {
      const names = await readdir(path).catch((): string[] => []);
      for (const name of names.filter((one) => one.startsWith(EXEC_GROUP_PREFIX))) {
        await groups!.open(`${id}/${name}`).remove();
      }
    }
  }

  async runTask(task: TaskSpec, command: AttendedCommand): Promise<Attended> {
    const { isolation, pourBlob } = this.#options;
    if (task.image !== undefined) {
      throw new RuntimeError('engine_missing', `this node runs no containers, and ${task.app.name} is an image`);
    }
    const folder = new InstanceFolder(isolation.dataDir, task.id);
    const held = await this.#holdVolumes(task);
    const uid = held?.uid ?? isolation.users.take();
    const record = taskRecord(task, uid);
    const spec = taskInstance(task);
    const owner = isolation.ownUsers ? uid : undefined;
    const user = sandboxUser(isolation, uid);
    const watches: { stop(): void }[] = [];
    let reason: string | undefined;
    let network: OwnNetwork | undefined;
    const removeAll = async (): Promise<string | undefined> => {
      for (const watch of watches) watch.stop();
      const group = isolation.groups?.open(task.id);
      const isOutOfMemory = ((await group?.outOfMemoryKills()) ?? 0) > 0;
      if (isOutOfMemory) reason ??= `out of memory (its limit is ${formatBytes(task.memoryBytes)})`;
      if ((await group?.remove()) === false) isolation.log.warn('runtime.group_stuck', { task: task.id });
      this.#options.volumes?.release(task.id);
      await folder.remove().catch((error: Error) => {
        isolation.log.warn('runtime.folder_left', { task: task.id, error: error.message });
      });
      if (network !== undefined) await isolation.networks?.release(network);
      isolation.users.release(uid);
      return reason;
    };
    let mounted: Bind[] = [];
    try {
      network = await isolation.networks?.take('instance', task.app.id);
      await folder.create(owner);
      if (isolation.ownDisks) {
        await attachDisk({ folder: folder.path, home: folder.home, bytes: task.diskBytes, owner: uid });
      }
      const steps = await Promise.allSettled([
        unpackDroplet({ isolation, folder, record, spec, pourBlob, signal: new AbortController().signal }),
        writeAccounts(folder.accounts, { user, hostname: task.app.name, hosts: knownHosts(isolation, task.hosts) }),
        isolation.groups?.create(task.id, { memoryBytes: task.memoryBytes, pidsMax: INSTANCE_PIDS_MAX }),
      ]);
      const failed = steps.find((step) => step.status === 'rejected');
      if (failed !== undefined) throw failed.reason;
      if (held !== undefined) mounted = await volumeBinds(held, { home: folder.home });
    } catch (error) {
      await removeAll();
      throw error;
    }
    const confined = isolation.bwrap !== undefined;
    const home = confined ? SANDBOX_HOME : folder.home;
    const nodeBin = confined ? SANDBOX_NODE_BIN : isolation.host.nodeBin;
    const own = network === undefined ? { host: '127.0.0.1' } : { host: network.host, listen: '0.0.0.0' };
    const env = instanceEnvironment(spec, { port: TASK_PORT, ...own, home, nodeBin, dyno: taskDyno(task) });
    const attended = await this.#start({
      confined: confinedCommand(isolation, {
        user,
        hostname: task.app.name,
        accounts: folder.accounts,
        binds: [{ from: folder.home, to: SANDBOX_HOME, writable: true }, ...mounted],
        links: DROPLET_LINKS,
        memoryBytes: task.memoryBytes,
        network,
        limits: instanceLimits(task.diskBytes, isolation.ownDisks, task.volumes),
        extra: ['--sync-fd', String(ALIVE_FD)],
      }),
      groups: isolation.groups?.open(task.id).folders ?? [],
      cwd: `${home}/app`,
      env: { ...env, ...command.env },
      command,
      withProfile: true,
      // The end of a sandbox's outer process ends everything inside.
      killAll: (child) => {
        if (confined) child.kill('SIGKILL');
        else void killTree(child);
      },
      cleanUp: removeAll,
    });
    this.#tasks.set(task.id, attended);
    void attended.exited.then(() => this.#tasks.delete(task.id));
    if (!isolation.ownDisks) {
      const onExceeded = () => attended.end(`it used more than its ${formatBytes(task.diskBytes)} of disk`);
      const { diskBytes } = task;
      watches.push(watchDisk({ folder: folder.home, diskBytes, intervalMs: DISK_SAMPLE_MS, onExceeded }));
    }
    if (isolation.groups === undefined) {
      const onExceeded = () => attended.end(`out of memory (its limit is ${formatBytes(task.memoryBytes)})`);
      watches.push(watchMemory({ ancestor: attended.pid, memoryBytes: task.memoryBytes, onExceeded }));
    }
    return attended;
  }

  async #holdVolumes(task: TaskSpec): Promise<HeldVolumes | undefined> {
    const { isolation, volumes } = this.#options;
    if ((task.volumes ?? []).length > 0 && isolation.bwrap === undefined) throw withoutSandbox();
    return acquireVolumes(volumes, task, { shared: true, signal: new AbortController().signal });
  }

  /** Harmless when no such task runs. */
  endTask(id: InstanceId, reason: string): void {
    this.#tasks.get(id)?.end(reason);
  }

  /** Undefined: no such task runs. */
  async freezeTask(id: InstanceId): Promise<Frozen | undefined> {
    const task = this.#tasks.get(id);
    if (task === undefined) return undefined;
    return freezeInstance({ group: this.#options.isolation.groups?.open(id), shim: task.pid });
  }

  /** Ends all that runs, and refuses more. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const command of this.#running) command.end('the node is stopping');
    await Promise.all([...this.#running].map((command) => command.exited));
  }

  async #start(run: AttendedRun): Promise<AttendedProcess> {
    if (this.#closed) {
      await run.cleanUp();
      throw new RuntimeError('not_running', 'the node is stopping');
    }
    const attended = await startAttended(run);
    this.#running.add(attended);
    void attended.exited.then(() => this.#running.delete(attended));
    return attended;
  }
}

/** An older daemon may have put the instance into fewer groups. */
async function makeGroupFolder(path: string): Promise<void> {
  await mkdir(dirname(path)).catch(() => {});
  await mkdir(path);
}

export const withoutSandbox = (): RuntimeError =>
  new RuntimeError(
    'volume_unavailable',
    'this node runs apps without a sandbox, and volumes are mounted in one only: start it without --insecure-process-runtime',
  );

export const notRunning = (id: string): RuntimeError =>
  new RuntimeError('not_running', `the instance ${id} does not run here (any more): see peer app`);

/** Where no control group keeps them together: what can be found. */
async function killTree(child: ChildProcess): Promise<void> {
  if (child.pid === undefined) return;
  for (const { pid } of await descendants(child.pid)) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It has gone by itself.
    }
  }
  child.kill('SIGKILL');
}
