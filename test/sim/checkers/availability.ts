// Invariant 4: during a roll-out, drain, rebalance or duplicate clean-up, an app with n ≥ 1 ready instances never
// drops below n − maxUnavailable, and never to zero.
//
// Only stops that a core orders are judged, at the moment they are ordered, on the truth of the whole cluster: crashes
// and kills are nobody's decision. A stop of a ready instance must leave either its slot filled by another ready
// instance, or max(1, n − maxUnavailable) slots of the app with one; n leaves out slots that are empty because no node
// has room for them, as the stopping node sees the cluster. Not judged is the user's word, as the stopping node knows
// it: scaled away, stopped, deleted, a restart of one slot, a node told to end, a `recreate` roll-out, a fenced slot
// without a majority.
//
// What the core could not know is no fault of it: that an instance is ready, before its daemon has come to the news of
// it; and one that a fault (or the user) took counts as ready for a node as long as the newest report delivered to
// that node (for its own: its runtime's last word) says so, for at most NEWS_MAX_MS.

import type { InstanceId } from '../../../crdt/ids.ts';
import { pinsOf } from '../../../node/core/pins.ts';
import { isCurrent, slotKey, slotsOf } from '../../../node/core/slots.ts';
import type { Checker } from './checker.ts';
import type { ClusterFacts, NodeFacts, RunningFacts } from './facts.ts';

/** The user moved, recovered, split or deleted its data. */
const DATA_REASONS = [
  'its data is on another node',
  'its data is another now',
  'its volumes are on several nodes',
  'it has no volume',
];
/** Within this every death is known: probes of a round, a suspicion at a node whose own loop was late. */
const NEWS_MAX_MS = 60_000;

export class Availability implements Checker {
  readonly name = 'availability';
  readonly #world: ClusterFacts;
  /** When instances that were ready ceased to be, other than by a core's own decision. */
  readonly #taken = new Map<InstanceId, number>();
  /** An instance that was asked to stop takes its time, and may be asked again, by a daemon that has found it anew. */
  readonly #asked = new Set<InstanceId>();

  constructor(world: ClusterFacts) {
    this.#world = world;
  }

  lost(_node: NodeFacts, instance: RunningFacts): void {
    this.#taken.set(instance.spec.id, this.#world.clock.nowMs);
  }

  stopping(node: NodeFacts, id: InstanceId, reason: string): void {
    const victim = node.runtime.running.get(id);
    const view = node.core?.desired;
    if (victim === undefined || victim.state !== 'ready' || victim.told === false || view === undefined) return;
    if (this.#asked.has(id)) return;
    this.#asked.add(id);
    const { spec } = victim;
    const app = view.workloads.get(spec.app.id);
    const slots = app === undefined ? [] : slotsOf(app);
    const key = slotKey({ app: spec.app.id, process: spec.process, index: spec.index });
    const userSaidSo =
      app?.release === undefined ||
      !slots.some((slot) => slotKey(slot) === key) ||
      node.handling?.type === 'restartSlot' ||
      node.handling?.type === 'leave' ||
      (app.strategy === 'recreate' &&
        !isCurrent({ release: spec.release.id, restartCount: spec.restartCount }, app, app.release)) ||
      (app.partition === 'fence' && reason.includes('majority')) ||
      DATA_REASONS.some((one) => reason === one);
    if (app === undefined || userSaidSo) {
      this.#taken.set(id, this.#world.clock.nowMs);
      return;
    }
    const filled = this.#filledSlots(node, app.id, id);
    if (filled.has(key)) return;
    const ready = slots.filter((slot) => filled.has(slotKey(slot))).length;
    const placed = node.slotsPlacedBeforeStops();
    const fillable = slots.map(slotKey).filter((one) => one === key || filled.has(one) || placed.has(one)).length;
    // The only one that can be filled has to go before another uses its data.
    const isOnly = fillable <= 1 && pinsOf(app)?.has(key) === true;
    const needed = isOnly ? 0 : Math.max(1, fillable - app.maxUnavailable);
    if (ready >= needed) return;
    this.#world.fail(
      this.name,
      `${node.self.name} stops ${id}, the last ready one of ${app.name}/${spec.index} (${reason}): ` +
        `${ready} of ${slots.length} slots stay ready, ${needed} are needed`,
    );
  }

  /** Slots of the app with a ready instance besides the one left out, as far as the node could know. */
  #filledSlots(judge: NodeFacts, app: string, except: InstanceId): Set<string> {
    const filled = new Set<string>();
    for (const node of this.#world.nodes) {
      for (const [id, { spec, state }] of node.runtime.running) {
        if (spec.app.id !== app || id === except || state !== 'ready') continue;
        filled.add(slotKey({ app: spec.app.id, process: spec.process, index: spec.index }));
      }
    }
    const believed = [...judge.delivered.values()].flatMap((report) => report.instances);
    for (const one of [...believed, ...(judge.core?.local.values() ?? [])]) {
      const takenAtMs = this.#taken.get(one.id);
      if (one.app !== app || one.state !== 'ready' || takenAtMs === undefined || one.id === except) continue;
      if (this.#world.clock.nowMs - takenAtMs < NEWS_MAX_MS) filled.add(slotKey(one));
    }
    return filled;
  }
}
