// An instance's folder on disk: what is where in it, and how it is written and read. It outlives the daemon, so that
// the next one can adopt the instance. The sandbox sees only `home` of it; environment and commands are never stored
// in it.

import { close as closeCallback, constants, open as openCallback } from 'node:fs';
import { chown, mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import writeFileAtomic from 'write-file-atomic';
import type { AppId, InstanceId, ReleaseId } from '../../crdt/ids.ts';
import type { HealthView } from '../../crdt/view.ts';
import { coded } from '../lib/program.ts';
import { spawnChild } from '../lib/spawn-child.ts';
import type { ServiceProgram } from '../ports/services.ts';
import { RuntimeError } from './errors.ts';
import type { RecordedMount } from './mounts.ts';
import { parseStat, processInfo } from './process-tree.ts';
import { detachDisk, hasDisk } from './sandbox/disk.ts';

const open = promisify(openCallback);
const close = promisify(closeCallback);

/** What adoption needs to know. Version: raised when an older daemon's record can no longer be read. */
export type InstanceRecord = {
  version: 1;
  id: InstanceId;
  app: { id: AppId; name: string };
  process: string;
  index: number;
  release: { id: ReleaseId; version: number };
  restartCount: number;
  memoryBytes: number;
  diskBytes: number;
  health: HealthView;
  /** It runs an image as it is, not a droplet. */
  image?: true;
  port: number;
  /** Its own network, where it has one: the name of its namespace and its address there. */
  network?: { namespace: string; host: string };
  uid: number;
  /** What it has mounted. */
  volumes?: RecordedMount[];
  /** It is a service, which is stopped so. */
  service?: { stopSignal: ServiceProgram['stopSignal']; stopGraceMs: number };
  /** The boot in which it was started: after another one nothing of it runs. */
  boot: string;
};

/** Descriptors that a daemon reads an instance by; each opened without blocking. */
export type Descriptors = { control: number; out: number; err: number };

const FOLDER_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$/;
/** `control` last: opening it lets a shim that has waited for a daemon go, and what it held open with it. */
const FIFOS = ['out', 'err', 'control'] as const;

export function instancesFolder(dataDir: string): string {
  return join(dataDir, 'instances');
}

export async function listInstanceFolders(dataDir: string): Promise<InstanceFolder[]> {
  const entries = await readdir(instancesFolder(dataDir), { withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => entry.isDirectory() && FOLDER_NAME.test(entry.name))
    .map((entry) => new InstanceFolder(dataDir, entry.name));
}

export class InstanceFolder {
  readonly name: string;
  readonly path: string;
  /** The root of its droplet; the sandbox's home. */
  readonly home: string;
  readonly accounts: string;
  /** Where the root of an image is mounted, if it is. */
  readonly root: string;

  constructor(dataDir: string, name: string) {
    if (!FOLDER_NAME.test(name)) {
      throw new RuntimeError('invalid_name', `not an instance id: ${JSON.stringify(name.slice(0, 300))}`);
    }
    this.name = name;
    this.path = join(instancesFolder(dataDir), name);
    this.home = join(this.path, 'home');
    this.accounts = join(this.path, 'etc');
    this.root = join(this.path, 'root');
  }

  /** `owner`: the host user that the instance runs as, when it has one. */
  async create(owner: number | undefined): Promise<void> {
    await mkdir(this.home, { recursive: true, mode: 0o700 });
    if (owner !== undefined) await chown(this.home, owner, owner);
  }

  /** Of what comes without a droplet: the folders that one has. */
  async makeEmptyHome(owner: number | undefined): Promise<void> {
    for (const name of ['app', 'logs', 'tmp']) {
      const path = join(this.home, name);
      await mkdir(path, { mode: 0o700 });
      if (owner !== undefined) await chown(path, owner, owner);
    }
  }

  async makeFifos(owner: number | undefined): Promise<void> {
    const paths = FIFOS.map((name) => join(this.path, name));
    await runQuietly('mkfifo', ['-m', '600', ...paths]);
    // The app may open /dev/stdout anew, which asks for permission again.
    if (owner !== undefined) await Promise.all(paths.slice(0, 2).map((path) => chown(path, owner, owner)));
  }

  /** A pipe of the daemon's own; its path. */
  async makePipe(name: string): Promise<string> {
    const path = join(this.path, name);
    await runQuietly('mkfifo', ['-m', '600', path]);
    return path;
  }

  writeRecord(record: InstanceRecord): Promise<void> {
    return writeFileAtomic(join(this.path, 'instance.json'), JSON.stringify(record), { mode: 0o600, fsync: false });
  }

  async readRecord(): Promise<InstanceRecord | undefined> {
    try {
      const record = JSON.parse(await readFile(join(this.path, 'instance.json'), 'utf8')) as InstanceRecord;
      return record.version === 1 && record.id === this.name && Number.isInteger(record.port) ? record : undefined;
    } catch {
      return undefined;
    }
  }

  async openReaders(): Promise<Descriptors> {
    const flags = constants.O_RDONLY | constants.O_NONBLOCK;
    const opened: number[] = [];
    try {
      for (const name of FIFOS) opened.push(await open(join(this.path, name), flags));
    } catch (error) {
      await Promise.all(opened.map((descriptor) => close(descriptor)));
      throw error;
    }
    return { out: opened[0]!, err: opened[1]!, control: opened[2]! };
  }

  static async closeReaders(descriptors: Descriptors): Promise<void> {
    await Promise.all(Object.values(descriptors).map((descriptor) => close(descriptor)));
  }

  /**
   * Descriptors for the instance's own stdout and stderr. Open for reading too: a reader is then always there, so that
   * an instance that writes while no daemon runs waits when the FIFO is full, instead of being ended by SIGPIPE.
   */
  async openWriters(): Promise<{ out: number; err: number; close(): Promise<void> }> {
    const out = await open(join(this.path, 'out'), constants.O_RDWR);
    const err = await open(join(this.path, 'err'), constants.O_RDWR);
    return {
      out,
      err,
      async close() {
        await Promise.all([close(out), close(err)]);
      },
    };
  }

  /** The shim's process id, when it is running still. */
  async livingShim(): Promise<number | undefined> {
    const noted = parseStat(await readFile(join(this.path, 'shim'), 'utf8').catch(() => ''));
    if (noted === undefined) return undefined;
    const now = await processInfo(noted.pid);
    return now?.startTicks === noted.startTicks ? noted.pid : undefined;
  }

  /** What the sandbox's command ended with; undefined while it runs and when its shim was killed. */
  async exitStatus(): Promise<number | undefined> {
    const text = await readFile(join(this.path, 'exit'), 'utf8').catch(() => '');
    return /^\d+$/.test(text.trim()) ? Number(text) : undefined;
  }

  /** In a process of its own: a droplet may have very many files. */
  async remove(): Promise<void> {
    await this.detachDisk();
    // Should something be mounted still, it is not this folder's to empty.
    const remove = ['-rf', '--one-file-system', '--', this.path];
    await runQuietly('rm', remove).catch(async () => {
      // Without root, folders that the app closed to its own user must be opened first.
      await runQuietly('chmod', ['-R', 'u+rwX', '--', this.path]).catch(() => {});
      await runQuietly('rm', remove);
    });
  }

  /** Whether the kernel enforces its disk limit. */
  hasDisk(): Promise<boolean> {
    return hasDisk(this.path);
  }

  detachDisk(): Promise<void> {
    return detachDisk({ folder: this.path, home: this.home, root: this.root });
  }
}

function runQuietly(command: string, argv: string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawnChild(command, argv, { stdio: ['ignore', 'ignore', 'pipe'] });
    let problem = '';
    child.stderr.on('data', (chunk: Buffer) => {
      problem = `${problem}${chunk}`.slice(0, 500);
    });
    const fail = (message: string, cause?: unknown): void =>
      reject(new RuntimeError('spawn_failed', `${command}: ${message}`, { cause }));
    child.once('error', (error) => fail(error.message, error));
    child.once('close', (code) => {
      if (code === 0) resolve();
      else fail(problem.trim().split('\n')[0] ?? `status ${code}`, coded(new Error(problem), problem));
    });
  });
}
