// The nftables table that leads packets between apps and services of one node from port to port, past the bridge, the
// machine's own rules and its record of connections, all of which cost a small query a fifth of its rate. What it does
// not know goes by the long way, whose rules decide (calls.ts): it names what those let pass, and nothing else. Pure;
// loads nothing.
//
// Every packet is looked up by the port that it comes from, so that whoever has an address next is not let in by what
// was there before. Nothing is remembered of a connection: it can change over from the long way at any time.

import type { Call } from './calls.ts';
import { hardwareAddress, type NetworkKey, numberOf, vethName } from './commands.ts';
import type { Network } from './policy.ts';

export type ShortcutNet = { key: NetworkKey; subnet: Network };

/** Elements of the table's maps, each with its map's name in front, and numbers of the ports that are looked at. */
export type Shortcuts = { elements: ReadonlySet<string>; ports: ReadonlySet<number> };

export const NO_SHORTCUTS: Shortcuts = { elements: new Set(), ports: new Set() };

export const shortcutTable = (key: NetworkKey): string => `peer_short_${key}`;

/** Of the calls, those that have a shortcut: to one of `services`, the numbers of those that run here. */
export function shortcutsOf(
  { key, subnet }: ShortcutNet,
  calls: readonly Call[],
  services: ReadonlySet<number>,
): Shortcuts {
  const here = calls.filter(({ port, to }) => to.port === port && services.has(numberOf(subnet, to.host)));
  const addresses = Map.groupBy(here, wayBack);
  const elements = new Set<string>();
  const ports = new Set<number>();
  const portOf = (address: string): string => `"${vethName(key, numberOf(subnet, address))}"`;
  for (const call of here) {
    const { from, address, port, to } = call;
    // An answer would not tell which of two addresses of one service was asked.
    if (addresses.get(wayBack(call))!.some((other) => other.address !== address)) continue;
    elements.add(`there { ${portOf(from)} . ${address} . ${from} . ${port} : ${to.host} }`);
    elements.add(`back { ${portOf(to.host)} . ${to.host} . ${from} . ${port} : ${address} }`);
    for (const end of [from, to.host]) {
      elements.add(`hardware { ${end} : ${hardwareAddress(key, numberOf(subnet, end))} }`);
      elements.add(`ports { ${end} : ${portOf(end)} }`);
      ports.add(numberOf(subnet, end));
    }
  }
  return { elements, ports };
}

/** The whole table, in place of what there is of it; nothing is lost meanwhile. */
export function shortcutRules(key: NetworkKey, shortcuts: Shortcuts): string {
  const table = shortcutTable(key);
  const onwards = 'ether daddr set ip daddr map @hardware fwd to ip daddr map @ports';
  return [
    `table netdev ${table}`,
    `delete table netdev ${table}`,
    `table netdev ${table} {`,
    '  map there { type iface_index . ipv4_addr . ipv4_addr . inet_service : ipv4_addr; }',
    '  map back { type iface_index . ipv4_addr . ipv4_addr . inet_service : ipv4_addr; }',
    '  map hardware { type ipv4_addr : ether_addr; }',
    '  map ports { type ipv4_addr : iface_index; }',
    '  chain lead {',
    `    ip daddr set iif . ip daddr . ip saddr . tcp dport map @there ${onwards}`,
    `    ip saddr set iif . ip saddr . ip daddr . tcp sport map @back ${onwards}`,
    '  }',
    '}',
    changeShortcuts(key, NO_SHORTCUTS, shortcuts),
  ].join('\n');
}

/** From what is loaded to what is to be, in one go. */
export function changeShortcuts(key: NetworkKey, before: Shortcuts, now: Shortcuts): string {
  const table = shortcutTable(key);
  const element = (what: 'add' | 'delete') => (one: string) => `${what} element netdev ${table} ${one}`;
  return [
    ...[...before.elements].filter((one) => !now.elements.has(one)).map(element('delete')),
    ...[...now.elements].filter((one) => !before.elements.has(one)).map(element('add')),
    ...[...before.ports]
      .filter((number) => !now.ports.has(number))
      .map((number) => `delete chain netdev ${table} port-${number}`),
    ...[...now.ports].filter((number) => !before.ports.has(number)).flatMap((number) => portChain(key, number)),
  ]
    .map((line) => `${line}\n`)
    .join('');
}

function portChain(key: NetworkKey, number: number): string[] {
  const chain = `netdev ${shortcutTable(key)} port-${number}`;
  const hook = `type filter hook ingress device "${vethName(key, number)}" priority 0; policy accept;`;
  return [`add chain ${chain} { ${hook} }`, `add rule ${chain} jump lead`];
}

const wayBack = ({ from, to, port }: Call): string => `${to.host} ${port} ${from}`;
