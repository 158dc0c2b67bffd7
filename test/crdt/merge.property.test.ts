// Replicas that write apart and hear of each other in any order end up with the same view, and no write is lost.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { NamedChange } from '../../crdt/change.ts';
import type { DesiredDocument } from '../../crdt/document.ts';
import { ChangeRejected } from '../../crdt/errors.ts';
import { asLineageId } from '../../crdt/ids.ts';
import {
  addRelease,
  admitNode,
  app,
  bind,
  binding,
  changesOf,
  createApp,
  createService,
  documentWith,
  exportService,
  newVolume,
  node,
  plain,
  release,
  replicaOf,
  service,
  tokenHash,
  volume,
} from './fixtures.ts';

const REPLICAS = 3;
const small = fc.integer({ min: 1, max: 3 });
const routes = fc.constantFrom('a.b', 'a.b/x', '*.b', 'localhost', 'localhost/x');
/** An admin, and someone who is none. */
const author = fc.constantFrom('root', 'alice');
const freshId = fc.integer({ min: 1, max: 4 });
const freshRelease = fc.integer({ min: 1000, max: 1_000_000 });

/** A named change that may or may not be allowed where it is tried. */
const change: fc.Arbitrary<NamedChange> = fc.oneof(
  fc.tuple(small, fc.constantFrom('shop', 'blog')).map(([index, name]) => createApp(index, { name })),
  fc.tuple(small, freshRelease).map(([index, id]) => addRelease(index, id)),
  fc.tuple(small, routes).map(([index, route]): NamedChange => ({ change: 'mapRoute', app: app(index), route })),
  fc.tuple(small, routes).map(([index, route]): NamedChange => ({ change: 'unmapRoute', app: app(index), route })),
  fc.tuple(small, small, routes, fc.boolean()).map(
    ([index, other, route, shared]): NamedChange => ({
      change: 'shareHost',
      app: app(index),
      host: route.split('/')[0]!,
      with: app(other),
      shared,
    }),
  ),
  fc
    .tuple(small, fc.constantFrom('bob', 'eve'), fc.boolean())
    .map(([index, user, member]): NamedChange => ({ change: 'setMember', app: app(index), user, member })),
  small.map((index): NamedChange => ({ change: 'deleteApp', app: app(index) })),
  small.map((index): NamedChange => ({ change: 'restartApp', app: app(index) })),
  fc
    .tuple(small, fc.nat(5))
    .map(([index, web]): NamedChange => ({ change: 'scaleApp', app: app(index), scale: { web } })),
  fc.tuple(small, freshRelease, fc.constantFrom('A', 'B'), fc.string({ maxLength: 3 })).map(
    ([index, id, key, value]): NamedChange => ({
      change: 'setEnv',
      app: app(index),
      set: { [key]: value.replaceAll('\0', '') },
      unset: [],
      release: release(id),
    }),
  ),
  small.map((index) => admitNode(index)),
  small.map((index): NamedChange => ({ change: 'removeNode', node: node(index) })),
  fc.constantFrom('bob', 'eve').map((name): NamedChange => ({ change: 'addUser', name, role: 'viewer', tokenHash })),
  fc.constantFrom('bob', 'eve').map((name): NamedChange => ({ change: 'removeUser', name })),
  fc.tuple(small, freshId, fc.nat(1)).map(
    ([owner, id, index]): NamedChange => ({
      change: 'createVolumes',
      volumes: [newVolume(id, { owner: app(owner), index, node: node(9) })],
    }),
  ),
  fc.tuple(freshId, fc.option(fc.constantFrom('one', 'two'), { nil: undefined })).map(
    ([id, lineage]): NamedChange => ({
      change: 'moveVolume',
      volume: volume(id),
      node: node(9),
      ...(lineage !== undefined && { lineage: asLineageId(lineage) }),
    }),
  ),
  freshId.map((id): NamedChange => ({ change: 'deleteVolume', volume: volume(id) })),
  small.map((index) => createService(index, 'postgres', { node: node(9) })),
  small.map((index): NamedChange => ({ change: 'deleteService', service: service(index) })),
  small.map((index): NamedChange => ({ change: 'restartService', service: service(index) })),
  fc.tuple(freshId, small, small).map(([id, one, other]) => bind(id, one, other)),
  fc.tuple(small, freshId).map(([index, id]) => exportService(index, 100 + id, { node: node(9), port: 5_000 + index })),
  small.map((index): NamedChange => ({ change: 'unexportService', service: service(index) })),
  freshId.map((id): NamedChange => ({ change: 'unbindService', binding: binding(id) })),
);

type Step = { write: number; change: NamedChange; by: string; atMs: number } | { from: number; to: number };
const replica = fc.nat(REPLICAS - 1);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ write: replica, change, by: author, atMs: fc.integer({ min: 1, max: 50 }) }) },
  { weight: 1, arbitrary: fc.record({ from: replica, to: replica }) },
);

