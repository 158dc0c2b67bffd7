// The public HTTP listener: time-outs, bounds and the shape of upgrades. What becomes of a request is decided in ingress.ts.

import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { http } from './builtin.ts';
import type { ClientConnection } from './exchange.ts';
import { serveRequest } from './ingress.ts';
import {
  CLIENT_CONNECTIONS_MAX,
  CLIENT_HEADER_BYTES_MAX,
  CLIENT_HEADERS_TIMEOUT_MS,
  CLIENT_IDLE_TIMEOUT_MS,
  CLIENT_KEEP_ALIVE_MS,
  CLIENT_REQUEST_TIMEOUT_MS,
  TIMEOUT_CHECK_INTERVAL_MS,
} from './limits.ts';
import type { Routing } from './routing.ts';

export function createPublicServer(routing: Routing): Server {
  const server = http.createServer(
    {
      maxHeaderSize: CLIENT_HEADER_BYTES_MAX,
      headersTimeout: CLIENT_HEADERS_TIMEOUT_MS,
      requestTimeout: CLIENT_REQUEST_TIMEOUT_MS,
      keepAliveTimeout: CLIENT_KEEP_ALIVE_MS,
      connectionsCheckingInterval: TIMEOUT_CHECK_INTERVAL_MS,
      noDelay: true,
      // Answered by us, with the router's error header.
      requireHostHeader: false,
      shouldUpgradeCallback: wantsUpgrade,
    },
    (req, res) => serveRequest(routing, req, res),
  );
  server.timeout = CLIENT_IDLE_TIMEOUT_MS;
  server.maxConnections = CLIENT_CONNECTIONS_MAX;
  server.on('upgrade', (req: IncomingMessage, socket: Duplex, head: Buffer) => {
    const { res, client } = adoptUpgrade(req, socket, head);
    serveRequest(routing, req, res, client);
  });
  return server;
}

/** h2c is an offer that may be passed over, and a request with a body cannot switch before its body is read. */
export function wantsUpgrade(req: IncomingMessage): boolean {
  const { upgrade, 'content-length': length, 'transfer-encoding': encoding } = req.headers;
  if (!upgrade || encoding !== undefined || (length !== undefined && length !== '0')) return false;
  return upgrade.toLowerCase() !== 'h2c';
}

/** A response for a connection that Node's server has let go of, for when the upstream does not switch after all. */
export function adoptUpgrade(
  req: IncomingMessage,
  socket: Duplex,
  head: Buffer,
): { res: ServerResponse; client: ClientConnection } {
  const res = new http.ServerResponse(req);
  const connection = socket as Parameters<ServerResponse['assignSocket']>[0];
  res.shouldKeepAlive = false;
  res.assignSocket(connection);
  socket.on('error', () => socket.destroy());
  // What the server did until it let go.
  const onDrain = () => res.emit('drain');
  socket.on('drain', onDrain);
  res.once('finish', () => {
    socket.off('drain', onDrain);
    res.detachSocket(connection);
    connection.destroySoon();
  });
  return { res, client: { socket, head } };
}
