// Faults done to real daemons in network namespaces, as a schedule has them. Each ends by itself; healEverything ends
// them all. Decides neither what strikes nor when.

import type { Lan } from '../../scripts/lan.ts';
import { type Link, narrowedBy } from '../../scripts/lan-links.ts';
import { type LocalCluster, type LocalNode, waitFor } from '../../scripts/local-cluster.ts';
import { routerOf, signalAll } from '../../scripts/processes.ts';
import type { NodeDisk } from './disks.ts';
import type { ObservedCluster, ObservedNode } from './observed.ts';
import type { ChaosAction, Stoppable } from './schedule.ts';

/** On two cores that fifteen daemons and a storm of faults keep busy, stopped for a while among them. */
const START_TIMEOUT_MS = 180_000;
/** More than the longest that a disk stays full for, on such a machine. */
const ROOM_TIMEOUT_MS = 120_000;

type Way = readonly [from: number, to: number];
type Stopped = { pids: readonly number[] };

export class Faults {
  readonly #cluster: LocalCluster;
  readonly #lan: Lan;
  readonly #observed: ObservedCluster;
  /** In order of the nodes. */
  readonly #disks: readonly NodeDisk[];
  readonly #timers = new Set<NodeJS.Timeout>();
  /** What is being done; one follows another, but for starts of daemons, which take seconds. */
  #doing: Promise<void> = Promise.resolve();
  readonly #booting = new Map<ObservedNode, Promise<void>>();
  #failure: unknown;
  #lossShare = 0;
  readonly #slow = new Map<string, number>();
  readonly #stopped = new Map<ObservedNode, Stopped>();
  readonly #full = new Set<ObservedNode>();
  /** How often each disk was filled. */
  readonly #fillings = new Map<ObservedNode, number>();

  constructor(options: { cluster: LocalCluster; lan: Lan; observed: ObservedCluster; disks: readonly NodeDisk[] }) {
    this.#cluster = options.cluster;
    this.#lan = options.lan;
    this.#observed = options.observed;
    this.#disks = options.disks;
  }

  /** Fails when what was struck before could not be done, or undone. */
  strike(fault: ChaosAction): Promise<void> {
    return this.#then(() => this.#strike(fault));
  }

