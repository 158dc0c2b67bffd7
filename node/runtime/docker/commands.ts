// The CommandRunner of the docker runtime: the engine's own exec in instances, and containers of their own for tasks. Keeps
// track of what runs, so that nothing of it outlives the daemon for longer than until the next one.

import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import type { Container, Exec } from 'dockerode';
import type { Digest } from '../../../crdt/ids.ts';
import type { Attended, AttendedCommand, TaskSpec } from '../../ports.ts';
import { SANDBOX_HOME, SANDBOX_NODE_BIN } from '../bwrap.ts';
import { notRunning } from '../commands.ts';
import { type Isolation, writeAccounts } from '../confinement.ts';
import { instanceEnvironment } from '../environment.ts';
import { RuntimeError } from '../errors.ts';
import { formatBytes } from '../exits.ts';
import { InstanceFolder } from '../folder.ts';
import { startCommand } from '../launch.ts';
import { unpackDroplet } from '../launchinstance.ts';
import { TASK_PORT, taskInstance, taskRecord } from '../task.ts';
import { quoted, SHELL_LINE, TERM } from '../terminal.ts';
import { DISK_SAMPLE_MS, watchDisk } from '../watch.ts';
import { AttachedCommand, type AttachedRun } from './attached.ts';
import { taskOptions } from './container.ts';
import type { Engine } from './engine.ts';
import type { AppNetworks } from './networks.ts';

/** Marks all that a command starts: an engine ends no exec, and names no process of one. */
const MARK = 'PEER_SESSION';
/** How often the engine is asked whether an exec has ended whose output has not. */
const LOOK_MS = 500;
const ENDED_LOOKS_MAX = 50;
/** 128 + KILL. */
const KILLED = 137;
const KILLS_MAX = 20;
const KILL_AGAIN_MS = 100;

/** Kills all that has the mark in its environment; ends with 0 once there is none. */
const KILL_MARKED = `found=1
for process in /proc/[0-9]*; do
  if tr '\\0' '\\n' <"$process/environ" 2>/dev/null | grep -q "^$1"; then kill -KILL "\${process#/proc/}" && found=0; fi
done
[ "$found" = 1 ]`;

export type DockerCommandsOptions = {
  engine: Engine;
  nodeId: string;
  isolation: Isolation;
  readBlob: (digest: Digest) => AsyncIterable<Uint8Array>;
  networks: AppNetworks;
  /** Id of the stack's image. Fails with RuntimeError. */
  imageOf: (stack: string) => string;
};

export class DockerCommands {
  readonly #options: DockerCommandsOptions;
  readonly #running = new Set<Attended>();
  #closed = false;

  constructor(options: DockerCommandsOptions) {
    this.#options = options;
  }

