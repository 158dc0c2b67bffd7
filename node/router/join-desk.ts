// Takes requests to join from the link and passes them to the daemon, with the identity that TLS has proven. Bounds
// how many, how large and how long; never judges a request itself.

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { NodeId } from '../../crdt/ids.ts';
import { readWhatCameIn } from '../lib/standstill.ts';
import {
  JOIN_BODY_TIMEOUT_MS,
  JOIN_HANDLER_TIMEOUT_MS,
  JOIN_REPLY_BYTES_MAX,
  JOIN_REQUEST_BYTES_MAX,
  JOINS_BURST,
  JOINS_CONCURRENT_MAX,
  JOINS_PER_SECOND,
} from './limits.ts';
import { discardBody } from './reply.ts';
import { TokenBucket } from './token-bucket.ts';

/** Resolves with the daemon's answer, as JSON text. Fails with a JoinRefused. */
export type AskDaemon = (request: unknown, from: NodeId, timeoutMs: number) => Promise<string>;

/** The daemon's handler said no, or did not answer; the message may be shown to whoever wants to join. */
export class JoinRefused extends Error {
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

export class JoinDesk {
  readonly #ask: AskDaemon;
  readonly #rate = new TokenBucket({ perSecond: JOINS_PER_SECOND, burst: JOINS_BURST, nowMs: performance.now() });
  #running = 0;

  constructor(ask: AskDaemon) {
    this.#ask = ask;
  }

  serve(req: IncomingMessage, res: ServerResponse, from: NodeId): void {
    if (this.#running >= JOINS_CONCURRENT_MAX || !this.#rate.take(performance.now())) {
      sendError(req, res, 429, 'busy', 'Too many nodes want to join at once; try again in a few seconds.');
      return;
    }
    this.#running++;
    this.#answer(req, res, from)
      .catch(() => res.destroy())
      .finally(() => {
        this.#running--;
      });
  }

  async #answer(req: IncomingMessage, res: ServerResponse, from: NodeId): Promise<void> {
    let request: unknown;
    try {
      request = JSON.parse(await readBody(req));
    } catch (error) {
      const status = error instanceof BodyError ? error.status : 400;
      const why = error instanceof BodyError ? error.message : 'it is no JSON';
      sendError(req, res, status, 'bad_request', `The request to join cannot be used: ${why}.`);
      return;
    }
    // It may have waited while this process stood still, and its sender have gone since.
    await readWhatCameIn();
    if (req.socket.destroyed || req.socket.readableEnded) return;
    try {
      const reply = Buffer.from(await this.#ask(request, from, JOIN_HANDLER_TIMEOUT_MS));
      if (reply.length > JOIN_REPLY_BYTES_MAX) {
        sendError(req, res, 500, 'reply_too_large', 'The desired state is too large to be handed over when joining.');
        return;
      }
      res.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': reply.length }).end(reply);
    } catch (error) {
      const code = error instanceof JoinRefused ? error.code : 'internal';
      const message = error instanceof JoinRefused ? error.message : 'The node failed to answer.';
      sendError(req, res, 403, code, message);
    }
  }
}

class BodyError extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

function readBody(req: IncomingMessage): Promise<string> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    const timer = setTimeout(
      () => reject(new BodyError(408, `it did not arrive within ${JOIN_BODY_TIMEOUT_MS} ms`)),
      JOIN_BODY_TIMEOUT_MS,
    );
    req.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes <= JOIN_REQUEST_BYTES_MAX) chunks.push(chunk);
      else reject(new BodyError(413, `it is larger than ${JOIN_REQUEST_BYTES_MAX} bytes`));
    });
    req.once('end', () => resolve(Buffer.concat(chunks).toString('utf8')));
    req.once('close', () => {
      clearTimeout(timer);
      reject(new BodyError(400, 'the connection was closed'));
    });
  });
}

function sendError(req: IncomingMessage, res: ServerResponse, status: number, code: string, message: string): void {
  if (res.headersSent || res.destroyed) {
    res.destroy();
    return;
  }
  const body = JSON.stringify({ error: { code, message } });
  res.shouldKeepAlive = false;
  res.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) }).end(body);
  discardBody(req);
}
