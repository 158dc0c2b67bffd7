// Commands that people attend to, from any node: finds the node that has the instance or can run the task, forwards
// the frames there, and on that node runs the command within the node's bounds. Writes down who ran what where, never
// what it was told.

import { randomBytes } from 'node:crypto';
import { type AppId, asInstanceId, type Digest, type InstanceId, type NodeId } from '../../crdt/ids.ts';
import type { AppView, DesiredView } from '../../crdt/view.ts';
import type { Candidate } from '../core/candidates.ts';
import type { ClusterEvent, HostEntry, VolumeMount } from '../core/types.ts';
import { LineSplitter } from '../lib/lines.ts';
import type { Log } from '../lib/log.ts';
import { encodeJsonFrame } from '../lib/session-frames.ts';
import type { Attended, CommandExit, CommandRunner } from '../ports/commands.ts';
import type { DuplexRequests } from '../ports/gossip.ts';
import type { LogStore } from '../ports/logs.ts';
import { OPEN_SESSION, type SessionOrder } from '../ports/methods.ts';
import type { SessionRequest } from '../ports/node-service.ts';
import { attend } from './attend.ts';
import { SessionError } from './errors.ts';
import { isStillThere, mountsOnNode, nodeForTask, noRelease, type TaskSlot } from './task-place.ts';

/**
 * Commands that are attended to on one node at a time. Each costs two pipes, a few processes and what is on its way.
 */
export const SESSIONS_MAX = 32;
/** Tasks of one node at a time: each has the memory of an instance. */
export const TASKS_MAX = 8;
const DURATION_MS_MAX = 24 * 60 * 60 * 1000;
/** A shell that was left open. Tasks may be quiet for as long as they work. */
const IDLE_MS_MAX = 60 * 60 * 1000;

type Task = {
  app: AppId;
  memoryBytes: number;
  mounts: readonly VolumeMount[];
  /** Once it runs. */
  attended: Attended | undefined;
};

export type SessionsParts = {
  self: { id: NodeId; name: string };
  runner: CommandRunner;
  duplex: DuplexRequests;
  logs: Pick<LogStore, 'append'>;
  log: Log;
  view(): DesiredView;
  /** What a task of the app has of variables, and can look up. Fails with `secret_unreadable`. */
  environmentOf(
    app: AppId,
    own: Readonly<Record<string, string>>,
  ): { env: Record<string, string>; hosts: readonly HostEntry[] };
  candidates(): Candidate[];
  holds(digest: Digest): boolean;
  fetchBlob(digest: Digest, options: { sizeBytesMax: number; holders: NodeId[]; signal: AbortSignal }): Promise<void>;
  record(event: ClusterEvent): void;
};

export class Sessions {
  readonly #parts: SessionsParts;
  #running = 0;
  /** Tasks that run here. */
  readonly #tasks = new Map<InstanceId, Task>();

