// Invariant 7: placement does not depend on the order in which anything arrived.
//
// Asserts, after a sample of the steps: placing the node's own view again, with its candidates, their instances and
// the apps in another order, assigns every slot as before. That nodes which believe the same place alike is checked
// when the cluster rests (convergence.ts). And that a node never goes back from what another one said of itself to
// something it said before: what arrives late, or twice, changes nothing.

import type { NodeId } from '../../../crdt/ids.ts';
import type { DesiredView } from '../../../crdt/view.ts';
import { candidatesOf } from '../../../node/core/candidates.ts';
import { place } from '../../../node/core/placement.ts';
import type { Event } from '../../../node/core/types.ts';
import type { SimNode } from '../node.ts';
import type { Prng } from '../prng.ts';
import type { World } from '../world.ts';
import type { Checker } from './checker.ts';

/** Every so many steps of the cluster; placing twice costs more than most steps do. */
const SAMPLE_STEPS = 61;

export class Order implements Checker {
  readonly name = 'order';
  readonly #world: World;
  readonly #rng: Prng;
  #steps = 0;
  /** By node, and the author of the report: the newest that the node's core has held in this life. */
  readonly #newest = new Map<number, Map<NodeId, { incarnation: number; sequence: number }>>();

  constructor(world: World) {
    this.#world = world;
    this.#rng = world.rng.fork('order');
  }

  booted(node: SimNode): void {
    this.#newest.delete(node.index);
  }

  stepped(node: SimNode, event: Event): void {
    if (event.type === 'reportReceived') this.#checkHeld(node, event.report.node);
    if (++this.#steps % SAMPLE_STEPS !== 0) return;
    const { core } = node;
    const view = core?.desired;
    if (core === undefined || view === undefined) return;
    const candidates = candidatesOf(core, node.localMs());
    const other = this.#rng.shuffle(candidates).map((candidate) => ({
      ...candidate,
      report: { ...candidate.report, instances: this.#rng.shuffle(candidate.report.instances) },
    }));
    const apps: DesiredView = { ...view, workloads: new Map(this.#rng.shuffle([...view.workloads])) };
    const assigned = place(view, candidates).assigned;
    const again = place(apps, other).assigned;
    const isSame = assigned.size === again.size && [...assigned].every(([slot, owner]) => again.get(slot) === owner);
    if (!isSame) this.#world.fail(this.name, `${node.self.name} places slots by the order in which it heard of them`);
  }

  #checkHeld(node: SimNode, author: NodeId): void {
    const held = node.core?.members.get(author)?.report;
    if (held === undefined) return;
    const newest = this.#newest.get(node.index) ?? new Map<NodeId, { incarnation: number; sequence: number }>();
    this.#newest.set(node.index, newest);
    const before = newest.get(author);
    const isOlder =
      before !== undefined &&
      (held.incarnation < before.incarnation ||
        (held.incarnation === before.incarnation && held.sequence < before.sequence));
    if (isOlder) {
      this.#world.fail(this.name, `${node.self.name} goes back to an older report of ${author.slice(-4)}`);
    }
    newest.set(author, { incarnation: held.incarnation, sequence: held.sequence });
  }
}
