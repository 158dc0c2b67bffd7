// Reads which name servers the machine asks, and says how an instance with a network of its own is to ask them. Pure
// but for reading the files.

import { readFile } from 'node:fs/promises';
import { isIPv4 } from 'node:net';
import { isLoopback } from './policy.ts';

/** As many as the C library asks. @see resolv.conf(5) */
const NAMESERVERS_MAX = 3;

export type Resolvers = {
  /** Reached where they are. */
  servers: string[];
  /** Reached through the gateway, because it listens on the machine's loopback only. */
  loopback: string | undefined;
  /** The other lines of resolv.conf: search domains and options. */
  rest: string[];
};

/** systemd-resolved's file in /etc names its stub on loopback; this one names the servers behind it. */
const BEHIND_STUB = '/run/systemd/resolve/resolv.conf';

export async function readResolvers(): Promise<Resolvers> {
  const own = parseResolvers(await readFile('/etc/resolv.conf', 'utf8').catch(() => ''));
  if (own.servers.length > 0) return own;
  const behind = parseResolvers(await readFile(BEHIND_STUB, 'utf8').catch(() => ''));
  return behind.servers.length > 0 ? behind : own;
}

export function parseResolvers(text: string): Resolvers {
  const found: Resolvers = { servers: [], loopback: undefined, rest: [] };
  for (const line of text.split('\n').map((one) => one.trim())) {
    const server = /^nameserver\s+(\S+)/.exec(line)?.[1];
    // Instances have no IPv6, so they cannot reach such a server.
    if (server !== undefined && isIPv4(server)) {
      if (isLoopback(server)) found.loopback ??= server;
      else if (found.servers.length < NAMESERVERS_MAX) found.servers.push(server);
    } else if (/^(search|domain|options)\s/.test(line)) found.rest.push(line);
  }
  return found;
}

/** resolv.conf as instances see it. */
export function resolverFile(resolvers: Resolvers, gateway: string): string {
  const servers = resolvers.servers.length > 0 ? resolvers.servers : resolvers.loopback === undefined ? [] : [gateway];
  return [...servers.map((server) => `nameserver ${server}`), ...resolvers.rest, ''].join('\n');
}
