// Invariant 10, where nobody was asked: data is restored elsewhere only as its volumes say, by a majority, and of the
// newest that there is.
//
// Asserts, when a core calls for it: all that the slot mounts says `restore`, and more than half of the nodes have
// held the holder for dead for the whole delay. When it is about to be written: more than half of the nodes are there
// and in reach, and none of them holds a snapshot that is newer. Whenever an instance is started: its lineages were
// asked for by a person or restored so, and not by a node that has just booted, while all whom it hears know of a
// later one. When the cluster rests: what a volume keeps, and three nodes once held, is held still, while no more than
// two lost their disks. That all this comes to pass, too, is checked when it is to rest (convergence.ts).

import type { NamedChange } from '../../../crdt/change.ts';
import type { NodeId } from '../../../crdt/ids.ts';
import type { Effect, Event } from '../../../node/core/types.ts';
import type { LossOrder } from '../../../node/volumes/restorer.ts';
import type { SimNode } from '../node.ts';
import type { SimSnapshot } from '../snapshots.ts';
import type { World } from '../world.ts';
import type { Checker } from './checker.ts';
import type { RestoreFacts, SpecFacts } from './facts.ts';

/** Clocks drift, and what a node saw is some ms older than what is seen of it here. */
const DELAY_SHARE = 0.95;
/** What a node believes of others, and they of it, may be so old before either notices. */
const UNNOTICED_MS = 16_000;
/** An answer that counts for a write, and the last look before it. */
const ANSWER_MS = 6_000;
const HELD_FOR_MS = 6_000;
const HOLDERS = 3;
const WIPED_MAX = 2;

export class Loss implements Checker {
  readonly name = 'loss';
  readonly #world: World;
  /** By observer and observed: since when it is held for dead; and the last time before, which is over. */
  readonly #dead = new Map<string, { sinceMs: number }>();
  readonly #wasDead = new Map<string, { sinceMs: number; endedMs: number }>();
  /** By pair of nodes: when a message last could go both ways. */
  readonly #reachedMs = new Map<string, number>();
  /** `volume lineage`. */
  readonly #begun = new Set<string>();
  readonly #superseded = new Map<string, number>();
  readonly #spread: SimSnapshot[] = [];
  readonly #restored = new Set<number>();
  readonly #kept = new Map<string, number>();
  /** Volumes that kept fewer, or more, for a while: they may have lost some by that. */
  readonly #keptOtherwise = new Set<string>();

  constructor(world: World) {
    this.#world = world;
  }

