// Decides what instances may reach, and who may reach them: writes the nftables rules for the bridges that they are
// plugged into. Pure; it never looks at the machine and loads nothing.
//
// As Cloud Foundry's default security groups `public_networks` and `dns`: the public internet and the machine's name
// servers, nothing else. Not the machine, not its neighbours, not one another. Nobody but the machine itself opens
// connections to them.
// @see https://docs.cloudfoundry.org/concepts/asg.html#default-asg

import { type CallersBy, callChain, callJump, callRedirect, callSets, doorGuard } from './calls.ts';

/** An IPv4 network in canonical form, `10.1.0.0/16`. */
export type Network = string;
export type ServicePort = { host: string; port: number };

export type NetworkPolicy = {
  /** Name of the nftables table, in the family inet; loading the rules replaces it. */
  table: string;
  /**
   * The bridge that instances are plugged into. Several: a prefix with `*` at its end; instances on different ones
   * cannot reach each other either.
   */
  bridge: string;
  /** Networks that are opened although they are private, as the operator asked. */
  allowed: readonly Network[];
  /** Name servers of the machine: port 53 of these is open wherever they are. */
  resolvers: readonly string[];
  /** TCP ports of the machine itself that are open: its router. */
  openPorts: readonly number[];
  /**
   * TCP ports of the machine itself that stay closed even where `allowed` names one of its addresses: what the node
   * itself listens on.
   */
  closedPorts: readonly number[];
  /**
   * How those behind the bridge are addressed. Undefined: a container engine sees to addresses, masquerading and name
   * servers.
   */
  addressing: Addressing | undefined;
};

export type Addressing = {
  /** Nothing else may come from behind the bridge, and elsewhere it appears as the machine. */
  subnet: Network;
  /** The part of it that builds have, which reach the hosts of buildHostRules too. */
  builds: Network;
  /** The bridge's own address. */
  gateway: string;
  /** The machine's name server when it listens on loopback only; asked at the gateway. */
  loopbackResolver: string | undefined;
};

/**
 * Where nobody gets by default: this host, private, shared, link-local, test, multicast and reserved networks. @see
 * RFC 6890
 */
export const DENIED_NETWORKS: readonly Network[] = [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15',
  '224.0.0.0/4',
  '240.0.0.0/4',
];

/** The table as nft reads it. */
export function networkRules(policy: NetworkPolicy): string {
  const { table, bridge, addressing } = policy;
  const from = `iifname "${bridge}"`;
  const to = `oifname "${bridge}"`;
  const by: CallersBy = addressing === undefined ? 'bridge' : 'address';
  return [
    `table inet ${table}`,
    `delete table inet ${table}`,
    `table inet ${table} {`,
    ...addressSet('denied', DENIED_NETWORKS),
    ...addressSet('allowed', policy.allowed),
    ...callSets(by),
    ...(addressing === undefined
      ? []
      : [
          '  set build_hosts { type ipv4_addr . inet_service; }',
          '  map build_loopback { type inet_service : ipv4_addr . inet_service; }',
        ]),
    // Before a packet can be taken for somebody else's, or for one of the machine's own that came over loopback.
    '  chain forged {',
    '    type filter hook prerouting priority raw; policy accept;',
    `    ${from} meta nfproto ipv6 drop`,
    `    ${from} ip daddr 127.0.0.0/8 drop`,
    ...(addressing === undefined ? [] : [`    ${from} ip saddr != ${addressing.subnet} drop`]),
    '  }',
    '  chain redirected {',
    '    type nat hook prerouting priority dstnat; policy accept;',
    callRedirect(from, by),
    ...(addressing === undefined ? [] : toLoopback(from, addressing)),
    '  }',
    ...(addressing === undefined ? [] : fromLoopback(from)),
    ...callChain(by),
    '  chain forwarded {',
    '    type filter hook forward priority filter - 5; policy accept;',
    callJump(`${from} ${to} `),
    ...refusal(`${from} ${to} `),
    `    ${to} ct state established,related accept`,
    `    ${to} drop`,
    `    ${from} jump outgoing`,
    '  }',
    '  chain outgoing {',
    '    ct state established,related accept',
    ...resolverRules(policy.resolvers),
    ...(addressing === undefined ? [] : [`    ip saddr ${addressing.builds} ip daddr . tcp dport @build_hosts accept`]),
    '    ip daddr @allowed accept',
    ...refusal('ip daddr @denied '),
    '  }',
    // The way to another instance does lead through the gateway, whatever the kernel thinks of detours.
    '  chain sent {',
    '    type filter hook output priority filter - 5; policy accept;',
    `    ${to} icmp type redirect drop`,
    '  }',
    '  chain received {',
    '    type filter hook input priority filter - 5; policy accept;',
    ...(addressing === undefined ? [] : [doorGuard(addressing.gateway, bridge)]),
    `    ${from} jump to_machine`,
    '  }',
    '  chain to_machine {',
    callJump(''),
    '    ct state established,related accept',
    ...(addressing === undefined ? [] : ['    ct status dnat accept']),
    ...portRule(policy.closedPorts, 'reject with tcp reset'),
    ...portRule(policy.openPorts, 'accept'),
    ...resolverRules(policy.resolvers),
    '    ip daddr @allowed accept',
    ...refusal(''),
    '  }',
    ...(addressing === undefined
      ? []
      : [
          '  chain leaving {',
          '    type nat hook postrouting priority srcnat; policy accept;',
          `    ip saddr ${addressing.subnet} oifname != "${bridge}" masquerade`,
          '  }',
        ]),
    '}',
    '',
  ].join('\n');
}

