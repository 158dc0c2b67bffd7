// Puts the network policy in force for a node's containers, before the first of them runs, and takes it away. What it
// says is decided in network/policy.ts.

import { readFile } from 'node:fs/promises';
import { runCommand } from '../../lib/program.ts';
import type { MachinePorts, ServiceCall } from '../../ports/runtime.ts';
import { RuntimeError } from '../errors.ts';
import { CallTable } from '../network/call-table.ts';
import { type Call, SERVICE_NETWORK } from '../network/calls.ts';
import { loadRules } from '../network/nft.ts';
import { type NetworkPolicy, networkRules } from '../network/policy.ts';
import { bridgeName, bridgePrefix } from './networks.ts';

export type PolicyOptions = Pick<NetworkPolicy, 'allowed'>;

export type RaisedPolicy = {
  /** Until then none is open. */
  setMachinePorts(ports: MachinePorts): Promise<void>;
  setServiceCalls(calls: readonly ServiceCall[]): Promise<void>;
  lower(): Promise<void>;
};

/**
 * An engine asks these for its containers; the second where the first names only a resolver on the machine's loopback.
 */
const RESOLVER_FILES = ['/etc/resolv.conf', '/run/systemd/resolve/resolv.conf'];

export function policyTable(node: string): string {
  return `peer_${bridgePrefix(node)}`;
}

/** None there to take away is as good. */
export async function lowerPolicy(node: string): Promise<void> {
  await loadRules(`delete table inet ${policyTable(node)}\n`).catch(() => {});
  await endIsolationPass(bridgePrefix(node));
}

/** `placesOf`: how to run a command where the sockets of the containers behind a bridge are. */
export async function raisePolicy(
  node: string,
  { allowed }: PolicyOptions,
  placesOf: (bridge: string) => Promise<readonly string[][]>,
): Promise<RaisedPolicy> {
  const bridge = `${bridgePrefix(node)}*`;
  const table = policyTable(node);
  let ports: MachinePorts = { open: [], closed: [] };
  const load = async (): Promise<void> => {
    const machine = { openPorts: ports.open, closedPorts: ports.closed, resolvers: await resolvers() };
    await loadRules(networkRules({ table, bridge, allowed, ...machine, addressing: undefined }) + calls.rules);
  };
  const calls = new CallTable({ table, reload: load, placesOf });
  /** Work on the table, one thing after another. */
  let work: Promise<unknown> = Promise.resolve();
  const inOrder = (step: () => Promise<void>): Promise<void> => {
    const result = work.then(step);
    work = result.catch(() => {});
    return result;
  };
  await calls.takeOver();
  try {
    await load();
  } catch (error) {
    throw new RuntimeError(
      'engine_unusable',
      `containers cannot be kept from this machine's network (${(error as Error).message}): install nftables and start as root, or start with --runtime process`,
      { cause: error },
    );
  }
  return {
    setMachinePorts: (to) => {
      ports = to;
      return inOrder(load);
    },
    setServiceCalls: (wanted) =>
      inOrder(async () => {
        if (wanted.length > 0) await passIsolation(bridgePrefix(node));
        await calls.set(wanted.flatMap((call) => callsOf(node, call)));
      }),
    lower: () => lowerPolicy(node),
  };
}

/** By the bridge of each app, whether it has one now or not: so a container is let in from its first packet on. */
function callsOf(node: string, { address, port, apps, to }: ServiceCall): Call[] {
  return apps.map((app) => ({ from: bridgeName(node, app), address, port, to }));
}

/**
 * Docker keeps its networks from one another, in rules that no accepting one of another table outweighs: what is led
 * to a service, and our own rules let pass, is let past them. An engine without such a chain has no such rules.
 */
async function passIsolation(prefix: string): Promise<void> {
  const rule = passRule(prefix);
  const isThere = await runCommand(['iptables', '-w', '-C', ...rule]).then(
    () => true,
    () => false,
  );
  if (!isThere) await runCommand(['iptables', '-w', '-I', ...rule]).catch(() => {});
}

async function endIsolationPass(prefix: string): Promise<void> {
  await runCommand(['iptables', '-w', '-D', ...passRule(prefix)]).catch(() => {});
}

const passRule = (prefix: string): string[] => [
  'DOCKER-USER',
  ...['-i', `${prefix}+`, '-o', `${prefix}+`],
  ...['-m', 'conntrack', '--ctstate', 'DNAT', '--ctorigdst', SERVICE_NETWORK],
  ...['-j', 'ACCEPT'],
];

async function resolvers(): Promise<string[]> {
  const texts = await Promise.all(RESOLVER_FILES.map((path) => readFile(path, 'utf8').catch(() => '')));
  return [...new Set(texts.flatMap(resolversOf))];
}

/** The name servers of a resolv.conf, those of IPv4. */
export function resolversOf(resolvConf: string): string[] {
  return [...resolvConf.matchAll(/^[ \t]*nameserver[ \t]+(\d+\.\d+\.\d+\.\d+)[ \t]*$/gm)].map((match) => match[1]!);
}
