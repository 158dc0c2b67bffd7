// The checkers on what daemons say: each finds what it is for, and nothing in a cluster that does as it should.

import { beforeEach, describe, expect, it } from 'vitest';
import { asNodeId } from '../../crdt/ids.ts';
import type { AppShape, InstanceShape, NodeShape } from '../../node/api/shapes.ts';
import type { LocalNode } from '../../scripts/local-cluster.ts';
import { app, desired } from '../core/little-cluster.ts';
import { Availability } from '../sim/checkers/availability.ts';
import { Calm } from '../sim/checkers/calm.ts';
import { restlessness } from '../sim/checkers/convergence.ts';
import { Fencing } from '../sim/checkers/fencing.ts';
import { Routing } from '../sim/checkers/routing.ts';
import { ObservedCluster, ObservedNode } from './observed.ts';
import type { Reading } from './reading.ts';

const NAMES = ['a', 'b', 'c'];
const FENCED_LONG_MS = 20_000;
const DEATH_KNOWN_MS = 60_000;

const instance = (index: number, node: string, options: Partial<InstanceShape> = {}): InstanceShape => ({
  id: `${node}-${index}`,
  process: 'web',
  index,
  node,
  release: 'v1',
  state: 'ready',
  restarts: 0,
  sinceMs: 0,
  memoryBytes: 1,
  ...options,
});

describe('what daemons say', () => {
  let nowMs: number;
  let cluster: ObservedCluster;
  let partition: 'serve' | 'fence';

  beforeEach(() => {
    nowMs = 0;
    partition = 'serve';
    const nodes = NAMES.map((name, index) => {
      return new ObservedNode({ name, id: name } as LocalNode, { index, memoryBytes: 1_000 });
    });
    cluster = new ObservedCluster(nodes, () => nowMs);
    cluster.judgedBy([Availability, Calm, Fencing, Routing].map((Kind) => new Kind(cluster)));
  });

  /** Every node says the same of the app, unless one is left out. */
  function say(instances: InstanceShape[], by = NAMES): void {
    const hello = { ...app('hello', { scale: { web: 2 }, partition }), memoryBytes: 1 };
    const id: string = hello.id;
    const shape = { name: 'hello', id, routes: [...hello.routes], release: 'v1', instances } as AppShape;
    const nodes = NAMES.map((name) => ({ id: name, name, status: 'alive', draining: false }) as NodeShape);
    const view = desired(NAMES.map(asNodeId), [hello]);
    const reading: Reading = { nodes, apps: [shape], view, heads: ['h'] };
    cluster.take(new Map(cluster.nodes.filter((node) => by.includes(node.self.name)).map((node) => [node, reading])));
  }

  it('is well when a copy goes for another one that serves', () => {
    say([instance(0, 'a'), instance(1, 'b')]);
    say([instance(0, 'a'), instance(1, 'b'), instance(1, 'c')]);
    say([instance(0, 'a'), instance(1, 'c')]);
    expect(cluster.violation).toBeUndefined();
    expect(restlessness(cluster)).toBeUndefined();
  });

  it.each([
    ['told of while it stops', [instance(0, 'a', { state: 'stopping' }), instance(1, 'b', { state: 'starting' })]],
    ['gone between two readings', [instance(1, 'b', { state: 'starting' })]],
  ])('is not when the last copies go (%s)', (_what, then) => {
    say([instance(0, 'a'), instance(1, 'b', { state: 'starting' })]);
    say(then);
    expect(cluster.violation).toMatchObject({ checker: 'availability' });
  });

  it('holds no crash, and no loss of a machine, against anyone', () => {
    say([instance(0, 'a'), instance(1, 'b')]);
    say([instance(0, 'a', { state: 'crashed' }), instance(1, 'b')]);
    cluster.machineEnded(cluster.nodes[1]!);
    say([instance(0, 'a', { id: 'a-9', state: 'starting', restarts: 1 })], ['a', 'c']);
    expect(cluster.violation).toBeUndefined();
  });

  it('is not at rest while a slot is filled twice, or is empty', () => {
    say([instance(0, 'a'), instance(1, 'b'), instance(1, 'c')]);
    expect(restlessness(cluster)).toMatch(/web\/1 is filled 2 times/);
    say([instance(0, 'a')]);
    expect(restlessness(cluster)).toMatch(/web\/1 is empty/);
  });

  it('is not calm when something starts at rest', () => {
    say([instance(0, 'a'), instance(1, 'b')]);
    cluster.rested();
    say([instance(0, 'a'), instance(1, 'b'), instance(1, 'c', { state: 'starting' })]);
    expect(cluster.violation).toMatchObject({ checker: 'calm' });
  });

  it('shows a fenced slot on both sides of a partition, when there was time to stop it', () => {
    partition = 'fence';
    nowMs = FENCED_LONG_MS;
    say([instance(0, 'a'), instance(1, 'b')]);
    cluster.setCut(
      [1, 2].flatMap((other) => [[0, other] as const, [other, 0] as const]),
      true,
    );
    say([instance(0, 'a'), instance(0, 'b')], NAMES);
    expect(cluster.violation).toBeUndefined();
    nowMs += FENCED_LONG_MS;
    say([instance(0, 'a'), instance(0, 'b')], NAMES);
    expect(cluster.violation).toMatchObject({ checker: 'fencing' });
  });

  it('shows routes to a machine that has long been dead', () => {
    say([instance(0, 'a'), instance(1, 'b')]);
    cluster.machineEnded(cluster.nodes[1]!);
    nowMs += DEATH_KNOWN_MS;
    say([instance(0, 'a'), instance(1, 'b')], ['a', 'c']);
    expect(cluster.violation).toMatchObject({ checker: 'routing' });
  });

  it('is not judged on an instance whose own node could not be asked', () => {
    say([instance(0, 'a'), instance(1, 'b')], ['a', 'c']);
    expect(cluster.violation).toBeUndefined();
  });

  it('shows a route to an instance of another app', () => {
    say([instance(0, 'a'), instance(1, 'b')]);
    cluster.nodes[0]!.running.clear();
    const [id, routes, instances] = [app('other').id as string, ['hello.localhost'], [instance(1, 'b')]];
    const shape = { name: 'other', id, routes, release: 'v1', instances } as AppShape;
    const view = desired(NAMES.map(asNodeId), [app('hello')]);
    cluster.take(new Map([[cluster.nodes[0]!, { nodes: [], apps: [shape], view, heads: ['h'] }]]));
    expect(cluster.violation).toMatchObject({ checker: 'routing' });
  });
});
