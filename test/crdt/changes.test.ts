// Each named change: what it does to the view, and what it is rejected for.

import { describe, expect, it } from 'vitest';
import type { NamedChange } from '../../crdt/change.ts';
import { applyChange } from '../../crdt/changes.ts';
import { DesiredDocument } from '../../crdt/document.ts';
import { ChangeRejected } from '../../crdt/errors.ts';
import { asAppId } from '../../crdt/ids.ts';
import { RELEASES_KEPT_MAX } from '../../crdt/limits.ts';
import { readView } from '../../crdt/read.ts';
import type { DesiredDoc } from '../../crdt/schema.ts';
import {
  actor,
  addRelease,
  admitNode,
  alice,
  app,
  at,
  createApp,
  digest,
  documentWith,
  merged,
  newCluster,
  node,
  release,
  replicaOf,
  tokenHash,
  writeAll,
} from './fixtures.ts';
import { rawChange } from './odd-records.ts';

const viewAfter = (...changes: NamedChange[]) => documentWith(changes).view();
const addUser = (name: string, role: 'admin' | 'developer' | 'viewer' = 'developer'): NamedChange => ({
  change: 'addUser',
  name,
  role,
  tokenHash,
});
const createInvite = (id: string, more: { usesMax?: number; expiresAtMs?: number } = {}): NamedChange => ({
  change: 'createInvite',
  id,
  secretHash: tokenHash,
  expiresAtMs: more.expiresAtMs ?? alice.atMs + 1000,
  usesMax: more.usesMax ?? 1,
});
const setEnv = (set: Record<string, string>, unset: string[] = [], id = 90): NamedChange => ({
  change: 'setEnv',
  app: app(1),
  set,
  unset,
  release: release(id),
});
const configure = (settings: object): NamedChange => ({ change: 'configureApp', app: app(1), settings });
const scale = (counts: Record<string, number>): NamedChange => ({ change: 'scaleApp', app: app(1), scale: counts });
const mapRoute = (route: string, index = 1): NamedChange => ({ change: 'mapRoute', app: app(index), route });
const unmapRoute = (route: string, index = 1): NamedChange => ({ change: 'unmapRoute', app: app(index), route });
const rollback = (to: number, id = 91): NamedChange => ({
  change: 'rollback',
  app: app(1),
  to: release(to),
  release: release(id),
});
const fail = (id: number): NamedChange => ({
  change: 'failRelease',
  app: app(1),
  release: release(id),
  reason: 'exit 1',
});

describe('nodes', () => {
  it('admits a node with its operator', () => {
    const view = viewAfter(admitNode(1));
    expect(view.nodes.get(node(1))).toEqual({
      id: node(1),
      name: 'n1',
      draining: false,
      labels: {},
      admittedAtMs: alice.atMs,
    });
    expect(view.users.get('operator@n1')).toEqual({
      name: 'operator@n1',
      role: 'admin',
      tokenHash,
      createdAtMs: alice.atMs,
      node: node(1),
    });
  });

  it('counts the use of the invite once, however often the node asks', () => {
    const join: NamedChange = { change: 'admitNode', node: node(2), name: 'n2', invite: 'i1' };
    const view = viewAfter(admitNode(1), createInvite('i1'), join, join);
    expect(view.invites.get('i1')?.usedBy).toEqual([node(2)]);
  });

  it('lets a node that is admitted change its name and its operator token', () => {
    const again: NamedChange = { change: 'admitNode', node: node(1), name: 'new', operatorTokenHash: 'cd'.repeat(32) };
    const view = viewAfter(admitNode(1), again);
    expect([...view.nodes.values()].map((one) => one.name)).toEqual(['new']);
    expect([...view.users.values()].map((one) => [one.name, one.tokenHash])).toEqual([
      ['operator@new', 'cd'.repeat(32)],
    ]);
  });

  it('removes a node with its operator, for ever', () => {
    const document = documentWith([admitNode(1), admitNode(2), { change: 'removeNode', node: node(2) }]);
    const view = document.view();
    expect([...view.nodes.keys()]).toEqual([node(1)]);
    expect([...view.removedNodes]).toEqual([node(2)]);
    expect([...view.users.keys()]).toEqual(['operator@n1']);
    expect(() => document.write([admitNode(2)], alice)).toThrow(/delete its data directory/);
  });

  it('drains and labels', () => {
    const view = viewAfter(
      admitNode(1),
      { change: 'setDraining', node: node(1), draining: true },
      { change: 'labelNode', node: node(1), labels: { zone: 'attic', disk: 'ssd' } },
      { change: 'labelNode', node: node(1), labels: { zone: '' } },
    );
    expect(view.nodes.get(node(1))).toMatchObject({ draining: true, labels: { disk: 'ssd' } });
  });
});

