// Faults done to real daemons in network namespaces, as the simulator's schedule has them. Each ends by itself; healEverything
// ends them all. Decides neither what strikes nor when.

import type { Lan } from '../../scripts/lan.ts';
import { type Link, narrowedBy } from '../../scripts/lan-links.ts';
import type { LocalCluster, LocalNode } from '../../scripts/local-cluster.ts';
import { signalAll } from '../../scripts/processes.ts';
import type { FaultAction } from '../sim/faults.ts';
import type { FaultKind } from '../sim/shape.ts';
import type { ObservedCluster, ObservedNode } from './observed.ts';

/** What can be done to real daemons and undone again. The other kinds are the simulator's alone. */
export const CHAOS_FAULTS: readonly FaultKind[] = ['daemon', 'machine', 'freeze', 'cut', 'partition', 'slow', 'loss'];

type Way = readonly [from: number, to: number];

export class Faults {
  readonly #cluster: LocalCluster;
  readonly #lan: Lan;
  readonly #observed: ObservedCluster;
  readonly #timers = new Set<NodeJS.Timeout>();
  /** What is being done; one follows another, but for starts of daemons, which take seconds. */
  #doing: Promise<void> = Promise.resolve();
  readonly #booting = new Map<ObservedNode, Promise<void>>();
  #failure: unknown;
  #lossShare = 0;
  readonly #slow = new Map<string, number>();

  constructor(options: { cluster: LocalCluster; lan: Lan; observed: ObservedCluster }) {
    this.#cluster = options.cluster;
    this.#lan = options.lan;
    this.#observed = options.observed;
  }

  /** Fails when what was struck before could not be done, or undone. */
  strike(fault: FaultAction): Promise<void> {
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
        this.#thaw(node);
        this.#boot(node);
      }
      await Promise.all(this.#booting.values());
    });
  }

  async #strike(fault: FaultAction): Promise<void> {
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
        if (!node.daemonUp || node.frozen) return;
        this.#observed.freeze(node);
        signalAll([local.pid], 'SIGSTOP');
        this.#after(fault.forMs, async () => this.#thaw(node));
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

  #thaw(node: ObservedNode): void {
    if (!node.frozen) return;
    signalAll([this.#localOf(node).pid], 'SIGCONT');
    this.#observed.thaw(node);
  }

  #boot(node: ObservedNode): void {
    if (node.daemonUp || this.#booting.has(node)) return;
    const start = async (): Promise<void> => {
      try {
        await this.#cluster.restartNode(this.#localOf(node));
        this.#observed.booted(node);
      } catch (error) {
        this.#failure ??= error;
      } finally {
        this.#booting.delete(node);
      }
    };
    this.#booting.set(node, start());
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