  /** All daemons run, everyone reaches everyone. */
  async healEverything(): Promise<void> {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    this.#lossShare = 0;
    this.#slow.clear();
    await this.#then(async () => {
      this.#observed.setCut(this.#allWays(), false);
      await this.#setLinks();
      for (const node of this.#observed.nodes) {
        await this.#freeDisk(node);
        this.#thaw(node);
        this.#boot(node);
      }
      await Promise.all(this.#booting.values());
    });
  }

  async #strike(fault: ChaosAction): Promise<void> {
    const node = this.#observed.nodes[fault.node]!;
    const local = this.#localOf(node);
    switch (fault.do) {
      case 'daemon':
      case 'machine':
        if (!node.daemonUp) return;
        this.#thaw(node);
        if (fault.do === 'daemon') {
          this.#cluster.killDaemon(local);
          this.#observed.daemonEnded(node);
        } else {
          await this.#cluster.killNode(local);
          this.#observed.machineEnded(node);
        }
        this.#after(fault.forMs, async () => this.#boot(node));
        return;
      case 'freeze':
        return this.#stop([node], ['daemon'], fault.forMs);
      case 'stop':
        return this.#stop([node], [fault.what], fault.forMs);
      case 'stopAll':
        return this.#stop(this.#observed.nodes, ['daemon', 'router'], fault.forMs);
      case 'fullDisk':
        if (this.#full.has(node)) return;
        this.#full.add(node);
        this.#fillings.set(node, (this.#fillings.get(node) ?? 0) + 1);
        await this.#disks[fault.node]!.fill();
        this.#after(fault.forMs, () => this.#freeDisk(node));
        return;
      case 'copy':
        return this.#copy(node);
      case 'restore':
        if (!node.daemonUp || !this.#disks[fault.node]!.hasCopy) return;
        this.#thaw(node);
        await this.#cluster.killNode(local);
        this.#observed.machineEnded(node);
        await this.#disks[fault.node]!.putBack();
        this.#after(fault.forMs, async () => this.#boot(node));
        return;
      case 'cut':
        return this.#cut(
          [
            [fault.node, fault.other],
            [fault.other, fault.node],
          ],
          fault.forMs,
        );
      case 'cutOneWay':
        return this.#cut([[fault.node, fault.other]], fault.forMs);
      case 'partition': {
        const isInside = (index: number): boolean => fault.side.includes(index);
        return this.#cut(
          this.#allWays().filter(([from, to]) => isInside(from) !== isInside(to)),
          fault.forMs,
        );
      }
      case 'slow': {
        const pair = [`${fault.node} ${fault.other}`, `${fault.other} ${fault.node}`];
        for (const way of pair) this.#slow.set(way, narrowedBy(fault.addedMs));
        await this.#setLinks();
        this.#after(fault.forMs, () => {
          for (const way of pair) this.#slow.delete(way);
          return this.#setLinks();
        });
        return;
      }
      case 'loss':
        this.#lossShare = fault.share;
        await this.#setLinks();
        this.#after(fault.forMs, () => {
          this.#lossShare = 0;
          return this.#setLinks();
        });
        return;
      default:
        throw new Error(`${fault.do} cannot be done to a real daemon`);
    }
  }

  async #cut(ways: readonly Way[], forMs: number): Promise<void> {
    this.#observed.setCut(ways, true);
    await this.#setLinks();
    this.#after(forMs, () => {
      this.#observed.setCut(ways, false);
      return this.#setLinks();
    });
  }

  /** Those that run, and were not stopped before: all at once. */
  async #stop(nodes: readonly ObservedNode[], what: readonly Stoppable[], forMs: number): Promise<void> {
    const able = nodes.filter((node) => node.daemonUp && !this.#stopped.has(node));
    const found = await Promise.all(able.map((node) => this.#pidsOf(node, what)));
    signalAll(found.flat(), 'SIGSTOP');
    for (const [index, node] of able.entries()) {
      const stopped: Stopped = { pids: found[index]! };
      this.#stopped.set(node, stopped);
      // Without its router alone, it still says what it knows.
      if (what.some((one) => one !== 'router')) this.#observed.freeze(node);
      this.#after(forMs, async () => {
        if (this.#stopped.get(node) === stopped) this.#thaw(node);
      });
    }
  }

  async #pidsOf(node: ObservedNode, what: readonly Stoppable[]): Promise<number[]> {
    const local = this.#localOf(node);
    const parts: Record<Stoppable, () => Promise<number[]>> = {
      daemon: async () => [local.pid],
      router: async () => [await routerOf(local.pid)],
      machine: () => this.#cluster.processesOf(local),
    };
    return (await Promise.all(what.map((one) => parts[one]()))).flat();
  }

  #thaw(node: ObservedNode): void {
    const stopped = this.#stopped.get(node);
    if (stopped === undefined) return;
    this.#stopped.delete(node);
    signalAll(stopped.pids, 'SIGCONT');
    if (node.frozen) this.#observed.thaw(node);
  }

  /** As a snapshot of a disk is: of one moment. Stopped for less than anyone would notice. */
  async #copy(node: ObservedNode): Promise<void> {
    if (!node.daemonUp || this.#stopped.has(node) || this.#full.has(node)) return;
    const pids = await this.#pidsOf(node, ['machine']);
    signalAll(pids, 'SIGSTOP');
    try {
      await this.#disks[node.index]!.takeCopy();
    } finally {
      signalAll(pids, 'SIGCONT');
    }
  }

  async #freeDisk(node: ObservedNode): Promise<void> {
    if (!this.#full.has(node)) return;
    await this.#disks[node.index]!.free();
    this.#full.delete(node);
  }

  #boot(node: ObservedNode): void {
    if (node.daemonUp || this.#booting.has(node)) return;
    const booting = this.#start(node)
      .catch((error: Error) => {
        this.#observed.fail('start', `${node.self.name} does not start: ${error.message}`, 'liveness');
      })
      .finally(() => this.#booting.delete(node));
    this.#booting.set(node, booting);
  }

  async #start(node: ObservedNode): Promise<void> {
    for (;;) {
      // Its disk may be filled while it starts, and it refuses that as it does a disk that was full before.
      const fillings = this.#fillings.get(node);
      const wasFull = this.#full.has(node);
      try {
        await this.#cluster.restartNode(this.#localOf(node), [], START_TIMEOUT_MS);
        return this.#observed.booted(node);
      } catch (error) {
        if (!wasFull && fillings === this.#fillings.get(node)) throw error;
        await waitFor(`room on ${node.self.name}`, ROOM_TIMEOUT_MS, () => !this.#full.has(node));
      }
    }
  }

  async #setLinks(): Promise<void> {
    const alike = new Map<string, { link: Link; ways: [string, string][] }>();
    for (const [from, to] of this.#allWays()) {
      const lossShare = this.#observed.network.isCut(from, to) ? 1 : this.#lossShare;
      const link: Link = { lossShare, kbitPerSecond: this.#slow.get(`${from} ${to}`) };
      const key = `${link.lossShare} ${link.kbitPerSecond}`;
      const group = alike.get(key) ?? { link, ways: [] };
      group.ways.push([this.#nameOf(from), this.#nameOf(to)]);
      alike.set(key, group);
    }
    for (const { link, ways } of alike.values()) await this.#lan.setLinks(ways, link);
  }

  /** Undone at its time, or by healEverything. */
  #after(delayMs: number, undo: () => Promise<void>): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      this.#then(undo).catch(() => {});
    }, delayMs);
    this.#timers.add(timer);
  }

  /** Once anything could not be done, or undone, everything that follows fails with that. */
  #then(act: () => Promise<void>): Promise<void> {
    this.#doing = this.#doing.then(async () => {
      if (this.#failure !== undefined) throw this.#failure;
      await act();
      if (this.#failure !== undefined) throw this.#failure;
    });
    return this.#doing;
  }

  #allWays(): Way[] {
    const { nodes } = this.#observed;
    return nodes.flatMap((from) => nodes.filter((to) => to !== from).map((to): Way => [from.index, to.index]));
  }

  #nameOf(index: number): string {
    return this.#observed.nodes[index]!.self.name;
  }

  #localOf(node: ObservedNode): LocalNode {
    return this.#cluster.nodes.find((one) => one.name === node.self.name)!;
  }
}