describe('users and invites', () => {
  it('adds and removes a user', () => {
    expect(viewAfter(addUser('bob')).users.get('bob')).toMatchObject({ role: 'developer', tokenHash });
    expect(viewAfter(addUser('bob'), { change: 'removeUser', name: 'bob' }).users.has('bob')).toBe(false);
  });

  it('removes the operator of a node by its shown name, as long as another admin is left', () => {
    const view = viewAfter(admitNode(1), addUser('root', 'admin'), { change: 'removeUser', name: 'operator@n1' });
    expect([...view.users.keys()]).toEqual(['root']);
  });

  it('drops invites that expired long ago when it makes another', () => {
    const old = documentWith([createInvite('old', { expiresAtMs: alice.atMs + 1 })]);
    const dayLater = at(alice.atMs + 25 * 3600 * 1000);
    const view = writeAll(old, [createInvite('new', { expiresAtMs: dayLater.atMs + 1 })], dayLater).view();
    expect([...view.invites.keys()]).toEqual(['new']);
  });
});

describe('apps', () => {
  it('creates an app with defaults', () => {
    expect(viewAfter(createApp(1, { routes: ['App1.localhost'] })).apps.get(app(1))).toEqual({
      id: app(1),
      name: 'app1',
      ownsName: true,
      createdAtMs: alice.atMs,
      owner: 'alice',
      members: [],
      stopped: false,
      scale: { web: 1 },
      memoryBytes: 256 * 1024 ** 2,
      diskBytes: 1024 ** 3,
      env: {},
      health: { kind: 'port', path: '/', timeoutMs: 60_000 },
      strategy: 'rolling',
      partition: 'serve',
      maxUnavailable: 1,
      maxSurge: 1,
      restartCount: 0,
      release: undefined,
      releases: [],
      routes: ['app1.localhost'],
      volumes: [],
    });
  });

  it('belong to who made them, who may give them to another and share them', () => {
    const member = (user: string, isMember: boolean): NamedChange => ({
      change: 'setMember',
      app: app(1),
      user,
      member: isMember,
    });
    const people = [addUser('bob'), addUser('eve'), addUser('tom')];
    const shared = documentWith([...people, createApp(1), member('bob', true), member('eve', true)]);
    expect(shared.view().apps.get(app(1))).toMatchObject({ owner: 'alice', members: ['bob', 'eve'] });
    const given = writeAll(shared, [{ change: 'setOwner', app: app(1), owner: 'bob' }, member('eve', false)]);
    expect(given.view().apps.get(app(1))).toMatchObject({ owner: 'bob', members: [] });
    const removed = writeAll(shared, [{ change: 'removeUser', name: 'eve' }, addUser('eve')]);
    expect(removed.view().apps.get(app(1))?.members).toEqual(['bob']);
  });

  it('keep both members that were added apart, also in a document that knew no members', () => {
    const older = documentWith([addUser('bob'), addUser('eve'), createApp(1)]);
    const add = (user: string): NamedChange => ({ change: 'setMember', app: app(1), user, member: true });
    const left = writeAll(replicaOf(older, 21), [add('bob')]);
    const right = writeAll(replicaOf(older, 22), [add('eve')]);
    expect(merged(left, right).view().apps.get(app(1))?.members).toEqual(['bob', 'eve']);
  });

  it('that are older than owners belong to who made the first release, also when that is dropped', () => {
    const release = (version: number) => ({ version, createdBy: `user-${version}`, droplet: { digest: digest(1) } });
    const doc = (...versions: number[]) => ({
      apps: { a: { name: 'a', releases: Object.fromEntries(versions.map((one) => [`r${one}`, release(one)])) } },
    });
    expect(readView(doc(1, 2)).apps.get(asAppId('a'))?.owner).toBe('user-1');
    expect(readView(doc(2, 3)).apps.get(asAppId('a'))?.owner).toBeUndefined();
    const draft = doc(1, 2) as unknown as DesiredDoc;
    const change = { ...addRelease(1, 3), app: asAppId('a') } as NamedChange;
    applyChange(draft, change, { by: 'someone', atMs: 1 });
    delete (draft.apps.a!.releases as Record<string, unknown>).r1;
    expect(readView(draft).apps.get(asAppId('a'))?.owner).toBe('user-1');
  });

  it('changes only the settings given', () => {
    const health = { kind: 'http', path: '/up', timeoutMs: 5000 } as const;
    const view = viewAfter(
      createApp(1),
      configure({ memoryBytes: 64 * 1024 ** 2, partition: 'fence' }),
      configure({ health }),
    );
    expect(view.apps.get(app(1))).toMatchObject({
      memoryBytes: 64 * 1024 ** 2,
      diskBytes: 1024 ** 3,
      partition: 'fence',
      health,
    });
  });

  it('scales, stops, restarts', () => {
    const view = viewAfter(
      createApp(1),
      scale({ web: 3, worker: 1 }),
      { change: 'setStopped', app: app(1), stopped: true },
      { change: 'restartApp', app: app(1) },
      { change: 'restartApp', app: app(1) },
    );
    expect(view.apps.get(app(1))).toMatchObject({ scale: { web: 3, worker: 1 }, stopped: true, restartCount: 2 });
  });

  it('deletes an app with its routes, and frees its name', () => {
    const view = viewAfter(
      createApp(1, { routes: ['a.example.org'] }),
      { change: 'deleteApp', app: app(1) },
      createApp(2, { name: 'app1', routes: ['a.example.org'] }),
    );
    expect([...view.apps.keys()]).toEqual([app(2)]);
    expect([...view.routes]).toEqual([['a.example.org', app(2)]]);
  });

  it('maps and unmaps routes in their normal form', () => {
    const view = viewAfter(
      addUser('alice', 'admin'),
      createApp(1),
      mapRoute('A.Example.org/API/'),
      mapRoute('*.d'),
      unmapRoute('*.D'),
    );
    expect(view.apps.get(app(1))?.routes).toEqual(['a.example.org/API']);
  });
});

