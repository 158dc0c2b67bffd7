// The public HTTP listener: time-outs, bounds and the shape of upgrades. What becomes of a request is decided in
// ingress.ts.

import type { IncomingMessage, Server } from 'node:http';
import type { Duplex } from 'node:stream';
import { http } from './builtin.ts';
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
import { adoptUpgrade, trackResponse, wantsUpgrade } from './upgrades.ts';

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
    (req, res) => {
      trackResponse(req, res);
      serveRequest(routing, req, res);
    },
  );
  server.timeout = CLIENT_IDLE_TIMEOUT_MS;
  server.maxConnections = CLIENT_CONNECTIONS_MAX;
  server.on('upgrade', (req: IncomingMessage, socket: Duplex, head: Buffer) => {
    adoptUpgrade(req, socket, head, (res, client) => serveRequest(routing, req, res, client));
  });
  return server;
}
