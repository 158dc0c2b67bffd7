// Where a node runs an engine or an app's instance: its processes, its network, its memory. Reads /proc of this
// machine, as root may; asks no daemon.

import { readFile } from 'node:fs/promises';
import type { LocalCluster, LocalNode } from '../../local-cluster.ts';
import { run } from '../../local-cluster.ts';
import { processTable } from '../../processes.ts';

/** Of commands, by the words that the kind's own program has in its command line. */
export const ENGINES: Readonly<Record<string, RegExp>> = {
  postgres: /^\S*\/postgres -D /,
  mysql: /^\S*\/mariadbd /,
  redis: /^\S*redis-server /,
  rabbitmq: /^\S*\/beam\.smp .*-sname|^\S*\/beam\.smp .*rabbit/,
};

/** The process of a node whose command line matches; the oldest when several do. Fails when there is none. */
export async function processOn(cluster: LocalCluster, node: LocalNode, command: RegExp): Promise<number> {
  const own = new Set(await cluster.processesOf(node));
  const found = (await processTable()).filter((one) => own.has(one.pid) && command.test(one.command));
  // A child has the command line of its parent until it runs something else.
  const first = found.find((one) => !found.some(({ pid }) => pid === one.parent)) ?? found[0];
  if (first === undefined) throw new Error(`${node.name} runs nothing like ${command}`);
  return first.pid;
}

/** In the network of a process. */
export const inNetworkOf = (pid: number, command: readonly string[]): string[] => [
  'nsenter',
  '-t',
  String(pid),
  '-n',
  '--',
  ...command,
];

/** That others on its node reach it at: the first that is not its loopback's. */
export async function addressOf(pid: number): Promise<string> {
  const listed = await output(inNetworkOf(pid, ['ip', '-4', '-j', 'addr', 'show', 'scope', 'global']));
  const [link] = JSON.parse(listed) as { addr_info: { local: string }[] }[];
  const address = link?.addr_info[0]?.local;
  if (address === undefined) throw new Error(`process ${pid} has no address of its own`);
  return address;
}

export async function environmentOf(pid: number): Promise<Record<string, string>> {
  const pairs = (await readFile(`/proc/${pid}/environ`, 'utf8')).split('\0').filter((pair) => pair.includes('='));
  return Object.fromEntries(pairs.map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]));
}

/**
 * Bytes of memory of an engine, and of what stands around it in its sandbox: of shared pages each has its share
 * ("Pss" of proc(5), smaps_rollup).
 */
export async function memoryAround(daemon: number, engine: number): Promise<{ own: number; around: number }> {
  const table = await processTable();
  const parents = new Map(table.map(({ pid, parent }) => [pid, parent]));
  const isBelow = (pid: number, top: number): boolean => {
    for (let at: number | undefined = pid; at !== undefined && at > 1; at = parents.get(at))
      if (at === top) return true;
    return false;
  };
  let top = engine;
  for (let at = parents.get(engine); at !== undefined && at > 1 && at !== daemon; at = parents.get(at)) top = at;
  const bytes = { own: 0, around: 0 };
  for (const { pid } of table.filter((one) => isBelow(one.pid, top))) {
    bytes[isBelow(pid, engine) ? 'own' : 'around'] += await shareOf(pid);
  }
  return bytes;
}

async function shareOf(pid: number): Promise<number> {
  const rollup = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8').catch(() => '');
  return Number(/^Pss:\s+(\d+) kB/m.exec(rollup)?.[1] ?? 0) * 1024;
}

/** What a command prints; fails with its last words when it fails. */
export async function output(
  command: string[],
  options: { env?: NodeJS.ProcessEnv; input?: string; timeoutMs?: number } = {},
): Promise<string> {
  const ran = await run(command, { env: process.env, ...options });
  if (ran.code !== 0) throw new Error(`${command[0]}… ended with ${ran.code}: ${ran.stderr.slice(-500)}`);
  return ran.stdout;
}
