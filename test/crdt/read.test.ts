// What a document means to readers: conflicts decided alike everywhere, and nothing that stands in it can make them
// fail.

import * as A from '@automerge/automerge';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { NamedChange } from '../../crdt/change.ts';
import { asAppId, asNodeId } from '../../crdt/ids.ts';
import { RELEASES_KEPT_MAX } from '../../crdt/limits.ts';
import { readView } from '../../crdt/read.ts';
import { problemText, RECORD_PROBLEMS_MAX } from '../../crdt/record-problems.ts';
import {
  addRelease,
  admitNode,
  app,
  at,
  createApp,
  digest,
  documentWith,
  merged,
  node,
  plain,
  release,
  replicaOf,
  tokenHash,
  writeAll,
} from './fixtures.ts';

/** Two sides of a partition write on the same base; both then hear of each other. */
function afterPartition(base: NamedChange[], left: [number, NamedChange][], right: [number, NamedChange][]) {
  const start = documentWith(base);
  const write = (index: number, steps: [number, NamedChange][]) =>
    steps.reduce((document, [atMs, change]) => writeAll(document, [change], at(atMs)), replicaOf(start, index));
  const [one, two] = [write(1, left), write(2, right)];
  const view = merged(one, two).view();
  expect(plain(merged(two, one).view())).toEqual(plain(view));
  return view;
}

