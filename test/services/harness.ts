// What the tests of kinds share: a service in the sandbox of this node, with a network and a volume of its own, as a
// runtime would launch it; and commands within it. Real engines, real isolation.

import { type ChildProcess, spawn } from 'node:child_process';
import { chmod, chown, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { vi } from 'vitest';
import { asServiceId } from '../../crdt/ids.ts';
import { serverCertificate } from '../../node/identity/service-certificate.ts';
import type {
  Access,
  Endpoint,
  Engine,
  ServiceCommand,
  ServiceContext,
  ServiceKind,
} from '../../node/ports/services.ts';
import { startAttended } from '../../node/runtime/commands/attended-command.ts';
import type { OwnNetwork } from '../../node/runtime/network/networks.ts';
import { enterArguments, insideOf } from '../../node/runtime/process/enter.ts';
import { SANDBOX_HOME } from '../../node/runtime/sandbox/bwrap.ts';
import type { ControlGroup } from '../../node/runtime/sandbox/cgroup.ts';
import { confinedCommand, type Isolation, sandboxUser, writeAccounts } from '../../node/runtime/sandbox/confinement.ts';
import { closeIsolation, prepareIsolation } from '../../node/runtime/sandbox/isolation.ts';
import {
  encodeLoad,
  FILTER_FD,
  LOAD_FD,
  loaderArguments,
  OPEN_FILTER,
  SHELL,
  SHIM,
  startCommand,
} from '../../node/runtime/sandbox/scripts.ts';
import { machine } from '../../node/services/machine.ts';
import { databaseName } from '../../node/services/names.ts';
import { silent, testNode } from '../runtime/harness.ts';

const LIMITS = { pidsMax: 512, filesMax: 16_384, fileBytesMax: 4 * 1024 ** 3 };
const OUTPUT_CHARACTERS_MAX = 1024 * 1024;
export const DEADLINE_MS = 150_000;

export type Ended = { code: number; stdout: Buffer; stderr: string };

/** In place of the small plan's own, and what it is told beside. */
type More = Partial<ServiceKind['least']> & { wal?: boolean };

/** A machine's worth of services of one test file. */
export type ServiceHost = {
  /** With the small plan, or with `more`. */
  open(kind: ServiceKind, name: string, more?: More): Promise<TestService>;
  dispose(): Promise<void>;
};

export async function serviceHost(): Promise<ServiceHost> {
  const node = await testNode();
  const isolation = await prepareIsolation({ ...node, log: silent });
  const services: TestService[] = [];
  return {
    async open(kind, name, more) {
      const [engine] = await kind.find(machine);
      if (engine === undefined) throw new Error(`${kind.name} is not installed: npm run setup -- --tests`);
      const service = new TestService({ isolation, kind, engine, name, more });
      services.push(service);
      await service.prepare();
      return service;
    },
    async dispose() {
      for (const service of services) await service.dispose();
      await closeIsolation(isolation, { keepInstances: false });
      await node.dispose();
    },
  };
}

type Running = { shim: ChildProcess; ended: Promise<void>; network: OwnNetwork; group: ControlGroup };

export class TestService {
  readonly kind: ServiceKind;
  readonly engine: Engine;
  readonly context: ServiceContext;
  readonly #isolation: Isolation;
  readonly #uid: number;
  #folder = '';
  #running: Running | undefined;
  /** What the engine said since the last start. */
  log = '';

  constructor(options: {
    isolation: Isolation;
    kind: ServiceKind;
    engine: Engine;
    name: string;
    more?: More | undefined;
  }) {
    const { isolation, kind, engine, name, more } = options;
    this.kind = kind;
    this.engine = engine;
    this.#isolation = isolation;
    this.#uid = isolation.users.take();
    const plan = kind.plans.small;
    this.context = {
      service: { id: asServiceId('0123456789abcdef'), name, version: engine.version, ...plan, ...more },
      plan,
      engine,
      adminPassword: 'AdminsOwn0123456789',
      certificate: () => serverCertificate('AdminsOwn0123456789', { service: 'it', names: ['it.service.internal'] }),
    };
  }

  async prepare(): Promise<void> {
    await mkdir(join(this.#isolation.dataDir, 'services'), { recursive: true });
    this.#folder = await mkdtemp(join(this.#isolation.dataDir, 'services', 's-'));
    await mkdir(join(this.#folder, 'home', 'app'), { recursive: true });
    await mkdir(this.volume, { mode: 0o700 });
    for (const path of ['home', 'home/app', 'volume']) await chown(join(this.#folder, path), this.#uid, this.#uid);
    const user = sandboxUser(this.#isolation, this.#uid);
    await writeAccounts(join(this.#folder, 'accounts'), { user, hostname: 'service', hosts: [] });
  }

  /** On the host. */
  get volume(): string {
    return join(this.#folder, 'volume');
  }

  get database(): string {
    return databaseName(this.context.service.name);
  }

  access(user: string, password: string): Access {
    return { user, password, database: this.database };
  }

  /** From the machine, which reaches every network of its instances. */
  get endpoint(): Endpoint {
    return { host: this.#mustRun().network.host, port: this.kind.port };
  }

  async writeFiles(): Promise<void> {
    for (const [path, text] of Object.entries(this.kind.program(this.context).files)) {
      const file = join(this.volume, path.slice('/data/'.length));
      await writeFile(file, text, { mode: 0o600 });
      await chmod(file, 0o600);
      await chown(file, this.#uid, this.#uid);
    }
  }

  /** Resolves when it has been launched; see `ready`. */
  async launch(): Promise<void> {
    const isolation = this.#isolation;
    const program = this.kind.program(this.context);
    await this.writeFiles();
    const network = await isolation.networks!.take('instance', undefined, { answersOnly: true });
    const name = `service-${this.#uid}`;
    const { memoryBytes } = this.context.service;
    const group = await isolation.groups!.create(name, { memoryBytes, pidsMax: LIMITS.pidsMax });
    const confined = confinedCommand(isolation, {
      user: sandboxUser(isolation, this.#uid),
      hostname: 'service',
      accounts: join(this.#folder, 'accounts'),
      binds: [
        { from: join(this.#folder, 'home'), to: SANDBOX_HOME, writable: true },
        { from: this.volume, to: '/data', writable: true },
      ],
      links: [],
      memoryBytes,
      network,
      limits: LIMITS,
    });
    const { folders } = group;
    const shim = spawn(SHELL, ['-c', SHIM, 'peer', this.#folder, String(folders.length), ...folders, ...confined], {
      cwd: '/',
      env: { PATH: '/usr/bin:/bin' },
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    });
    this.log = '';
    for (const stream of [shim.stdout!, shim.stderr!]) {
      stream.on('data', (chunk: Buffer) => {
        if (this.log.length < OUTPUT_CHARACTERS_MAX) this.log += chunk.toString();
      });
    }
    const ended = new Promise<void>((resolve) => shim.once('close', () => resolve()));
    const env = { PATH: '/usr/bin:/bin', HOME: SANDBOX_HOME, ...program.env };
    const load = encodeLoad({ cwd: `${SANDBOX_HOME}/app`, argv: startCommand(program.command), env });
    (shim.stdio[LOAD_FD] as Duplex).on('error', () => {}).end(load);
    this.#running = { shim, ended, network, group };
  }

  /** Until clients are answered. */
  async ready(): Promise<void> {
    let gone = false;
    void this.#mustRun().ended.then(() => {
      gone = true;
    });
    await vi.waitFor(
      async () => {
        if (gone) return;
        const { code, stderr } = await this.run(this.kind.probe(this.context));
        if (code !== 0) throw new Error(`not ready: ${stderr}\n${this.log.slice(-2_000)}`);
      },
      { timeout: DEADLINE_MS, interval: 100 },
    );
    if (gone) throw new Error(`it ended: ${this.log.slice(-2_000)}`);
  }

  async start(): Promise<void> {
    await this.launch();
    await this.ready();
  }

  /** A command of the kind within it, to its end. */
  async run(command: ServiceCommand, input?: Buffer): Promise<Ended> {
    const isolation = this.#isolation;
    const inside = await insideOf(this.#mustRun().shim.pid!, true);
    if (inside === undefined) return { code: -1, stdout: Buffer.of(), stderr: 'it does not run' };
    const user = sandboxUser(isolation, this.#uid);
    const { bwrap = '', filter } = isolation;
    const filterFd = filter === undefined ? undefined : FILTER_FD;
    const attended = await startAttended({
      confined: [
        ...(filter === undefined ? [] : [SHELL, '-c', OPEN_FILTER, filter]),
        ...enterArguments({ pid: inside.pid, user, bwrap, filterFd }),
        ...loaderArguments(LIMITS),
      ],
      groups: this.#mustRun().group.folders,
      cwd: '/data',
      env: { ...inside.env, ...command.env },
      command: { argv: command.argv },
      killAll: (child) => void child.kill('SIGKILL'),
      cleanUp: async () => undefined,
    });
    attended.stdin.end(input ?? command.stdin ?? '');
    const [stdout, stderr, exit] = await Promise.all([
      buffer(attended.stdout),
      buffer(attended.stderr),
      attended.exited,
    ]);
    return { code: exit.code, stdout, stderr: stderr.toString() };
  }

  /** Fails unless the command succeeds; resolves with what it printed. */
  async must(command: ServiceCommand, input?: Buffer): Promise<Buffer> {
    const { code, stdout, stderr } = await this.run(command, input);
    if (code !== 0) throw new Error(`status ${code}: ${stderr}${stdout.toString().slice(-1_000)}`);
    return stdout;
  }

  /** The kind's own signal, and its grace. Resolves with how long it took. */
  async stop(): Promise<number> {
    const { shim, ended } = this.#mustRun();
    const { stopSignal, stopGraceMs } = this.kind.program(this.context);
    const inside = await insideOf(shim.pid!, true);
    const startedAt = performance.now();
    if (inside !== undefined) process.kill(inside.pid, stopSignal);
    let isOver = false;
    const timer = setTimeout(() => {
      isOver = true;
      void this.#killNow();
    }, stopGraceMs);
    await ended;
    clearTimeout(timer);
    if (isOver) throw new Error(`it did not stop within ${stopGraceMs} ms: ${this.log.slice(-2_000)}`);
    await this.#leave();
    return performance.now() - startedAt;
  }

  async kill(): Promise<void> {
    const killed = this.#killNow();
    await this.#mustRun().ended;
    // Or it would take away the group of the next start.
    await killed;
    await this.#leave();
  }

  /** By itself; its exit status. */
  async ended(): Promise<number> {
    await this.#mustRun().ended;
    await this.#leave();
    return Number(await readFile(join(this.#folder, 'exit'), 'utf8'));
  }

  /** As a node does with one that ended by itself. */
  async startIfEnded(): Promise<void> {
    const { shim, ended } = this.#mustRun();
    if ((await insideOf(shim.pid!, true)) !== undefined) return;
    await ended;
    await this.#leave();
    await this.start();
  }

  async memoryBytes(): Promise<number> {
    return (await this.#mustRun().group.counters()).memoryBytes ?? 0;
  }

  async hasFile(path: string): Promise<boolean> {
    return stat(join(this.volume, path)).then(
      () => true,
      () => false,
    );
  }

  async dispose(): Promise<void> {
    if (this.#running !== undefined) await this.kill();
    await rm(this.#folder, { recursive: true, force: true });
    this.#isolation.users.release(this.#uid);
  }

  #mustRun(): Running {
    if (this.#running === undefined) throw new Error('the service does not run');
    return this.#running;
  }

  /** What a machine's sudden end does to processes: none is asked. */
  #killNow(): Promise<unknown> {
    return this.#mustRun().group.remove();
  }

  async #leave(): Promise<void> {
    const { network, group } = this.#mustRun();
    await group.remove();
    await this.#isolation.networks!.release(network);
    this.#running = undefined;
  }
}
