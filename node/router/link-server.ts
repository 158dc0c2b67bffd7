// The link's listener: other nodes' routers reach this node's instances here, and nodes that want to be admitted ask
// here. Everyone proves a node identity in the TLS handshake; a node that is not admitted may ask to join and nothing
// else.

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Server } from 'node:https';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { asInstanceId, type InstanceId, type NodeId, type ServiceId } from '../../crdt/ids.ts';
import type { TlsIdentity } from '../identity/identity.ts';
import { nodeIdOfCertificate } from '../identity/node-id.ts';
import { BLOB_PATH, BLOB_PROTOCOL, BlobDesk } from './blob-desk.ts';
import { https } from './builtin.ts';
import { type ClientConnection, Exchange, type LinkErrorCode } from './exchange.ts';
import { type AskDaemon, JoinDesk } from './join-desk.ts';
import {
  CLIENT_HEADERS_TIMEOUT_MS,
  CLIENT_REQUEST_TIMEOUT_MS,
  LINK_CONNECTIONS_MAX,
  LINK_HANDSHAKE_TIMEOUT_MS,
  LINK_HEADER_BYTES_MAX,
  LINK_SERVER_KEEP_ALIVE_MS,
  STRANGER_CONNECTION_MS,
  STRANGER_CONNECTIONS_MAX,
  TIMEOUT_CHECK_INTERVAL_MS,
} from './limits.ts';
import { LINK_TLS_VERSION, targetedService } from './link-dial.ts';
import { LINK_PING_PATH } from './link-watch.ts';
import { discardBody } from './reply.ts';
import { RequestBody } from './request-body.ts';
import { PEER_INSTANCE, PEER_LINK_ERROR, readRequestHead } from './request-head.ts';
import type { Routing } from './routing.ts';
import { joinConnections } from './tunnel.ts';
import { adoptUpgrade, trackResponse, wantsUpgrade } from './upgrades.ts';
import { dialLocal } from './upstreams.ts';

export const JOIN_PATH = '/join';

export class LinkServer {
  readonly server: Server;
  readonly #routing: Routing;
  readonly #joins: JoinDesk;
  readonly #blobs: BlobDesk;
  /** Who holds the other end; set before a connection's first request. */
  readonly #nodes = new Map<TLSSocket, NodeId>();
  #strangers = 0;