function play(steps: readonly Step[]): DesiredDocument[] {
  const root: NamedChange = { change: 'addUser', name: 'root', role: 'admin', tokenHash };
  const start = documentWith([root, createApp(1), addRelease(1, 1), admitNode(9)]);
  const replicas = Array.from({ length: REPLICAS }, (_, index) => replicaOf(start, index + 2));
  for (const one of steps) {
    if ('write' in one) {
      try {
        const written = replicas[one.write]!.write([one.change], { by: one.by, atMs: one.atMs });
        if (written !== undefined) replicas[one.write] = written.next;
      } catch (error) {
        if (!(error instanceof ChangeRejected)) throw error;
      }
    } else {
      replicas[one.to] = replicas[one.to]!.receive(changesOf(replicas[one.from]!)).next;
    }
  }
  return replicas;
}

describe('three replicas', () => {
  it('agree on one view, whatever was written where, once each has heard of all, in any order', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 25 }), fc.infiniteStream(fc.nat()), (steps, random) => {
        const replicas = play(steps);
        const all = replicas.flatMap(changesOf);
        const views = replicas.map((document) => {
          const shuffled = all.map((bytes) => ({ bytes, order: random.next().value as number }));
          shuffled.sort((a, b) => a.order - b.order);
          const received = document.receive(shuffled.map((one) => one.bytes));
          expect(received.missing).toEqual([]);
          expect(received.quarantined).toEqual([]);
          return { heads: received.next.heads(), view: plain(received.next.view()) };
        });
        expect(views[1]).toEqual(views[0]);
        expect(views[2]).toEqual(views[0]);
      }),
      { numRuns: 60 },
    );
  });

  it('agree when the changes come one by one, in any order, with gaps that close later', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 15 }), fc.infiniteStream(fc.nat()), (steps, random) => {
        const replicas = play(steps);
        const all = replicas.flatMap(changesOf).map((bytes) => ({ bytes, order: random.next().value as number }));
        all.sort((a, b) => a.order - b.order);
        const together = replicas[0]!.receive(all.map((one) => one.bytes)).next;
        let onebyone = replicas[1]!;
        let waiting: Uint8Array[] = [];
        for (const { bytes } of all) {
          const received = onebyone.receive([...waiting, bytes]);
          onebyone = received.next;
          waiting = received.missing;
        }
        expect(waiting).toEqual([]);
        expect(onebyone.heads()).toEqual(together.heads());
        expect(plain(onebyone.view())).toEqual(plain(together.view()));
      }),
      { numRuns: 30 },
    );
  });

  it('read the same from a saved document as from the changes', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
        const [document] = play(steps);
        const loaded = replicaOf(document!, 50);
        expect(loaded.heads()).toEqual(document!.heads());
        expect(plain(loaded.view())).toEqual(plain(document!.view()));
      }),
      { numRuns: 30 },
    );
  });

  it('hold in one view: routes lead to apps that are there, names have one owner, releases are in order', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const replicas = play(steps);
        const view = replicas[0]!.receive(replicas.flatMap(changesOf)).next.view();
        for (const [route, id] of view.routes) expect(view.apps.get(id)?.routes).toContain(route);
        for (const { owner, sharedWith } of view.hosts.values()) {
          for (const id of [owner, ...sharedWith]) expect(view.apps.has(id)).toBe(true);
        }
        const owners = [...view.apps.values()].filter((one) => one.ownsName).map((one) => one.name);
        expect(new Set(owners).size).toBe(owners.length);
        for (const one of view.apps.values()) {
          expect(one.releases.map((entry) => entry.version)).toEqual(
            one.releases.map((entry) => entry.version).toSorted((a, b) => a - b),
          );
          expect(one.release === undefined).toBe(one.releases.length === 0);
        }
        for (const one of view.volumes.values()) {
          expect(view.workloads.get(one.owner)?.volumes.includes(one) ?? false).toBe(one.mounted);
        }
        for (const { service: bound, app: to } of view.bindings.values()) {
          expect([view.services.has(bound), view.apps.has(to)]).toEqual([true, true]);
        }
        for (const id of view.removedNodes) expect(view.nodes.has(id)).toBe(false);
      }),
      { numRuns: 40 },
    );
  });

  it('never lead a host to an app that is not its own, unless it is shared or an admin said so', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const byAdmin = new Set<string>();
        for (const one of steps) {
          if (!('write' in one) || one.by !== 'root' || one.change.change !== 'mapRoute') continue;
          byAdmin.add(`${one.change.route} ${one.change.app}`);
        }
        const replicas = play(steps);
        const view = replicas[0]!.receive(replicas.flatMap(changesOf)).next.view();
        for (const [route, id] of view.routes) {
          if (byAdmin.has(`${route} ${id}`)) continue;
          const host = route.split('/')[0]!;
          expect(host === 'localhost' || host.startsWith('*.')).toBe(false);
          const { owner, sharedWith } = view.hosts.get(host)!;
          expect([owner, ...sharedWith]).toContain(id);
        }
      }),
      { numRuns: 60 },
    );
  });
});
