// The parts of the nftables table that lead bound apps to services, and nobody else: what is sent to a service's address
// goes to where it runs, in the kernel. Pure; loads nothing.
//
// `calls` says where new connections lead. `called` says who may go on with one: every packet of it is looked up
// there, so a call that was taken back ends connections that are open, too.

import type { ServicePort } from './policy.ts';

/** One caller's way to a service. */
export type Call = {
  /** Its address; or the name of its bridge, where a container engine gives each app one. */
  from: string;
  /** The service's. */
  address: string;
  port: number;
  to: ServicePort;
};

/** How callers are told apart: in one bridge by address, or by bridge. */
export type CallersBy = 'address' | 'bridge';

/** No network uses it: RFC 2544 sets it aside for measurements. */
export const SERVICE_NETWORK = '198.18.0.0/15';

const LED = `ct status dnat ct original ip daddr ${SERVICE_NETWORK}`;

export function callSets(by: CallersBy): string[] {
  const caller = by === 'address' ? 'ipv4_addr' : 'ifname';
  return [
    `  map calls { type ${caller} . ipv4_addr . inet_service : ipv4_addr . inet_service; }`,
    `  set called { type ${caller} . ipv4_addr; }`,
  ];
}

/** In a chain of type nat, hook prerouting. `from` chooses the packets that come from behind the bridge. */
export function callRedirect(from: string, by: CallersBy): string {
  const caller = by === 'address' ? 'ip saddr' : 'iifname';
  return `    ${from} dnat ip to ${caller} . ip daddr . tcp dport map @calls`;
}

/** Before a rule that accepts or refuses by where a packet goes: decides about all that was led to a service. */
export function callJump(which: string): string {
  return `    ${which}${LED} jump call`;
}

export function callChain(by: CallersBy): string[] {
  const known =
    by === 'address'
      ? ['    ct original ip saddr . ct original ip daddr @called accept']
      : [
          '    ct direction original iifname . ct original ip daddr @called accept',
          '    ct direction reply oifname . ct original ip daddr @called accept',
        ];
  return [
    '  chain call {',
    ...known,
    // Of one that was taken back: its caller hears that the service ended it.
    '    ct direction reply tcp flags & (fin | rst) != 0 accept',
    '    meta l4proto tcp reject with tcp reset',
    '    drop',
    '  }',
  ];
}

/**
 * Keeps whoever was not led there from what listens at the gateway's address for services: other hosts, containers,
 * and programs of the machine itself.
 */
export function doorGuard(gateway: string, bridge: string): string {
  return `    iifname != "${bridge}" ip daddr ${gateway} meta l4proto tcp ct original ip daddr != ${SERVICE_NETWORK} reject with tcp reset`;
}

/** Of a table that has none of them yet. */
export function addCalls(table: string, calls: readonly Call[]): string {
  return changeCalls(table, { before: [], now: calls });
}

export type CallChange = { before: readonly Call[]; now: readonly Call[] };

/** From some calls to others: new connections go by the ones of now alone, open ones by all of both. */
export function changeCalls(table: string, { before, now }: CallChange): string {
  const kept = new Set(before.map(text));
  const wanted = new Set(now.map(text));
  return lines([
    ...before.filter((call) => !wanted.has(text(call))).map((call) => element('delete', table, 'calls', key(call))),
    ...now.filter((call) => !kept.has(text(call))).map((call) => element('add', table, 'calls', text(call))),
    ...missing(now, before).map((pair) => element('add', table, 'called', pair)),
  ]);
}

/** After it: open connections that the calls of now do not name any more end with their next packet. */
export function endCalls(table: string, { before, now }: CallChange): string {
  return lines(missing(before, now).map((pair) => element('delete', table, 'called', pair)));
}

/** Those whose open connections lead where no new ones do. */
export function endedCalls({ before, now }: CallChange): Call[] {
  const wanted = new Set(now.map(text));
  return before.filter((call) => !wanted.has(text(call)));
}

/** What `nft -j list map` prints of `calls`. What is not understood is left out. */
export function parseCalls(json: string): Call[] {
  const { nftables = [] } = JSON.parse(json) as { nftables?: { map?: { elem?: unknown[] } }[] };
  return nftables.flatMap(({ map }) => map?.elem ?? []).flatMap((found) => parseElement(found) ?? []);
}

function parseElement(found: unknown): Call | undefined {
  const [key, value] = (Array.isArray(found) ? found : []) as ({ concat?: unknown[] } | undefined)[];
  const [from, address, port] = key?.concat ?? [];
  const [host, toPort] = value?.concat ?? [];
  const isWhole =
    [from, address, host].every((one) => typeof one === 'string') && Number.isInteger(port) && Number.isInteger(toPort);
  if (!isWhole) return undefined;
  return {
    from: from as string,
    address: address as string,
    port: port as number,
    to: { host: host as string, port: toPort as number },
  };
}

/** Pairs of caller and service that are in the one and not in the other. */
function missing(calls: readonly Call[], others: readonly Call[]): string[] {
  const there = new Set(others.map(pair));
  return [...new Set(calls.map(pair))].filter((one) => !there.has(one));
}

const caller = ({ from }: Call): string => (/^\d/.test(from) ? from : `"${from}"`);
const pair = (call: Call): string => `${caller(call)} . ${call.address}`;
const key = (call: Call): string => `${pair(call)} . ${call.port}`;
const text = (call: Call): string => `${key(call)} : ${call.to.host} . ${call.to.port}`;

const element = (what: 'add' | 'delete', table: string, set: 'calls' | 'called', one: string): string =>
  `${what} element inet ${table} ${set} { ${one} }`;

const lines = (all: readonly string[]): string => all.map((line) => `${line}\n`).join('');
