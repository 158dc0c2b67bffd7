// The router's own answers: one line of text that says what happened and what to do, and the header that tells an
// error of the router from one of the app. Also ends a request whose body nobody will read.

import type { IncomingMessage, ServerResponse } from 'node:http';
import { UNREAD_BODY_TIMEOUT_MS } from './limits.ts';

export type Reply = {
  status: number;
  /** X-Cf-RouterError; the names are Cloud Foundry's, but for what its router does not know of. */
  error: string;
  text: string;
  headers?: Record<string, string>;
};

export const badRequest = (error: string, why: string): Reply => ({
  status: 400,
  error,
  text: `400 Bad Request: ${why}`,
});

export const unknownRoute = (host: string): Reply => ({
  status: 404,
  error: 'unknown_route',
  text: `404 Not Found: Requested route ('${host}') does not exist.`,
});

export const noEndpoints = (app: string): Reply => ({
  status: 503,
  error: 'no_endpoints',
  text: `503 Service Unavailable: App '${app}' has no ready instance; 'peer app ${app}' shows why.`,
});

export const saturated = (app: string): Reply => ({
  status: 503,
  error: 'endpoints_saturated',
  text: `503 Service Unavailable: Every instance of app '${app}' has as many requests as it may; try again, or add instances with 'peer scale ${app}'.`,
  headers: { 'Retry-After': '1' },
});

export const endpointFailure = (app: string, why: string): Reply => ({
  status: 502,
  error: 'endpoint_failure',
  text: `502 Bad Gateway: App '${app}' did not answer (${why}); 'peer logs ${app}' may show why.`,
});

export const endpointTimeout = (app: string): Reply => ({
  status: 504,
  error: 'endpoint_failure',
  text: `504 Gateway Timeout: App '${app}' took too long to answer; 'peer logs ${app}' may show why.`,
});

/** Says nothing of addresses: anyone may read it. @param nodes names of those that run the app */
export const unreachableNodes = (app: string, nodes: readonly string[], why: string): Reply => ({
  status: 503,
  error: 'node_unreachable',
  text:
    `503 Service Unavailable: App '${app}' runs on ${nodes.length === 1 ? 'node' : 'nodes'} ${nodes.join(', ')}, which this ` +
    `node cannot reach (${why}); 'peer nodes' shows who cannot reach whom.`,
  headers: { 'Retry-After': '1' },
});

export function sendReply(req: IncomingMessage, res: ServerResponse, reply: Reply): void {
  if (res.headersSent || res.destroyed) {
    res.destroy();
    return;
  }
  const body = `${reply.text}\n`;
  res.writeHead(reply.status, {
    'Content-Type': 'text/plain; charset=utf-8',
    'Content-Length': Buffer.byteLength(body),
    'Cache-Control': 'no-cache, no-store',
    'X-Content-Type-Options': 'nosniff',
    'X-Cf-RouterError': reply.error,
    ...reply.headers,
  });
  res.end(body);
  discardBody(req);
}

const discarded = new WeakSet<IncomingMessage>();

/** Its body is being read away; nobody may hold it back any more. */
export const isDiscarded = (req: IncomingMessage): boolean => discarded.has(req);

/**
 * Reads away what the client still sends after its answer, so that it gets to see the answer and the connection can go
 * on; for a bounded time, then the connection is closed.
 */
export function discardBody(req: IncomingMessage): void {
  if (req.complete || req.destroyed) return;
  discarded.add(req);
  const timer = setTimeout(() => req.destroy(), UNREAD_BODY_TIMEOUT_MS);
  req.once('close', () => clearTimeout(timer));
  req.once('end', () => clearTimeout(timer));
  req.resume();
}
