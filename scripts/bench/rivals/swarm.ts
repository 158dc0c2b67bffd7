// Docker Swarm beside us: a dockerd on each of three hosts, one manager and two workers, and a service of one task.
// Says how long after the dockerd under the task was killed a replacement ran on the other worker. Owns its daemons,
// their containers, mounts and control groups; stop() leaves none behind. The machine's own engine has no part in it.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, createWriteStream, openSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, readdir, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import Docker from 'dockerode';
import type { Lan } from '../../lan.ts';
import { inNamespace, removeCgroupsNamed, removeFolder, run, waitFor } from '../../local-cluster.ts';
import { isRunning as isRunningPid, killAll, processesOfNode } from '../../processes.ts';

/** The first is the manager; the others run the task. */
export const SWARM_HOSTS_COUNT = 3;

const START_DEADLINE_MS = 60_000;
/** A worker counts as down after three heartbeats of 5 s, and tasks are restarted 5 s later. */
const REPLACEMENT_DEADLINE_MS = 120_000;
const CLEAN_DEADLINE_MS = 30_000;
const SWARM_PORT = 2377;
const SERVICE = 'hello';
const IMAGE = 'peer-bench:1';
/** All that the image holds, with the libraries that it is linked to. */
const PROGRAM = '/bin/sleep';
const LOG_LINES_SHOWN = 5;
const NO_PID = -1;
const FOLDER = /^peer-swarm-(\d+)-/;

type Task = { NodeID?: string; Status: { State: string } };

/** One dockerd in a host's namespace, with folders and a socket of its own. */
class Engine {
  readonly host: string;
  readonly docker: Docker;
  readonly #namespace: string;
  readonly #folder: string;
  readonly #cgroup: string;
  #child: ChildProcess | undefined;
  nodeId = '';

