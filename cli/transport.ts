// One HTTP request to a node, as the Fetch API has it, over node:http: it streams uploads while the answer comes in, and
// accepts a self-made certificate only when its fingerprint is known. Knows nothing of what is asked.

import { type ClientRequest, request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { isIP } from 'node:net';
import { Readable } from 'node:stream';
import { type TLSSocket, connect as tlsConnect } from 'node:tls';
import { CliError } from './errors.ts';

/** Nodes send a sign of life every 10 s on streams, and answer everything else sooner. */
const IDLE_TIMEOUT_MS = 60_000;

export type SendOptions = {
  method?: string;
  headers?: Record<string, string>;
  body?: string | Buffer | Readable;
  signal?: AbortSignal;
};

/** Resolves with the head of the answer. Fails with CliError `unreachable`, `untrusted` or what the body failed with. */
export function send(url: string, options: SendOptions, fingerprint: string | undefined): Promise<Response> {
  const target = new URL(url);
  const { method = 'GET', headers = {}, body, signal } = options;
  return new Promise((resolve, reject) => {
    const requestOptions: RequestOptions = {
      method,
      headers,
      ...(signal === undefined ? {} : { signal }),
      ...(target.protocol === 'https:' && fingerprint !== undefined
        ? { createConnection: pinnedConnection(target, fingerprint) }
        : {}),
    };
    const onResponse = (message: IncomingMessage) => {
      // Whatever is still being sent is of no use to a node that has refused.
      if ((message.statusCode ?? 500) >= 400 && body instanceof Readable) body.destroy();
      resolve(responseOf(message));
    };
    const sent: ClientRequest =
      target.protocol === 'https:'
        ? httpsRequest(target, requestOptions, onResponse)
        : httpRequest(target, requestOptions, onResponse);
    sent.setTimeout(IDLE_TIMEOUT_MS, () => {
      sent.destroy(new CliError('unreachable', `the node at ${target.origin} has not answered for 60 s: try again`));
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
function pinnedConnection(target: URL, fingerprint: string): NonNullable<RequestOptions['createConnection']> {
  return (_, oncreate) => {
    const socket = openTls(target);
    socket.once('secureConnect', () => {
      const shown = socket.getPeerCertificate().fingerprint256;
      if (sameFingerprint(shown, fingerprint)) {
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
export function shownFingerprint(origin: string, timeoutMs = 10_000): Promise<string> {
  const target = new URL(origin);
  return new Promise((resolve, reject) => {
    const socket = openTls(target);
    socket.setTimeout(timeoutMs, () => {
      socket.destroy(new CliError('unreachable', `the node at ${origin} does not answer`));
    });
    socket.once('secureConnect', () => {
      resolve(socket.getPeerCertificate().fingerprint256);
      socket.destroy();
    });
    socket.once('error', (error) => reject(explain(error, origin)));
  });
}

export const sameFingerprint = (a: string, b: string): boolean => hexOf(a) === hexOf(b);
const hexOf = (fingerprint: string): string =>
  fingerprint
    .replace(/^sha256:/i, '')
    .replaceAll(':', '')
    .toLowerCase();

/** An error of the network as a line for people. */
function explain(error: Error, origin: string): Error {
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
  const message = `cannot reach the node at ${origin}: is it running? Start it with: peer start`;
  return new CliError('unreachable', message, { cause: error });
}
