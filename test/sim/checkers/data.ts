// Invariant 10: data has one user, where it is.
//
// Asserts, whenever an instance is started: what it mounts is what the desired state that its node holds says that its
// slot has, on that node, of that lineage, left by the node before; and nothing else, on any machine, uses one of
// these lineages. So nothing is started elsewhere because a node is silent: only a move that its node has agreed to,
// or a recovery, which begins another lineage, brings the data there. Left out are nodes whose disk was put back from
// an earlier copy until the end: what they knew of moves is lost with it. That older lineages end once their node
// hears of a recovery, and that every slot runs that can, is checked when the cluster rests (convergence.ts).

import { pinsOf } from '../../../node/core/pins.ts';
import { slotKey } from '../../../node/core/slots.ts';
import type { Checker } from './checker.ts';
import type { ClusterFacts, NodeFacts, SpecFacts } from './facts.ts';

export class Data implements Checker {
  readonly name = 'data';
  readonly #world: ClusterFacts;
  readonly #restored = new Set<number>();

  constructor(world: ClusterFacts) {
    this.#world = world;
  }

  restored(node: NodeFacts): void {
    this.#restored.add(node.index);
  }

  starting(node: NodeFacts, spec: SpecFacts): void {
    if (this.#restored.has(node.index)) return;
    const key = slotKey({ app: spec.app.id, process: spec.process, index: spec.index });
    const app = node.core?.desired?.workloads.get(spec.app.id);
    const pin = app === undefined ? undefined : pinsOf(app)?.get(key);
    const mounts = spec.volumes ?? [];
    const what = `${node.self.name} starts ${spec.id} (${spec.app.name}/${spec.index})`;
    if (pin === undefined && mounts.length === 0) return;
    if (pin?.kind !== 'pinned' || pin.node !== node.id) {
      this.#world.fail(this.name, `${what}, whose data is ${pin?.kind ?? 'gone'}, and not on it`);
    } else if (textOf(mounts) !== textOf(pin.volumes)) {
      this.#world.fail(this.name, `${what} on ${textOf(mounts)}, and its data is ${textOf(pin.volumes)}`);
    }
    for (const other of this.#world.nodes) {
      if (this.#restored.has(other.index)) continue;
      for (const { spec: user } of other.runtime.running.values()) {
        const shared = user.volumes?.find((one) => mounts.some((mount) => textOf([mount]) === textOf([one])));
        if (user.id === spec.id || shared === undefined) continue;
        this.#world.fail(this.name, `${what} on ${textOf([shared])}, which ${user.id} uses on ${other.self.name}`);
      }
    }
  }
}

const textOf = (volumes: readonly { id: string; lineage: string }[]): string =>
  volumes
    .map(({ id, lineage }) => `${id} of ${lineage}`)
    .sort()
    .join(', ');
