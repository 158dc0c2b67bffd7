// Serf beside us: agents of HashiCorp's Serf, with its default profile (`lan`), on the hosts that our nodes ran on.
// Says how long after an agent was killed every other agent knew it. Owns its agents; stop() leaves none behind.

import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { inNamespace, waitFor } from '../../local-cluster.ts';

/**
 * Where an agent runs. On one host agents need ports of their own; `namespace` undefined is the machine's own network.
 */
export type AgentHost = { name: string; namespace: string | undefined; address: string; port: number; rpcPort: number };

const JOIN_DEADLINE_MS = 30_000;
/**
 * Suspicion lasts up to six times its shortest, which is 4 s for a few members; a probe of it may come a few seconds
 * late.
 */
const DETECTION_DEADLINE_MS = 60_000;

/** What an agent logs the moment it knows; its event handlers hear of it a second later, as events are coalesced. */
const MEMBER_LINE = /serf: EventMember(Join|Failed|Leave|Update|Reap): (\S+)/;

class Agent {
  readonly host: AgentHost;
  readonly #child: ChildProcessByStdio<null, Readable, null>;
  /** Members by name, and when it was said (performance.now). */
  readonly #said = new Map<string, { event: string; atMs: number }>();

  constructor(host: AgentHost, joinAt: AgentHost | undefined) {
    this.host = host;
    const args = [`-node=${host.name}`, `-bind=${host.address}:${host.port}`, `-rpc-addr=127.0.0.1:${host.rpcPort}`];
    if (joinAt !== undefined) args.push(`-join=${joinAt.address}:${joinAt.port}`);
    const serf = ['serf', 'agent', ...args];
    const [program, ...rest] = host.namespace === undefined ? serf : inNamespace(host.namespace, serf);
    this.#child = spawn(program!, rest, { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#child.on('error', () => {});
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      const [, event, member] = MEMBER_LINE.exec(line) ?? [];
      if (member !== undefined) this.#said.set(member, { event: event!, atMs: performance.now() });
    });
  }

  holdsAlive(names: readonly string[]): boolean {
    return names.every((name) => ['Join', 'Update'].includes(this.#said.get(name)?.event ?? ''));
  }

  /** When it said that the member failed; undefined when it holds it for alive. */
  failedAtMs(name: string): number | undefined {
    const said = this.#said.get(name);
    return said?.event === 'Failed' ? said.atMs : undefined;
  }

  async kill(): Promise<void> {
    if (this.#child.pid === undefined || this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exited;
  }
}

export class SerfCluster {
  readonly #agents = new Map<string, Agent>();
  readonly #hosts: readonly AgentHost[];

  private constructor(hosts: readonly AgentHost[]) {
    this.#hosts = hosts;
  }

  static async start(hosts: readonly AgentHost[]): Promise<SerfCluster> {
    const cluster = new SerfCluster(hosts);
    try {
      for (const host of hosts) {
        cluster.#agents.set(host.name, new Agent(host, host === hosts[0] ? undefined : hosts[0]));
        // Its members come with its own join, which has to be there to join at.
        await waitFor(`serf to start on ${host.name}`, JOIN_DEADLINE_MS, () =>
          cluster.#agents.get(host.name)!.holdsAlive([host.name]),
        );
      }
      await cluster.#untilWhole();
    } catch (error) {
      await cluster.stop();
      throw error;
    }
    return cluster;
  }

  /**
   * Kills the agent of a host and starts it again. Ms from the signal until the first and until the last other agent
   * knew.
   */
  async detectKill(name: string): Promise<{ firstMs: number; allMs: number }> {
    const others = [...this.#agents.values()].filter((agent) => agent.host.name !== name);
    const startMs = performance.now();
    await this.#agents.get(name)!.kill();
    await waitFor(`serf to report that ${name} failed`, DETECTION_DEADLINE_MS, () =>
      others.every((agent) => agent.failedAtMs(name) !== undefined),
    );
    const took = others.map((agent) => agent.failedAtMs(name)! - startMs);
    const host = this.#hosts.find((one) => one.name === name)!;
    this.#agents.set(name, new Agent(host, others[0]!.host));
    await this.#untilWhole();
    return { firstMs: Math.min(...took), allMs: Math.max(...took) };
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#agents.values()].map((agent) => agent.kill()));
  }

  async #untilWhole(): Promise<void> {
    const names = this.#hosts.map((host) => host.name);
    await waitFor('every serf agent to know every other', JOIN_DEADLINE_MS, () =>
      [...this.#agents.values()].every((agent) => agent.holdsAlive(names)),
    );
  }
}
