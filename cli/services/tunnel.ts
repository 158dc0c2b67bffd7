// Carries connections of this machine to a service through the API of a node: a session for as long as someone
// attends, and one exchange for each connection, held back by its slower end. Keeps nothing.

import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { PassThrough } from 'node:stream';
import {
  dataFrames,
  decodeFrames,
  encodeFrame,
  type Frame,
  jsonIn,
  SESSION_BEAT_MS,
} from '../../node/lib/session-frames.ts';
import type { Client } from '../client.ts';
import { CliError } from '../errors.ts';
import type { Access, Endpoint } from './clients.ts';

/** On its way to the node before this machine's side has to wait. */
const UNSENT_BYTES_MAX = 256 * 1024;
/** As many as a node carries of one session (node/sessions/service-sessions.ts). */
const CONNECTIONS_MAX = 32;
const HOST = '127.0.0.1';
/** For the node to hear that nobody attends any more. */
const FAREWELL_MS = 2_000;

export type ServiceSession = {
  readonly id: string;
  readonly node: string;
  readonly access: Access;
  /** Resolves when the node has ended it, with why; fails when the connection is lost. */
  readonly ended: Promise<string>;
  close(): Promise<void>;
};

const LOST = 'the connection to the node was lost: the credentials have ended, and connections with them';

/** Fails with CliError: nobody was let in then. */
export async function openServiceSession(client: Client, path: string): Promise<ServiceSession> {
  const exchange = await open(client, `${path}/connect`, {});
  const frames = exchange.frames[Symbol.asyncIterator]();
  const first = await nextOf(frames).catch((error: Error) => {
    exchange.close();
    throw error;
  });
  const { session, node, user, password, database } = jsonIn(first);
  const ended = (async () => {
    for (;;) {
      const frame = await nextOf(frames);
      if (frame.kind === 'exit') return String(jsonIn(frame).reason ?? 'the session has ended');
    }
  })();
  // Awaited by whoever attends, who may have left.
  ended.catch(() => {});
  return {
    id: String(session),
    node: String(node),
    access: { user: String(user), password: String(password), database: String(database) },
    ended,
    async close() {
      exchange.send(encodeFrame('end'));
      await Promise.race([ended.catch(() => {}), new Promise((resolve) => setTimeout(resolve, FAREWELL_MS).unref())]);
      exchange.close();
    },
  };
}

/** Fails with what the node says, or that it says no more. */
async function nextOf(frames: AsyncIterator<Frame>): Promise<Frame> {
  const next = await frames.next().catch((cause: unknown) => {
    throw cause instanceof CliError ? cause : new CliError('connection_lost', LOST, { cause });
  });
  if (next.done === true) throw new CliError('connection_lost', LOST);
  failIfFailed(next.value);
  return next.value;
}

export type Tunnel = { readonly endpoint: Endpoint; serve(session: ServiceSession): void; close(): void };

/** Listens on loopback; serves nobody before it is told whose. `port`: 0 for any. Fails with CliError. */
export async function listenForTunnel(
  port: number,
  { client, path, note }: { client: Client; path: string; note: (text: string) => void },
): Promise<Tunnel> {
  const open = new Set<Socket>();
  let session: ServiceSession | undefined;
  const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, (socket) => {
    open.add(socket);
    socket.on('error', () => socket.destroy());
    socket.once('close', () => open.delete(socket));
    if (session === undefined) socket.destroy();
    else
      void carry(socket, client, { path, session: session.id }).catch((error: Error) => {
        if (!socket.destroyed) note(`peer: a connection failed: ${error.message}`);
        socket.destroy();
      });
  });
  server.maxConnections = CONNECTIONS_MAX;
  await listening(server, port);
  const address = server.address() as { port: number };
  return {
    endpoint: { host: HOST, port: address.port },
    serve: (whose) => {
      session = whose;
    },
    close() {
      server.close();
      for (const socket of open) socket.destroy();
    },
  };
}

async function listening(server: Server, port: number): Promise<void> {
  try {
    server.listen(port, HOST);
    await once(server, 'listening');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const why =
      code === 'EADDRINUSE'
        ? `port ${port} of this machine is in use: choose another, or none for any that is free`
        : code === 'EACCES'
          ? `port ${port} may not be used by this user: choose one above 1023`
          : `cannot listen on ${HOST}:${port}: ${message}`;
    throw new CliError('port_in_use', why, { cause: error });
  }
}

async function carry(socket: Socket, client: Client, { path, session }: { path: string; session: string }) {
  const exchange = await open(client, `${path}/tunnel`, { session });
  socket.once('close', () => exchange.close());
  if (socket.destroyed) exchange.close();
  socket.on('data', (chunk) => {
    let hasRoom = true;
    for (const frame of dataFrames('stdin', chunk)) hasRoom = exchange.send(frame);
    if (hasRoom) return;
    socket.pause();
    exchange.body.once('drain', () => socket.resume());
  });
  socket.once('end', () => exchange.send(encodeFrame('end')));
  const frames = exchange.frames[Symbol.asyncIterator]();
  for (;;) {
    const frame = await nextOf(frames);
    if (frame.kind === 'started') socket.resume();
    else if (frame.kind === 'stdout') {
      if (!socket.destroyed && !socket.write(frame.payload))
        await Promise.race([once(socket, 'drain'), closed(socket)]);
    } else if (frame.kind === 'exit') {
      const { reason } = jsonIn(frame);
      if (typeof reason === 'string') throw new CliError('connection_lost', reason);
      socket.end();
      return;
    }
  }
}

const closed = (socket: Socket): Promise<void> =>
  socket.destroyed ? Promise.resolve() : new Promise((resolve) => void socket.once('close', () => resolve()));

type Exchange = {
  frames: AsyncIterable<Frame>;
  body: PassThrough;
  /** Whether there is room for more. */
  send(frame: Uint8Array): boolean;
  close(): void;
};

/** With signs of life from this side. Fails with what the node says. */
async function open(client: Client, path: string, options: object): Promise<Exchange> {
  const body = new PassThrough({ highWaterMark: UNSENT_BYTES_MAX });
  body.on('error', () => {});
  const cancel = new AbortController();
  const send = (frame: Uint8Array): boolean => (body.writable ? body.write(frame) : true);
  // The request is not sent before there is something of its body.
  send(encodeFrame('beat'));
  const beat = setInterval(() => send(encodeFrame('beat')), SESSION_BEAT_MS);
  const close = (): void => {
    clearInterval(beat);
    body.destroy();
    cancel.abort();
  };
  try {
    const chunks = await client.duplex(path, {
      headers: {
        'content-type': 'application/octet-stream',
        'x-peer-session': Buffer.from(JSON.stringify(options)).toString('base64url'),
      },
      body,
      signal: cancel.signal,
    });
    return { frames: decodeFrames(chunks), body, send, close };
  } catch (error) {
    close();
    throw error;
  }
}

function failIfFailed(frame: Frame): void {
  if (frame.kind !== 'failed') return;
  const { code, message } = jsonIn(frame);
  throw new CliError(String(code), String(message));
}