describe('concurrent edits', () => {
  it('the older claim of a route wins, the other is shown as a conflict', () => {
    const view = afterPartition(
      [createApp(1), createApp(2)],
      [[2000, { change: 'mapRoute', app: app(1), route: 'a.b' }]],
      [[1999, { change: 'mapRoute', app: app(2), route: 'a.b' }]],
    );
    expect([...view.routes]).toEqual([['a.b', app(2)]]);
    expect(view.conflicts).toEqual([{ kind: 'route', route: 'a.b', winner: app(2), loser: app(1) }]);
    expect(view.apps.get(app(1))?.routes).toEqual([]);
  });

  it('of two claims of one moment the smaller app id wins', () => {
    const view = afterPartition(
      [createApp(1), createApp(2)],
      [[2000, { change: 'mapRoute', app: app(2), route: 'a.b' }]],
      [[2000, { change: 'mapRoute', app: app(1), route: 'a.b' }]],
    );
    expect([...view.routes]).toEqual([['a.b', app(1)]]);
  });

  it('the loser of a route gets it once the winner lets go, and can give it up itself', () => {
    const start = documentWith([createApp(1), createApp(2)]);
    const one = writeAll(replicaOf(start, 1), [{ change: 'mapRoute', app: app(1), route: 'a.b' }]);
    const two = writeAll(replicaOf(start, 2), [{ change: 'mapRoute', app: app(2), route: 'a.b' }], at(9_000_000));
    const both = merged(one, two);
    expect([...writeAll(both, [{ change: 'deleteApp', app: app(1) }]).view().routes]).toEqual([['a.b', app(2)]]);
    expect(writeAll(both, [{ change: 'unmapRoute', app: app(2), route: 'a.b' }]).view().conflicts).toEqual([]);
  });

  it('the older app owns a name given twice', () => {
    const view = afterPartition([], [[2000, createApp(1, { name: 'shop' })]], [[1000, createApp(2, { name: 'shop' })]]);
    expect([...view.apps.values()].map((one) => [one.id, one.ownsName])).toEqual([
      [app(1), false],
      [app(2), true],
    ]);
    expect(view.conflicts).toEqual([{ kind: 'appName', name: 'shop', winner: app(2), loser: app(1) }]);
  });

  it('two nodes of one name both stay, and so do their operators', () => {
    const admit = (index: number): NamedChange => ({
      change: 'admitNode',
      node: node(index),
      name: 'same',
      operatorTokenHash: tokenHash,
    });
    const view = afterPartition([], [[2000, admit(1)]], [[1000, admit(2)]]);
    expect(view.conflicts).toEqual([{ kind: 'nodeName', name: 'same', winner: node(2), loser: node(1) }]);
    expect([...view.users.keys()]).toEqual(['operator@same', `operator@same-${node(1).slice(-8)}`]);
  });

  it.each([1, 2])('of two nodes of one name, number %i can join again under it', (index) => {
    const admit = (one: number): NamedChange => ({ change: 'admitNode', node: node(one), name: 'same' });
    const start = documentWith([]);
    const one = writeAll(replicaOf(start, 1), [admit(1)], at(2000));
    const two = writeAll(replicaOf(start, 2), [admit(2)], at(1000));
    const again: NamedChange = { ...admit(index), operatorTokenHash: tokenHash } as NamedChange;
    const { users } = writeAll(merged(one, two), [again]).view();
    expect([...users.values()].map((user) => user.node)).toEqual([node(index)]);
  });

  it('a node admitted on one side while it is removed on the other stays removed', () => {
    const again: NamedChange = { change: 'admitNode', node: node(2), name: 'again', operatorTokenHash: tokenHash };
    const view = afterPartition(
      [admitNode(1), admitNode(2)],
      [[2000, { change: 'removeNode', node: node(2) }]],
      [[3000, again]],
    );
    expect([...view.nodes.keys()]).toEqual([node(1)]);
    expect([...view.users.keys()]).toEqual(['operator@n1']);
  });

  it('a node admitted on two sides and removed on one stays removed', () => {
    const view = afterPartition(
      [admitNode(1)],
      [
        [2000, admitNode(2)],
        [2001, { change: 'removeNode', node: node(2) }],
      ],
      [
        [2000, admitNode(2)],
        [2500, { change: 'labelNode', node: node(2), labels: { a: '1' } }],
      ],
    );
    expect([...view.nodes.keys()]).toEqual([node(1)]);
  });

  it('uses of one invite made apart add up', () => {
    const invite: NamedChange = {
      change: 'createInvite',
      id: 'i',
      secretHash: tokenHash,
      expiresAtMs: 9e9,
      usesMax: 1,
    };
    const join = (index: number): NamedChange => ({
      change: 'admitNode',
      node: node(index),
      name: `n${index}`,
      invite: 'i',
    });
    const view = afterPartition([invite], [[2000, join(2)]], [[2000, join(3)]]);
    expect(view.invites.get('i')?.usedBy).toEqual([node(2), node(3)]);
  });

  it('env names, labels and process types set apart all survive', () => {
    const setEnv = (key: string, id: number): NamedChange => ({
      change: 'setEnv',
      app: app(1),
      set: { [key]: '1' },
      unset: [],
      release: release(id),
    });
    const view = afterPartition(
      [createApp(1)],
      [
        [2000, setEnv('A', 1)],
        [2000, { change: 'scaleApp', app: app(1), scale: { worker: 2 } }],
      ],
      [
        [2000, setEnv('B', 2)],
        [2000, { change: 'scaleApp', app: app(1), scale: { web: 3 } }],
      ],
    );
    expect(view.apps.get(app(1))).toMatchObject({ env: { A: '1', B: '1' }, scale: { web: 3, worker: 2 } });
  });

  it('restarts made apart add up, so the count never goes back', () => {
    const restart: [number, NamedChange] = [2000, { change: 'restartApp', app: app(1) }];
    expect(afterPartition([createApp(1)], [restart, restart], [restart]).apps.get(app(1))?.restartCount).toBe(3);
  });

  it('releases made apart share a number and are ordered by their ids; one of them is current', () => {
    const view = afterPartition([createApp(1)], [[2000, addRelease(1, 2)]], [[2000, addRelease(1, 1)]]);
    expect(view.apps.get(app(1))?.releases.map((one) => [one.id, one.version])).toEqual([
      [release(1), 1],
      [release(2), 1],
    ]);
    expect([release(1), release(2)]).toContain(view.apps.get(app(1))?.release?.id);
  });

  it('an app deleted on one side is gone, whatever the other side did to it', () => {
    const view = afterPartition(
      [createApp(1, { routes: ['a.b'] })],
      [[2000, { change: 'deleteApp', app: app(1) }]],
      [
        [3000, addRelease(1, 1)],
        [3000, { change: 'mapRoute', app: app(1), route: 'c.d' }],
      ],
    );
    expect(view.apps.size).toBe(0);
    expect(view.routes.size).toBe(0);
  });

  it('a release rolled back to on one side and dropped on the other leaves the app with a good one', () => {
    const pushes = Array.from({ length: RELEASES_KEPT_MAX }, (_, index) => addRelease(1, index + 1));
    const more = Array.from({ length: 5 }, (_, index): [number, NamedChange] => [3000, addRelease(1, index + 50)]);
    const view = afterPartition(
      [createApp(1), ...pushes],
      [[2000, { change: 'rollback', app: app(1), to: release(1), release: release(99) }]],
      more,
    );
    expect(view.apps.get(app(1))?.release).toBeDefined();
  });
});

