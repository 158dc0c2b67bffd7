// Invariant 9: a release that can become ready is never called off.
//
// Asserts, whenever a core calls one off, that its code cannot become ready: what its nodes ran out of, or lost, is
// not its fault.

import type { Effect, Event } from '../../../node/core/types.ts';
import type { Checker } from './checker.ts';
import type { ClusterFacts, NodeFacts } from './facts.ts';

export class Blame implements Checker {
  readonly name = 'blame';
  readonly #world: ClusterFacts;

  constructor(world: ClusterFacts) {
    this.#world = world;
  }

  stepped(node: NodeFacts, _event: Event, effects: readonly Effect[]): void {
    for (const effect of effects) {
      if (effect.type !== 'failRelease') continue;
      const app = node.core?.desired?.apps.get(effect.app);
      const release = app?.releases.find(({ id }) => id === effect.release);
      if (app === undefined || release === undefined) continue;
      const quality = this.#world.qualityOf(release.droplet.digest);
      if (quality !== 'good' && quality !== 'slow') continue;
      const version = `${app.name} v${release.version}`;
      this.#world.fail(this.name, `${node.self.name} calls off ${version}, which can become ready: ${effect.reason}`);
    }
  }
}
