// The CommandRunner of the docker runtime: the engine's own exec in instances, and containers of their own for tasks.
// Keeps track of what runs, so that nothing of it outlives the daemon for longer than until the next one.

import type { Container } from 'dockerode';
import type { InstanceId } from '../../../crdt/ids.ts';
import { formatBytes } from '../../lib/format-bytes.ts';
import type { Log } from '../../lib/log.ts';
import type { Attended, AttendedCommand, TaskSpec } from '../../ports/commands.ts';
import { TERM } from '../commands/terminal.ts';
import type { InstanceRecord } from '../instance-folder.ts';
import { taskDyno, taskInstance } from '../task.ts';
import { DISK_SAMPLE_MS, watchDisk } from '../watch.ts';
import { attachTo } from './attach.ts';
import { argvInDroplet, argvInImage, NOT_FOUND_STATUS, notInImage } from './command-line.ts';
import { AttachedCommand, type AttachedRun } from './command-streams.ts';
import { taskOptions } from './container.ts';
import type { Engine } from './engine.ts';
import { endAllExecs, startExec } from './exec.ts';
import { hasProgram } from './image-programs.ts';
import type { ContainerMaker, Made } from './maker.ts';

/** 128 + KILL. */
const KILLED = 137;

export class DockerCommands {
  readonly #engine: Engine;
  readonly #maker: ContainerMaker;
  readonly #log: Log;
  readonly #running = new Set<Attended>();
  readonly #tasks = new Map<InstanceId, { attended: Attended; container: Container }>();
  #closed = false;

  constructor(engine: Engine, maker: ContainerMaker, log: Log) {
    this.#engine = engine;
    this.#maker = maker;
    this.#log = log;
  }

  async exec(
    { container, record }: { container: Container; record: InstanceRecord },
    command: AttendedCommand,
  ): Promise<Attended> {
    const run = await startExec(container, command, { image: record.image === true });
    return this.#keep(new AttachedCommand(run));
  }

  /** Ends all commands in the container, whoever started them. */
  async endAll(container: Container): Promise<void> {
    await endAllExecs(container).catch((error: Error) => {
      this.#log.warn('runtime.commands_left', { container: container.id, error: error.message });
    });
  }

  async runTask(task: TaskSpec, command: AttendedCommand): Promise<Attended> {
    const terminal = command.terminal !== undefined;
    const argv = task.image === undefined ? argvInDroplet(command) : argvInImage(command);
    const env = { ...task.env, ...command.env, ...(terminal ? { TERM } : {}) };
    const made = await this.#maker.make(taskInstance({ ...task, env }), {
      signal: new AbortController().signal,
      shared: true,
      dyno: taskDyno(task),
      adapt: (options) => taskOptions(options, { argv, terminal }),
    });
    const { container } = made;
    try {
      const stream = await attachTo(this.#engine.socketPath, container.id);
      const waiting = container.wait({ condition: 'next-exit' });
      waiting.catch(() => {});
      await container.start();
      const resize: AttachedRun['resize'] = ({ columns, rows }) => container.resize({ w: columns, h: rows });
      if (command.terminal !== undefined) await resize(command.terminal).catch(() => {});
      const sampled = (await made.folder.hasDisk()) ? undefined : made.folder.home;
      return this.#attendTask(task, made, sampled, {
        stream,
        terminal,
        resize,
        kill: () => container.kill(),
        wait: async () => this.#endOfTask(task, container, { argv, code: (await waiting).StatusCode }),
      });
    } catch (error) {
      await this.#maker.remove(made);
      throw error;
    }
  }

  #attendTask(
    { id, diskBytes }: TaskSpec,
    made: Made,
    sampled: string | undefined,
    run: Omit<AttachedRun, 'cleanUp'>,
  ): Attended {
    const onExceeded = (): void => attended.end(`it used more than its ${formatBytes(diskBytes)} of disk`);
    const watch =
      sampled === undefined
        ? undefined
        : watchDisk({ folder: sampled, diskBytes, intervalMs: DISK_SAMPLE_MS, onExceeded });
    const cleanUp = async (): Promise<void> => {
      watch?.stop();
      await this.#maker.remove(made);
    };
    const attended: Attended = this.#keep(new AttachedCommand({ ...run, cleanUp }));
    this.#tasks.set(id, { attended, container: made.container });
    void attended.exited.then(() => this.#tasks.delete(id));
    return attended;
  }

  /** Harmless when no such task runs. */
  endTask(id: InstanceId, reason: string): void {
    this.#tasks.get(id)?.attended.end(reason);
  }

  /** Undefined: no such task runs. */
  containerOf(task: InstanceId): Container | undefined {
    return this.#tasks.get(task)?.container;
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

  async #endOfTask(
    { memoryBytes, image }: TaskSpec,
    container: Container,
    { argv, code }: { argv: readonly string[]; code: number },
  ): ReturnType<AttachedRun['wait']> {
    const found = await container.inspect().catch(() => undefined);
    const limit = `its limit is ${formatBytes(memoryBytes)}`;
    if (found?.State.OOMKilled === true) return { code, reason: `out of memory (${limit})` };
    if (code === KILLED && !this.#engine.tellsOutOfMemory) {
      return { code, reason: `killed by signal KILL, perhaps out of memory (${limit})` };
    }
    const program = argv[0] ?? '';
    // Podman's init ends with another status than shells do.
    const mayBeMissing = code === NOT_FOUND_STATUS || (code === 1 && this.#engine.kind === 'podman');
    if (image === undefined || !mayBeMissing || (await hasProgram(container, program))) return { code };
    return { code: NOT_FOUND_STATUS, note: notInImage(program) };
  }
}
