// Requests as the tests make them: POSTs and PUTs to an app by its route, to the API with any body, and raw bytes to
// any port.

import { request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import type { Readable } from 'node:stream';
import { type LocalNode, type Response, splitAddress } from '../../scripts/local-cluster.ts';

type Body = string | Buffer | Readable;

/** POSTs to an app through a node's router. */
export function postToApp(
  node: LocalNode,
  host: string,
  path: string,
  body = '',
  timeoutMs = 30_000,
): Promise<Response> {
  return send(node.http, { method: 'POST', path, headers: { host }, body, timeoutMs });
}

export type AppRequest = { method?: string; headers?: Record<string, string>; body?: Body };

/** Any request to an app through a node's router; `headers` on top of what names the app. */
export function askApp(node: LocalNode, host: string, path: string, options: AppRequest = {}): Promise<Response> {
  const { method = 'GET', headers = {}, body = '' } = options;
  return send(node.http, { method, path, headers: { host, ...headers }, body, timeoutMs: 30_000 });
}

export const putToApp = (node: LocalNode, host: string, path: string): Promise<Response> =>
  send(node.http, { method: 'PUT', path, headers: { host }, body: '', timeoutMs: 30_000 });

export type ApiRequest = {
  method?: string;
  token?: string;
  headers?: Record<string, string>;
  body?: Body;
};

export function askApi(node: LocalNode, path: string, options: ApiRequest = {}): Promise<Response> {
  const { method = 'GET', token = node.token, body = '' } = options;
  const headers = { authorization: `Bearer ${token}`, ...options.headers };
  return send(node.api, { method, path, headers, body, timeoutMs: 30_000 });
}

function send(
  to: string,
  options: { method: string; path: string; headers: Record<string, string>; body: Body; timeoutMs: number },
): Promise<Response> {
  const { method, path, headers, body, timeoutMs } = options;
  const [host, port] = splitAddress(to);
  return new Promise((resolve, reject) => {
    const request = httpRequest({ host, port, method, path, headers, agent: false, timeout: timeoutMs }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        text += chunk;
      });
      response.on('error', reject);
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: text, headers: response.headers }));
    });
    request.on('timeout', () => request.destroy(new Error(`${method} ${path}: no answer within ${timeoutMs} ms`)));
    request.on('error', reject);
    if (typeof body === 'string' || Buffer.isBuffer(body)) request.end(body);
    else {
      body.on('error', (error) => request.destroy(error));
      body.pipe(request);
    }
  });
}

/**
 * Writes bytes to a port and answers what came back until the other side closed, or nothing more came for a second.
 */
export function sendBytes(to: string, bytes: Buffer): Promise<string> {
  const [host, port] = splitAddress(to);
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = connect({ host, port }, () => socket.write(bytes));
    socket.setTimeout(1_000, () => socket.destroy());
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      // Cut off in the middle of the bytes is an answer, too.
      if (error.code !== 'ECONNRESET' && error.code !== 'EPIPE') reject(error);
    });
    socket.on('close', () => resolve(text));
  });
}