  constructor(parts: SessionsParts) {
    this.#parts = parts;
    parts.duplex.handleDuplex(OPEN_SESSION, (order, _from, input, signal) => this.#run(order, input, signal));
  }

  /** Call whenever the desired state has changed: ends the tasks whose volumes are not theirs any more. */
  desiredChanged(): void {
    const { view, self } = this.#parts;
    for (const { app, mounts, attended } of this.#tasks.values()) {
      if (mounts.length === 0 || isStillThere(view().apps.get(app), self.id, mounts)) continue;
      attended?.end('its volume was moved, restored or deleted');
    }
  }

  /** As in NodeService. */
  async open(
    request: SessionRequest,
    io: { input: AsyncIterable<Uint8Array>; signal: AbortSignal },
  ): Promise<AsyncIterable<Uint8Array>> {
    const app = this.#appOf(request.app);
    const { node, order } =
      request.target.kind === 'exec'
        ? this.#placeOfInstance(app, request, request.target)
        : { node: this.#nodeForTask(app, request.target.slot), order: { ...request, target: request.target } };
    const frames =
      node === this.#parts.self.id
        ? this.#run(order, io.input, io.signal)
        : this.#parts.duplex.requestDuplex(node, OPEN_SESSION, order, io);
    const values = frames[Symbol.asyncIterator]();
    // What goes wrong before it has started is an answer of its own.
    const first = await values.next();
    return resumed(first, values);
  }

  #placeOfInstance(
    app: AppView,
    request: SessionRequest,
    { process, index }: { process: string; index: number },
  ): { node: NodeId; order: SessionOrder } {
    const found = this.#parts
      .candidates()
      .flatMap(({ node, report }) => report.instances.map((instance) => ({ node, instance })))
      .filter(
        ({ instance }) =>
          instance.app === app.id &&
          instance.process === process &&
          instance.index === index &&
          instance.state !== 'stopping' &&
          instance.state !== 'crashed',
      )
      // Of two copies, the one that serves.
      .sort((a, b) => Number(b.instance.state === 'ready') - Number(a.instance.state === 'ready'))[0];
    if (found === undefined) {
      const message = `${app.name} has no running instance ${process}/${index}: see peer app ${app.name}`;
      throw new SessionError('instance_not_found', message);
    }
    const target = { kind: 'exec' as const, instance: found.instance.id, process, index };
    return { node: found.node, order: { by: request.by, app: app.id, command: request.command, target } };
  }

  #nodeForTask(app: AppView, slot: TaskSlot | undefined): NodeId {
    const candidates = this.#parts
      .candidates()
      .map((candidate) => ({ ...candidate, freeBytes: this.#freeBytes(candidate) }));
    return nodeForTask({ app, slot, candidates, self: this.#parts.self.id, nameOf: this.#nameOf });
  }

  readonly #nameOf = (node: NodeId): string => this.#parts.view().nodes.get(node)?.name ?? node;

  /** What is promised to nobody. Tasks of other nodes are not known here: they refuse by themselves. */
  #freeBytes({ node, report }: Candidate): number {
    const tasks = node === this.#parts.self.id ? [...this.#tasks.values()].map((one) => one.memoryBytes) : [];
    const promised = [...report.instances.map((instance) => instance.memoryBytes), ...tasks];
    return report.memoryBytes - promised.reduce((sum, bytes) => sum + bytes, 0);
  }

  /** Runs the order on this node. The first frame says that it has started. */
  async *#run(order: SessionOrder, input: AsyncIterable<Uint8Array>, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    if (this.#running >= SESSIONS_MAX) {
      throw new SessionError('busy', `${SESSIONS_MAX} commands are attended to on this node already: try again later`);
    }
    this.#running++;
    try {
      if (order.target.kind === 'exec') yield* this.#exec(order, order.target, input, signal);
      else yield* this.#task(order, order.target, input, signal);
    } finally {
      this.#running--;
    }
  }

  async *#exec(
    { app, by, command }: SessionOrder,
    target: { instance: InstanceId; process: string; index: number },
    input: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array> {
    const { runner, logs, log, self } = this.#parts;
    const { instance, process, index } = target;
    const attended = await runner.exec(instance, command);
    const what = command.terminal === undefined ? 'runs a command' : 'opened a terminal';
    const slot = { app, source: 'CELL' as const, process, index, instance, stream: 'out' as const };
    logs.append({ ...slot, text: `${by} ${what} in instance ${process}.${index}` });
    log.info('session.opened', { by, instance, terminal: command.terminal !== undefined });
    yield encodeJsonFrame('started', { node: self.name, instance });
    const idleMsMax = command.terminal === undefined ? undefined : IDLE_MS_MAX;
    yield* this.#attend(attended, { input, signal, idleMsMax });
    log.info('session.closed', { by, instance });
  }

  async *#task(
    { app: id, by, command }: SessionOrder,
    { name, slot }: { name: string; slot?: TaskSlot | undefined },
    input: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array> {
    const { runner, logs, log, self, record } = this.#parts;
    const app = this.#appOf(id);
    const own = this.#parts.candidates().find(({ node }) => node === self.id);
    if (this.#tasks.size >= TASKS_MAX) {
      throw new SessionError('busy', `${TASKS_MAX} tasks run on this node already: try again later`);
    }
    if (app.release === undefined) throw noRelease(app);
    const mounts = mountsOnNode(app, slot, { self: self.id, nameOf: this.#nameOf });
    if (own === undefined || this.#freeBytes(own) < app.memoryBytes) {
      throw new SessionError('busy', `${self.name} has no memory left for a task of ${app.name}: try again later`);
    }
    const task = asInstanceId(`task-${name}-${randomBytes(4).toString('hex')}`);
    const say = (text: string, stream: 'out' | 'err', source: 'APP' | 'CELL', goesOn = false): void =>
      logs.append({
        ...{ app: id, source, process: `TASK/${name}`, index: 0, instance: task, stream, text },
        ...(goesOn ? { goesOn } : {}),
      });
    const splitters = { out: new LineSplitter(), err: new LineSplitter() };
    let exit: CommandExit = { code: 1, reason: 'it was not started' };
    const entry: Task = { app: id, memoryBytes: app.memoryBytes, mounts, attended: undefined };
    this.#tasks.set(task, entry);
    try {
      await this.#fetchDroplet(app, signal);
      const { droplet, image } = app.release;
      const { env, hosts } = this.#parts.environmentOf(id, app.release.env);
      const release = { id: app.release.id, version: app.release.version };
      const { memoryBytes, diskBytes } = app;
      const spec = {
        id: task,
        app: { id, name: app.name },
        name,
        release,
        droplet,
        env,
        hosts,
        memoryBytes,
        diskBytes,
      };
      const volumes = mounts.length === 0 ? {} : { volumes: mounts };
      const runs = { ...spec, ...(image === undefined ? {} : { image }), ...volumes, uris: [...app.routes] };
      const attended = await runner.runTask(runs, command);
      entry.attended = attended;
      // They may have gone while it was made ready.
      this.desiredChanged();
      say(`Task ${name} of release v${release.version} was started by ${by}`, 'out', 'CELL');
      record({
        name: 'task.started',
        app: id,
        release: release.id,
        message: `${by} started the task ${name} of ${app.name}`,
      });
      log.info('task.started', { by, task });
      void attended.exited.then((how) => {
        exit = how;
      });
      try {
        yield encodeJsonFrame('started', { node: self.name, task: name });
        yield* this.#attend(attended, {
          input,
          signal,
          idleMsMax: undefined,
          onOutput: (chunk, stream) => {
            const splitter = splitters[stream];
            for (const line of splitter.push(chunk)) say(line, stream, 'APP', splitter.goesOn);
          },
        });
      } finally {
        attended.end('whoever attended to it has gone');
        await attended.exited;
        for (const stream of ['out', 'err'] as const) {
          const rest = splitters[stream].flush();
          if (rest !== undefined) say(rest, stream, 'APP');
        }
        const how = exit.reason === undefined ? `exit status ${exit.code}` : `cancelled: ${exit.reason}`;
        say(`Task ${name} ended: ${how}`, exit.code === 0 ? 'out' : 'err', 'CELL');
        record({ name: 'task.ended', app: id, message: `the task ${name} of ${app.name} ended: ${how}` });
        log.info('task.ended', {
          task,
          code: exit.code,
          ...(exit.reason === undefined ? {} : { reason: exit.reason }),
        });
      }
    } finally {
      this.#tasks.delete(task);
    }
  }

  async *#attend(
    command: Attended,
    options: {
      input: AsyncIterable<Uint8Array>;
      signal: AbortSignal;
      idleMsMax: number | undefined;
      onOutput?: (chunk: Buffer, stream: 'out' | 'err') => void;
    },
  ): AsyncGenerator<Uint8Array> {
    yield* attend({ ...options, command, durationMsMax: DURATION_MS_MAX });
  }

  async #fetchDroplet(app: AppView, signal: AbortSignal): Promise<void> {
    const { droplet } = app.release!;
    if (this.#parts.holds(droplet.digest)) return;
    const holders = this.#parts
      .candidates()
      .filter(({ node, report }) => node !== this.#parts.self.id && report.droplets.includes(droplet.digest))
      .map(({ node }) => node);
    await this.#parts.fetchBlob(droplet.digest, { sizeBytesMax: droplet.sizeBytes, holders, signal });
  }

  #appOf(id: AppId): AppView {
    const app = this.#parts.view().apps.get(id);
    if (app === undefined) throw new SessionError('no_release', 'the app is not known on this node: try again');
    return app;
  }
}

/** What another node sent: checked, though nodes trust each other. */
async function* resumed<T>(first: IteratorResult<T>, rest: AsyncIterator<T>): AsyncGenerator<T> {
  try {
    if (first.done === true) return;
    yield first.value;
    for (let next = await rest.next(); next.done !== true; next = await rest.next()) yield next.value;
  } finally {
    await rest.return?.();
  }
}
