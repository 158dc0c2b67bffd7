// People who connect to a service through the API of any node, for as long as they attend: on the node that runs it
// they get an access of their own, and on the node that they ask each connection of theirs is led there. Decides when
// such a session ends; keeps no credentials, and never looks at the bytes.

import { randomBytes } from 'node:crypto';
import { type Duplex, Readable } from 'node:stream';
import type { NodeId, ServiceId } from '../../crdt/ids.ts';
import type { DesiredView } from '../../crdt/view.ts';
import type { ClusterEvent } from '../core/types.ts';
import type { Log } from '../lib/log.ts';
import { decodeFrames, encodeFrame, encodeJsonFrame, jsonIn, SESSION_BEAT_MS } from '../lib/session-frames.ts';
import type { Attended, CommandExit } from '../ports/commands.ts';
import type { DuplexRequests } from '../ports/gossip.ts';
import { OPEN_SERVICE_SESSION } from '../ports/methods.ts';
import type { ServiceSessionRequest, ServiceTunnelRequest, SessionIo } from '../ports/node-service.ts';
import type { ServiceGuests } from '../ports/services-desk.ts';
import { attend } from './attend.ts';
import { SessionError } from './errors.ts';

/** That were opened through this node, at one time. */
export const SERVICE_SESSIONS_MAX = 32;
/** Connections of one session: a pool of an app under development, and a few windows. */
export const TUNNELS_PER_SESSION_MAX = 32;
const DURATION_MS_MAX = 24 * 60 * 60 * 1000;
/** Whoever attends says something every SESSION_BEAT_MS. */
const SILENCE_MS_MAX = 3 * SESSION_BEAT_MS;
/** Without a byte over any of its connections. */
const IDLE_MS_MAX = 60 * 60 * 1000;

export type ServiceSessionsParts = {
  self: { id: NodeId; name: string };
  duplex: DuplexRequests;
  guests: ServiceGuests;
  view(): DesiredView;
  /** Where it runs, ready, as far as is known here. */
  nodeOf(service: ServiceId): NodeId | undefined;
  /** A connection to it, wherever it runs. */
  openService(service: ServiceId): Promise<Duplex>;
  record(event: ClusterEvent): void;
  log: Log;
  /** How often is looked whether it is to go on. */
  beatMs?: number;
  idleMsMax?: number;
};

type Session = {
  service: ServiceId;
  by: string;
  /** Its connections, and how many are about to be. */
  commands: Set<Attended>;
  opening: number;
  activeAtMs: number;
};

export class ServiceSessions {
  readonly #parts: ServiceSessionsParts;
  readonly #beatMs: number;
  /** By their ids, which are as good as passwords, and known to who opened them alone. */
  readonly #sessions = new Map<string, Session>();

  constructor(parts: ServiceSessionsParts) {
    this.#parts = parts;
    this.#beatMs = parts.beatMs ?? SESSION_BEAT_MS;
    parts.duplex.handleDuplex(OPEN_SERVICE_SESSION, ({ service, by }, _from, input, signal) =>
      this.#host({ service, by }, { input, signal }),
    );
  }

  /** As in NodeService. Nothing is opened before the first read: what nobody reads would never be closed. */
  async *open(request: ServiceSessionRequest, io: SessionIo): AsyncGenerator<Uint8Array> {
    if (this.#sessions.size >= SERVICE_SESSIONS_MAX) {
      throw new SessionError('busy', `${SERVICE_SESSIONS_MAX} people are connected to services through this node`);
    }
    const { service, by } = request;
    const frames = this.#hosted({ service, by }, io);
    const id = randomBytes(16).toString('hex');
    const session: Session = { service, by, commands: new Set(), opening: 0, activeAtMs: performance.now() };
    this.#sessions.set(id, session);
    let why = 'the session has ended';
    try {
      for await (const frame of decodeFrames(frames)) {
        if (frame.kind === 'started') {
          yield encodeJsonFrame('started', { ...jsonIn(frame), session: id });
          continue;
        }
        const reason = frame.kind === 'beat' ? this.#reasonToEnd(session, request) : undefined;
        yield reason === undefined
          ? encodeFrame(frame.kind, frame.payload)
          : encodeJsonFrame('exit', { code: 1, reason });
        if (frame.kind === 'beat' && reason === undefined) continue;
        why = reason ?? String(jsonIn(frame).reason ?? why);
        return;
      }
    } finally {
      this.#sessions.delete(id);
      for (const command of session.commands) command.end(why);
    }
  }

  /** As in NodeService. */
  async *tunnel({ session: id, by }: ServiceTunnelRequest, io: SessionIo): AsyncGenerator<Uint8Array> {
    const session = this.#sessions.get(id);
    if (session === undefined || session.by !== by) throw sessionEnded();
    if (session.commands.size + session.opening >= TUNNELS_PER_SESSION_MAX) {
      throw new SessionError('busy', `${TUNNELS_PER_SESSION_MAX} connections are open in this session already`);
    }
    session.opening++;
    const command = await this.#parts
      .openService(session.service)
      .then(attendedSocket)
      .finally(() => session.opening--);
    session.commands.add(command);
    const active = (): void => {
      session.activeAtMs = performance.now();
    };
    try {
      if (this.#sessions.get(id) !== session) throw sessionEnded();
      yield encodeJsonFrame('started', {});
      yield* attend({
        command,
        input: noting(io.input, active),
        signal: io.signal,
        idleMsMax: undefined,
        durationMsMax: DURATION_MS_MAX,
        onOutput: active,
      });
    } finally {
      command.end('whoever attended to it has gone');
      session.commands.delete(command);
    }
  }

  /** Frames of the node that runs it. */
  #hosted(order: { service: ServiceId; by: string }, io: SessionIo): AsyncIterable<Uint8Array> {
    const { self, duplex, nodeOf, view } = this.#parts;
    const node = nodeOf(order.service);
    if (node === self.id) return this.#host(order, io);
    if (node !== undefined) return duplex.requestDuplex(node, OPEN_SERVICE_SESSION, order, io);
    const name = view().services.get(order.service)?.name ?? order.service;
    throw new SessionError('service_not_ready', `${name} does not run now: see peer service status ${name}`);
  }

