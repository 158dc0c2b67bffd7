// Invariant 3: a converged cluster with unchanged input starts and stops nothing; load noise moves nothing.
//
// Asserts, from the moment the cluster has come to rest until the run ends, while nothing but reported loads changes:
// no core starts or stops an instance, and no document changes. Left out are apps whose release crashes by itself:
// they are restarted.

import type { InstanceId } from '../../../crdt/ids.ts';
import type { Checker } from './checker.ts';
import { isRequired } from './convergence.ts';
import type { ClusterFacts, NodeFacts, SpecFacts } from './facts.ts';

export class Calm implements Checker {
  readonly name = 'calm';
  readonly #world: ClusterFacts;
  #atRest = false;

  constructor(world: ClusterFacts) {
    this.#world = world;
  }

  rested(): void {
    this.#atRest = true;
  }

  starting(node: NodeFacts, spec: SpecFacts): void {
    if (this.#atRest && this.#counts(node, spec)) {
      this.#world.fail(this.name, `${node.self.name} starts ${spec.id} (${spec.app.name}/${spec.index}) at rest`);
    }
  }

  stopping(node: NodeFacts, id: InstanceId, reason: string): void {
    const spec = node.runtime.running.get(id)?.spec;
    if (this.#atRest && spec !== undefined && this.#counts(node, spec)) {
      this.#world.fail(this.name, `${node.self.name} stops ${id} (${spec.app.name}/${spec.index}) at rest: ${reason}`);
    }
  }

  desiredChanged(node: NodeFacts): void {
    if (this.#atRest) this.#world.fail(this.name, `the desired state on ${node.self.name} changes at rest`);
  }

  #counts(node: NodeFacts, spec: SpecFacts): boolean {
    const app = node.core?.desired?.workloads.get(spec.app.id);
    return app === undefined || isRequired(this.#world, app);
  }
}
