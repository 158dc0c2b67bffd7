// Real routers, apps and clients on loopback, for the tests of the data plane. Asserts nothing.

import { generateKeyPairSync } from 'node:crypto';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import net from 'node:net';
import { type AppId, asAppId, asInstanceId, type NodeId } from '../../crdt/ids.ts';
import type { RouteTable, Upstream } from '../../node/core/types.ts';
import { selfSignedCertificate } from '../../node/identity/certificate.ts';
import type { TlsIdentity } from '../../node/identity/identity.ts';
import { nodeIdOfPublicKey } from '../../node/identity/node-id.ts';
import type { Log } from '../../node/lib/log.ts';
import type { RouterHandle } from '../../node/ports/router.ts';
import { startRouter } from '../../node/router/handle.ts';
import { waitFor } from '../../scripts/local-cluster.ts';

export const APP: AppId = asAppId('11111111-1111-4111-8111-111111111111');

export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} };

export type TestIdentity = { nodeId: NodeId; tls: TlsIdentity };

export function makeIdentity(): TestIdentity {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const nodeId = nodeIdOfPublicKey(Buffer.from(publicKey.export({ format: 'jwk' }).x!, 'base64url'));
  return {
    nodeId,
    tls: selfSignedCertificate(Buffer.from(privateKey.export({ format: 'jwk' }).d!, 'base64url'), nodeId),
  };
}

export type TestRouter = TestIdentity & { handle: RouterHandle & { pid?: number }; httpPort: number };

export async function startTestRouter(
  identity = makeIdentity(),
  options: { threads?: number; log?: Log; blobsDir?: string } = {},
): Promise<TestRouter> {
  const handle = await startRouter({
    ...identity,
    http: '127.0.0.1:0',
    link: '127.0.0.1:0',
    log: options.log ?? silentLog,
    threads: options.threads,
    ...(options.blobsDir === undefined ? {} : { blobsDir: options.blobsDir }),
  });
  return { ...identity, handle, httpPort: Number(handle.http.split(':')[1]) };
}

const TABLE_TAKEN_WITHIN_MS = 10_000;

let marker = 0;

/** Gives the router a table and waits until it serves by it. */
export async function applyTable(router: TestRouter, table: RouteTable): Promise<void> {
  const host = `marker-${++marker}.test`;
  router.handle.setTable({
    ...table,
    routes: [...table.routes, { route: host, app: APP, appName: 'marker', upstreams: [] }],
  });
  await waitFor('the router to take its table', TABLE_TAKEN_WITHIN_MS, async () => {
    return (await get(router, { host })).status === 503;
  });
}

export function route(host: string, upstreams: Upstream[], app = APP): RouteTable['routes'][number] {
  return { route: host, app, appName: 'shop', upstreams };
}

export const localUpstream = (node: NodeId, instance: string, port: number, index = 0): Upstream => ({
  instance: asInstanceId(instance),
  app: APP,
  index,
  node,
  port,
});

export const remoteUpstream = (router: TestRouter, instance: string, index = 0): Upstream => ({
  instance: asInstanceId(instance),
  app: APP,
  index,
  node: router.nodeId,
  link: router.handle.link,
});

export const localInstance = (instance: string, port: number): RouteTable['local'][number] => ({
  instance: asInstanceId(instance),
  app: APP,
  port,
});

// ---------------------------------------------------------------- apps

export type TestApp = { port: number; server: http.Server; close(): Promise<void> };

/** `host`: as if the app had a network of its own. */
export async function startApp(handler: http.RequestListener, host = '127.0.0.1'): Promise<TestApp> {
  const server = http.createServer(handler);
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  return {
    port: (server.address() as AddressInfo).port,
    server,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** A raw TCP server; what it accepted is closed with it. */
export async function startTcp(
  onConnection: (socket: net.Socket) => void,
): Promise<{ port: number; close(): Promise<void> }> {
  const sockets = new Set<net.Socket>();
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.once('close', () => sockets.delete(socket));
    onConnection(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}

/** A port where nothing listens: connections are refused. */
export async function deadPort(): Promise<number> {
  const { port, close } = await startTcp(() => {});
  await close();
  return port;
}

// ---------------------------------------------------------------- clients

export type Answer = {
  status: number;
  headers: http.IncomingHttpHeaders;
  rawHeaders: string[];
  text: string;
  trailers: NodeJS.Dict<string>;
};

export type Ask = {
  host: string;
  path?: string;
  method?: string;
  headers?: http.OutgoingHttpHeaders;
  body?: string | Buffer;
  agent?: http.Agent;
};

export function get(router: { httpPort: number }, ask: Ask): Promise<Answer> {
  const { host, path = '/', method = 'GET', headers, body, agent } = ask;
  return new Promise((resolve, reject) => {
    const request = http.request(
      { host: '127.0.0.1', port: router.httpPort, path, method, headers: { ...headers, host }, agent: agent ?? false },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.once('error', reject);
        response.once('end', () =>
          resolve({
            status: response.statusCode!,
            headers: response.headers,
            rawHeaders: response.rawHeaders,
            text: Buffer.concat(chunks).toString(),
            trailers: response.trailers,
          }),
        );
      },
    );
    request.once('error', reject);
    request.end(body);
  });
}

/** Sends bytes and returns all that comes back until the connection ends. */
export function raw(port: number, bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1', () => socket.write(bytes));
    let text = '';
    socket.setEncoding('latin1');
    socket.on('data', (chunk: string) => {
      text += chunk;
    });
    socket.once('error', reject);
    socket.once('close', () => resolve(text));
  });
}

export type Upgraded = { status: number; socket: net.Socket; head: Buffer; headers: http.IncomingHttpHeaders };

/** Asks for a protocol switch; resolves with the connection, or with the status when it was answered otherwise. */
export function upgrade(router: { httpPort: number }, host: string, protocol = 'websocket'): Promise<Upgraded> {
  return new Promise((resolve, reject) => {
    const request = http.request({
      host: '127.0.0.1',
      port: router.httpPort,
      path: '/socket',
      headers: { host, Connection: 'Upgrade', Upgrade: protocol, 'Sec-WebSocket-Key': 'x3JJHMbDL1EzLkh9GBhXDw==' },
      agent: false,
    });
    request.once('error', reject);
    request.once('upgrade', (response, socket, head) =>
      resolve({ status: response.statusCode!, headers: response.headers, socket: socket as net.Socket, head }),
    );
    request.once('response', (response) => {
      response.resume();
      resolve({
        status: response.statusCode!,
        headers: response.headers,
        socket: response.socket,
        head: Buffer.alloc(0),
      });
    });
    request.end();
  });
}

/** An app that switches to any protocol and sends back what it gets, after a greeting. */
export async function startEcho(greeting = 'hello'): Promise<TestApp> {
  const app = await startApp((_req, res) => res.writeHead(426).end('upgrade required'));
  app.server.on('upgrade', (req, socket, head) => {
    socket.on('error', () => {});
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: ${req.headers.upgrade}\r\nConnection: Upgrade\r\nX-Path: ${req.url}\r\n\r\n${greeting}`,
    );
    socket.write(head);
    socket.pipe(socket);
  });
  return app;
}
