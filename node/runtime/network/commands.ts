// Builds the commands of `ip` that make a node's bridge and the network namespaces of its instances. Pure; runs
// nothing.

import { formatIpv4, ipv4, type Network, range } from './policy.ts';

/**
 * What a node names its parts of the machine's network by: four hexadecimal digits, claimed by one daemon at a time.
 */
export type NetworkKey = string;

/** Addresses of a node: 1,022, no more than a bridge has ports. */
export const SUBNET_BITS = 22;
/** The last quarter of them is for builds. */
const BUILD_BITS = 24;
/** Host parts of addresses: the bridge has the first. */
export const INSTANCE_NUMBERS = { first: 2, last: 767 };
export const BUILD_NUMBERS = { first: 768, last: 1022 };

/**
 * Where subnets are taken from, in this order: the end of the largest private range, where networks at home and in
 * offices rarely are; then two more, for machines that have a route to all of the first.
 */
const RANGES: readonly Network[] = ['10.192.0.0/10', '172.24.0.0/13', '100.64.0.0/10'];

const subnetsIn = (network: Network): number => {
  const { first, last } = range(network);
  return (last - first + 1) / 2 ** (32 - SUBNET_BITS);
};

/** Every subnet there is to choose from, each with its key; those of a range from a place that the seed decides. */
export function* candidateSubnets(seed: number): Generator<{ key: NetworkKey; subnet: Network }> {
  let before = 0;
  for (const network of RANGES) {
    const count = subnetsIn(network);
    for (let step = 0; step < count; step++) {
      const index = (seed + step) % count;
      const address = range(network).first + index * 2 ** (32 - SUBNET_BITS);
      const key = (before + index).toString(16).padStart(4, '0');
      yield { key, subnet: `${formatIpv4(address)}/${SUBNET_BITS}` };
    }
    before += count;
  }
}

export const bridgeName = (key: NetworkKey): string => `pnet${key}`;
export const tableName = (key: NetworkKey): string => `peer_net_${key}`;
export const namespaceName = (key: NetworkKey, number: number): string => `peer-${key}-${number}`;
export const vethName = (key: NetworkKey, number: number): string => `pv${key}-${number}`;

/** The key and number in a namespace's name; undefined when it is somebody else's. */
export function parseNamespace(name: string): { key: NetworkKey; number: number } | undefined {
  const match = /^peer-([0-9a-f]{4})-(\d{1,4})$/.exec(name);
  return match === null ? undefined : { key: match[1]!, number: Number(match[2]) };
}

export const gatewayOf = (subnet: Network): string => addressOf(subnet, 1);
export const addressOf = (subnet: Network, number: number): string => formatIpv4(range(subnet).first + number);
export const buildsOf = (subnet: Network): Network => `${addressOf(subnet, BUILD_NUMBERS.first)}/${BUILD_BITS}`;
export const numberOf = (subnet: Network, address: string): number => ipv4(address) - range(subnet).first;

/**
 * Of the gateway, which has number 1, and of instances. Left to itself, a bridge takes the lowest of its ports', and
 * whoever knows the one before is not heard when another instance starts; and the next instance at an address would
 * not be found by those who know the last. Locally administered (IEEE 802), and never seen outside of the machine.
 */
export const hardwareAddress = (key: NetworkKey, number: number): string =>
  `0270${key}${number.toString(16).padStart(4, '0')}`.match(/../g)!.join(':');

/** @param mtu of every part: a packet that is larger than what the other end takes is dropped without a word. */
export function bridgeCommands(key: NetworkKey, subnet: Network, mtu: number): string {
  const bridge = bridgeName(key);
  return lines([
    // Learning nothing and forwarding at once: there is one bridge, and no loop.
    `link add ${bridge} address ${hardwareAddress(key, 1)} type bridge stp_state 0 forward_delay 0 mcast_snooping 0`,
    `link set ${bridge} addrgenmode none mtu ${mtu}`,
    `addr add ${gatewayOf(subnet)}/${SUBNET_BITS} dev ${bridge}`,
    `link set ${bridge} up`,
  ]);
}

/** Makes the namespace and plugs it in, on a port that no other port of the bridge hears. */
export function namespaceCommands(key: NetworkKey, number: number, mtu: number): string {
  const namespace = namespaceName(key, number);
  const veth = vethName(key, number);
  return lines([
    `netns add ${namespace}`,
    `link add ${veth} mtu ${mtu} type veth peer name eth0 address ${hardwareAddress(key, number)} mtu ${mtu} netns ${namespace}`,
    `link set ${veth} addrgenmode none master ${bridgeName(key)}`,
    `link set ${veth} type bridge_slave isolated on`,
    `link set ${veth} up`,
  ]);
}

/**
 * Lets the others' ports hear this one: it is a service's. Where the kernel passes bridged packets through the rules
 * (br_netfilter, which container engines load), it bridges what was led to an address behind the same bridge instead
 * of routing it. The rules hold for it all the same, and without them nobody here can send to a neighbour at all: that
 * takes a route, or raw packets.
 */
export function serviceCommands(key: NetworkKey, number: number): string {
  return lines([`link set ${vethName(key, number)} type bridge_slave isolated off`]);
}

/**
 * What is set within the namespace. Without IPv6, so that nothing is reached past the rules. Everything is beyond the
 * gateway, other instances too, so that the rules answer for them.
 */
export function insideCommands(subnet: Network, number: number): string {
  return lines([
    'link set lo up',
    'link set eth0 addrgenmode none up',
    `addr add ${addressOf(subnet, number)}/32 dev eth0`,
    `route add ${gatewayOf(subnet)} dev eth0`,
    `route add default via ${gatewayOf(subnet)}`,
  ]);
}

const lines = (commands: readonly string[]): string => `${commands.join('\n')}\n`;
