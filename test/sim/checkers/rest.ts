// A cluster at rest stays at rest: between nodes nothing comes, goes or is doubted.
//
// Asserts, from the moment the cluster has come to rest until the run ends, however slow the machines are: no node
// suspects another, none loses a connection, and none works for a new one. That it comes to rest within a bounded time
// after the last fault, all of that included, is checked by run.ts: a storm feeds itself, and never rests. Starts and
// stops are calm.ts'.

import type { Effect, Event } from '../../../node/core/types.ts';
import type { Checker } from './checker.ts';
import type { ClusterFacts, NodeFacts } from './facts.ts';

export class Rest implements Checker {
  readonly name = 'rest';
  readonly #world: ClusterFacts;
  #atRest = false;

  constructor(world: ClusterFacts) {
    this.#world = world;
  }

  rested(): void {
    this.#atRest = true;
  }

  stepped(node: NodeFacts, _event: Event, effects: readonly Effect[]): void {
    if (!this.#atRest) return;
    for (const effect of effects) {
      if (effect.type !== 'publishMembership') continue;
      const { kind, node: about } = effect.message;
      this.#world.fail(this.name, `${node.self.name} says at rest that ${about.slice(-4)} is ${kind}`);
    }
  }

  shookHands(node: NodeFacts): void {
    if (this.#atRest) this.#world.fail(this.name, `${node.self.name} shakes hands for a connection at rest`);
  }

  lostConnection(node: NodeFacts, other: number): void {
    // One to a machine that is gone for good is seen to be dead only after a while.
    if (!this.#atRest || this.#world.nodes[other]!.gone) return;
    this.#world.fail(this.name, `${node.self.name} loses its connection to n${other} at rest`);
  }
}
