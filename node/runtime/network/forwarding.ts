// Lets the machine pass packets on between instances and the world, and between nothing else that it did not pass on
// before. Undone when the last node stops, unless something else may count on it by then.

import { readFile, writeFile } from 'node:fs/promises';
import type { Log } from '../../lib/log.ts';
import { runCommand } from '../../lib/program.ts';
import { loadRules } from './nft.ts';

const FORWARD = '/proc/sys/net/ipv4/ip_forward';
const TABLE = 'peer_forwarding';
const OWN_BRIDGE = /^pnet[0-9a-f]{4}$/;

/** Interfaces that were there before the machine forwarded: it still passes nothing from one of them to another. */
export function guardRules(interfaces: readonly string[]): string {
  const names = interfaces.map((name) => `"${name}"`).join(', ');
  return [
    `table ip ${TABLE} {`,
    `  set before { type ifname; elements = { ${names} } }`,
    '  chain forwarded {',
    '    type filter hook forward priority filter - 10; policy accept;',
    '    iifname @before oifname @before drop',
    '  }',
    '}',
    '',
  ].join('\n');
}

export async function enableForwarding(): Promise<void> {
  if ((await readFile(FORWARD, 'utf8')).trim() === '1') return;
  const before = (await interfaces()).filter((name) => name !== 'lo' && !/["\\]/.test(name) && !OWN_BRIDGE.test(name));
  if (before.length > 0) await loadRules(`table ip ${TABLE}\ndelete table ip ${TABLE}\n${guardRules(before)}`);
  await writeFile(FORWARD, '1');
}

/** Call when the node's own bridge has gone. */
export async function restoreForwarding(): Promise<void> {
  // Without the guard it was on before.
  const guarded = await runCommand(['nft', 'list', 'table', 'ip', TABLE]).catch(() => '');
  // A bridge is another node's, or a container engine's, which forwards too.
  if (guarded === '' || (await hasBridges())) return;
  await writeFile(FORWARD, '0');
  // A node that started meanwhile found it on.
  if (await hasBridges()) await writeFile(FORWARD, '1');
  else await loadRules(`delete table ip ${TABLE}\n`);
}

/**
 * Other firewalls drop what they do not know when they are told to (Docker does, where it switched forwarding on
 * itself), and no accepting rule of ours outweighs that. So the bridge is let past them; what it may reach is for our
 * own rules.
 */
export async function passFirewall(bridge: string, log: Log): Promise<void> {
  const rules = await runCommand(['iptables', '-w', '-S', 'FORWARD']).catch(() => '');
  if (!/^-P FORWARD DROP$/m.test(rules) || rules.includes(` -i ${bridge} `)) return;
  try {
    for (const direction of ['-i', '-o']) {
      await runCommand(['iptables', '-w', '-I', 'FORWARD', direction, bridge, '-j', 'ACCEPT']);
    }
    log.info('runtime.firewall_passed', { bridge, message: 'another firewall drops forwarded packets by default' });
  } catch (error) {
    log.warn('runtime.network_blocked', {
      error,
      message: `the machine's firewall keeps instances from the network: let it forward packets of ${bridge}`,
    });
  }
}

export async function leaveFirewall(bridge: string): Promise<void> {
  const rules = await runCommand(['iptables', '-w', '-S', 'FORWARD']).catch(() => '');
  for (const rule of rules.split('\n')) {
    if (!rule.startsWith('-A ') || !rule.includes(` ${bridge} `)) continue;
    await runCommand(['iptables', '-w', '-D', ...rule.split(' ').slice(1)]).catch(() => {});
  }
}

async function interfaces(): Promise<string[]> {
  const links = JSON.parse(await runCommand(['ip', '-j', 'link', 'show'])) as { ifname: string }[];
  return links.map((link) => link.ifname);
}

async function hasBridges(): Promise<boolean> {
  const text = await runCommand(['ip', '-j', 'link', 'show', 'type', 'bridge']).catch(() => '');
  return text.trim() !== '' && (JSON.parse(text) as unknown[]).length > 0;
}
