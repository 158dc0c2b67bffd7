// The host that other nodes are told to reach this one at. Reads the machine's interfaces; listens on nothing.

import { firstOutwardAddress, type Interfaces, isWildcard } from '../lib/machine-addresses.ts';
import { parseListen } from './options.ts';

/**
 * `host:port` for others, from what a listener is bound to: what was asked to be advertised, else the address itself, else
 * (bound to every interface) the machine's first address that is not its loopback.
 */
export function reachableAt(bound: string, advertise: string | undefined, interfaces?: Interfaces): string {
  const parsed = parseListen(bound);
  if (parsed === undefined) return bound;
  const { host, port } = parsed;
  if (advertise !== undefined) return format(advertise, port);
  return isWildcard(host) ? format(firstOutwardAddress(host, interfaces) ?? '127.0.0.1', port) : format(host, port);
}

const format = (host: string, port: number): string => (host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`);
