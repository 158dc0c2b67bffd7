// A decision made anew at rest decides nothing new: whatever a decision reads has been decided on.
//
// Asserts, when the cluster has come to rest and at the end of the run: were a node made to decide at this moment, of
// what it knows already, it would start, stop and fetch nothing and route as it does. Otherwise something changed that
// nobody decided on, and the next event, of whatever kind, would set it going. Left out is what the node would do at
// this moment in any case. And after every step: nobody who has just decided asks to decide again at once, without
// news: it would do so for ever.

import { step } from '../../../node/core/step.ts';
import type { Effect } from '../../../node/core/types.ts';
import type { SimNode } from '../node.ts';
import type { World } from '../world.ts';
import type { Checker } from './checker.ts';

export class Anew implements Checker {
  readonly name = 'anew';
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  stepped(node: SimNode): void {
    const { core } = node;
    const isRestless =
      core !== undefined &&
      !core.decisionDirty &&
      core.reconcileAtMs <= core.decidedAtMs &&
      node.localMs() === core.decidedAtMs;
    if (isRestless)
      this.#world.fail(this.name, `${node.self.name} decides over and over: it asks for another look at once`);
  }

  rested(): void {
    for (const node of this.#world.nodes) this.#check(node);
  }

  atEnd(): void {
    this.rested();
  }

  #check(node: SimNode): void {
    const anew = decisionsOf(node, true);
    if (anew.length === 0) return;
    const due = new Set(decisionsOf(node, false).map(textOf));
    const missed = anew.find((effect) => !due.has(textOf(effect)));
    if (missed === undefined) return;
    this.#world.fail(this.name, `${node.self.name} would at once, if it decided again: ${textOf(missed)}`);
  }
}

/** What the node would decide now; its own state stays as it is. */
function decisionsOf(node: SimNode, anew: boolean): Effect[] {
  if (node.core === undefined) return [];
  const state = structuredClone(node.core);
  if (anew) {
    state.decisionDirty = true;
    state.decidedAtMs = Number.NEGATIVE_INFINITY;
  }
  return step(state, { type: 'tick', lateMs: 0 }, node.localMs()).effects.filter(
    ({ type }) =>
      type === 'startInstance' || type === 'stopInstance' || type === 'fetchDroplet' || type === 'setRoutes',
  );
}

const textOf = (effect: Effect): string => JSON.stringify(effect);
