// A cluster of real daemons on this machine, driven through the command line as a user would, for the demo, the
// benchmarks and the end-to-end tests. Owns a temporary folder and every process in it; stop() leaves neither behind.

import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { get as httpGet, type IncomingHttpHeaders } from 'node:http';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { removeAbandonedNetworks } from '../node/runtime/network/networks.ts';
import { removeContainersOf } from './containers.ts';
import type { Lan } from './lan.ts';
import { NamespaceDoor } from './namespace-door.ts';
import { killAll, processesOfNode } from './processes.ts';

export const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const PEER = join(ROOT, 'scripts', 'peer');
const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 10_000;
const REMOVAL_TIMEOUT_MS = 20_000;
const NO_PID = -1;

export type LocalNode = {
  name: string;
  dataDir: string;
  /** Undefined for the machine's own network. */
  namespace: string | undefined;
  id: string;
  pid: number;
  api: string;
  http: string;
  link: string;
  listen: string;
  token: string;
};

export type Ran = { code: number; stdout: string; stderr: string };
export type Response = { status: number; body: string; headers: IncomingHttpHeaders };

export type StartOptions = {
  name: string;
  join?: string;
  /** Host that every listener binds; loopback unless the node has a namespace of its own. */
  host?: string;
  namespace?: string;
  args?: string[];
  /** On top of what its daemons have in common. */
  env?: NodeJS.ProcessEnv;
  /** Name of the data directory in the cluster's folder; the node's name unless two are to have one. */
  dataDirName?: string;
};

export class LocalCluster {
  readonly folder: string;
  readonly nodes: LocalNode[] = [];
  readonly #env: NodeJS.ProcessEnv;
  readonly #doors = new Map<string, Promise<NamespaceDoor>>();
  /** Ids of all nodes there ever were, also of those that a later one of their name took the place of. */
  readonly #ids = new Set<string>();
  #mayHaveContainers = false;

  private constructor(folder: string, extraEnv: NodeJS.ProcessEnv) {
    this.folder = folder;
    const { PEER_API: _, PEER_TOKEN: __, PEER_INVITE: ___, ...env } = process.env;
    this.#env = { ...env, ...extraEnv, XDG_CONFIG_HOME: join(folder, 'config'), NO_COLOR: '1' };
  }

  /** Without nodes; `extraEnv` is for its daemons and commands, on top of this process's environment. */
  static async create(extraEnv: NodeJS.ProcessEnv = {}): Promise<LocalCluster> {
    return new LocalCluster(await mkdtemp(join(tmpdir(), 'peer-')), extraEnv);
  }

  /** A cluster of `count` nodes, named node-1…, all joined. */
  static async start(count: number, args: string[] = []): Promise<LocalCluster> {
    const cluster = await LocalCluster.create();
    try {
      await cluster.startNode({ name: 'node-1', args });
      if (count > 1) {
        const join = await cluster.invite(count - 1);
        const names = Array.from({ length: count - 1 }, (_, i) => `node-${i + 2}`);
        await Promise.all(names.map((name) => cluster.startNode({ name, join, args })));
        cluster.nodes.sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
      }
      await cluster.waitForAlive(count);
    } catch (error) {
      await cluster.stop();
      throw error;
    }
    return cluster;
  }

  /**
   * Starts a node on each of the hosts, all joined; each has its host's name, and its data directory unless told
   * otherwise.
   */
  async startOn(
    lan: Lan,
    names: readonly string[],
    args: string[] = [],
    dataDirName: (name: string) => string = (name) => name,
  ): Promise<void> {
    const start = (name: string, join?: string) => {
      const at = { namespace: lan.namespaceOf(name), host: lan.addressOf(name), dataDirName: dataDirName(name) };
      return this.startNode({ name, args, ...at, ...(join === undefined ? {} : { join }) });
    };
    const [first, ...others] = names;
    await start(first!);
    if (others.length > 0) {
      const invite = await this.invite(others.length);
      await Promise.all(others.map((name) => start(name, invite)));
      this.nodes.sort((a, b) => names.indexOf(a.name) - names.indexOf(b.name));
    }
    await this.waitForAlive(names.length);
  }