describe('release to run', () => {
  const releases = (...failed: boolean[]) =>
    Object.fromEntries(
      failed.map((isFailed, index) => [
        `r${index + 1}`,
        {
          version: index + 1,
          droplet: { digest: `sha256:${'0'.repeat(64)}`, sizeBytes: 1, stack: 's' },
          ...(isFailed && { failed: { reason: 'x', atMs: 1 } }),
        },
      ]),
    );
  it.each<[string, string | undefined, boolean[], string | undefined]>([
    ['the current one', 'r2', [false, false, false], 'r2'],
    ['the newest good one before a failed one', 'r4', [false, false, true, true], 'r2'],
    ['never a newer one than the failed one', 'r2', [true, true, false], 'r2'],
    ['the failed one when nothing before it is good', 'r1', [true], 'r1'],
    ['the newest good one when the current one is gone', 'gone', [false, false, true], 'r2'],
    ['the newest one when the current one is gone and all failed', 'gone', [true, true], 'r2'],
    ['none when there is none', undefined, [], undefined],
  ])('is %s', (_what, currentRelease, failed, expected) => {
    const doc = { apps: { a: { name: 'a', currentRelease, releases: releases(...failed) } } };
    expect(readView(doc).apps.get(asAppId('a'))?.release?.id).toBe(expected);
  });
});