  #reasonToEnd({ activeAtMs }: Session, { isAllowed }: ServiceSessionRequest): string | undefined {
    if (!isAllowed()) return 'you may not use the service any more';
    const idleMsMax = this.#parts.idleMsMax ?? IDLE_MS_MAX;
    return performance.now() - activeAtMs > idleMsMax
      ? `nothing was sent for ${idleMsMax / 60_000} minutes`
      : undefined;
  }

  /** On the node that runs it: the access is there for as long as this goes on. */
  async *#host({ service: id, by }: { service: ServiceId; by: string }, io: SessionIo): AsyncGenerator<Uint8Array> {
    const { guests, view, self, record, log } = this.#parts;
    const access = await guests.admit(id, by, io.signal);
    const name = view().services.get(id)?.name ?? id;
    record({ name: 'service.connected', app: id as never, message: `${by} connects to ${name}` });
    log.info('service.session_opened', { by, service: name });
    const startedAtMs = performance.now();
    const attendance = new Attendance(io, this.#beatMs);
    try {
      yield encodeJsonFrame('started', { node: self.name, ...access });
      for (;;) {
        const gone = await attendance.nextBeat();
        const reason = gone ?? this.#reasonNotHere(id) ?? tooLong(performance.now() - startedAtMs);
        if (reason !== undefined) {
          yield encodeJsonFrame('exit', { code: gone === undefined ? 1 : 0, reason });
          return;
        }
        yield encodeFrame('beat');
      }
    } finally {
      attendance.close();
      guests.dismiss(id, access.user);
      log.info('service.session_closed', { by, service: name });
    }
  }

  #reasonNotHere(id: ServiceId): string | undefined {
    const service = this.#parts.view().services.get(id);
    if (service === undefined) return 'the service was deleted';
    if (service.stopped) return `${service.name} was stopped`;
    return service.volume?.node === this.#parts.self.id
      ? undefined
      : `${service.name} is on another node now: connect again`;
  }
}

const sessionEnded = (): SessionError =>
  new SessionError('session_ended', 'the session that this connection belongs to has ended: connect again');

const tooLong = (ms: number): string | undefined =>
  ms > DURATION_MS_MAX ? `it was open for ${DURATION_MS_MAX / 3_600_000} hours: connect again` : undefined;

/** Hears whether whoever opened a session still attends to it. */
class Attendance {
  readonly #beatMs: number;
  #heardAtMs = performance.now();
  #gone: string | undefined;
  #wake: () => void = () => {};
  readonly #signal: AbortSignal;
  readonly #onAbort = (): void => this.#leave();

  constructor({ input, signal }: SessionIo, beatMs: number) {
    this.#beatMs = beatMs;
    this.#signal = signal;
    signal.addEventListener('abort', this.#onAbort, { once: true });
    if (signal.aborted) this.#leave();
    void this.#hear(input);
  }

  /** Resolves after a beat with undefined, or at once when whoever attended has gone, with that. */
  async nextBeat(): Promise<string | undefined> {
    if (this.#gone === undefined) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, this.#beatMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    if (performance.now() - this.#heardAtMs > SILENCE_MS_MAX) this.#leave();
    return this.#gone;
  }

  close(): void {
    this.#signal.removeEventListener('abort', this.#onAbort);
    this.#leave();
  }

  async #hear(input: AsyncIterable<Uint8Array>): Promise<void> {
    try {
      for await (const { kind } of decodeFrames(input)) {
        this.#heardAtMs = performance.now();
        if (kind === 'end' || this.#gone !== undefined) break;
      }
    } catch {
      // As good as an end.
    }
    this.#leave();
  }

  #leave(): void {
    this.#gone ??= 'whoever attended to it has gone';
    this.#wake();
  }
}

/** A connection in the shape of a command, which is held back and ended in the same way. */
function attendedSocket(socket: Duplex): Attended {
  let reason: string | undefined;
  socket.on('error', (error: NodeJS.ErrnoException) => {
    reason ??= `the connection to the service broke (${error.code ?? error.message})`;
  });
  // What the service has closed takes no more.
  socket.once('end', () => socket.end());
  const exited = new Promise<CommandExit>((resolve) => {
    socket.once('close', () => resolve({ code: reason === undefined ? 0 : 1, ...(reason ? { reason } : {}) }));
  });
  return {
    stdin: socket,
    stdout: socket as Duplex & Readable,
    stderr: Readable.from([]),
    resize: () => {},
    end: (why) => {
      if (!socket.destroyed) reason ??= why;
      socket.destroy();
    },
    exited,
  };
}

async function* noting(input: AsyncIterable<Uint8Array>, note: () => void): AsyncGenerator<Uint8Array> {
  for await (const chunk of input) {
    // A beat alone is a few bytes, and says nothing of use.
    if (chunk.byteLength > BEAT_BYTES) note();
    yield chunk;
  }
}

const BEAT_BYTES = encodeFrame('beat').byteLength;
