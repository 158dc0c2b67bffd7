// Gives each instance and each build a network of its own: a namespace with an address, plugged into the node's
// bridge, kept ready ahead of time. Where the machine does not allow that, there are no Networks, and its own network
// is shared.

import { chmod, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { AppId } from '../../../crdt/ids.ts';
import type { Log } from '../../lib/log.ts';
import { runCommand } from '../../lib/program.ts';
import type { MachinePorts, ServiceCall } from '../../ports/runtime.ts';
import { RuntimeError } from '../errors.ts';
import { CallTable } from './call-table.ts';
import type { Call } from './calls.ts';
import { abandonedClaims, type Claim, claimSubnet, releaseClaim } from './claims.ts';
import {
  addressOf,
  BUILD_NUMBERS,
  bridgeCommands,
  bridgeName,
  buildsOf,
  gatewayOf,
  INSTANCE_NUMBERS,
  insideCommands,
  type NetworkKey,
  namespaceCommands,
  namespaceName,
  numberOf,
  parseNamespace,
  serviceCommands,
  tableName,
} from './commands.ts';
import { enableForwarding, leaveFirewall, passFirewall, restoreForwarding } from './forwarding.ts';
import { addressesOf, routes, uplinkMtu } from './machine-ways.ts';
import { loadRules, within } from './nft.ts';
import {
  answersOnlyRules,
  buildHostRules,
  buildLoopbackRules,
  type Network,
  networkRules,
  type ServicePort,
} from './policy.ts';
import { type Resolvers, readResolvers, resolverFile } from './resolvers.ts';
import { ShortcutTable } from './shortcut-table.ts';
import { shortcutTable } from './shortcuts.ts';

const NAMESPACES = '/run/netns';
/** Made ahead, so that a start does not wait for the kernel: 10 ms and about 100 KB each. */
const SPARES = { instance: 2, build: 1 };
/** A machine that moves to another network has other name servers. */
const RESOLVERS_LOOK_MS = 30_000;
/** Hosts opened to builds, in the life of a daemon; the settings that name them are few. */
const BUILD_HOSTS_MAX = 64;
const REFILL_DELAY_MS = 500;
/** Below it, Linux lets only root listen. */
const UNPRIVILEGED_PORT = 1024;
/** Longer than any router takes to hear that an instance has ended. */
const LINGER_MS = 2_000;

export type NetworkKind = 'instance' | 'build';

/** A namespace that is one instance's, or one build's, alone. */
export type OwnNetwork = { namespace: string; host: string };

export type NetworksOptions = { dataDir: string; allowed: readonly Network[]; log: Log };

/** Undefined, with the reason, where this machine does not allow it. */
export async function prepareNetworks(
  options: NetworksOptions,
): Promise<{ networks: Networks } | { networks: undefined; reason: string }> {
  if (process.getuid?.() !== 0) return { networks: undefined, reason: 'the daemon does not run as root' };
  let networks: Networks | undefined;
  try {
    await removeAbandonedNetworks();
    const claim = await claimSubnet({ dataDir: options.dataDir, routes: await routes() });
    networks = new Networks(options, claim, await uplinkMtu());
    await networks.open();
    return { networks };
  } catch (error) {
    await networks?.giveUp();
    return { networks: undefined, reason: (error as Error).message };
  }
}

/** Removes what daemons left behind that were killed and whose data directory has gone. */
export async function removeAbandonedNetworks(): Promise<void> {
  for (const { key } of await abandonedClaims()) await removeNetwork(key);
}

export class Networks {
  readonly #key: NetworkKey;
  readonly #subnet: Network;
  readonly #mtu: number;
  readonly #options: NetworksOptions;
  readonly #taken = new Set<number>();
  /** Whose apps' they are, of those taken. */
  readonly #apps = new Map<number, AppId>();
  readonly #calls: CallTable;
  /** Those that services have, once they are called. */
  readonly #services = new Set<number>();
  /** Undefined: this daemon has not heard of any yet. */
  #wantedCalls: readonly ServiceCall[] | undefined;
  readonly #spares: Record<NetworkKind, number[]> = { instance: [], build: [] };
  readonly #buildHosts = new Map<string, ServicePort>();
  /** Left by an earlier daemon, and not known to be anyone's yet. */
  #unknown = new Set<number>();
  #next: Record<NetworkKind, number> = { instance: INSTANCE_NUMBERS.first, build: BUILD_NUMBERS.first };
  #ports: MachinePorts = { open: [], closed: [] };
  #resolvers: Resolvers = { servers: [], loopback: undefined, rest: [] };
  #watching: NodeJS.Timeout | undefined;
  /** Work on the machine's network, one thing after another. */
  #work: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(options: NetworksOptions, claim: Claim, mtu: number) {
    this.#options = options;
    this.#key = claim.key;
    this.#subnet = claim.subnet;
    this.#mtu = mtu;
    const shortcuts = new ShortcutTable(claim, options.log);
    this.#calls = new CallTable({
      table: tableName(this.#key),
      reload: () => this.#apply(),
      placesOf: async (from) => [within(namespaceName(this.#key, numberOf(this.#subnet, from)))],
      shorten: async (calls) => {
        // What an earlier daemon left leads whom it led, until this one has heard who may call.
        if (this.#wantedCalls !== undefined) await shortcuts.set(calls, this.#services);
      },
    });
  }

  get subnet(): Network {
    return this.#subnet;
  }

  /** Where instances reach the machine itself; nobody else reaches what listens there for services. */
  get gateway(): string {
    return gatewayOf(this.#subnet);
  }

  /**
   * resolv.conf for whoever has a network of its own. Rewritten in place, so that it changes for those who run, too.
   */
  get resolverFile(): string {
    return join(this.#options.dataDir, 'resolv.conf');
  }

  async open(): Promise<void> {
    const bridge = bridgeName(this.#key);
    for (const name of await readdir(NAMESPACES).catch(() => [])) {
      const parsed = parseNamespace(name);
      if (parsed?.key === this.#key) this.#unknown.add(parsed.number);
    }
    const isThere = await runCommand(['ip', 'link', 'show', bridge]).then(
      () => true,
      () => false,
    );
    // Rules first: nobody is plugged in before they hold.
    this.#resolvers = await readResolvers();
    await this.#calls.takeOver();
    await this.#apply();
    if (!isThere)
      await runCommand(['ip', '-batch', '-'], { stdin: bridgeCommands(this.#key, this.#subnet, this.#mtu) });
    await writeFile(`/proc/sys/net/ipv4/conf/${bridge}/route_localnet`, '1');
    await enableForwarding();
    // Proves that the machine allows it all, and is the first spare.
    this.#spares.instance.push(await this.#create('instance'));
    this.#watching = setInterval(() => void this.#look(), RESOLVERS_LOOK_MS).unref();
  }

  /** What the node itself listens on. */
  async setMachinePorts(ports: MachinePorts): Promise<void> {
    this.#ports = ports;
    await this.#inOrder(() => this.#apply());
  }

  async setServiceCalls(calls: readonly ServiceCall[]): Promise<void> {
    this.#wantedCalls = calls;
    await this.#inOrder(() => this.#loadCalls());
  }

  /**
   * `app`: it reaches the services that are bound to it, from its first packet on. `answersOnly`: nothing in it opens
   * a connection to anywhere else.
   */
  async take(kind: NetworkKind, app?: AppId, { answersOnly = false } = {}): Promise<OwnNetwork> {
    const number = this.#spares[kind].shift() ?? (await this.#inOrder(() => this.#make(kind)));
    this.#refillSoon(kind);
    const own = { namespace: namespaceName(this.#key, number), host: addressOf(this.#subnet, number) };
    if (answersOnly) await this.#silence(own);
    if (app !== undefined) await this.#letIn(own, number, app);
    return own;
  }

  /** Marks the network that an adopted instance has. */
  hold({ namespace }: OwnNetwork, app?: AppId): void {
    const number = this.#numberOf(namespace);
    if (number === undefined) return;
    this.#unknown.delete(number);
    this.#taken.add(number);
    if (app !== undefined) this.#apps.set(number, app);
  }

  /** Lets whoever is in it listen on the port, although it is not root. */
  async openPort(network: OwnNetwork, port: number): Promise<void> {
    if (port >= UNPRIVILEGED_PORT) return;
    const open = `echo ${port} >/proc/sys/net/ipv4/ip_unprivileged_port_start`;
    await runCommand([...within(network.namespace), 'sh', '-c', open]);
  }

  /** Call when everything of an earlier daemon that lives on is held: removes the rest. */
  async settle(): Promise<void> {
    const left = [...this.#unknown];
    this.#unknown = new Set();
    for (const number of left) await this.#inOrder(() => this.#remove(number));
    this.#refill('instance');
  }

  /**
   * Nothing may run in it any more. Never fails: what could not be removed is said in the log, and its address not
   * used again.
   */
  async release({ namespace }: OwnNetwork): Promise<void> {
    const number = this.#numberOf(namespace);
    if (number !== undefined) await this.#inOrder(() => this.#remove(number));
  }

  /**
   * The same a moment later: what still arrives for the instance is refused at once, where without its network nobody
   * would answer.
   */
  releaseLater(network: OwnNetwork): void {
    setTimeout(() => {
      if (!this.#closed) void this.release(network);
    }, LINGER_MS).unref();
  }

  /**
   * Opens to this build, which has that network, what the daemon's own settings name: URLs of proxies and registries.
   * Names that cannot be resolved are left out: the build says what it could not reach.
   */
  async openBuildHosts(network: OwnNetwork, urls: readonly string[]): Promise<void> {
    const hosts = (await Promise.all(urls.map((url) => addressesOf(url)))).flat();
    const added = hosts.filter(({ host, port }) => !this.#buildHosts.has(`${host}:${port}`));
    added.splice(Math.max(0, BUILD_HOSTS_MAX - this.#buildHosts.size));
    for (const one of added) this.#buildHosts.set(`${one.host}:${one.port}`, one);
    // Added to the rules as they are: a connection that begins while all of them are replaced may go unanswered.
    if (added.length > 0) await this.#inOrder(() => loadRules(buildHostRules(tableName(this.#key), added)));
    const rules = buildLoopbackRules(gatewayOf(this.#subnet), hosts);
    if (rules === undefined) return;
    const localnet = 'echo 1 >/proc/sys/net/ipv4/conf/eth0/route_localnet';
    await runCommand([...within(network.namespace), 'sh', '-c', localnet]);
    await loadRules(rules, network.namespace);
  }

  /**
   * Lets go; what runs keeps its network, for the next daemon. Nothing is made or removed any more when it resolves.
   */
  async detach(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#watching);
    await this.#work.catch(() => {});
  }

  /** Removes all of it. Nothing may run in it any more. */
  async close(): Promise<void> {
    await this.detach();
    await removeNetwork(this.#key);
  }

  /** This daemon does not start after all: what an earlier one left keeps its networks, which instances may run in. */
  async giveUp(): Promise<void> {
    if (this.#unknown.size > 0) await this.detach();
    else await this.close();
  }

  #numberOf(namespace: string): number | undefined {
    const parsed = parseNamespace(namespace);
    return parsed?.key === this.#key ? parsed.number : undefined;
  }

  #inOrder<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#work.then(work);
    this.#work = result.catch(() => {});
    return result;
  }

  async #make(kind: NetworkKind): Promise<number> {
    try {
      return await this.#create(kind);
    } catch (error) {
      throw new RuntimeError('no_free_network', `could not make a network: ${(error as Error).message}`, {
        cause: error,
      });
    }
  }

  async #create(kind: NetworkKind): Promise<number> {
    const number = this.#freeNumber(kind);
    this.#taken.add(number);
    const namespace = namespaceName(this.#key, number);
    // Of the bridge, not of this network: it need not wait for that.
    const passed = passFirewall(bridgeName(this.#key), this.#options.log);
    try {
      await runCommand(['ip', '-batch', '-'], { stdin: namespaceCommands(this.#key, number, this.#mtu) });
      await runCommand(['ip', '-n', namespace, '-batch', '-'], {
        stdin: insideCommands(this.#subnet, number),
      });
      await passed;
    } catch (error) {
      await passed;
      await this.#remove(number);
      throw error;
    }
    return number;
  }

  /** In turn, so that whoever still knows an address meets nobody else there for a long time. */
  #freeNumber(kind: NetworkKind): number {
    const { first, last } = kind === 'instance' ? INSTANCE_NUMBERS : BUILD_NUMBERS;
    for (let step = 0; step <= last - first; step++) {
      const number = this.#next[kind];
      this.#next[kind] = number === last ? first : number + 1;
      if (!this.#taken.has(number) && !this.#unknown.has(number)) return number;
    }
    throw new Error(`all ${last - first + 1} addresses for ${kind}s are taken on this node`);
  }

  async #remove(number: number): Promise<void> {
    const namespace = namespaceName(this.#key, number);
    this.#apps.delete(number);
    this.#services.delete(number);
    const address = addressOf(this.#subnet, number);
    try {
      // Nobody has it any more: the next one at this address has to be let in anew.
      await this.#calls.set(this.#calls.calls.filter(({ from }) => from !== address));
      await runCommand(['ip', 'netns', 'del', namespace]);
    } catch (error) {
      const names = await readdir(NAMESPACES).catch((): string[] => []);
      if (names.includes(namespace)) {
        this.#options.log.warn('runtime.network_left', { namespace, error });
        return;
      }
    }
    this.#taken.delete(number);
  }

  /** A moment later: whoever has just taken one is in a hurry. */
  #refillSoon(kind: NetworkKind): void {
    setTimeout(() => this.#refill(kind), REFILL_DELAY_MS).unref();
  }

  #refill(kind: NetworkKind): void {
    if (this.#closed) return;
    void this.#inOrder(async () => {
      if (this.#closed || this.#spares[kind].length >= SPARES[kind]) return;
      this.#spares[kind].push(await this.#create(kind));
      this.#refill(kind);
    }).catch((error) => this.#options.log.warn('runtime.network_spare_failed', { error }));
  }

  async #silence(own: OwnNetwork): Promise<void> {
    try {
      await loadRules(answersOnlyRules(), own.namespace);
    } catch (error) {
      await this.release(own);
      throw new RuntimeError('no_free_network', `could not close the way out: ${(error as Error).message}`, {
        cause: error,
      });
    }
  }

  async #letIn(own: OwnNetwork, number: number, app: AppId): Promise<void> {
    this.#apps.set(number, app);
    if (!this.#wantedCalls?.some(({ apps }) => apps.includes(app))) return;
    try {
      await this.#inOrder(() => this.#loadCalls());
    } catch (error) {
      await this.release(own);
      throw new RuntimeError('no_free_network', `could not open the way to services: ${(error as Error).message}`, {
        cause: error,
      });
    }
  }

  async #loadCalls(): Promise<void> {
    const wanted = this.#wantedCalls ?? [];
    const calls = [...this.#apps].flatMap(([number, app]) =>
      wanted
        .filter(({ apps }) => apps.includes(app))
        .map(({ address, port, to }): Call => ({ from: addressOf(this.#subnet, number), address, port, to })),
    );
    for (const { to } of calls) await this.#openTo(to.host);
    await this.#calls.set(calls);
  }

  async #openTo(address: string): Promise<void> {
    const number = numberOf(this.#subnet, address);
    if (!this.#taken.has(number) || this.#services.has(number)) return;
    await runCommand(['ip', '-batch', '-'], { stdin: serviceCommands(this.#key, number) });
    this.#services.add(number);
  }

  async #apply(): Promise<void> {
    const { servers, loopback } = this.#resolvers;
    await writeFile(this.resolverFile, resolverFile(this.#resolvers, gatewayOf(this.#subnet)));
    // Read by the users of instances and builds, whatever it was and whatever the daemon's umask is.
    await chmod(this.resolverFile, 0o644);
    const rules = networkRules({
      table: tableName(this.#key),
      bridge: bridgeName(this.#key),
      allowed: this.#options.allowed,
      resolvers: servers,
      openPorts: this.#ports.open,
      closedPorts: this.#ports.closed,
      addressing: {
        subnet: this.#subnet,
        builds: buildsOf(this.#subnet),
        gateway: gatewayOf(this.#subnet),
        loopbackResolver: servers.length === 0 ? loopback : undefined,
      },
    });
    const buildHosts = buildHostRules(tableName(this.#key), [...this.#buildHosts.values()]);
    await loadRules(rules + buildHosts + this.#calls.rules);
  }

  async #look(): Promise<void> {
    const now = await readResolvers();
    if (this.#closed || JSON.stringify(now) === JSON.stringify(this.#resolvers)) return;
    this.#resolvers = now;
    await this.#inOrder(() => this.#apply()).catch((error) =>
      this.#options.log.warn('runtime.resolvers_not_changed', { error }),
    );
  }
}

async function removeNetwork(key: NetworkKey): Promise<void> {
  const names = await readdir(NAMESPACES).catch(() => []);
  const namespaces = names.filter((name) => parseNamespace(name)?.key === key);
  const commands = [...namespaces.map((name) => `netns del ${name}`), `link del ${bridgeName(key)}`, ''].join('\n');
  // Each may have gone with the namespace that its daemon was in.
  await runCommand(['ip', '-force', '-batch', '-'], { stdin: commands }).catch(() => {});
  await loadRules(`delete table inet ${tableName(key)}\n`).catch(() => {});
  await loadRules(`delete table netdev ${shortcutTable(key)}\n`).catch(() => {});
  await leaveFirewall(bridgeName(key));
  await restoreForwarding().catch(() => {});
  await releaseClaim(key);
}