  constructor(routing: Routing, identity: TlsIdentity, askDaemon: AskDaemon, blobsDir: string | undefined) {
    this.#routing = routing;
    this.#blobs = new BlobDesk(blobsDir);
    this.#joins = new JoinDesk(askDaemon);
    this.server = https.createServer({
      key: identity.keyPem,
      cert: identity.certPem,
      minVersion: LINK_TLS_VERSION,
      requestCert: true,
      // Identity is the key itself, checked below; there is no authority that could vouch for it.
      rejectUnauthorized: false,
      ALPNProtocols: ['http/1.1'],
      handshakeTimeout: LINK_HANDSHAKE_TIMEOUT_MS,
      allowHalfOpen: true,
      maxHeaderSize: LINK_HEADER_BYTES_MAX,
      headersTimeout: CLIENT_HEADERS_TIMEOUT_MS,
      requestTimeout: CLIENT_REQUEST_TIMEOUT_MS,
      keepAliveTimeout: LINK_SERVER_KEEP_ALIVE_MS,
      connectionsCheckingInterval: TIMEOUT_CHECK_INTERVAL_MS,
      noDelay: true,
      requireHostHeader: false,
      shouldUpgradeCallback: wantsUpgrade,
    });
    this.server.maxConnections = LINK_CONNECTIONS_MAX;
    this.server.prependListener('secureConnection', (socket) => this.#greet(socket));
    this.server.on('request', (req: IncomingMessage, res: ServerResponse) => {
      trackResponse(req, res);
      this.#serve(req, res);
    });
    this.server.on('upgrade', (req: IncomingMessage, socket: Duplex, head: Buffer) => {
      if (req.headers.upgrade === BLOB_PROTOCOL && req.url === BLOB_PATH) {
        this.#serveBlobs(socket as TLSSocket, head);
        return;
      }
      adoptUpgrade(req, socket, head, (res, client) => this.#serve(req, res, client));
    });
    this.server.on('connect', (req: IncomingMessage, socket: Duplex, head: Buffer) => this.#tunnel(req, socket, head));
  }

  /** Cuts the connections of nodes that are not admitted any more. Call after the table has changed. */
  expel(): void {
    for (const [socket, node] of this.#nodes) {
      // A stranger that is about to join is no expelled node: its connection has its own bounds.
      if (!this.#routing.admitted.has(node) && !strangers.has(socket)) socket.destroy();
    }
  }

  /**
   * Accepts nothing more; resolves when no node has a request in flight. Connections that are still in the handshake
   * are not waited for.
   */
  close(): Promise<void> {
    this.server.close();
    this.server.closeIdleConnections();
    return new Promise((resolve) => {
      const check = () => {
        if (this.#nodes.size === 0) resolve();
      };
      for (const socket of this.#nodes.keys()) socket.once('close', check);
      check();
    });
  }

  closeConnections(): void {
    for (const socket of this.#nodes.keys()) socket.destroy();
  }

  #greet(socket: TLSSocket): void {
    const certificate = socket.getPeerX509Certificate();
    const node = certificate && nodeIdOfCertificate(certificate);
    socket.on('error', () => {});
    if (node === undefined) {
      socket.destroy();
      return;
    }
    if (!this.#routing.admitted.has(node)) {
      if (this.#strangers >= STRANGER_CONNECTIONS_MAX) {
        socket.destroy();
        return;
      }
      this.#strangers++;
      strangers.add(socket);
      const timer = setTimeout(() => socket.destroy(), STRANGER_CONNECTION_MS);
      socket.once('close', () => {
        this.#strangers--;
        clearTimeout(timer);
      });
    }
    this.#nodes.set(socket, node);
    socket.once('close', () => this.#nodes.delete(socket));
  }

  #serve(req: IncomingMessage, res: ServerResponse, client?: ClientConnection): void {
    const socket = req.socket as TLSSocket;
    const node = this.#nodes.get(socket);
    if (node === undefined) {
      socket.destroy();
      return;
    }
    const instance = req.headers[PEER_INSTANCE];
    if (instance === undefined && req.method === 'POST' && req.url === JOIN_PATH) {
      this.#joins.serve(req, res, node);
    } else if (strangers.has(socket) || !this.#routing.admitted.has(node)) {
      // Admitted in the meantime or not: a stranger's connection ends here, the next one is judged anew.
      res.shouldKeepAlive = false;
      res.once('finish', () => socket.destroySoon());
      this.#routing.log.warn('link.refused', { node, from: socket.remoteAddress });
      sendLinkError(req, res, 'not_admitted');
    } else if (typeof instance === 'string') this.#proxy(req, res, asInstanceId(instance), client);
    else {
      res.writeHead(req.url === LINK_PING_PATH ? 204 : 404).end();
      discardBody(req);
    }
  }

  #proxy(req: IncomingMessage, res: ServerResponse, instance: InstanceId, client?: ClientConnection): void {
    const { local, balancer, upstreams } = this.#routing;
    const target = local.get(instance);
    if (target === undefined) {
      sendLinkError(req, res, 'unknown_instance');
      return;
    }
    if (balancer.isSaturated(instance)) {
      sendLinkError(req, res, 'saturated');
      return;
    }
    const head = readRequestHead(req.rawHeaders, 'link');
    let counted: 'requests' | 'tunnels' = 'requests';
    balancer.begin(instance, counted);
    const body = head.hasBody ? new RequestBody(req) : undefined;
    const exchange = new Exchange({
      res,
      client,
      viaLink: false,
      onResponse: () => body?.forget(),
      onTunnel: () => {
        balancer.end(instance, counted);
        counted = 'tunnels';
        balancer.begin(instance, counted);
      },
      onSettled: (outcome) => {
        balancer.end(instance, counted);
        if (outcome.kind === 'passed' && body) discardBody(req);
        // One try only: the node that asked knows the other instances.
        if (outcome.kind === 'failed') sendLinkError(req, res, linkErrorCode(outcome));
      },
    });
    res.once('close', () => exchange.cancel());
    upstreams.local(target).dispatch(
      {
        path: req.url ?? '/',
        method: req.method as 'GET',
        headers: head.passed,
        body: body?.open() ?? null,
        upgrade: client ? head.upgrade : null,
      },
      exchange,
    );
  }

  #serveBlobs(socket: TLSSocket, head: Buffer): void {
    socket.on('error', () => socket.destroy());
    const node = this.#nodes.get(socket);
    if (node === undefined || strangers.has(socket) || !this.#routing.admitted.has(node)) {
      refuseTunnel(socket, '403 Forbidden', 'not_admitted');
    } else if (!this.#blobs.hasRoom()) refuseTunnel(socket, '503 Service Unavailable', 'saturated');
    else this.#blobs.serve(socket, head);
  }

  #tunnel(req: IncomingMessage, socket: Duplex, head: Buffer): void {
    const connection = socket as TLSSocket;
    socket.on('error', () => socket.destroy());
    const node = this.#nodes.get(connection);
    if (node === undefined || strangers.has(connection) || !this.#routing.admitted.has(node)) {
      refuseTunnel(socket, '403 Forbidden', 'not_admitted');
      return;
    }
    const service = targetedService(req.url ?? '');
    if (service !== undefined) {
      this.#leadToService(connection, service, head);
      return;
    }
    const instance = asInstanceId(req.url ?? '');
    const target = this.#routing.local.get(instance);
    if (target === undefined) {
      refuseTunnel(socket, '404 Not Found', 'unknown_instance');
      return;
    }
    dialLocal(target, (error, upstream) => {
      if (error || !upstream) {
        refuseTunnel(socket, '502 Bad Gateway', 'dial');
        return;
      }
      if (socket.destroyed) {
        upstream.destroy();
        return;
      }
      socket.write(ESTABLISHED);
      if (head.length > 0) upstream.write(head);
      this.#routing.balancer.begin(instance, 'tunnels');
      joinConnections(socket, upstream, { onClosed: () => this.#routing.balancer.end(instance, 'tunnels') });
    });
  }

  #leadToService(socket: TLSSocket, service: ServiceId, head: Buffer): void {
    this.#routing.services.lead(socket, service, {
      hereOnly: true,
      refuse: ({ code }) =>
        refuseTunnel(socket, code === 'unknown_service' ? '404 Not Found' : '503 Service Unavailable', code),
      accept: (upstream) => {
        socket.write(ESTABLISHED);
        if (head.length > 0) upstream.write(head);
      },
    });
  }
}

const ESTABLISHED = 'HTTP/1.1 200 Connection Established\r\n\r\n';

/** Connections that began as strangers'. */
const strangers = new WeakSet<TLSSocket>();

function linkErrorCode({ why, sent }: { why: string; sent: boolean }): LinkErrorCode {
  if (why === 'timeout' || why === 'malformed') return why;
  return sent ? 'ended' : 'dial';
}

const LINK_ERROR_STATUS: Partial<Record<LinkErrorCode, number>> = {
  unknown_instance: 404,
  not_admitted: 403,
  saturated: 503,
  timeout: 504,
};

function sendLinkError(req: IncomingMessage, res: ServerResponse, code: LinkErrorCode): void {
  if (res.headersSent || res.destroyed) {
    res.destroy();
    return;
  }
  res.writeHead(LINK_ERROR_STATUS[code] ?? 502, { 'Content-Length': 0, [PEER_LINK_ERROR]: code }).end();
  discardBody(req);
}

/** Read on, so that the other side's end is seen: a connection that nobody reads stays open for ever. */
function refuseTunnel(socket: Duplex, status: string, code: LinkErrorCode): void {
  socket.end(`HTTP/1.1 ${status}\r\n${PEER_LINK_ERROR}: ${code}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
  socket.resume();
}
