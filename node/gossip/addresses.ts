// Where a node listens and which addresses it tells others: parses `HOST:PORT`, leaves out loopback and the machine's own
// container bridges. Never dials anything.

import { lookup } from 'node:dns/promises';
import { isIP, isIPv4, isIPv6 } from 'node:net';
import { type NetworkInterfaceInfo, networkInterfaces } from 'node:os';
import { multiaddr } from '@multiformats/multiaddr';
import { ADDRESS_BYTES_MAX } from './limits.ts';

export type ListenAddress = { ip: string; port: number };

/** Fails with a message for the operator when the text is not HOST:PORT or the host has no address. */
export async function parseListen(listen: string): Promise<ListenAddress> {
  const match = /^(?:\[(?<v6>[^\]]+)\]|(?<host>[^:]+)):(?<port>\d{1,5})$/.exec(listen);
  const host = match?.groups?.v6 ?? match?.groups?.host;
  const port = Number(match?.groups?.port);
  if (host === undefined || port > 65_535)
    throw new Error(`--listen ${listen}: expected HOST:PORT, for example 0.0.0.0:4001`);
  if (isIP(host) !== 0) return { ip: host, port };
  const found = await lookup(host).catch((cause: unknown) => {
    throw new Error(`--listen ${listen}: the host ${host} has no address; use an IP address of this machine`, {
      cause,
    });
  });
  return { ip: found.address, port };
}

export const isLoopback = (ip: string): boolean => ip.startsWith('127.') || ip === '::1' || ip === 'localhost';
export const isWildcard = (ip: string): boolean => ip === '0.0.0.0' || ip === '::';

export function toMultiaddr(host: string, port: number): string {
  const kind = isIPv4(host) ? 'ip4' : isIPv6(host) ? 'ip6' : 'dns4';
  return `/${kind}/${host}/tcp/${port}`;
}

/** Bridges of container engines: the same address exists on many machines and leads others to themselves. */
const VIRTUAL_INTERFACE = /^(docker|br-|veth|virbr|cni|podman|lxc|lxd|flannel|cali)/;

/**
 * Addresses others can dial, best first: what the operator said, then those of the network interfaces listened on;
 * container bridges only when there is nothing else, loopback only when there is nothing at all.
 */
export function advertisedAddresses(
  listen: ListenAddress,
  options: { advertise?: string; interfaces?: NodeJS.Dict<NetworkInterfaceInfo[]> },
): string[] {
  const addresses = options.advertise === undefined ? [] : [toMultiaddr(options.advertise, listen.port)];
  for (const ip of reachableIps(listen.ip, options.interfaces)) addresses.push(toMultiaddr(ip, listen.port));
  return [...new Set(addresses)];
}

function reachableIps(ip: string, interfaces: NodeJS.Dict<NetworkInterfaceInfo[]> = networkInterfaces()): string[] {
  if (!isWildcard(ip)) return [ip];
  const family = isIPv4(ip) ? ['IPv4'] : ['IPv4', 'IPv6'];
  const found = Object.entries(interfaces).flatMap(([name, infos]) =>
    (infos ?? [])
      .filter((info) => family.includes(info.family) && !(info.family === 'IPv6' && info.address.startsWith('fe80:')))
      .map((info) => ({ ip: info.address, loopback: info.internal, bridge: VIRTUAL_INTERFACE.test(name) })),
  );
  const outward = found.filter((one) => !one.loopback);
  const physical = outward.filter((one) => !one.bridge);
  const usable = physical.length > 0 ? physical : outward.length > 0 ? outward : found;
  return usable.map((one) => one.ip);
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
