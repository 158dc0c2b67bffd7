// What a connection to a node has in common, whether in clear or over TLS.

import type { ClientRequest, IncomingMessage, RequestOptions } from 'node:http';

export type Opener = (options: RequestOptions, onResponse: (message: IncomingMessage) => void) => ClientRequest;

/**
 * For how long a name is looked up and a connection made: a host that is there, also one with a frozen daemon, takes a
 * connection at once, and after a loss or two within a few seconds.
 */
export const CONNECT_MAX_MS = 10_000;
/**
 * How the C library asks name servers, unless the person says otherwise. By default a server that does not answer
 * costs 10 s for each domain that is searched, for which the process stays, whatever it has given up on.
 */
const RESOLVER_OPTIONS = 'timeout:2 attempts:1';

/** Read when a name is looked up for the first time. */
export function boundLookups(): void {
  process.env.RES_OPTIONS ??= RESOLVER_OPTIONS;
}
