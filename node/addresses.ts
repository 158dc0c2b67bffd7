// The host that other nodes are told to reach this one at. Reads the machine's interfaces; listens on nothing.

import { networkInterfaces } from 'node:os';
import { parseListen } from './options.ts';

const isWildcard = (host: string): boolean => host === '0.0.0.0' || host === '::';

/**
 * `host:port` for others, from what a listener is bound to: what was asked to be advertised, else the address itself, else
 * (bound to every interface) the machine's first address that is not its loopback.
 */
export function reachableAt(bound: string, advertise: string | undefined): string {
  const parsed = parseListen(bound);
  if (parsed === undefined) return bound;
  const { host, port } = parsed;
  if (advertise !== undefined) return format(advertise, port);
  return isWildcard(host) ? format(firstOwnAddress() ?? '127.0.0.1', port) : format(host, port);
}

function firstOwnAddress(): string | undefined {
  const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  const outside = addresses.filter((address) => !address.internal && !address.address.startsWith('fe80:'));
  return (outside.find((address) => address.family === 'IPv4') ?? outside[0])?.address;
}

const format = (host: string, port: number): string => (host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`);
