// Where a node listens and which addresses it tells others: parses `HOST:PORT`, names the machine's addresses as
// libp2p does. Never dials anything.

import { lookup } from 'node:dns/promises';
import { isIP, isIPv4, isIPv6 } from 'node:net';
import { multiaddr } from '@multiformats/multiaddr';
import { parseHostPort } from '../lib/host-port.ts';
import { type Interfaces, isLoopback, isWildcard, outwardAddresses } from '../lib/machine-addresses.ts';
import { ADDRESS_BYTES_MAX } from './limits.ts';

export type ListenAddress = { ip: string; port: number };

/** Fails with a message for the operator when the text is not HOST:PORT or the host has no address. */
export async function parseListen(listen: string): Promise<ListenAddress> {
  const parsed = parseHostPort(listen);
  if (parsed === undefined) throw new Error(`--listen ${listen}: expected HOST:PORT, for example 0.0.0.0:4001`);
  const { host, port } = parsed;
  if (isIP(host) !== 0) return { ip: host, port };
  const found = await lookup(host).catch((cause: unknown) => {
    throw new Error(`--listen ${listen}: the host ${host} has no address; use an IP address of this machine`, {
      cause,
    });
  });
  return { ip: found.address, port };
}

export function toMultiaddr(host: string, port: number): string {
  const kind = isIPv4(host) ? 'ip4' : isIPv6(host) ? 'ip6' : 'dns4';
  return `/${kind}/${host}/tcp/${port}`;
}

/**
 * Addresses others can dial, best first: what the operator said, then those of the network interfaces listened on;
 * loopback only when there is nothing else.
 * @param options.advertise hosts, best first
 */
export function advertisedAddresses(
  listen: ListenAddress,
  options: { advertise?: readonly string[]; interfaces?: Interfaces },
): string[] {
  const hosts = [...(options.advertise ?? []), ...reachableIps(listen.ip, options.interfaces)];
  return [...new Set(hosts)].map((host) => toMultiaddr(host, listen.port));
}

function reachableIps(ip: string, interfaces?: Interfaces): string[] {
  if (!isWildcard(ip)) return [ip];
  const outward = outwardAddresses(ip, interfaces);
  return outward.length > 0 ? outward : [isIPv4(ip) ? '127.0.0.1' : '::1'];
}

/** The address without a trailing peer id; undefined when it is not a TCP address of this node id. */
export function dialableAddress(address: string, node: string): string | undefined {
  if (address.length > ADDRESS_BYTES_MAX) return undefined;
  try {
    const parts = multiaddr(address).getComponents();
    const [host, tcp, peer, ...rest] = parts;
    if (rest.length > 0 || host === undefined || tcp?.name !== 'tcp') return undefined;
    if (peer !== undefined && (peer.name !== 'p2p' || peer.value !== node)) return undefined;
    if (
      !['ip4', 'ip6', 'dns4', 'dns6', 'dns'].includes(host.name) ||
      host.value === undefined ||
      isWildcard(host.value)
    )
      return undefined;
    if (tcp.value === undefined || Number(tcp.value) === 0) return undefined;
    return `/${host.name}/${host.value}/tcp/${tcp.value}`;
  } catch {
    return undefined;
  }
}

export function isLoopbackAddress(address: string): boolean {
  return isLoopback(address.split('/')[2] ?? '');
}
