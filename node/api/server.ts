// The API's listener: plain HTTP on loopback, TLS anywhere else. Never serves tokens in the clear to a network.

import { createServer as createHttpServer } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { createAdaptorServer, type Http2Bindings, type HttpBindings } from '@hono/node-server';
import { parseHostPort } from '../lib/host-port.ts';
import type { Log } from '../lib/log.ts';
import type { Standstill } from '../lib/standstill.ts';
import type { NodeService } from '../ports/node-service.ts';
import { createApi } from './api.ts';
import { dropBody } from './linger.ts';
import { noteConnections } from './wanted.ts';

/** A client that opens a connection and says nothing is cut off after this. */
const HEADERS_TIMEOUT_MS = 20_000;
const KEEP_ALIVE_TIMEOUT_MS = 30_000;
/** Options of a push travel in a header (routes/push.ts). */
const HEADER_BYTES_MAX = 256 * 1024;
const CONNECTIONS_MAX = 1_000;

export type RunningApi = {
  /** `host:port` it listens on. */
  address: string;
  /** What to pass as --api on this machine. */
  url: string;
  close(): Promise<void>;
};

/** The listener could not be opened. */
export class ApiListenError extends Error {
  readonly code = 'api_listen';
}

export async function startApi(options: {
  service: NodeService;
  listen: string;
  tls?: { keyPem: string; certPem: string };
  log: Log;
  /** As in ApiContext. */
  caughtUp?: Promise<unknown>;
  standstill?: Pick<Standstill, 'recentMs' | 'nowMs'>;
}): Promise<RunningApi> {
  const listen = parseHostPort(options.listen);
  if (listen === undefined) throw new ApiListenError(`--api ${options.listen} should be HOST:PORT`);
  const secure = !isLoopback(listen.host);
  if (secure && options.tls === undefined) {
    throw new ApiListenError(`the API does not listen on ${options.listen} without TLS: use a loopback address`);
  }
  const { service, log, caughtUp, standstill } = options;
  const app = createApi({
    service,
    log,
    ...(caughtUp === undefined ? {} : { caughtUp }),
    ...(standstill === undefined ? {} : { standstill }),
  });
  const fetch = async (request: Request, env: HttpBindings | Http2Bindings): Promise<Response> => {
    const response = await app.fetch(request, env);
    if (!response.ok && !('complete' in env.incoming && env.incoming.complete)) await dropBody(request);
    return response;
  };
  // requestTimeout 0: an upload may take long; what stalls is cut off by the reader of the body.
  const serverOptions = {
    headersTimeout: HEADERS_TIMEOUT_MS,
    requestTimeout: 0,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    maxHeaderSize: HEADER_BYTES_MAX,
  };
  const server = secure
    ? createAdaptorServer({
        fetch,
        createServer: createHttpsServer,
        serverOptions: { ...serverOptions, key: options.tls!.keyPem, cert: options.tls!.certPem },
      })
    : createAdaptorServer({
        fetch,
        createServer: createHttpServer,
        serverOptions,
      });
  if (standstill !== undefined) noteConnections(server, secure ? 'secureConnection' : 'connection', standstill);
  if ('maxConnections' in server) server.maxConnections = CONNECTIONS_MAX;
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const reason = error.code === 'EADDRINUSE' ? 'another program uses that port' : error.message;
      reject(new ApiListenError(`the API cannot listen on ${options.listen}: ${reason}`, { cause: error }));
    });
    server.listen(listen.port, listen.host, resolve);
  });
  server.on('error', (error) => options.log.error('api.server', { error: error.message }));
  const { port } = server.address() as AddressInfo;
  const bracketed = listen.host.includes(':') ? `[${listen.host}]` : listen.host;
  const reachable = listen.host === '0.0.0.0' ? '127.0.0.1' : listen.host === '::' ? '[::1]' : bracketed;
  const address = `${bracketed}:${port}`;
  options.log.info('api.listening', { address, tls: secure });
  return {
    address,
    url: `${secure ? 'https' : 'http'}://${reachable}:${port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        // Streams to clients would hold the server open for as long as they follow.
        if ('closeAllConnections' in server) server.closeAllConnections();
      }),
  };
}

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);
}