  async invite(uses: number): Promise<string> {
    const { invite } = await this.json<{ invite: string }>(this.nodes[0]!, ['invite', '--uses', String(uses)]);
    return invite;
  }

  async startNode(options: StartOptions): Promise<LocalNode> {
    const ran = await this.tryStart(options);
    if (ran.code !== 0) throw new Error(`peer start of ${options.name}: exit ${ran.code}\n${ran.stderr}`);
    const { name, namespace } = options;
    return this.#remember({ name, dataDir: this.#dataDirOf(options), namespace });
  }

  /** As startNode, for a start that may fail: says how it ended. */
  tryStart(options: StartOptions): Promise<Ran> {
    const any = `${options.host ?? '127.0.0.1'}:0`;
    const args = ['start', '--detach', '--data-dir', this.#dataDirOf(options), '--name', options.name];
    const given = options.args ?? [];
    const listeners = { '--listen': any, '--link': any, '--http': any, '--api': '127.0.0.1:0' };
    for (const [flag, address] of Object.entries(listeners)) if (!given.includes(flag)) args.push(flag, address);
    if (options.join !== undefined) args.push('--join', '-');
    // The quicker one, whatever the machine has.
    const runtime = given.indexOf('--runtime');
    if (runtime === -1) args.push('--runtime', 'process');
    else if (given[runtime + 1] !== 'process') this.#mayHaveContainers = true;
    args.push(...given);
    const input = options.join === undefined ? {} : { input: options.join };
    const env = { ...this.#env, ...options.env };
    return this.#run(args, { env, namespace: options.namespace, timeoutMs: START_TIMEOUT_MS, ...input });
  }

  /** `peer start` with these arguments and no other, on this machine's own network. */
  peerStart(args: string[]): Promise<Ran> {
    return this.#run(['start', '--detach', ...args], { env: this.#env, timeoutMs: START_TIMEOUT_MS });
  }

  /** Starts a node's daemon again on its data directory, with no other option unless `args` says so. */
  async restartNode(node: LocalNode, args: string[] = [], timeoutMs = START_TIMEOUT_MS): Promise<LocalNode> {
    const command = ['start', '--detach', '--data-dir', node.dataDir, ...args];
    const ran = await this.#run(command, { env: this.#env, namespace: node.namespace, timeoutMs });
    if (ran.code !== 0) throw new Error(`peer ${command.join(' ')}: exit ${ran.code}\n${ran.stderr}`);
    return this.#remember(node);
  }

  /** Ends the daemon, its router and its instances at once, as a power cut would. */
  async killNode(...nodes: LocalNode[]): Promise<void> {
    const processes = await Promise.all(nodes.map((node) => processesOfNode(node.pid, node.dataDir)));
    killAll(processes.flat());
  }

  /** Ends processes found before, so that finding them is not part of what is timed. */
  kill(pids: readonly number[]): void {
    killAll(pids);
  }

  /** Ends the daemon alone; its instances run on. */
  killDaemon(node: LocalNode): void {
    killAll([node.pid]);
  }

  async processesOf(node: LocalNode): Promise<number[]> {
    return processesOfNode(node.pid, node.dataDir);
  }

  peer(node: LocalNode, args: string[], options: { input?: string; timeoutMs?: number } = {}): Promise<Ran> {
    const env = { ...this.#env, PEER_API: node.api, PEER_TOKEN: node.token };
    return this.#run(args, { env, namespace: node.namespace, ...options });
  }

  /** Runs a command with --json and returns its document; fails with what the command said. */
  async json<T>(node: LocalNode, args: string[], options: { timeoutMs?: number } = {}): Promise<T> {
    const ran = await this.peer(node, [...args, '--json'], options);
    if (ran.code !== 0) throw new Error(`peer ${args.join(' ')}: exit ${ran.code}\n${ran.stdout}${ran.stderr}`);
    return JSON.parse(ran.stdout) as T;
  }

  /** GET through a node's router. Fails when there is no HTTP answer at all. */
  async get(
    node: LocalNode,
    host: string,
    path = '/',
    timeoutMs = 10_000,
    headers: Record<string, string> = {},
  ): Promise<Response> {
    const [address, port] = splitAddress(node.http);
    return get({ address, port, host, path, timeoutMs, headers, connect: await this.#way(node) });
  }

  /** GET from a node's API, without the command line: for asking again and again. */
  async read<T>(node: LocalNode, path: string, timeoutMs = 5_000): Promise<T> {
    const [address, port] = splitAddress(node.api);
    const headers = { authorization: `Bearer ${node.token}` };
    const host = node.api;
    const response = await get({ address, port, host, path, timeoutMs, headers, connect: await this.#way(node) });
    if (response.status !== 200) throw new Error(`${node.name}: GET ${path}: ${response.status} ${response.body}`);
    return JSON.parse(response.body) as T;
  }

  async waitForAlive(count: number): Promise<void> {
    for (const node of this.nodes) {
      await waitFor(`${node.name} to see ${count} nodes alive`, Math.max(15_000, 3_000 * count), async () => {
        const nodes = await this.read<{ status: string }[]>(node, '/v1/nodes');
        return nodes.filter((one) => one.status === 'alive').length === count;
      });
    }
  }

  /** Ends every process of the cluster and removes its folder. */
  async stop(): Promise<void> {
    // Every daemon and every instance names its data directory, so also those that nobody remembers are found.
    const left = () => processesOfNode(NO_PID, this.folder);
    killAll(await left());
    for (const door of this.#doors.values()) await door.then((opened) => opened.close()).catch(() => {});
    await waitFor('the processes of the cluster to end', STOP_TIMEOUT_MS, async () => {
      const pids = await left();
      killAll(pids);
      return pids.length === 0;
    });
    if (this.#mayHaveContainers) await removeContainersOf(this.#ids);
    await removeCgroups(this.#ids);
    await removeFolder(this.folder);
    if (process.getuid?.() === 0) await removeAbandonedNetworks();
  }

  /** How to open connections to the node: from this process, or through a door into its namespace. */
  async #way(node: LocalNode): Promise<Connect> {
    const { namespace } = node;
    if (namespace === undefined) return connectHere;
    let door = this.#doors.get(namespace);
    if (door === undefined) {
      door = NamespaceDoor.open(namespace, join(this.folder, `${namespace}.sock`));
      this.#doors.set(namespace, door);
    }
    const opened = await door;
    return (address, port) => opened.connect(address, port);
  }

  #dataDirOf({ name, dataDirName }: StartOptions): string {
    return join(this.folder, dataDirName ?? name);
  }

  async #remember(at: Pick<LocalNode, 'name' | 'dataDir' | 'namespace'>): Promise<LocalNode> {
    const file = JSON.parse(await readFile(join(at.dataDir, 'node.json'), 'utf8')) as Omit<
      LocalNode,
      'dataDir' | 'namespace'
    >;
    const node = { ...file, name: at.name, dataDir: at.dataDir, namespace: at.namespace };
    this.#ids.add(node.id);
    const index = this.nodes.findIndex((one) => one.name === at.name);
    if (index === -1) this.nodes.push(node);
    else this.nodes[index] = node;
    return node;
  }

  #run(
    args: string[],
    options: { env: NodeJS.ProcessEnv; namespace?: string | undefined; input?: string; timeoutMs?: number },
  ): Promise<Ran> {
    const command = options.namespace === undefined ? [PEER, ...args] : inNamespace(options.namespace, [PEER, ...args]);
    return run(command, options);
  }
}

/**
 * Removes a node's folder, or a whole cluster's, whose processes have been killed. A mount that was under way then may
 * come to be after its process has gone.
 */
export async function removeFolder(folder: string): Promise<void> {
  await waitFor(`${folder} to be removed`, REMOVAL_TIMEOUT_MS, async () => {
    await unmountBelow(folder);
    await rm(folder, { recursive: true, force: true });
    return true;
  });
}

/** Disks of instances that were killed with their daemon; the next daemon would remove them. */
async function unmountBelow(folder: string): Promise<void> {
  const mounts = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n').map((line) => line.split(' ')[4] ?? '');
  // What was mounted last goes first: it may lie on what was mounted before.
  const below = mounts.filter((one) => one.startsWith(`${folder}/`)).reverse();
  for (const path of below) await run(['umount', '-l', path]);
}

/** nsenter keeps the cgroup mounts, which `ip netns exec` would hide. */
export const inNamespace = (namespace: string, command: string[]): string[] => [
  'nsenter',
  `--net=/run/netns/${namespace}`,
  '--',
  ...command,
];

/** Runs a command to its end; a time-out kills it and is an error. */
export function run(
  command: string[],
  options: { env?: NodeJS.ProcessEnv; cwd?: string; input?: string; timeoutMs?: number } = {},
): Promise<Ran> {
  return new Promise((resolve, reject) => {
    const [program, ...args] = command;
    const child = spawn(program!, args, { env: options.env, cwd: options.cwd, stdio: ['pipe', 'pipe', 'pipe'] });
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      reject(new Error(`no end within the time: ${command.join(' ')}\n${stdout}${stderr}`));
    }, options.timeoutMs ?? 120_000);
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (chunk: Buffer) => {
      stdout += chunk;
    });
    child.stderr.on('data', (chunk: Buffer) => {
      stderr += chunk;
    });
    child.on('error', reject);
    child.stdin.on('error', () => {});
    child.stdin.end(options.input ?? '');
    child.on('close', (code) => {
      clearTimeout(timer);
      resolve({ code: code ?? -1, stdout, stderr });
    });
  });
}

export type Connect = (address: string, port: number) => Socket;
const connectHere: Connect = (host, port) => connect({ host, port });

/** Fails when the whole answer has not come within `timeoutMs`. */
export function get(options: {
  address: string;
  port: number;
  host: string;
  path: string;
  timeoutMs: number;
  headers?: Record<string, string>;
  connect?: Connect;
}): Promise<Response> {
  const { address, port, host, path, timeoutMs } = options;
  const createConnection = () => (options.connect ?? connectHere)(address, port);
  return new Promise((resolve, reject) => {
    const request = httpGet({ path, headers: { ...options.headers, host }, createConnection }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        body += chunk;
      });
      response.on('error', reject);
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body, headers: response.headers }));
    });
    // Not with `timeout`: it is for connections that Node makes itself, and starts anew with every byte.
    const timer = setTimeout(() => request.destroy(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
    request.on('close', () => clearTimeout(timer));
    request.on('error', reject);
  });
}