describe('releases', () => {
  it('numbers releases upwards, makes the newest current and copies the env', () => {
    const view = viewAfter(createApp(1, { env: { A: '1' } }), addRelease(1, 1), addRelease(1, 2));
    const shown = view.apps.get(app(1));
    expect(shown?.releases.map((one) => [one.id, one.version])).toEqual([
      [release(1), 1],
      [release(2), 2],
    ]);
    expect(shown?.release).toEqual({
      id: release(2),
      version: 2,
      createdAtMs: alice.atMs,
      createdBy: 'alice',
      description: 'push',
      droplet: { digest: digest(2), sizeBytes: 1000, stack: 'peer-1' },
      buildpack: 'node',
      processes: { web: 'node server.js' },
      env: { A: '1' },
      settings: {
        scale: { web: 1 },
        memoryBytes: 256 * 1024 ** 2,
        diskBytes: 1024 ** 3,
        health: { kind: 'port', path: '/', timeoutMs: 60_000 },
        strategy: 'rolling',
        partition: 'serve',
        maxUnavailable: 1,
        maxSurge: 1,
      },
      failed: undefined,
    });
  });

  it('falls back to the newest good release before a failed one, and keeps its number taken', () => {
    const view = viewAfter(createApp(1), addRelease(1, 1), addRelease(1, 2), addRelease(1, 3), fail(2), fail(3));
    expect(view.apps.get(app(1))?.release?.version).toBe(1);
    expect(view.apps.get(app(1))?.releases.at(-1)?.failed).toEqual({ reason: 'exit 1', atMs: alice.atMs });
    const pushed = viewAfter(createApp(1), addRelease(1, 1), addRelease(1, 2), fail(2), addRelease(1, 3));
    expect(pushed.apps.get(app(1))?.release?.version).toBe(3);
  });

  it('stays with a failed first release, since there is nothing better', () => {
    expect(viewAfter(createApp(1), addRelease(1, 1), fail(1)).apps.get(app(1))?.release?.version).toBe(1);
  });

  it('rolls back to the droplet and the env of an earlier release, as a new one', () => {
    const view = viewAfter(
      createApp(1, { env: { A: '1' } }),
      addRelease(1, 1),
      setEnv({ A: '2', B: '3' }),
      rollback(1),
    );
    const shown = view.apps.get(app(1));
    expect(shown?.release).toMatchObject({
      id: release(91),
      version: 3,
      description: 'rollback to v1',
      droplet: { digest: digest(1) },
      env: { A: '1' },
    });
    expect(shown?.env).toEqual({ A: '1' });
  });

  it('keeps the image of a release through a new env and a rollback, and takes none that no engine could name', () => {
    const image = { id: digest(7), ref: 'shop:1', ownCommand: true };
    const push = (id: number, pushed: object): NamedChange => {
      const change = addRelease(1, id) as Extract<NamedChange, { change: 'addRelease' }>;
      return { ...change, release: { ...change.release, ...pushed } };
    };
    const view = viewAfter(createApp(1), push(1, { image }), setEnv({ A: '2' }), addRelease(1, 3), rollback(1));
    expect(view.apps.get(app(1))?.releases.map((one) => one.image)).toEqual([image, image, undefined, image]);
    const document = documentWith([createApp(1)]);
    for (const bad of [{ ...image, id: 'shop:1' }, { ...image, ref: 7 }, { ...image, ownCommand: 'yes' }, 'shop:1']) {
      expect(() => document.write([push(1, { image: bad })], alice)).toThrow(ChangeRejected);
    }
  });

  it('makes a release for a new env, but none before the first push and none when nothing changes', () => {
    expect(viewAfter(createApp(1), setEnv({ A: '1' })).apps.get(app(1))?.releases).toEqual([]);
    const document = documentWith([createApp(1), addRelease(1, 1), setEnv({ A: '1', B: '' }, [], 2)]);
    expect(document.view().apps.get(app(1))?.release).toMatchObject({
      version: 2,
      description: 'env: A, B',
      env: { A: '1', B: '' },
    });
    expect(document.write([setEnv({ A: '1' }, ['MISSING'], 3)], alice)).toBeUndefined();
  });

  it('ships what is given with it, on top of what the app has', () => {
    const push = addRelease(1, 2, { web: 'a', worker: 'b' }) as Extract<NamedChange, { change: 'addRelease' }>;
    const view = viewAfter(createApp(1, { env: { B: '1' } }), addRelease(1, 1), {
      ...push,
      env: { A: '1' },
      settings: { memoryBytes: 64 * 1024 ** 2 },
      scale: { worker: 2 },
    });
    const shown = view.apps.get(app(1));
    expect(shown).toMatchObject({ env: { A: '1', B: '1' }, memoryBytes: 64 * 1024 ** 2, scale: { web: 1, worker: 2 } });
    expect(shown?.releases.map((release) => [release.version, release.env, release.settings?.memoryBytes])).toEqual([
      [1, { B: '1' }, 256 * 1024 ** 2],
      [2, { A: '1', B: '1' }, 64 * 1024 ** 2],
    ]);
  });

  it('bases a new env on what runs, not on a release that failed', () => {
    const view = viewAfter(createApp(1), addRelease(1, 1), addRelease(1, 2), fail(2), setEnv({ A: '1' }));
    expect(view.apps.get(app(1))?.release).toMatchObject({ version: 3, droplet: { digest: digest(1) } });
  });

  it('keeps the newest releases, and the running one whatever its age', () => {
    const pushes = Array.from({ length: RELEASES_KEPT_MAX + 4 }, (_, index) => addRelease(1, index + 1));
    const kept = viewAfter(createApp(1), ...pushes)
      .apps.get(app(1))
      ?.releases.map((one) => one.version);
    expect(kept).toEqual([5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
    const failing = pushes.slice(1).flatMap((push, index) => [push, fail(index + 2)]);
    const shown = viewAfter(createApp(1), addRelease(1, 1), ...failing).apps.get(app(1));
    expect(shown?.release?.version).toBe(1);
    expect(shown?.releases).toHaveLength(RELEASES_KEPT_MAX);
  });
});

describe('a write', () => {
  it('holds changes that build on one another', () => {
    const written = documentWith([]).write([createApp(1), addRelease(1, 1), mapRoute('a.b'), scale({ web: 2 })], alice);
    expect(written?.next.view().apps.get(app(1))).toMatchObject({
      release: { version: 1 },
      routes: ['a.b'],
      scale: { web: 2 },
    });
  });

  it('restarts an app that it has just made', () => {
    const written = documentWith([]).write(
      [createApp(1), { change: 'restartApp', app: app(1) }, { change: 'restartApp', app: app(1) }],
      alice,
    );
    expect(written?.next.view().apps.get(app(1))?.restartCount).toBe(2);
  });

  it('is all or nothing', () => {
    const document = documentWith([]);
    const heads = document.heads();
    expect(() => document.write([createApp(1), createApp(2, { name: 'app1' })], alice)).toThrow(ChangeRejected);
    expect(document.heads()).toEqual(heads);
    expect(document.view().apps.size).toBe(0);
  });

  it.each<[string, NamedChange]>([
    ['scale', scale({ web: 1 })],
    ['configureApp', configure({ memoryBytes: 256 * 1024 ** 2, health: { kind: 'port', timeoutMs: 60_000 } })],
    ['setStopped', { change: 'setStopped', app: app(1), stopped: false }],
    ['mapRoute', mapRoute('a.b')],
    ['labelNode', { change: 'labelNode', node: node(1), labels: { gone: '' } }],
    ['setDraining', { change: 'setDraining', node: node(1), draining: false }],
    ['admitNode', admitNode(1)],
    ['failRelease', fail(1)],
  ])('that changes nothing writes nothing: %s', (_name, change) => {
    const document = documentWith([
      admitNode(1),
      createApp(1, { routes: ['a.b'] }),
      addRelease(1, 1),
      fail(1),
      scale({ web: 1 }),
    ]);
    expect(document.write([change], at(alice.atMs + 5))).toBeUndefined();
  });

  it('tells who did what in the history, without values of the environment, commands or hashes', () => {
    const document = documentWith([
      createApp(1, { env: { SECRET: 'hunter2' } }),
      setEnv({ SECRET: 'hunter3' }, ['OTHER']),
      addRelease(1, 1, { web: 'serve --password hunter4' }),
      addUser('bob'),
    ]);
    const history = document.history(10);
    expect(history.map((entry) => [entry.by, entry.atMs, entry.changes[0]?.change])).toEqual([
      ['alice', alice.atMs, 'addUser'],
      ['alice', alice.atMs, 'addRelease'],
      ['alice', alice.atMs, 'setEnv'],
      ['alice', alice.atMs, 'createApp'],
      ['alice', alice.atMs, 'createCluster'],
    ]);
    expect(history[2]?.changes).toEqual([
      { change: 'setEnv', app: app(1), name: 'app1', set: ['SECRET'], unset: ['OTHER'] },
    ]);
    expect(JSON.stringify(history)).not.toMatch(/hunter|abab/);
    expect(document.history(10, app(1))).toHaveLength(3);
    expect(document.history(1)).toHaveLength(1);
  });

  it('can be looked behind', () => {
    const document = documentWith([createApp(1)]);
    const next = writeAll(document, [{ change: 'deleteApp', app: app(1) }]);
    expect([...(next.viewAt(document.heads())?.apps.keys() ?? [])]).toEqual([app(1)]);
    expect(next.viewAt(['ff'.repeat(32)])).toBeUndefined();
  });
});

const base = documentWith([
  admitNode(1),
  admitNode(2),
  addUser('bob'),
  createInvite('open'),
  createInvite('used'),
  { change: 'admitNode', node: node(3), name: 'n3', invite: 'used' },
  createApp(1, { routes: ['taken.example.org'] }),
  createApp(2),
  addRelease(1, 1),
  addRelease(1, 2),
  addRelease(2, 9),
]);
const big = 'x'.repeat(65 * 1024);
const many = (count: number, of: (index: number) => [string, string]) =>
  Object.fromEntries(Array.from({ length: count }, (_, index) => of(index)));
const withRelease = (fields: object): NamedChange => {
  const change = addRelease(1, 50) as Extract<NamedChange, { change: 'addRelease' }>;
  return { ...change, release: { ...change.release, ...fields } };
};
const raw = (change: object): NamedChange => change as NamedChange;

describe('rejections', () => {
  it.each<[string, string, NamedChange]>([
    ['a name taken', 'app_exists', createApp(3, { name: 'app1' })],
    ['an id taken', 'app_exists', createApp(1, { name: 'other' })],
    ['an upper-case name', 'invalid_name', createApp(3, { name: 'App' })],
    ['an empty name', 'invalid_name', createApp(3, { name: '' })],
    ['a name of 64 characters', 'invalid_name', createApp(3, { name: 'a'.repeat(64) })],
    ['a name with a dash at its end', 'invalid_name', createApp(3, { name: 'a-' })],
    ['an app id with a space', 'invalid_id', raw({ ...createApp(3), app: 'a b' })],
    ['too little memory', 'out_of_range', createApp(3, { settings: { memoryBytes: 1024 } })],
    ['too much memory', 'out_of_range', configure({ memoryBytes: 65 * 1024 ** 3 })],
    ['memory that is text', 'out_of_range', configure({ memoryBytes: '256M' })],
    ['too little disk', 'out_of_range', configure({ diskBytes: 15 * 1024 ** 2 })],
    ['a fraction of unavailable instances', 'out_of_range', configure({ maxUnavailable: 0.5 })],
    ['no unavailable instance', 'out_of_range', configure({ maxUnavailable: 0 })],
    ['a negative surge', 'out_of_range', configure({ maxSurge: -1 })],
    ['an unknown strategy', 'invalid_value', configure({ strategy: 'yolo' })],
    ['an unknown partition mode', 'invalid_value', configure({ partition: 'split' })],
    ['an unknown health check', 'invalid_value', configure({ health: { kind: 'tcp', timeoutMs: 5000 } })],
    ['a health timeout of 4 minutes', 'out_of_range', configure({ health: { kind: 'port', timeoutMs: 240_000 } })],
    [
      'a health path without a slash',
      'invalid_value',
      configure({ health: { kind: 'http', path: 'up', timeoutMs: 5000 } }),
    ],
    ['settings of an unknown app', 'app_unknown', raw({ change: 'configureApp', app: 'nope', settings: {} })],
    ['no settings', 'invalid_value', raw({ change: 'configureApp', app: app(1) })],
    ['101 instances', 'out_of_range', scale({ web: 101 })],
    ['-1 instances', 'out_of_range', scale({ web: -1 })],
    ['a process type the release has not', 'process_unknown', scale({ worker: 1 })],
    ['a process type that is no name', 'invalid_name', scale({ 'a b': 1 })],
    ['an env name with a dash', 'invalid_env', setEnv({ 'A-B': '1' })],
    ['an env name that is a prototype', 'invalid_env', setEnv(JSON.parse('{"__proto__":"1"}'))],
    ['an env name that Peer sets', 'invalid_env', setEnv({ A: '1', DYNO: '1' })],
    ['a port that is none', 'invalid_env', setEnv({ PORT: 'http' })],
    ['an env name that Peer sets, of a new app', 'invalid_env', createApp(3, { env: { VCAP_APPLICATION: '{}' } })],
    ['an env value with NUL', 'invalid_env', setEnv({ A: '\0' })],
    ['an env value that is a number', 'invalid_env', setEnv(raw({ A: 1 }) as unknown as Record<string, string>)],
    ['an env value of 65 KiB', 'invalid_env', setEnv({ A: big })],
    ['an env of 320 KiB', 'too_large', setEnv(many(5, (index) => [`K${index}`, big.slice(1024)]))],
    ['1,001 env names', 'too_large', setEnv(many(1001, (index) => [`K${index}`, '']))],
    ['an env name set and unset', 'invalid_env', setEnv({ A: '1' }, ['A'])],
    ['an env for a release id in use', 'release_exists', setEnv({ A: '1' }, [], 1)],
    ['a release id in use', 'release_exists', addRelease(1, 1)],
    ['a release of an unknown app', 'app_unknown', addRelease(7, 50)],
    ['a digest that is none', 'invalid_value', withRelease({ droplet: { digest: 'md5:1', sizeBytes: 1, stack: 's' } })],
    [
      'a droplet of negative size',
      'out_of_range',
      withRelease({ droplet: { digest: digest(1), sizeBytes: -1, stack: '' } }),
    ],
    ['an empty command', 'invalid_value', withRelease({ processes: { web: ' ' } })],
    ['a command of 17 KiB', 'too_large', withRelease({ processes: { web: 'x'.repeat(17 * 1024) } })],
    ['21 process types', 'limit_reached', withRelease({ processes: many(21, (index) => [`p${index}`, 'run']) })],
    ['failing an unknown release', 'release_unknown', fail(77)],
    ['rolling back to an unknown release', 'release_unknown', rollback(77)],
    ['rolling back to what runs', 'nothing_to_roll_back', rollback(2)],
    [
      'rolling back a single release',
      'nothing_to_roll_back',
      { change: 'rollback', app: app(2), to: release(9), release: release(91) },
    ],
    ['a route of another app', 'route_taken', mapRoute('Taken.example.org', 2)],
    ['a new app on a route of another', 'route_taken', createApp(3, { routes: ['taken.example.org'] })],
    ['a route with a scheme', 'invalid_route', mapRoute('tcp://a.b')],
    ['a route with a port', 'invalid_route', mapRoute('a.b:80')],
    ['a route with a query', 'invalid_route', mapRoute('a.b/c?d')],
    ['unmapping what is not mapped', 'route_unknown', unmapRoute('other.example.org')],
    ['101 routes', 'limit_reached', createApp(3, { routes: Array.from({ length: 101 }, (_, index) => `r${index}.b`) })],
    ['stopping by a word', 'invalid_value', raw({ change: 'setStopped', app: app(1), stopped: 'yes' })],
    ['deleting an unknown app', 'app_unknown', raw({ change: 'deleteApp', app: 'nope' })],
    ['restarting an unknown app', 'app_unknown', raw({ change: 'restartApp', app: '__proto__' })],
    ['an owner who is no user', 'user_unknown', { change: 'setOwner', app: app(1), owner: 'nobody' }],
    ['a member who is no user', 'user_unknown', { change: 'setMember', app: app(1), user: 'nobody', member: true }],
    [
      'taking away who is no member',
      'member_unknown',
      { change: 'setMember', app: app(1), user: 'bob', member: false },
    ],
    ['teams of another kind', 'invalid_value', raw({ change: 'setTeams', teams: 'mine' })],
    ['a user name taken', 'user_exists', addUser('bob')],
    ['a user name with @', 'invalid_name', addUser('operator@n1')],
    ['a role unknown', 'invalid_value', addUser('eve', 'root' as 'admin')],
    ['a token hash that is none', 'invalid_value', raw({ ...addUser('eve'), tokenHash: '' })],
    ['removing an unknown user', 'user_unknown', { change: 'removeUser', name: 'eve' }],
    ['a node name taken', 'node_name_taken', raw({ ...admitNode(4), name: 'n1' })],
    ['a node id that is none', 'invalid_id', raw({ ...admitNode(4), node: '' })],
    ['draining an unknown node', 'node_unknown', { change: 'setDraining', node: node(9), draining: true }],
    ['removing an unknown node', 'node_unknown', { change: 'removeNode', node: node(9) }],
    ['a label with a space in its key', 'invalid_name', { change: 'labelNode', node: node(1), labels: { 'a b': '1' } }],
    ['a label on two lines', 'invalid_value', { change: 'labelNode', node: node(1), labels: { a: '1\n2' } }],
    [
      '51 labels',
      'limit_reached',
      { change: 'labelNode', node: node(1), labels: many(51, (index) => [`l${index}`, '1']) },
    ],
    ['an unknown invite', 'invite_unknown', raw({ ...admitNode(4), invite: 'nope' })],
    ['an invite used up', 'invite_used_up', raw({ ...admitNode(4), invite: 'used' })],
    ['an invite id taken', 'invite_exists', createInvite('open')],
    ['an invite of the past', 'out_of_range', createInvite('past', { expiresAtMs: alice.atMs })],
    ['an invite for nobody', 'out_of_range', createInvite('zero', { usesMax: 0 })],
    ['a change that nobody knows', 'invalid_change', raw({ change: 'toString' })],
    ['a change that is null', 'invalid_change', null as unknown as NamedChange],
  ])('%s: %s', (_what, code, change) => {
    const before = base.heads();
    const error = rejectionOf(() => base.write([change], alice));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(/^[^\n]{10,400}\.$/);
    expect(base.heads()).toEqual(before);
  });

  it('an invite that has expired, unless the node was let in with it before', () => {
    const late = at(alice.atMs + 2000);
    expect(rejectionOf(() => base.write([raw({ ...admitNode(4), invite: 'open' })], late)).code).toBe('invite_expired');
    expect(base.write([{ change: 'admitNode', node: node(3), name: 'n3', invite: 'used' }], late)).toBeUndefined();
  });

  it('the last admin and the last node', () => {
    const single = documentWith([admitNode(1), addUser('bob')]);
    expect(rejectionOf(() => single.write([{ change: 'removeUser', name: 'operator@n1' }], alice)).code).toBe(
      'last_admin',
    );
    expect(rejectionOf(() => single.write([{ change: 'removeNode', node: node(1) }], alice)).code).toBe('last_node');
    const two = documentWith([admitNode(1), { change: 'admitNode', node: node(2), name: 'n2' }]);
    expect(rejectionOf(() => two.write([{ change: 'removeNode', node: node(1) }], alice)).code).toBe('last_admin');
  });

  it('no change, too many, or no author', () => {
    expect(rejectionOf(() => base.write([], alice)).code).toBe('limit_reached');
    expect(rejectionOf(() => base.write(Array(51).fill(scale({ web: 1 })), alice)).code).toBe('limit_reached');
    expect(rejectionOf(() => base.write([scale({ web: 2 })], { by: '', atMs: 1 })).code).toBe('invalid_change');
  });

  it('a write that is too large to travel', () => {
    const env = many(4, (index) => [`K${index}`, big.slice(2000)]);
    const changes = Array.from({ length: 5 }, (_, index) => createApp(10 + index, { env }));
    expect(rejectionOf(() => base.write(changes, alice)).code).toBe('too_large');
    expect(base.write(changes.slice(0, 3), alice)?.next.view().apps.size).toBe(5);
  });

  it('never shows the value of an environment variable', () => {
    const error = rejectionOf(() => base.write([setEnv({ A: `hunter2${big}` })], alice));
    expect(error.message).not.toContain('hunter2');
  });

  it('a domain that is none', () => {
    const create = () => DesiredDocument.create({ ...newCluster, domain: 'not a domain' }, actor(1));
    expect(rejectionOf(create).code).toBe('invalid_name');
  });
});

function rejectionOf(act: () => unknown): ChangeRejected {
  try {
    act();
  } catch (error) {
    if (error instanceof ChangeRejected) return error;
    throw error;
  }
  throw new Error('was not rejected');
}

it.each<[string, unknown]>([
  ['a list', [1]],
  ['a map', { a: 1 }],
  ['text', 'many'],
  ['nothing', null],
])('an app is restarted although another node wrote %s in place of the count', (_what, odd) => {
  const before = documentWith([createApp(1)]);
  const change = rawChange(before.save(), (doc) => {
    (doc.apps![app(1)] as Record<string, unknown>).restartCount = odd;
  });
  const { next, quarantined } = before.receive([change]);
  expect(quarantined).toEqual([]);
  const count = (document: DesiredDocument) => document.view().apps.get(app(1))?.restartCount;
  expect(count(next)).toBe(0);
  expect(count(writeAll(next, [{ change: 'restartApp', app: app(1) }]))).toBe(1);
});

it.each(
  ['env', 'scale', 'health', 'memoryBytes', 'strategy', 'partition'].flatMap((field) =>
    [[1], [], { a: [1] }, null, 'x'].map((odd): [string, unknown] => [field, odd]),
  ),
)('an app is scaled, set and checked although another node wrote to its %s: %j', (field, odd) => {
  const before = documentWith([createApp(1)]);
  const change = rawChange(before.save(), (doc) => {
    (doc.apps![app(1)] as Record<string, unknown>)[field] = odd;
  });
  const { next, quarantined } = before.receive([change]);
  expect(quarantined).toEqual([]);
  const health = { kind: 'http' as const, path: '/up', timeoutMs: 5_000 };
  const after = writeAll(next, [
    scale({ web: 3 }),
    setEnv({ A: '1' }),
    { change: 'configureApp', app: app(1), settings: { health } },
  ]);
  expect(after.view().apps.get(app(1))).toMatchObject({ scale: { web: 3 }, env: { A: '1' }, health });
});

it('a variable that Peer sets, from before that was refused, stays, is rolled back to, and can be unset', () => {
  const before = documentWith([createApp(1, { env: { A: '1' } }), addRelease(1, 1)]);
  const change = rawChange(before.save(), (doc) => {
    const shop = doc.apps![app(1)] as { env: object; releases: Record<string, { env: object }> };
    Object.assign(shop.env, { PORT: '1' });
    Object.assign(shop.releases[release(1)]!.env, { PORT: '1' });
  });
  const old = before.receive([change]).next;
  const envOf = (document: DesiredDocument) => document.view().apps.get(app(1))?.env;
  expect(envOf(old)).toEqual({ A: '1', PORT: '1' });
  expect(old.view().problems).toEqual([]);
  const pushed = writeAll(old, [addRelease(1, 2), setEnv({ B: '2' }, [], 3)]);
  expect(envOf(pushed)).toEqual({ A: '1', B: '2', PORT: '1' });
  const without = writeAll(pushed, [setEnv({}, ['PORT'], 4)]);
  expect(envOf(without)).toEqual({ A: '1', B: '2' });
  expect(envOf(writeAll(without, [rollback(1)]))).toEqual({ A: '1', PORT: '1' });
});
