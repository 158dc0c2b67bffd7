// Which addresses this machine has, and which of them are for others: not loopback, not those of bridges that many
// machines have alike. Reads the interfaces when it is given none; opens nothing.

import { isIPv4 } from 'node:net';
import { type NetworkInterfaceInfo, networkInterfaces } from 'node:os';

export type Interfaces = NodeJS.Dict<NetworkInterfaceInfo[]>;

export const isLoopback = (ip: string): boolean => ip.startsWith('127.') || ip === '::1' || ip === 'localhost';
export const isWildcard = (ip: string): boolean => ip === '0.0.0.0' || ip === '::';

/**
 * Bridges of container engines and of this node's own instances: the same address exists on many machines and leads
 * others to themselves.
 */
const VIRTUAL_INTERFACE = /^(docker|br-|veth|virbr|cni|podman|lxc|lxd|flannel|cali|pnet[0-9a-f]{4}$|pr[0-9a-f]{13}$)/;
/** What a machine gives itself when nobody else gives it an address. */
const isSelfAssigned = (ip: string): boolean => ip.startsWith('169.254.');

/**
 * Addresses that others may reach this machine at, best first: those of its network interfaces; self-assigned ones and
 * those of bridges only when there is nothing else. Empty when it has loopback alone. Link-local ones of IPv6 are
 * never among them.
 * @param bound the wildcard that a listener is bound to: that of IPv4 takes nothing else
 */
export function outwardAddresses(bound = '::', interfaces: Interfaces = networkInterfaces()): string[] {
  const found = Object.entries(interfaces).flatMap(([name, infos]) =>
    (infos ?? [])
      .filter((info) => !info.internal && !info.address.startsWith('fe80:') && (bound === '::' || isIPv4(info.address)))
      .map((info) => ({
        ip: info.address,
        rank: VIRTUAL_INTERFACE.test(name) ? 2 : isSelfAssigned(info.address) ? 1 : 0,
      })),
  );
  const best = Math.min(...found.map(({ rank }) => rank));
  return found.filter(({ rank }) => rank === best).map(({ ip }) => ip);
}

/** Every address that the machine has now, loopback and bridges included. */
export function allAddresses(interfaces: Interfaces = networkInterfaces()): Set<string> {
  return new Set(Object.values(interfaces).flatMap((infos) => (infos ?? []).map(({ address }) => address)));
}

/** The first one of IPv4, else the first one. */
export function firstOutwardAddress(bound: string, interfaces?: Interfaces): string | undefined {
  const addresses = outwardAddresses(bound, interfaces);
  return addresses.find((ip) => isIPv4(ip)) ?? addresses[0];
}