/** A condition is asked for after 20 ms, more seldom the longer it has not come to be, or takes to be asked for. */
const PAUSE_MS = { min: 20, max: 100 };
const PAUSE_SHARE = 0.01;
const ASKING_SHARE = 2;

/** Waits for a condition that can be observed; fails at the deadline naming what it waited for. */
export async function waitFor(
  what: string,
  deadlineMs: number,
  condition: () => Promise<boolean> | boolean,
): Promise<void> {
  const startMs = performance.now();
  const endMs = startMs + deadlineMs;
  let last: unknown;
  while (performance.now() < endMs) {
    const askedAtMs = performance.now();
    try {
      if (await condition()) return;
      last = undefined;
    } catch (error) {
      last = error;
    }
    const nowMs = performance.now();
    const pauseMs = Math.max((nowMs - startMs) * PAUSE_SHARE, (nowMs - askedAtMs) * ASKING_SHARE, PAUSE_MS.min);
    await new Promise((resolve) => setTimeout(resolve, Math.min(pauseMs, PAUSE_MS.max)));
  }
  throw new Error(`waited ${deadlineMs} ms for ${what}`, { cause: last });
}

export function splitAddress(address: string): [host: string, port: number] {
  const text = address.replace(/^https?:\/\//, '');
  const colon = text.lastIndexOf(':');
  return [text.slice(0, colon).replace(/^\[|\]$/g, ''), Number(text.slice(colon + 1))];
}

/**
 * Control groups of instances that were killed with their daemon stay as empty folders; the next daemon would remove
 * them.
 */
async function removeCgroups(ids: Iterable<string>): Promise<void> {
  for (const id of ids) await removeCgroupsNamed(`peer*${id.slice(-8)}`);
}

/** Empty ones of which the path holds the name, a pattern of the shell's. */
export async function removeCgroupsNamed(name: string): Promise<void> {
  const folders = await run(['find', '/sys/fs/cgroup', '-depth', '-type', 'd', '-path', `*${name}*`]);
  for (const folder of folders.stdout.split('\n').filter((line) => line !== '')) await run(['rmdir', folder]);
}