  constructor(options: { host: string; namespace: string; folder: string; cgroup: string }) {
    this.host = options.host;
    this.#namespace = options.namespace;
    this.#folder = options.folder;
    this.#cgroup = options.cgroup;
    this.docker = new Docker({ socketPath: this.#in('sock') });
  }

  #in(name: string): string {
    return join(this.#folder, name);
  }

  async start(): Promise<void> {
    await mkdir(this.#folder, { recursive: true });
    const paths = ['--data-root', this.#in('data'), '--exec-root', this.#in('run'), '--pidfile', this.#in('pid')];
    const args = [...paths, '--host', `unix://${this.#in('sock')}`, '--cgroup-parent', this.#cgroup];
    const [program, ...rest] = inNamespace(this.#namespace, ['dockerd', ...args]);
    const log = openSync(this.#in('log'), 'a');
    const child = spawn(program!, rest, { stdio: ['ignore', log, log] });
    closeSync(log);
    this.#child = child;
    let ended: string | undefined;
    child.once('error', (error) => {
      ended = error.message;
    });
    child.once('exit', (code, signal) => {
      ended ??= `it ended with ${signal ?? `status ${code}`}`;
    });
    try {
      await waitFor(`dockerd on ${this.host} to answer`, START_DEADLINE_MS, async () => {
        return ended !== undefined || (await this.docker.ping()) !== undefined;
      });
      if (ended !== undefined) throw new Error(ended);
    } catch (error) {
      const problem = `a dockerd of its own cannot be started on ${this.host}: ${(error as Error).message}`;
      throw new Error(`${problem}. The end of its log: ${await this.#logEnd()}`);
    }
  }

  /** Its containerd goes with it, its containers run on. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL');
  }

  async terminate(): Promise<void> {
    await this.#end('SIGTERM');
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill(signal);
    await exited;
  }

  async #logEnd(): Promise<string> {
    const text = await readFile(this.#in('log'), 'utf8').catch(() => '');
    return text.trimEnd().split('\n').slice(-LOG_LINES_SHOWN).join(' / ');
  }
}

export class Swarm {
  readonly #folder: string;
  readonly #engines: Engine[];

  private constructor(folder: string, engines: Engine[]) {
    this.#folder = folder;
    this.#engines = engines;
  }

  /** @param hosts three of the LAN. Fails, with everything ended, when several dockerds cannot run here. */
  static async start(lan: Lan, hosts: readonly string[]): Promise<Swarm> {
    await removeAbandoned();
    const folder = await mkdtemp(join(tmpdir(), `peer-swarm-${process.pid}-`));
    const cgroup = basename(folder);
    const engines = hosts.map((host) => {
      return new Engine({ host, namespace: lan.namespaceOf(host), folder: join(folder, host), cgroup: `/${cgroup}` });
    });
    const swarm = new Swarm(folder, engines);
    try {
      await Promise.all(engines.map((engine) => engine.start()));
      await swarm.#form(lan);
      await swarm.#serve();
    } catch (error) {
      await swarm.stop();
      throw error;
    }
    return swarm;
  }

  /** Kills the dockerd under the task, and starts it again. Ms from the signal until a task ran on another host. */
  async replaceAfterKill(): Promise<number> {
    const victim = await this.#engineOfTask();
    const startMs = performance.now();
    await victim.kill();
    await waitFor('swarm to run the task on another host', REPLACEMENT_DEADLINE_MS, async () => {
      return (await this.#tasks()).some((task) => isRunning(task) && task.NodeID !== victim.nodeId);
    });
    const tookMs = performance.now() - startMs;
    await victim.start();
    await this.#untilReady();
    return tookMs;
  }

  async stop(): Promise<void> {
    try {
      await this.#manager.docker.getService(SERVICE).remove();
      await waitFor('the containers of the swarm to go', CLEAN_DEADLINE_MS, async () => {
        const left = await Promise.all(this.#engines.map(({ docker }) => docker.listContainers({ all: true })));
        return left.flat().length === 0;
      });
      await Promise.race([Promise.all(this.#engines.map((engine) => engine.terminate())), timeout(CLEAN_DEADLINE_MS)]);
    } catch {
      // It never came so far, or a daemon is stuck: below, everything ends by force.
    }
    await removeAll(this.#folder);
  }

  get #manager(): Engine {
    return this.#engines[0]!;
  }

  async #form(lan: Lan): Promise<void> {
    const at = (engine: Engine): string => `${lan.addressOf(engine.host)}:${SWARM_PORT}`;
    const own = (engine: Engine) => ({ ListenAddr: at(engine), AdvertiseAddr: at(engine) });
    await this.#manager.docker.swarmInit(own(this.#manager));
    const { JoinTokens } = (await this.#manager.docker.swarmInspect()) as { JoinTokens: { Worker: string } };
    for (const engine of this.#engines.slice(1)) {
      await engine.docker.swarmJoin({
        ...own(engine),
        RemoteAddrs: [at(this.#manager)],
        JoinToken: JoinTokens.Worker,
      });
    }
    for (const engine of this.#engines) engine.nodeId = (await engine.docker.info()).Swarm.NodeID;
    await this.#untilReady();
  }

  /** One task, on a worker. The image is named by its id, so that nobody asks a registry for it. */
  async #serve(): Promise<void> {
    const archive = await this.#image();
    const loaded = this.#engines.slice(1).map(async ({ docker }) => {
      await drained(await docker.loadImage(archive));
    });
    await Promise.all(loaded);
    const { Id } = await this.#manager.docker.getImage(IMAGE).inspect();
    await this.#manager.docker.createService({
      Name: SERVICE,
      TaskTemplate: {
        ContainerSpec: { Image: Id, Command: [PROGRAM, 'infinity'] },
        Placement: { Constraints: ['node.role==worker'] },
      },
      Mode: { Replicated: { Replicas: 1 } },
    });
    await waitFor('the first task of the swarm to run', START_DEADLINE_MS, async () =>
      (await this.#tasks()).some(isRunning),
    );
  }

  /** Made on the manager from what this machine has; the others get the same, as it has the same id only then. */
  async #image(): Promise<string> {
    const root = join(this.#folder, 'image');
    const libraries = (await done(['ldd', PROGRAM])).match(/\/\S+/g) ?? [];
    for (const file of [PROGRAM, ...libraries]) {
      await mkdir(join(root, dirname(file)), { recursive: true });
      await copyFile(file, join(root, file));
    }
    const archive = join(this.#folder, 'image.tar');
    await done(['tar', '--create', '--file', archive, '--directory', root, '.']);
    const [repo, tag] = IMAGE.split(':');
    await drained(await this.#manager.docker.importImage(archive, { repo, tag }));
    const saved = join(this.#folder, 'saved.tar');
    await pipeline(await this.#manager.docker.getImage(IMAGE).get(), createWriteStream(saved));
    return saved;
  }

  async #tasks(): Promise<Task[]> {
    const filters = JSON.stringify({ service: [SERVICE], 'desired-state': ['running'] });
    return (await this.#manager.docker.listTasks({ filters })) as Task[];
  }

  async #engineOfTask(): Promise<Engine> {
    const running = (await this.#tasks()).filter(isRunning);
    const engine = this.#engines.find(({ nodeId }) => nodeId === running[0]?.NodeID);
    if (engine === undefined) throw new Error(`the swarm runs ${running.length} tasks, none of them on a known host`);
    return engine;
  }

  async #untilReady(): Promise<void> {
    await waitFor('every host of the swarm to be ready', START_DEADLINE_MS, async () => {
      const nodes = (await this.#manager.docker.listNodes()) as { Status: { State: string } }[];
      return nodes.length === this.#engines.length && nodes.every(({ Status }) => Status.State === 'ready');
    });
  }
}

/** Whatever is left of a swarm: the control group has the folder's name. */
async function removeAll(folder: string): Promise<void> {
  await waitFor('the processes of the swarm to end', CLEAN_DEADLINE_MS, async () => {
    const pids = await processesOfNode(NO_PID, folder);
    killAll(pids);
    return pids.length === 0;
  });
  await removeCgroupsNamed(basename(folder));
  await removeFolder(folder);
}

/** Swarms of benchmarks that were killed before they could clean up. */
async function removeAbandoned(): Promise<void> {
  for (const name of await readdir(tmpdir())) {
    const pid = FOLDER.exec(name)?.[1];
    if (pid !== undefined && !(await isRunningPid(Number(pid)))) await removeAll(join(tmpdir(), name));
  }
}

const isRunning = (task: Task): boolean => task.Status.State === 'running';

const timeout = (afterMs: number): Promise<never> =>
  new Promise((_resolve, reject) => {
    setTimeout(() => reject(new Error(`not within ${afterMs} ms`)), afterMs).unref();
  });

async function drained(stream: NodeJS.ReadableStream): Promise<void> {
  for await (const _ of stream);
}

async function done(command: string[]): Promise<string> {
  const { code, stdout, stderr } = await run(command);
  if (code !== 0) throw new Error(`${command.join(' ')}: ${stderr.trim()}`);
  return stdout;
}