describe('tolerance', () => {
  it.each<[string, unknown]>([
    ['nothing', undefined],
    ['null', null],
    ['a number', 7],
    ['an empty document', A.init()],
    ['lists instead of maps', { apps: [], nodes: [1], users: ['x'], routes: [], invites: [], cluster: [] }],
    ['text instead of maps', { apps: 'x', nodes: 'x', users: 'x', routes: 'x', invites: 'x', cluster: 'x' }],
    ['bytes and dates', { apps: new Uint8Array(3), nodes: { a: new Date() }, cluster: new Uint8Array(1) }],
  ])('reads %s as an empty view', (_what, doc) => {
    const view = readView(doc);
    expect([view.apps.size, view.nodes.size, view.users.size, view.routes.size, view.invites.size]).toEqual([
      0, 0, 0, 0, 0,
    ]);
    expect(view.cluster.domain).toBe('localhost');
  });

  it('gives defaults for what is missing or of a wrong type, and moves numbers into their range', () => {
    const doc = {
      unknown: { from: 'a newer version' },
      apps: {
        a: {
          name: 'a',
          memoryBytes: '1',
          diskBytes: -5,
          scale: { web: 1e9, 'b c': 1, worker: 'x' },
          strategy: 'new',
          health: 3,
          maxUnavailable: Number.NaN,
          maxSurge: null,
          env: { OK: '', 'NOT-OK': 'x', NUMBER: 4 },
        },
      },
      nodes: { n: {} },
      users: {
        bob: { role: 'root', tokenHash: 'x' },
        eve: { role: 'viewer' },
        tom: { role: 'viewer', tokenHash },
        'o p': { role: 'admin', tokenHash },
      },
    };
    const view = readView(doc);
    expect(view.apps.get(asAppId('a'))).toMatchObject({
      memoryBytes: 256 * 1024 ** 2,
      diskBytes: 16 * 1024 ** 2,
      scale: { web: 100, worker: 0 },
      strategy: 'rolling',
      health: { kind: 'port', path: '/', timeoutMs: 60_000 },
      maxUnavailable: 1,
      maxSurge: 1,
      env: { OK: '' },
    });
    expect(view.nodes.get(asNodeId('n'))).toMatchObject({ name: 'n', draining: false, labels: {} });
    expect([...view.users.keys()]).toEqual(['tom']);
  });

  it('says what it left out or replaced, and where; what is missing is fine', () => {
    const view = readView({
      apps: {
        'x:y': { name: 'colon' },
        [`a/../${'b'.repeat(500)}`]: { name: 'path' },
        nameless: {},
        shop: {
          name: 'shop',
          memoryBytes: Number.POSITIVE_INFINITY,
          env: { 'A B': 'secret', B: 'a\0b' },
          releases: {
            r1: { droplet: { digest: 'none' } },
            r2: { droplet: { digest: digest(1) }, processes: { web: ' ' }, createdAtMs: 1e300 },
          },
        },
      },
      nodes: { n: { name: 'Not A Name', labels: { ok: 'x'.repeat(129) } } },
      routes: { 'A.b shop': {} },
    });
    expect(view.problems.map(problemText)).toEqual([
      'nodes/n/name: must be 1 to 63 lower-case letters, digits or dashes, with a letter or digit at both ends; a value that is allowed stands in its place',
      'nodes/n/labels/ok: must be at most 128 printable ASCII characters; it is left out',
      expect.stringMatching(/^apps\/"a\/\.\.\/b{70,75}…: its id must be an id of 1 to 64 .* it is left out$/),
      expect.stringMatching(/^apps\/nameless: its name must be /),
      expect.stringMatching(/^apps\/shop\/releases\/r1: its droplet's digest must be /),
      expect.stringMatching(/^apps\/shop\/releases\/r2\/createdAtMs: must be a whole number from 0 to /),
      expect.stringMatching(/^apps\/shop\/releases\/r2\/processes\/web: must have a start command; it is left out$/),
      expect.stringMatching(/^apps\/shop\/env\/"A B": must be letters/),
      'apps/shop/env/B: must not contain a NUL character; it is left out',
      expect.stringMatching(/^apps\/shop\/memoryBytes: must be a whole number from /),
      expect.stringMatching(/^apps\/x:y: its id must be /),
      expect.stringMatching(/^routes\/"A\.b shop": must be HOST or HOST\/PATH/),
    ]);
    expect(JSON.stringify(view.problems)).not.toContain('secret');
    expect([...view.apps.keys()]).toEqual(['shop']);
  });

  it('says so much and no more, however much there is to say', () => {
    const apps = Object.fromEntries(Array.from({ length: 5_000 }, (_, at) => [`x:${at}`, { name: 'a' }]));
    const { problems } = readView({ apps });
    expect(problems).toHaveLength(RECORD_PROBLEMS_MAX + 1);
    expect(problems.at(-1)?.problem).toBe('4900 more do not keep to the rules');
  });

  it('holds no more of anything than its bound', () => {
    const many = (count: number, name: (at: number) => string, value: (at: number) => unknown) =>
      Object.fromEntries(Array.from({ length: count }, (_, at) => [name(at), value(at)]));
    const { apps, routes } = readView({
      apps: {
        a: {
          name: 'a',
          scale: many(
            200,
            (at) => `p${at}`,
            () => 1,
          ),
          env: many(
            300,
            (at) => `V${at}`,
            () => 'x'.repeat(2_000),
          ),
          releases: many(
            200,
            (at) => `r${at}`,
            (at) => ({ version: at, droplet: { digest: digest(1) } }),
          ),
        },
        ...many(
          2_500,
          (at) => `b${at}`,
          (at) => ({ name: `b${at}` }),
        ),
      },
      routes: many(
        300,
        (at) => `h${at}.test a`,
        () => ({}),
      ),
    });
    const a = apps.get(asAppId('a'))!;
    expect([apps.size, routes.size, Object.keys(a.scale).length, a.releases.length]).toEqual([2000, 100, 21, 100]);
    expect(a.releases.at(-1)?.version).toBe(199);
    expect(Object.keys(a.env).length).toBeGreaterThan(100);
    expect(JSON.stringify(a.env).length).toBeLessThan(270 * 1024);
  });

  it('keeps names of object prototypes apart from what was said', () => {
    const doc = { apps: { constructor: { name: 'a', scale: { toString: 2 }, env: { constructor: 'x' } } } };
    const { apps } = readView(JSON.parse(JSON.stringify(doc)));
    const one = apps.get(asAppId('constructor'))!;
    expect([one.scale.toString, one.scale.valueOf, one.env.constructor, one.env.toString]).toEqual([
      2,
      undefined,
      'x',
      undefined,
    ]);
  });

  it('leaves out routes that are not in normal form, or of no app', () => {
    const claim = { createdAtMs: 1 };
    const doc = {
      apps: { a: { name: 'a' } },
      routes: { 'A.b a': claim, 'a.b a': claim, 'a.b gone': claim, a: claim, ' a': claim },
    };
    expect([...readView(doc).routes]).toEqual([['a.b', 'a']]);
  });

  const keys = [
    'apps',
    'nodes',
    'removedNodes',
    'users',
    'invites',
    'routes',
    'cluster',
    'a',
    'b',
    'name',
    'id',
    'releases',
    'currentRelease',
    'version',
    'droplet',
    'digest',
    'env',
    'scale',
    'web',
    'role',
    'tokenHash',
    'node',
    'labels',
    'uses',
    'health',
    'failed',
    'a.b a',
    '__proto__',
    'constructor',
    '',
  ];
  const garbage = fc.letrec((tie) => ({
    value: fc.oneof(
      { depthSize: 'small', withCrossShrink: true },
      fc.constantFrom<unknown>(
        null,
        true,
        -1,
        0,
        1.5,
        1e300,
        Number.NaN,
        '',
        'a',
        'port',
        'admin',
        `sha256:${'0'.repeat(64)}`,
      ),
      fc.constantFrom<unknown>(new A.ImmutableString('a'), new A.Counter(3), new Uint8Array(2), new Date(0)),
      fc.array(tie('value'), { maxLength: 2 }),
      fc.dictionary(fc.constantFrom(...keys), tie('value'), { maxKeys: 6, noNullPrototype: false }),
    ),
  })).value;

  it('never throws, and reads the same twice, for any garbage', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom(...keys), garbage, { maxKeys: 8 }), (doc) => {
        expect(plain(readView(doc))).toEqual(plain(readView(doc)));
      }),
      { numRuns: 400 },
    );
  });

  it('never throws for garbage inside Automerge, and its order of keys does not count', () => {
    const scalar = fc.constantFrom<unknown>(null, true, 3, 'text', [1], new Date(0));
    const shallow = fc.dictionary(fc.constantFrom(...keys.filter((key) => !['', '__proto__'].includes(key))), scalar, {
      maxKeys: 5,
      noNullPrototype: true,
    });
    fc.assert(
      fc.property(
        fc.array(
          fc.tuple(
            fc.constantFrom('apps', 'nodes', 'users', 'invites', 'routes'),
            fc.constantFrom('a', 'b', 'a.b a'),
            shallow,
          ),
          { maxLength: 6 },
        ),
        (writes) => {
          const build = (order: typeof writes) =>
            A.change(A.init<Record<string, Record<string, unknown>>>(), (draft) => {
              for (const [root, key, value] of order) {
                draft[root] ??= {};
                draft[root]![key] = structuredClone(value);
              }
            });
          const distinct = [...new Map(writes.map((write) => [`${write[0]} ${write[1]}`, write])).values()];
          expect(plain(readView(build(distinct)))).toEqual(plain(readView(build(distinct.toReversed()))));
        },
      ),
      { numRuns: 60 },
    );
  });
});
