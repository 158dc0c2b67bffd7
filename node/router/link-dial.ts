// Opens connections to other nodes' links: TLS with both identities proven, pinned to the node that is expected. Also
// opens raw tunnels to an instance or a service over such a connection. Never reuses connections; the pools do.

import type { Socket } from 'node:net';
import type { ConnectionOptions, SecureContext, TLSSocket } from 'node:tls';
import { asServiceId, type NodeId, type ServiceId } from '../../crdt/ids.ts';
import type { TlsIdentity } from '../identity/identity.ts';
import { nodeIdOfCertificate } from '../identity/node-id.ts';
import type { HostPort } from '../lib/host-port.ts';
import { parseAddress } from './address.ts';
import { http, SOCKET_OPTIONS, tls } from './builtin.ts';
import { LinkError } from './errors.ts';
import { LINK_DIAL_TIMEOUT_MS, LINK_TCP_KEEP_ALIVE_MS } from './limits.ts';
import { PEER_LINK_ERROR } from './request-head.ts';

/** The link speaks nothing older: only TLS 1.3 proves Ed25519 keys and hides certificates. */
export const LINK_TLS_VERSION = 'TLSv1.3';

export type LinkTarget = {
  /** `host:port`. */
  link: string;
  expectedNode: NodeId;
  credentials: SecureContext;
  timeoutMs?: number;
};

export function linkCredentials({ keyPem, certPem }: TlsIdentity): SecureContext {
  return tls.createSecureContext({ key: keyPem, cert: certPem, minVersion: LINK_TLS_VERSION });
}

/**
 * Calls back once, with a connection whose other side holds the expected node's key, or with a LinkError. The other
 * side checks our identity on its own: a refusal shows as an answer to the first request, or as a closed connection.
 */
export function dialLink(
  target: LinkTarget,
  callback: (error: LinkError | null, socket: TLSSocket | null) => void,
): void {
  const { link, expectedNode, credentials, timeoutMs = LINK_DIAL_TIMEOUT_MS } = target;
  let address: HostPort;
  try {
    address = parseAddress(link);
  } catch (cause) {
    // The other node said so itself; a router that threw here would end for it.
    const message = `The link ${JSON.stringify(link)} of node ${expectedNode} is no address.`;
    process.nextTick(() => callback(new LinkError('unreachable', message, { cause }), null));
    return;
  }
  const options: ConnectionOptions = {
    ...address,
    secureContext: credentials,
    // Identity is the key itself, checked below; there is no authority that could vouch for it.
    rejectUnauthorized: false,
    ALPNProtocols: ['http/1.1'],
    ...SOCKET_OPTIONS,
  };
  const socket = tls.connect(options);
  let settled = false;
  const fail = (code: LinkError['code'], why: string, cause?: unknown) => {
    clearTimeout(timer);
    if (settled) return;
    settled = true;
    socket.on('error', () => {});
    socket.destroy();
    callback(new LinkError(code, `The link ${link} of node ${expectedNode} ${why}.`, { cause }), null);
  };
  const timer = setTimeout(() => fail('timeout', `did not answer within ${timeoutMs} ms`), timeoutMs);
  socket.setNoDelay(true);
  socket.setKeepAlive(true, LINK_TCP_KEEP_ALIVE_MS);
  socket.once('error', (error) => fail('unreachable', `cannot be reached (${error.message})`, error));
  socket.once('close', () => fail('unreachable', 'closed the connection during the handshake'));
  socket.once('secureConnect', () => {
    const certificate = socket.getPeerX509Certificate();
    const node = certificate && nodeIdOfCertificate(certificate);
    if (node !== expectedNode) {
      fail('wrong_identity', `is answered by ${node ? `node ${node}` : 'someone without a node identity'}`);
      return;
    }
    clearTimeout(timer);
    if (settled) return;
    settled = true;
    callback(null, socket);
  });
}

/** Why a link could not be dialled, in a few words for people. */
export function whyUnreachable(error: unknown): string {
  if (!(error instanceof LinkError)) return 'the connection failed';
  if (error.code === 'timeout') return 'timed out';
  if (error.code === 'wrong_identity') return 'another machine answers there';
  switch ((error.cause as NodeJS.ErrnoException | undefined)?.code) {
    case 'ECONNREFUSED':
      return 'refused';
    case 'ETIMEDOUT':
      return 'timed out';
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return 'its name has no address';
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
    case 'EADDRNOTAVAIL':
      return 'no way to the host';
    default:
      return 'the connection failed';
  }
}

/**
 * Whether nothing at all came back: neither a refusal nor an end. A router that knows no way there has not heard from
 * it either.
 */
export function isSilence(error: unknown): boolean {
  return ['timed out', 'no way to the host', 'its name has no address'].includes(whyUnreachable(error));
}

export function dialLinkAsync(target: LinkTarget): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    dialLink(target, (error, socket) => (socket ? resolve(socket) : reject(error)));
  });
}

/** What a tunnel leads to on the other node: an instance, by its id, or a service. */
export const serviceTarget = (service: ServiceId): string => `${SERVICE_PREFIX}${service}`;
const SERVICE_PREFIX = 'service:';

/** The service that a tunnel is to lead to; undefined when it is to lead to an instance. */
export function targetedService(to: string): ServiceId | undefined {
  return to.startsWith(SERVICE_PREFIX) ? asServiceId(to.slice(SERVICE_PREFIX.length)) : undefined;
}

/** A raw TCP connection to an instance or a service on another node. Fails with LinkError. */
export async function openTunnel(target: LinkTarget & { to: string }): Promise<Socket> {
  return openThrough(await dialLinkAsync(target), target);
}

/** The same over a connection that nothing was sent on yet. */
export function openThrough(
  connection: Socket,
  { link, to, timeoutMs = LINK_DIAL_TIMEOUT_MS }: Pick<LinkTarget, 'link' | 'timeoutMs'> & { to: string },
): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const fail = (why: string, cause?: unknown) => {
      connection.destroy();
      reject(new LinkError('refused', `The link ${link} opened no tunnel to ${to} (${why}).`, { cause }));
    };
    const request = http.request({
      createConnection: () => connection,
      method: 'CONNECT',
      path: to,
      host: link,
      timeout: timeoutMs,
    });
    request.once('timeout', () => fail('no answer in time'));
    request.once('error', (error) => fail(error.message, error));
    request.once('connect', (response, socket, head) => {
      if (response.statusCode !== 200) {
        fail(String(response.headers[PEER_LINK_ERROR] ?? `status ${response.statusCode}`));
        return;
      }
      socket.setTimeout(0);
      if (head.length > 0) socket.unshift(head);
      resolve(socket);
    });
    request.end();
  });
}
