// Looks at the ways that this machine itself has: its routes, how large a packet may be, where URLs lead. It changes
// nothing.

import { lookup } from 'node:dns/promises';
import { runCommand } from '../../lib/program.ts';
import type { Network, ServicePort } from './policy.ts';

const LOOKUP_TIMEOUT_MS = 2_000;
const MTU_DEFAULT = 1_500;
/** IPv4 lets no network have less. */
const MTU_MIN = 576;

/** Networks that the machine knows a way to, other than the way to everywhere. */
export async function routes(): Promise<Network[]> {
  const text = await runCommand(['ip', '-j', '-4', 'route', 'show', 'table', 'all']);
  const found = (text.trim() === '' ? [] : JSON.parse(text)) as { dst: string; dev?: string }[];
  return found
    .filter(({ dst, dev }) => /^\d/.test(dst) && !dst.startsWith('0.0.0.0') && !/^pnet[0-9a-f]{4}$/.test(dev ?? ''))
    .map(({ dst }) => dst);
}

/** What fits through the way to everywhere; an instance that sends more at once would count on others to tell it. */
export async function uplinkMtu(): Promise<number> {
  const text = await runCommand(['ip', '-j', '-4', 'route', 'show', 'default']).catch(() => '');
  const [route] = (text.trim() === '' ? [] : JSON.parse(text)) as { dev?: string }[];
  if (route?.dev === undefined || !/^[\w.@:-]+$/.test(route.dev)) return MTU_DEFAULT;
  const link = JSON.parse(await runCommand(['ip', '-j', 'link', 'show', 'dev', route.dev])) as { mtu?: number }[];
  const mtu = link[0]?.mtu;
  return mtu !== undefined && mtu >= MTU_MIN ? Math.min(mtu, MTU_DEFAULT) : MTU_DEFAULT;
}

const DEFAULT_PORTS: Record<string, number> = { 'http:': 80, 'https:': 443, 'socks5:': 1080, 'git:': 9418 };

/** Where a URL of the daemon's settings leads. */
export async function addressesOf(text: string): Promise<ServicePort[]> {
  const url = URL.parse(text) ?? URL.parse(`http://${text}`);
  if (url === null || url.hostname === '') return [];
  const port = url.port === '' ? DEFAULT_PORTS[url.protocol] : Number(url.port);
  if (port === undefined) return [];
  const timeout = new Promise<never>((_, reject) => setTimeout(reject, LOOKUP_TIMEOUT_MS).unref());
  const found = await Promise.race([lookup(url.hostname, { all: true, family: 4 }), timeout]).catch(() => []);
  return found.map(({ address }) => ({ host: address, port }));
}