/**
 * Opens what the machine's own settings name (a proxy, a package registry) to builds, and to nobody else. Adds to the
 * loaded table.
 */
export function buildHostRules(table: string, hosts: readonly ServicePort[]): string {
  const near = hosts.filter(({ host }) => isLoopback(host));
  const far = hosts.filter(({ host }) => !isLoopback(host));
  return [
    ...far.map(({ host, port }) => `add element inet ${table} build_hosts { ${host} . ${port} }`),
    ...near.map(({ host, port }) => `add element inet ${table} build_loopback { ${port} : ${host} . ${port} }`),
    '',
  ].join('\n');
}

/** Within a build's own namespace: what it asks of its loopback on these ports is asked of the machine's. */
export function buildLoopbackRules(gateway: string, hosts: readonly ServicePort[]): string | undefined {
  const near = hosts.filter(({ host }) => isLoopback(host));
  if (near.length === 0) return undefined;
  return [
    'table ip peer {',
    '  chain calls {',
    '    type nat hook output priority -100; policy accept;',
    ...near.map(({ host, port }) => `    ip daddr ${host} tcp dport ${port} dnat to ${gateway}:${port}`),
    '  }',
    '  chain leaving {',
    '    type nat hook postrouting priority srcnat; policy accept;',
    '    oifname "eth0" ip saddr 127.0.0.0/8 masquerade',
    '  }',
    '}',
    '',
  ].join('\n');
}

/**
 * Within the namespace of an instance that only answers: it opens no connection to anywhere, whatever is made of its
 * program. A service's engine has nobody to call.
 */
export function answersOnlyRules(): string {
  return [
    'table inet peer {',
    '  chain sent {',
    '    type filter hook output priority filter; policy accept;',
    '    oifname "lo" accept',
    '    ct state established,related accept',
    ...refusal(''),
    '  }',
    '}',
    '',
  ].join('\n');
}

/** `10.1.2.3/16` → `10.1.0.0/16`, `10.1.2.3` → `10.1.2.3/32`; undefined when it is no IPv4 network. */
export function parseNetwork(text: string): Network | undefined {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})(?:\/(\d{1,2}))?$/.exec(text);
  if (match === null) return undefined;
  const length = Number(match[5] ?? 32);
  const parts = match.slice(1, 5).map(Number);
  if (length > 32 || parts.some((part) => part > 255)) return undefined;
  return `${formatIpv4(firstAddress(ipv4(parts.join('.')), length))}/${length}`;
}

/** Whether two networks share an address. */
export function overlap(a: Network, b: Network): boolean {
  const [one, two] = [range(a), range(b)];
  return one.first <= two.last && two.first <= one.last;
}

export function range(network: Network): { first: number; last: number } {
  const [address = '', length = '32'] = network.split('/');
  const first = firstAddress(ipv4(address), Number(length));
  return { first, last: first + 2 ** (32 - Number(length)) - 1 };
}

export function ipv4(address: string): number {
  return address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
}

export function formatIpv4(address: number): string {
  return [24, 16, 8, 0].map((shift) => Math.floor(address / 2 ** shift) % 256).join('.');
}

export function isLoopback(address: string): boolean {
  return address.startsWith('127.');
}

function firstAddress(address: number, length: number): number {
  const size = 2 ** (32 - length);
  return Math.floor(address / size) * size;
}

function addressSet(name: string, networks: readonly Network[]): string[] {
  const elements = networks.length === 0 ? '' : ` elements = { ${networks.join(', ')} };`;
  return [`  set ${name} { type ipv4_addr; flags interval; auto-merge;${elements} }`];
}

function resolverRules(resolvers: readonly string[]): string[] {
  if (resolvers.length === 0) return [];
  return [`    ip daddr { ${resolvers.join(', ')} } meta l4proto { tcp, udp } th dport 53 accept`];
}

/**
 * Answered, so that an app hears at once that it may not, instead of waiting. Resets, because the kernel sends only so
 * many ICMP messages a second.
 */
function refusal(which: string): string[] {
  return [`    ${which}meta l4proto tcp reject with tcp reset`, `    ${which}reject with icmpx admin-prohibited`];
}

function portRule(ports: readonly number[], verdict: string): string[] {
  const all = [...new Set(ports)];
  return all.length === 0 ? [] : [`    tcp dport { ${all.join(', ')} } ${verdict}`];
}

/** The machine's loopback answers only what comes from loopback, so both addresses of a packet change. */
function toLoopback(from: string, addressing: Addressing): string[] {
  const { gateway, builds, loopbackResolver: resolver } = addressing;
  const asked = `${from} ip daddr ${gateway}`;
  return [
    ...(resolver === undefined
      ? []
      : [`    ${asked} udp dport 53 dnat ip to ${resolver}:53`, `    ${asked} tcp dport 53 dnat ip to ${resolver}:53`]),
    `    ${asked} ip saddr ${builds} dnat ip to tcp dport map @build_loopback`,
  ];
}

function fromLoopback(from: string): string[] {
  return [
    '  chain near {',
    '    type nat hook input priority 100; policy accept;',
    `    ${from} ip daddr 127.0.0.0/8 snat ip to 127.0.0.1`,
    '  }',
  ];
}
