// A local network of the project's own, for tests and benchmarks: each host a network namespace, all on one switch, a
// bridge in a namespace of its own, so that neither the machine's addresses nor its firewall has a part in it. A host
// can be cut off without noticing: its cable stays in, and nothing passes. Leaves nothing behind after remove().

import { readdir } from 'node:fs/promises';
import { GOOD_LINK, type Link, lossRules, pipeCommands } from './lan-links.ts';
import { inNamespace, run } from './local-cluster.ts';
import { isRunning } from './processes.ts';

const NAMESPACES = '/run/netns';
const NAME = /^peer-lan-(\d+)-/;
const SUBNET = '10.83.7';

type Host = { port: string; namespace: string; address: string };

let lans = 0;

export class Lan {
  readonly #prefix = `peer-lan-${process.pid}-${++lans}`;
  readonly #hosts = new Map<string, Host>();
  readonly #links = new Map<string, { from: string; to: string; link: Link }>();

  /** Hosts get the addresses .1, .2, … */
  static async create(names: readonly string[]): Promise<Lan> {
    await removeAbandoned();
    const lan = new Lan();
    try {
      await ip('netns', 'add', lan.#switch);
      await ip('-n', lan.#switch, 'link', 'add', 'lan', 'type', 'bridge', 'stp_state', '0', 'forward_delay', '0');
      await ip('-n', lan.#switch, 'link', 'set', 'lan', 'up');
      for (const name of names) await lan.#plugIn(name);
    } catch (error) {
      await lan.remove();
      throw error;
    }
    return lan;
  }

  get #switch(): string {
    return `${this.#prefix}-switch`;
  }

  namespaceOf(host: string): string {
    return this.#of(host).namespace;
  }

  addressOf(host: string): string {
    return this.#of(host).address;
  }

  /**
   * Makes the ways between two hosts bad, or good again; each pair is one way. Takes effect for what is under way,
   * too.
   */
  async setLinks(ways: readonly (readonly [from: string, to: string])[], link: Partial<Link>): Promise<void> {
    const [senders, receivers] = [new Set<string>(), new Set<string>()];
    for (const [from, to] of ways) {
      const before = this.#links.get(`${from} ${to}`)?.link ?? GOOD_LINK;
      const after = { ...before, ...link };
      this.#links.set(`${from} ${to}`, { from, to, link: after });
      if (after.lossShare !== before.lossShare) receivers.add(to);
      if (after.kbitPerSecond !== before.kbitPerSecond) senders.add(from);
    }
    for (const host of receivers) {
      await within(this.#of(host).namespace, ['nft', '-f', '-'], lossRules(this.#linksTo(host)));
    }
    for (const host of senders) {
      await within(this.#of(host).namespace, ['tc', '-batch', '-'], pipeCommands(this.#linksFrom(host)));
    }
  }

  /** Nothing gets from the host or to it any more. Neither side hears of it. */
  async cut(host: string): Promise<void> {
    await ip('-n', this.#switch, 'link', 'set', this.#of(host).port, 'nomaster');
  }

  /** Puts the hosts on a switch of their own: they hear one another, and nobody else. heal() brings each back. */
  async separate(hosts: readonly string[]): Promise<void> {
    await ip('-n', this.#switch, 'link', 'add', 'apart', 'type', 'bridge', 'stp_state', '0', 'forward_delay', '0');
    await ip('-n', this.#switch, 'link', 'set', 'apart', 'up');
    for (const host of hosts) await ip('-n', this.#switch, 'link', 'set', this.#of(host).port, 'master', 'apart');
  }

  async heal(host: string): Promise<void> {
    await ip('-n', this.#switch, 'link', 'set', this.#of(host).port, 'master', 'lan');
  }

  /** Gives the host another address, as a DHCP server may; `number` is its last part. */
  async readdress(host: string, number: number): Promise<void> {
    const { namespace, address } = this.#of(host);
    await ip('-n', namespace, 'addr', 'del', `${address}/24`, 'dev', 'eth0');
    await this.#address(this.#of(host), number);
  }

  /** Ends with everything in the namespaces gone but the processes, which are their starter's. */
  async remove(): Promise<void> {
    for (const name of await namespaces()) {
      if (name.startsWith(`${this.#prefix}-`)) await ip('netns', 'del', name);
    }
  }

  async #plugIn(name: string): Promise<void> {
    const host: Host = { port: `port-${name}`, namespace: `${this.#prefix}-${name}`, address: '' };
    this.#hosts.set(name, host);
    await ip('netns', 'add', host.namespace);
    const pair = ['link', 'add', host.port, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', host.namespace];
    await ip('-n', this.#switch, ...pair);
    await ip('-n', this.#switch, 'link', 'set', host.port, 'master', 'lan', 'up');
    await ip('-n', host.namespace, 'link', 'set', 'lo', 'up');
    // Packets as they are on a wire: none larger, so that what a bad link loses is one of them.
    await ip('-n', host.namespace, 'link', 'set', 'eth0', 'gso_max_segs', '1', 'up');
    await this.#address(host, this.#hosts.size);
  }

  async #address(host: Host, number: number): Promise<void> {
    host.address = `${SUBNET}.${number}`;
    await ip('-n', host.namespace, 'addr', 'add', `${host.address}/24`, 'dev', 'eth0');
    // Multicast takes the default route. There is no router at its end, and none is needed.
    await ip('-n', host.namespace, 'route', 'replace', 'default', 'dev', 'eth0');
  }

  /** Links to the host, by the address that packets come from. */
  #linksTo(host: string): Map<string, Link> {
    const found = new Map<string, Link>();
    for (const { from, to, link } of this.#links.values()) if (to === host) found.set(this.addressOf(from), link);
    return found;
  }

  /** Links from the host, by the address that packets go to. */
  #linksFrom(host: string): Map<string, Link> {
    const found = new Map<string, Link>();
    for (const { from, to, link } of this.#links.values()) if (from === host) found.set(this.addressOf(to), link);
    return found;
  }

  #of(name: string): Host {
    const host = this.#hosts.get(name);
    if (host === undefined) throw new Error(`no host ${name}`);
    return host;
  }
}

/** Namespaces of test runs that were killed before they could clean up. */
async function removeAbandoned(): Promise<void> {
  for (const name of await namespaces()) {
    const pid = NAME.exec(name)?.[1];
    if (pid !== undefined && !(await isRunning(Number(pid)))) await ip('netns', 'del', name);
  }
}

const namespaces = (): Promise<string[]> => readdir(NAMESPACES).catch(() => []);

async function ip(...args: string[]): Promise<void> {
  const { code, stderr } = await run(['ip', ...args], { timeoutMs: 10_000 });
  if (code !== 0) throw new Error(`ip ${args.join(' ')}: ${stderr.trim()}`);
}

async function within(namespace: string, command: string[], input: string): Promise<void> {
  const { code, stderr } = await run(inNamespace(namespace, command), { timeoutMs: 10_000, input });
  if (code !== 0) throw new Error(`${command.join(' ')} in ${namespace}: ${stderr.trim()}\n${input}`);
}
