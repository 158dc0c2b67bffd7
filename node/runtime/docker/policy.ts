// Puts the network policy in force for a node's containers, before the first of them runs, and takes it away. What it
// says is decided in network/policy.ts.

import { readFile } from 'node:fs/promises';
import type { MachinePorts } from '../../ports/runtime.ts';
import { RuntimeError } from '../errors.ts';
import { loadRules } from '../network/nft.ts';
import { type NetworkPolicy, networkRules } from '../network/policy.ts';
import { bridgePrefix } from './networks.ts';

export type PolicyOptions = Pick<NetworkPolicy, 'allowed'>;

export type RaisedPolicy = {
  /** Until then none is open. */
  setMachinePorts(ports: MachinePorts): Promise<void>;
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
export function lowerPolicy(node: string): Promise<void> {
  return loadRules(`delete table inet ${policyTable(node)}\n`).catch(() => {});
}

export async function raisePolicy(node: string, { allowed }: PolicyOptions): Promise<RaisedPolicy> {
  const bridge = `${bridgePrefix(node)}*`;
  const table = policyTable(node);
  const load = async ({ open, closed }: MachinePorts): Promise<void> => {
    const ports = { openPorts: open, closedPorts: closed };
    const known = await resolvers();
    await loadRules(networkRules({ table, bridge, allowed, ...ports, resolvers: known, addressing: undefined }));
  };
  try {
    await load({ open: [], closed: [] });
  } catch (error) {
    throw new RuntimeError(
      'engine_unusable',
      `containers cannot be kept from this machine's network (${(error as Error).message}): install nftables and start as root, or start with --runtime process`,
      { cause: error },
    );
  }
  return {
    setMachinePorts: load,
    lower: () => lowerPolicy(node),
  };
}

async function resolvers(): Promise<string[]> {
  const texts = await Promise.all(RESOLVER_FILES.map((path) => readFile(path, 'utf8').catch(() => '')));
  return [...new Set(texts.flatMap(resolversOf))];
}

/** The name servers of a resolv.conf, those of IPv4. */
export function resolversOf(resolvConf: string): string[] {
  return [...resolvConf.matchAll(/^[ \t]*nameserver[ \t]+(\d+\.\d+\.\d+\.\d+)[ \t]*$/gm)].map((match) => match[1]!);
}