  get #delayMs(): number | undefined {
    return this.#world.shape.lossDelayMs;
  }

  restored(node: SimNode): void {
    this.#restored.add(node.index);
  }

  booted(node: SimNode): void {
    for (const other of this.#world.nodes) this.#endBelief(`${node.index} ${other.index}`);
  }

  asked(changes: readonly NamedChange[]): void {
    for (const change of changes) {
      if (change.change === 'createVolumes') for (const one of change.volumes) this.#begins(one.id, one.lineage);
      if (change.change === 'createService' && change.volume !== undefined) {
        this.#begins(change.volume.id, change.volume.lineage);
      }
      if (change.change === 'moveVolume' && change.lineage !== undefined) this.#begins(change.volume, change.lineage);
    }
  }

  snapshotTaken(snapshot: SimSnapshot, holders: readonly NodeId[]): void {
    if (holders.length >= HOLDERS) this.#spread.push(snapshot);
  }

  cutsChanged(): void {
    // Called once they have changed: whoever reached another did so until now.
    this.#noteReach();
  }

  stepped(node: SimNode, _event: Event, effects: readonly Effect[]): void {
    if (this.#delayMs === undefined) return;
    this.#noteBeliefs(node);
    for (const effect of effects) if (effect.type === 'restoreVolumes') this.#checkCall(node, effect);
  }

  restoring(node: SimNode, order: LossOrder, { changes, snapshots, patient }: RestoreFacts): void {
    const { nowMs } = this.#world.clock;
    for (const change of changes) {
      if (change.change !== 'restoreVolume') continue;
      this.#begins(change.volume, change.lineage);
      this.#superseded.set(`${change.volume} ${change.lostLineage}`, nowMs);
    }
    if (this.#restored.size > 0) return;
    const inReach = this.#world.nodes.filter((other) => other === node || this.#isInReach(node, other));
    const admitted = node.core?.desired?.nodes.size ?? 0;
    const what = `${node.self.name} restores ${order.volumes.map(({ id }) => id).join(', ')}`;
    if (2 * inReach.length <= admitted) {
      this.#world.fail(this.name, `${what}, and reaches ${inReach.length} of ${admitted} nodes`);
    }
    if (!patient) return;
    for (const [at, { id }] of order.volumes.entries()) {
      const volume = node.core?.desired?.volumes.get(id);
      const used = snapshots[at]!;
      if (volume === undefined) continue;
      const held = inReach
        .filter((other) => this.#isSteady(node, other))
        .flatMap(({ snapshots: of }) => [...of.held.values()]);
      const newest = newestByRule(volume, [...held, used]);
      if (newest !== undefined && newest.id !== used.id && newest.takenAtMs > used.takenAtMs) {
        this.#world.fail(this.name, `${what} of ${used.id}, and ${newest.id} is newer`);
      }
      if (newest !== undefined && newest.lineage === volume.lineage && used.lineage !== volume.lineage) {
        this.#world.fail(this.name, `${what} of ${used.id}, which is of a lineage that was given up`);
      }
    }
  }

  starting(node: SimNode, spec: SpecFacts): void {
    if (this.#delayMs === undefined || this.#restored.has(node.index)) return;
    for (const { id, lineage } of spec.volumes ?? []) {
      const what = `${node.self.name} starts ${spec.id} on ${id} of ${lineage}`;
      if (!this.#begun.has(`${id} ${lineage}`)) this.#world.fail(this.name, `${what}, which nobody asked for`);
      const laterMs = this.#superseded.get(`${id} ${lineage}`);
      if (laterMs === undefined || node.bootedAtMs <= laterMs || this.#restored.size > 0) continue;
      const heard = this.#world.nodes.filter(
        (other) => node.core?.members.get(other.id)?.status === 'alive' && other.store !== undefined,
      );
      const isKnown = (other: SimNode): boolean => {
        const now = other.store!.document.view().volumes.get(id);
        return now !== undefined && now.lineage !== lineage;
      };
      if (heard.length === 0 || !heard.every(isKnown)) continue;
      this.#world.fail(this.name, `${what}, and all whom it hears know that it was restored elsewhere`);
    }
  }

  rested(): void {
    const { nodes } = this.#world;
    if (this.#delayMs === undefined || nodes.filter(({ gone }) => gone).length > WIPED_MAX) return;
    const view = nodes.find(({ store }) => store !== undefined)?.store?.document.view();
    const held = new Set(nodes.flatMap(({ gone, snapshots }) => (gone ? [] : [...snapshots.held.keys()])));
    for (const [id, volume] of view?.volumes ?? []) {
      const all = nodes.flatMap(({ snapshots }) => [...snapshots.held.values()].filter((one) => one.volume === id));
      const taken = new Map([...this.#spread.filter((one) => one.volume === id), ...all].map((one) => [one.id, one]));
      const newest = [...taken.values()].sort((a, b) => b.takenAtMs - a.takenAtMs).slice(0, volume.snapshotsKept);
      const missing = newest.find((one) => this.#spread.some((spread) => spread.id === one.id) && !held.has(one.id));
      if (missing === undefined || this.#keptOtherwise.has(id)) continue;
      this.#world.fail(this.name, `no node holds ${missing.id}, and ${volume.snapshotsKept} of ${id} are kept`);
    }
  }

  desiredChanged(node: SimNode): void {
    for (const [id, { snapshotsKept }] of node.store?.document.view().volumes ?? []) {
      if (snapshotsKept !== (this.#kept.get(id) ?? snapshotsKept)) this.#keptOtherwise.add(id);
      this.#kept.set(id, snapshotsKept);
    }
  }

  #begins(volume: string, lineage: string): void {
    this.#begun.add(`${volume} ${lineage}`);
  }

  #noteBeliefs(node: SimNode): void {
    const { nowMs } = this.#world.clock;
    for (const other of this.#world.nodes) {
      if (other === node || node.core === undefined) continue;
      const key = `${node.index} ${other.index}`;
      // One that it has not heard of since it booted may hold anything.
      const isDead = (node.core.members.get(other.id)?.status ?? 'dead') === 'dead';
      if (!isDead) this.#endBelief(key);
      else if (!this.#dead.has(key)) this.#dead.set(key, { sinceMs: nowMs });
    }
  }

  #endBelief(key: string): void {
    const belief = this.#dead.get(key);
    if (belief === undefined) return;
    this.#dead.delete(key);
    this.#wasDead.set(key, { ...belief, endedMs: this.#world.clock.nowMs });
  }

  #checkCall(node: SimNode, effect: LossOrder): void {
    const { nowMs } = this.#world.clock;
    const view = node.core?.desired;
    const what = `${node.self.name} is to restore ${effect.volumes.map(({ id }) => id).join(', ')}`;
    const waiting = effect.volumes.find(({ id }) => view?.volumes.get(id)?.onLoss !== 'restore');
    if (waiting !== undefined) this.#world.fail(this.name, `${what}, and ${waiting.id} waits for its node`);
    if (view?.nodes.has(effect.lost) !== true) return;
    const lost = this.#world.indexOf(effect.lost);
    const lastedMs = DELAY_SHARE * this.#delayMs!;
    const fromMs = nowMs - lastedMs;
    const agrees = (observer: number): boolean => {
      const key = `${observer} ${lost}`;
      if ((this.#dead.get(key)?.sinceMs ?? Number.POSITIVE_INFINITY) <= fromMs) return true;
      // What ended a moment ago, by a crash too, may not have been heard of yet.
      const before = this.#wasDead.get(key);
      return (
        before !== undefined && before.endedMs > nowMs - UNNOTICED_MS && before.endedMs - before.sinceMs >= lastedMs
      );
    };
    const agreeing = this.#world.nodes.filter(({ index }) => agrees(index)).length;
    if (!agrees(node.index) || 2 * agreeing <= view.nodes.size) {
      const since = Math.round(nowMs - (this.#dead.get(`${node.index} ${lost}`)?.sinceMs ?? nowMs));
      this.#world.fail(
        this.name,
        `${what}, after ${since} ms, and ${agreeing} of ${view.nodes.size} have held n${lost} for lost for so long`,
      );
    }
  }

  /** Now, or a moment ago. */
  #isInReach(node: SimNode, other: SimNode): boolean {
    this.#noteReach();
    const { nowMs } = this.#world.clock;
    const reachedMs = this.#reachedMs.get(`${node.index} ${other.index}`) ?? Number.NEGATIVE_INFINITY;
    const wasUp = (other.daemonUp && !other.frozen) || nowMs - other.downSinceMs < ANSWER_MS || other.frozen;
    return wasUp && nowMs - reachedMs < ANSWER_MS;
  }

  /** It was there, reached, and held for alive for long enough to have been asked. */
  #isSteady(node: SimNode, other: SimNode): boolean {
    if (other === node) return true;
    const { nowMs } = this.#world.clock;
    const member = node.core?.members.get(other.id);
    return (
      other.daemonUp &&
      !other.frozen &&
      nowMs - Math.max(other.bootedAtMs, other.thawedAtMs) > HELD_FOR_MS &&
      member?.status === 'alive' &&
      node.localMs() - member.statusSinceMs > HELD_FOR_MS
    );
  }

  #noteReach(): void {
    const { nodes, network, clock } = this.#world;
    for (const a of nodes) {
      for (const b of nodes) {
        if (a === b || network.isCut(a.index, b.index) || network.isCut(b.index, a.index)) continue;
        this.#reachedMs.set(`${a.index} ${b.index}`, clock.nowMs);
      }
    }
  }
}

/** By a rule of its own: the checker would believe a mutant of the real one. */
function newestByRule(
  volume: { id: string; lineage: string; base?: { id: string; takenAtMs: number } },
  held: readonly SimSnapshot[],
): SimSnapshot | undefined {
  const newest = (of: readonly SimSnapshot[]): SimSnapshot | undefined =>
    of.reduce<SimSnapshot | undefined>(
      (best, one) => (best === undefined || one.takenAtMs > best.takenAtMs ? one : best),
      undefined,
    );
  const all = held.filter((one) => one.volume === volume.id);
  const { base } = volume;
  return (
    newest(all.filter((one) => one.lineage === volume.lineage)) ??
    newest(all.filter((one) => base === undefined || one.takenAtMs <= base.takenAtMs))
  );
}
