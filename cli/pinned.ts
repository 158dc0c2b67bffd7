// Requests over TLS: to a certificate that an authority vouches for, or to one that is known by its fingerprint.
// Loaded only for an https:// address.

import type { RequestOptions } from 'node:http';
import { request } from 'node:https';
import { isIP } from 'node:net';
import { type TLSSocket, connect as tlsConnect } from 'node:tls';
import { boundLookups, CONNECT_MAX_MS, type Opener } from './connecting.ts';
import { CliError } from './errors.ts';
import { explain, unreachable } from './unreachable.ts';

/** To a certificate that any authority vouches for, unless its fingerprint is known. */
export const overTls =
  (target: URL, fingerprint: string | undefined, connectMs: number): Opener =>
  (options, onResponse) => {
    const pinned =
      fingerprint === undefined ? {} : { createConnection: pinnedConnection(target, fingerprint, connectMs) };
    return request(target, { ...options, ...pinned }, onResponse);
  };

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

export const sameFingerprint = (a: string, b: string): boolean => hexOf(a) === hexOf(b);
export const isFingerprint = (text: string): boolean => /^[0-9a-f]{64}$/.test(hexOf(text));
const hexOf = (fingerprint: string): string =>
  fingerprint
    .replace(/^sha256:/i, '')
    .replaceAll(':', '')
    .toLowerCase();
