// Asks to join a cluster through another node's link, whose identity the invite names. Sends one request and reads one
// bounded answer; knows nothing of what they mean.

import type { IncomingMessage } from 'node:http';
import type { TLSSocket } from 'node:tls';
import type { NodeId } from '../../crdt/ids.ts';
import type { TlsIdentity } from '../identity/identity.ts';
import { http } from './builtin.ts';
import { JoinError, LinkError } from './errors.ts';
import { JOIN_REPLY_BYTES_MAX, JOIN_REQUEST_BYTES_MAX, LINK_DIAL_TIMEOUT_MS } from './limits.ts';
import { dialLinkAsync, linkCredentials } from './link-dial.ts';

export type JoinThroughLink = {
  /** `host:port` of the link of a member. */
  link: string;
  expectedNode: NodeId;
  tls: TlsIdentity;
  /** Anything JSON can carry, JOIN_REQUEST_BYTES_MAX. */
  request: unknown;
};

/** Resolves with what the member's join handler returned. Fails with JoinError. */
export async function joinThroughLink(options: JoinThroughLink, timeoutMs: number): Promise<unknown> {
  const { link, expectedNode, tls, request } = options;
  const body = JSON.stringify(request);
  if (Buffer.byteLength(body) > JOIN_REQUEST_BYTES_MAX) {
    throw new JoinError('bad_request', `The request to join is larger than ${JOIN_REQUEST_BYTES_MAX} bytes.`);
  }
  const deadlineMs = performance.now() + timeoutMs;
  let connection: TLSSocket;
  try {
    connection = await dialLinkAsync({
      link,
      expectedNode,
      credentials: linkCredentials(tls),
      timeoutMs: Math.min(timeoutMs, LINK_DIAL_TIMEOUT_MS * 2),
    });
  } catch (error) {
    if (!(error instanceof LinkError)) throw error;
    const code = error.code === 'wrong_identity' ? error.code : 'unreachable';
    throw new JoinError(code, error.message, { cause: error });
  }
  try {
    const { status, text } = await exchange(connection, body, Math.max(1, deadlineMs - performance.now()));
    const answer = parse(text);
    if (status === 200) return answer;
    const refusal = (answer as { error?: { code?: unknown; message?: unknown } } | null)?.error;
    throw new JoinError(
      typeof refusal?.code === 'string' ? refusal.code : 'refused',
      typeof refusal?.message === 'string'
        ? refusal.message
        : `Node ${expectedNode} refused to let this node join (status ${status}).`,
    );
  } finally {
    connection.destroy();
  }
}

function exchange(connection: TLSSocket, body: string, timeoutMs: number): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new JoinError('timeout', 'The other node did not answer the request to join in time; try again.')),
      timeoutMs,
    );
    const lost = (error?: Error) =>
      reject(
        new JoinError('bad_reply', 'The other node closed the connection before it answered; try again.', {
          cause: error,
        }),
      );
    connection.once('close', () => {
      clearTimeout(timer);
      lost();
    });
    const request = http.request({
      createConnection: () => connection,
      method: 'POST',
      path: '/join',
      host: 'peer',
      headers: { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) },
    });
    request.on('error', lost);
    request.once('response', (response: IncomingMessage) => {
      const chunks: Buffer[] = [];
      let bytes = 0;
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > JOIN_REPLY_BYTES_MAX) {
          reject(
            new JoinError(
              'reply_too_large',
              `The answer to the request to join is larger than ${JOIN_REPLY_BYTES_MAX} bytes.`,
            ),
          );
          connection.destroy();
        } else chunks.push(chunk);
      });
      response.on('error', lost);
      response.once('end', () =>
        resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') }),
      );
    });
    request.end(body);
  });
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new JoinError('bad_reply', 'The answer to the request to join is no JSON.', { cause: error });
  }
}
