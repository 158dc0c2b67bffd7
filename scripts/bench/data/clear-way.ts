// The way that a service on another host is held beside: straight to its engine over the same cable, in clear and in
// the kernel alone. The network of instances lets nobody in from there, so the benchmark makes itself an exception.

import type { Lan } from '../../lan.ts';
import { inNamespace } from '../../local-cluster.ts';
import type { Way } from './clients.ts';
import { output } from './inside.ts';

/** From one host to an engine on the other. Goes with the hosts. */
export async function clearWay(lan: Lan, from: string, to: string, engine: string): Promise<Way> {
  const at = (host: string, command: string[]): Promise<string> => output(inNamespace(lan.namespaceOf(host), command));
  const table = /^table inet (peer_net_\w+)$/m.exec(await at(to, ['nft', 'list', 'tables']))?.[1];
  if (table === undefined) throw new Error(`${to} has no network for instances`);
  const rule = ['ip', 'saddr', lan.addressOf(from), 'ip', 'daddr', engine, 'accept'];
  await at(to, ['nft', 'insert', 'rule', 'inet', table, 'forwarded', ...rule]);
  await at(from, ['ip', 'route', 'replace', engine, 'via', lan.addressOf(to)]);
  return { name: 'clear', host: engine, within: (command) => inNamespace(lan.namespaceOf(from), command) };
}