  async exec(container: Container, command: AttendedCommand): Promise<Attended> {
    const terminal = command.terminal !== undefined;
    const mark = `${MARK}=${randomBytes(8).toString('hex')}`;
    let exec: Exec;
    let stream: AttachedRun['stream'];
    try {
      exec = await container.exec({
        AttachStdin: true,
        AttachStdout: true,
        AttachStderr: true,
        Tty: terminal,
        Cmd: commandLine(command),
        Env: [mark, ...(terminal ? [`TERM=${TERM}`] : [])],
        WorkingDir: `${SANDBOX_HOME}/app`,
      });
      stream = await exec.start({ hijack: true, stdin: true, Tty: terminal });
    } catch (error) {
      // 404 and 409: it has ended since, or is about to.
      if ([404, 409].includes((error as { statusCode?: number }).statusCode ?? 0)) throw notRunning(container.id);
      throw new RuntimeError('spawn_failed', `the engine could not start it: ${(error as Error).message}`, {
        cause: error,
      });
    }
    const attended = this.#keep(
      new AttachedCommand({
        stream,
        terminal,
        resize: ({ columns, rows }) => exec.resize({ w: columns, h: rows }),
        kill: () => killMarked(container, mark),
        wait: () => execEnded(exec, stream),
        // What it left behind has nobody who attends to it.
        cleanUp: () => killMarked(container, mark),
      }),
    );
    return attended;
  }

  /** Ends all commands in the container, whoever started them. */
  endAll(container: Container): Promise<void> {
    return killMarked(container, `${MARK}=`).catch(() => {});
  }

  async runTask(task: TaskSpec, command: AttendedCommand): Promise<Attended> {
    const { isolation, engine, networks, nodeId, readBlob, imageOf } = this.#options;
    const image = imageOf(task.droplet.stack);
    const terminal = command.terminal !== undefined;
    const folder = new InstanceFolder(isolation.dataDir, task.id);
    const uid = isolation.users.take();
    const record = taskRecord(task, uid);
    const spec = taskInstance(task);
    let container: Container | undefined;
    let network: Promise<string> | undefined;
    const removeAll = async (): Promise<void> => {
      await (container ?? engine.docker.getContainer(`peer-${task.id}`))
        .remove({ force: true, v: true })
        .catch(() => {});
      await rm(folder.path, { recursive: true, force: true }).catch((error: Error) => {
        isolation.log.warn('runtime.folder_left', { task: task.id, error: error.message });
      });
      const hasNetwork = await network?.then(
        () => true,
        () => false,
      );
      if (hasNetwork === true) await networks.release(task.app.id);
      isolation.users.release(uid);
    };
    try {
      network = networks.acquire(task.app.id);
      await folder.create(isolation.ownUsers ? uid : undefined);
      const steps = await Promise.allSettled([
        unpackDroplet({ isolation, folder, record, spec, readBlob, signal: new AbortController().signal }),
        writeAccounts(folder.accounts, { kind: 'dropped', uid }, task.app.name),
        network,
      ]);
      const failed = steps.find((step) => step.status === 'rejected');
      if (failed !== undefined) throw failed.reason;
      const place = { port: TASK_PORT, host: '0.0.0.0', home: SANDBOX_HOME, nodeBin: SANDBOX_NODE_BIN };
      container = await engine.docker.createContainer(
        taskOptions({
          node: nodeId,
          record,
          image,
          network: await network,
          env: { ...instanceEnvironment(spec, place), ...(terminal ? { TERM } : {}) },
          argv: commandLine(command),
          terminal,
          home: folder.home,
          accounts: folder.accounts,
          nodeBin: isolation.host.nodeBin,
        }),
      );
      const stream = await container.attach({ stream: true, hijack: true, stdin: true, stdout: true, stderr: true });
      const waiting = container.wait({ condition: 'next-exit' });
      waiting.catch(() => {});
      await container.start();
      return this.#attendTask(task, container, folder, {
        stream: stream as AttachedRun['stream'],
        waiting,
        terminal: command.terminal,
        removeAll,
      });
    } catch (error) {
      await removeAll();
      throw error;
    }
  }

  #attendTask(
    task: TaskSpec,
    container: Container,
    folder: InstanceFolder,
    run: {
      stream: AttachedRun['stream'];
      waiting: Promise<{ StatusCode: number }>;
      terminal: AttendedCommand['terminal'];
      removeAll: () => Promise<void>;
    },
  ): Attended {
    const watch = watchDisk({
      folder: folder.home,
      diskBytes: task.diskBytes,
      intervalMs: DISK_SAMPLE_MS,
      onExceeded: () => attended.end(`it used more than its ${formatBytes(task.diskBytes)} of disk`),
    });
    const attended: Attended = this.#keep(
      new AttachedCommand({
        stream: run.stream,
        terminal: run.terminal !== undefined,
        resize: ({ columns, rows }) => container.resize({ w: columns, h: rows }),
        kill: () => container.kill(),
        wait: async () => {
          const { StatusCode: code } = await run.waiting;
          const found = await container.inspect().catch(() => undefined);
          if (found?.State.OOMKilled !== true) return { code };
          return { code, reason: `out of memory (its limit is ${formatBytes(task.memoryBytes)})` };
        },
        cleanUp: async () => {
          watch.stop();
          await run.removeAll();
        },
      }),
    );
    return attended;
  }

  /** Ends all that runs, and refuses more. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const command of this.#running) command.end('the node is stopping');
    await Promise.all([...this.#running].map((command) => command.exited));
  }

  #keep(attended: Attended): Attended {
    this.#running.add(attended);
    void attended.exited.then(() => this.#running.delete(attended));
    if (this.#closed) attended.end('the node is stopping');
    return attended;
  }
}

/** The app's profile scripts, then the command: the environment of a container is what it was made with, not what they add. */
function commandLine({ argv, terminal }: AttendedCommand): string[] {
  const line = argv.length === 0 ? SHELL_LINE : `exec ${argv.map(quoted).join(' ')}`;
  if (terminal === undefined) return startCommand(line);
  // Engines set the size when they are asked to, which is after the start.
  return startCommand(`stty rows ${terminal.rows} columns ${terminal.columns} 2>/dev/null; ${line}`);
}

async function execEnded(exec: Exec, stream: AttachedRun['stream']): Promise<{ code: number }> {
  let closed = stream.destroyed || stream.readableEnded;
  const onClosed = new AbortController();
  for (const event of ['end', 'close'] as const) {
    stream.once(event, () => {
      closed = true;
      onClosed.abort();
    });
  }
  for (let looks = 0; ; ) {
    const { Running, ExitCode } = await exec.inspect();
    // Its status is noted a moment after its end, and before its start it does not run either.
    if (!Running && (ExitCode !== null || ++looks > ENDED_LOOKS_MAX)) return { code: ExitCode ?? KILLED };
    // Its output has ended: it is about to.
    await delay(closed ? KILL_AGAIN_MS : LOOK_MS, undefined, closed ? {} : { signal: onClosed.signal }).catch(() => {});
  }
}

/** Until nothing is left that has the mark. Fails when the container has gone, and what is in it with it. */
async function killMarked(container: Container, mark: string): Promise<void> {
  for (let kills = 0; kills < KILLS_MAX; kills++) {
    const exec = await container.exec({ Cmd: ['/bin/sh', '-c', KILL_MARKED, 'peer', mark] });
    await exec.start({ Detach: true });
    let state = await exec.inspect();
    while (state.Running) {
      await delay(KILL_AGAIN_MS / 4);
      state = await exec.inspect();
    }
    if (state.ExitCode === 0) return;
    await delay(KILL_AGAIN_MS);
  }
}
