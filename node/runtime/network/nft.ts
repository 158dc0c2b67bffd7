// Loads rules into nftables, here or in a network namespace. Knows nothing of what they say.

import { runCommand } from '../../lib/program.ts';

export async function loadRules(rules: string, namespace?: string): Promise<void> {
  await runCommand([...within(namespace), 'nft', '-f', '-'], { stdin: rules });
}

/** A command as it is run in a network namespace that `ip netns` made. */
export function within(namespace: string | undefined): string[] {
  return namespace === undefined ? [] : ['nsenter', `--net=/run/netns/${namespace}`, '--'];
}
