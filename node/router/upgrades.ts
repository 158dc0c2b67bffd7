// Takes over connections from Node's HTTP server when a request asks to switch protocols: gives the request a response
// again, for when the upstream does not switch after all. Keeps an upgrade behind the responses that are still on
// their way.

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { http } from './builtin.ts';
import type { ClientConnection } from './exchange.ts';

/** Responses not yet written out, by connection. */
const unfinished = new WeakMap<Duplex, Set<ServerResponse>>();

/** Call for every ordinary request of a server that takes upgrades. */
export function trackResponse(req: IncomingMessage, res: ServerResponse): void {
  const { socket } = req;
  let responses = unfinished.get(socket);
  if (!responses) {
    responses = new Set();
    unfinished.set(socket, responses);
  }
  const set = responses;
  set.add(res);
  res.once('close', () => set.delete(res));
}

/** h2c is an offer that may be passed over, and a request with a body cannot switch before its body is read. */
export function wantsUpgrade(req: IncomingMessage): boolean {
  const { upgrade, 'content-length': length, 'transfer-encoding': encoding } = req.headers;
  if (!upgrade || encoding !== undefined || (length !== undefined && length !== '0')) return false;
  return upgrade.toLowerCase() !== 'h2c';
}

/** Calls `serve` when the connection is free, which is at once unless the response before has not been flushed yet. */
export function adoptUpgrade(
  req: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  serve: (res: ServerResponse, client: ClientConnection) => void,
): void {
  socket.on('error', () => socket.destroy());
  const before = unfinished.get(socket);
  if (!before || before.size === 0) {
    serve(responseOn(req, socket), { socket, head });
    return;
  }
  const [last] = before;
  if (before.size === 1 && last?.writableEnded) {
    last.once('close', () => {
      if (!socket.destroyed) serve(responseOn(req, socket), { socket, head });
    });
    return;
  }
  // Sent before the answer to an earlier request came. Node's server no longer looks after those, so they end here.
  socket.destroy();
  for (const res of [...before]) res.emit('close');
}

function responseOn(req: IncomingMessage, socket: Duplex): ServerResponse {
  const res = new http.ServerResponse(req);
  const connection = socket as Parameters<ServerResponse['assignSocket']>[0];
  res.shouldKeepAlive = false;
  res.assignSocket(connection);
  // What the server did until it let go.
  const onDrain = () => res.emit('drain');
  socket.on('drain', onDrain);
  res.once('finish', () => {
    socket.off('drain', onDrain);
    res.detachSocket(connection);
    connection.destroySoon();
  });
  return res;
}
