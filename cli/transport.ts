// One HTTP request to a node, as the Fetch API has it, over node:http: it streams uploads while the answer comes in,
// and accepts a self-made certificate only when its fingerprint is known. Knows nothing of what is asked.

import { type ClientRequest, request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { isIP } from 'node:net';
import { Readable } from 'node:stream';
import { type TLSSocket, connect as tlsConnect } from 'node:tls';
import { CliError } from './errors.ts';
import { isLoopback } from './loopback.ts';
import { parseDuration } from './values.ts';

/**
 * For how long an answer is waited for unless PEER_TIMEOUT says otherwise. Nodes send a sign of life every 10 s on
 * streams.
 */
const TIMEOUT_DEFAULT_MS = 30_000;
const TIMEOUT_RANGE = { min: '1s', max: '1h' };
/**
 * For how long a name is looked up and a connection made: a host that is there, also one with a frozen daemon, takes a
 * connection at once, and after a loss or two within a few seconds.
 */
const CONNECT_MAX_MS = 10_000;
/**
 * How the C library asks name servers, unless the person says otherwise. By default a server that does not answer
 * costs 10 s for each domain that is searched, for which the process stays, whatever it has given up on.
 */
const RESOLVER_OPTIONS = 'timeout:2 attempts:1';
/** Four signs of life are missing by then. */
const SILENCE_MIN_MS = 45_000;
const SILENCE_LOOK_MS = 1_000;

/** As the API reads it (node/api/wanted.ts). */
const WANTED_FOR_HEADER = 'peer-wanted-for-ms';

export type SendOptions = {
  method?: string;
  headers?: Record<string, string>;
  body?: string | Buffer | Readable;
  signal?: AbortSignal;
  /**
   * The answer, or the body, comes in parts: the time is that of silence. Else it is that until the answer is whole,
   * and the node is told of it, so that it does not do afterwards what nobody waits for any more.
   */
  streams?: boolean;
};

/** Fails with UsageError. */
function timeoutMs(): number {
  const given = process.env.PEER_TIMEOUT;
  return given === undefined || given === '' ? TIMEOUT_DEFAULT_MS : parseDuration(given, 'PEER_TIMEOUT', TIMEOUT_RANGE);
}

/**
 * Resolves with the head of the answer. Fails with CliError `unreachable`, `no_answer`, `untrusted` or what the body
 * failed with; the body of the answer fails with `no_answer` too.
 */
export function send(url: string, options: SendOptions, fingerprint: string | undefined): Promise<Response> {
  const target = new URL(url);
  const { method = 'GET', body, signal, streams = false } = options;
  const askedMs = timeoutMs();
  const waitMs = streams ? Math.max(askedMs, SILENCE_MIN_MS) : askedMs;
  boundLookups();
  const headers = { ...options.headers, [WANTED_FOR_HEADER]: String(waitMs) };
  const connectMs = Math.min(askedMs, CONNECT_MAX_MS);
  return new Promise((resolve, reject) => {
    let answering: IncomingMessage | undefined;
    let limit: NodeJS.Timeout | undefined;
    const requestOptions: RequestOptions = {
      method,
      headers,
      ...(signal === undefined ? {} : { signal }),
      ...(target.protocol === 'https:' && fingerprint !== undefined
        ? { createConnection: pinnedConnection(target, fingerprint, connectMs) }
        : {}),
    };
    const onResponse = (message: IncomingMessage) => {
      answering = message;
      if (streams) onSilence(message, waitMs, giveUp);
      else message.once('close', () => clearTimeout(limit));
      // Whatever is still being sent is of no use to a node that has refused.
      if ((message.statusCode ?? 500) >= 400 && body instanceof Readable) body.destroy();
      resolve(responseOf(message));
    };
    const sent: ClientRequest =
      target.protocol === 'https:'
        ? httpsRequest(target, requestOptions, onResponse)
        : httpRequest(target, requestOptions, onResponse);
    const connecting = setTimeout(
      () => sent.destroy(unreachable(target.origin, `no connection within ${connectMs / 1000} s`)),
      connectMs,
    );
    const connected = () => clearTimeout(connecting);
    sent.once('socket', (socket) => {
      if (!socket.connecting) connected();
      else socket.once('connect', connected);
    });
    const giveUp = () => {
      const error = noAnswer(target.origin, waitMs, { method, answering: answering !== undefined });
      // The connection ends with it, by which the node knows that nobody waits any more.
      sent.destroy(error);
      answering?.destroy(error);
    };
    // As long as the body goes out, or nothing has been answered yet; what follows is onSilence's.
    if (streams) sent.setTimeout(waitMs, () => answering ?? giveUp());
    else limit = setTimeout(giveUp, waitMs);
    sent.once('close', () => {
      connected();
      if (answering === undefined) clearTimeout(limit);
    });
    // After the answer has begun this only says that the rest of the upload is not wanted any more.
    sent.on('error', (error) => reject(explain(error, target.origin)));
    if (body instanceof Readable) {
      body.on('error', (error) => {
        sent.destroy(error);
        reject(error);
      });
      body.pipe(sent);
    } else sent.end(body);
  });
}

/** Read when a name is looked up for the first time. */
function boundLookups(): void {
  process.env.RES_OPTIONS ??= RESOLVER_OPTIONS;
}

/** Counts what comes in alone: what this side sends goes into the buffers of a frozen node, too. */
function onSilence(message: IncomingMessage, waitMs: number, giveUp: () => void): void {
  let bytesRead = -1;
  let heardAtMs = performance.now();
  const timer = setInterval(() => {
    const nowMs = performance.now();
    // While whoever reads the answer takes its time, nothing is read from the connection either.
    if (message.socket.bytesRead !== bytesRead || message.isPaused()) {
      bytesRead = message.socket.bytesRead;
      heardAtMs = nowMs;
    } else if (nowMs - heardAtMs >= waitMs) giveUp();
  }, SILENCE_LOOK_MS);
  message.once('close', () => clearInterval(timer));
}

function noAnswer(origin: string, waitedMs: number, { method, answering }: { method: string; answering: boolean }) {
  const seconds = waitedMs / 1000;
  const what = answering
    ? `${origin} has been silent for ${seconds} s`
    : `no answer from ${origin} within ${seconds} s`;
  const hint = 'is its daemon frozen, or its machine overloaded? (PEER_TIMEOUT=60s waits longer)';
  const mayHold = method !== 'GET';
  const doubt = mayHold ? '; what was asked for may have been done' : '';
  return new CliError('no_answer', `${what}: ${hint}${doubt}`, { mayHold });
}

function responseOf(message: IncomingMessage): Response {
  const headers = new Headers();
  for (const [name, value] of Object.entries(message.headers)) {
    if (value !== undefined) headers.set(name, Array.isArray(value) ? value.join(', ') : value);
  }
  const status = message.statusCode ?? 500;
  const hasBody = status !== 204 && status !== 304;
  if (!hasBody) message.resume();
  return new Response(hasBody ? (Readable.toWeb(message) as ReadableStream<Uint8Array>) : null, { status, headers });
}

/** A connection over which nothing is sent before the certificate has been found to be the known one. */
function pinnedConnection(
  target: URL,
  fingerprint: string,
  connectMs: number,
): NonNullable<RequestOptions['createConnection']> {
  return (_, oncreate) => {
    const socket = openTls(target);
    // A request has no hold on a connection that it has not been given yet.
    socket.setTimeout(connectMs, () =>
      socket.destroy(unreachable(target.origin, `no connection within ${connectMs / 1000} s`)),
    );
    socket.once('secureConnect', () => {
      const shown = socket.getPeerCertificate().fingerprint256;
      if (sameFingerprint(shown, fingerprint)) {
        socket.setTimeout(0);
        socket.removeListener('error', onError);
        oncreate(null, socket);
        return;
      }
      socket.destroy();
      const message = `the node at ${target.origin} shows another certificate than the one you trusted: if that is right, run peer login ${target.origin} again`;
      oncreate(new CliError('untrusted', message), socket);
    });
    const onError = (error: Error) => oncreate(error, socket);
    socket.once('error', onError);
    return undefined;
  };
}

function openTls(target: URL): TLSSocket {
  const host = target.hostname.replace(/^\[|\]$/g, '');
  return tlsConnect({
    host,
    port: Number(target.port || 443),
    // Replaced by the comparison of fingerprints, which is stricter.
    rejectUnauthorized: false,
    ...(isIP(host) === 0 ? { servername: host } : {}),
  });
}

/** SHA-256 fingerprint of the certificate that the API shows, as `AB:CD:…`; nothing is sent. */
export function shownFingerprint(origin: string, timeoutMs = CONNECT_MAX_MS): Promise<string> {
  const target = new URL(origin);
  boundLookups();
  return new Promise((resolve, reject) => {
    const socket = openTls(target);
    socket.setTimeout(timeoutMs, () => {
      socket.destroy(unreachable(origin, `no answer within ${timeoutMs / 1000} s`));
    });
    socket.once('secureConnect', () => {
      resolve(socket.getPeerCertificate().fingerprint256);
      socket.destroy();
    });
    socket.once('error', (error) => reject(explain(error, origin)));
  });
}

/** By the codes of Node. */
const REASONS: Record<string, string> = {
  ECONNREFUSED: 'nothing listens there',
  ENOTFOUND: 'there is no host of that name',
  EAI_AGAIN: 'no name server says which host that is',
  EHOSTUNREACH: 'no way leads there',
  ENETUNREACH: 'no way leads there',
  ETIMEDOUT: 'it does not answer',
};

export const sameFingerprint = (a: string, b: string): boolean => hexOf(a) === hexOf(b);
export const isFingerprint = (text: string): boolean => /^[0-9a-f]{64}$/.test(hexOf(text));
const hexOf = (fingerprint: string): string =>
  fingerprint
    .replace(/^sha256:/i, '')
    .replaceAll(':', '')
    .toLowerCase();

/** Of this machine people know how to start a node; of another they may have the address wrong. */
function unreachable(origin: string, why: string, cause?: NodeJS.ErrnoException): CliError {
  const isDown = cause?.code === 'ECONNREFUSED' && isLoopback(new URL(origin).host);
  const hint = isDown
    ? 'is it running? Start it with: peer start'
    : `${why}: is it running, and is the address right (--api, PEER_API, peer login URL)?`;
  return new CliError('unreachable', `cannot reach the node at ${origin}: ${hint}`, { cause });
}

/** An error of the network as a line for people. */
export function explain(error: Error, origin: string): Error {
  if (error instanceof CliError || error.name === 'AbortError') return error;
  const { code = '' } = error as NodeJS.ErrnoException;
  if (['DEPTH_ZERO_SELF_SIGNED_CERT', 'SELF_SIGNED_CERT_IN_CHAIN', 'UNABLE_TO_VERIFY_LEAF_SIGNATURE'].includes(code)) {
    return new CliError('untrusted', `the certificate of ${origin} is not known here: run peer login ${origin}`);
  }
  if (code === 'EPROTO' || code === 'ERR_SSL_WRONG_VERSION_NUMBER') {
    return new CliError('unreachable', `${origin} does not speak TLS: is it http:// instead?`, { cause: error });
  }
  if (code === 'ECONNRESET' || code === 'EPIPE') {
    const message = `the node at ${origin} ended the connection: see peer status, and its log`;
    return new CliError('connection_lost', message, { cause: error });
  }
  return unreachable(origin, REASONS[code] ?? error.message, error);
}
