// What an app runs with when a release has failed: what the last good one shipped, and the refused change shown as
// refused.

import { describe, expect, it } from 'vitest';
import type { AppSettings, NamedChange } from '../../crdt/change.ts';
import { asAppId } from '../../crdt/ids.ts';
import { refusals } from '../../crdt/in-force.ts';
import { readView } from '../../crdt/read.ts';
import type { AppView } from '../../crdt/view.ts';
import { addRelease, app, createApp, documentWith, merged, plain, release, replicaOf, writeAll } from './fixtures.ts';

const MIB = 1024 ** 2;

type Given = { settings?: AppSettings; env?: Record<string, string>; scale?: Record<string, number> };
const push = (id: number, given: Given = {}, processes?: Record<string, string>): NamedChange => ({
  ...(addRelease(1, id, processes) as Extract<NamedChange, { change: 'addRelease' }>),
  ...given,
});
const setEnv = (id: number, set: Record<string, string>, unset: string[] = []): NamedChange => ({
  change: 'setEnv',
  app: app(1),
  set,
  unset,
  release: release(id),
});
const configure = (settings: AppSettings, id: number, more: Given = {}): NamedChange => ({
  change: 'configureApp',
  app: app(1),
  settings,
  ...more,
  release: release(id),
});
const scale = (counts: Record<string, number>): NamedChange => ({ change: 'scaleApp', app: app(1), scale: counts });
const fail = (id: number, reason = `v${id} crashed`): NamedChange => ({
  change: 'failRelease',
  app: app(1),
  release: release(id),
  reason,
});
const rollback = (to: number, id: number): NamedChange => ({
  change: 'rollback',
  app: app(1),
  to: release(to),
  release: release(id),
});

const good = [createApp(1, { env: { A: '1' } }), push(1)];
const appAfter = (...changes: NamedChange[]): AppView =>
  documentWith([...good, ...changes])
    .view()
    .apps.get(app(1))!;
/** Of the release that a later change makes: what it ships. */
const shipped = (shown: AppView) => shown.releases.at(-1)!;
const refused = (shown: AppView) =>
  refusals(shown).map(({ release: { version }, env, others, reason }) => ({ version, env, others, reason }));

/** Two sides of a partition write on the same base; both then hear of each other. */
function afterPartition(base: NamedChange[], left: NamedChange[], right: NamedChange[], after: NamedChange[] = []) {
  const start = documentWith(base);
  const one = writeAll(replicaOf(start, 1), left);
  const two = writeAll(replicaOf(start, 2), right);
  expect(plain(merged(two, one).view())).toEqual(plain(merged(one, two).view()));
  return writeAll(merged(one, two), after).view().apps.get(app(1))!;
}

describe('a change that was called off', () => {
  it('leaves the environment of the last good release, and the next release ships that', () => {
    const shown = appAfter(setEnv(2, { D: '1', A: '2' }), fail(2));
    expect(shown.env).toEqual({ A: '1' });
    expect(shipped(appAfter(setEnv(2, { D: '1', A: '2' }), fail(2), push(3)))).toMatchObject({ env: { A: '1' } });
    expect(shipped(appAfter(setEnv(2, { D: '1' }), fail(2), setEnv(3, { E: '5' })))).toMatchObject({
      version: 3,
      env: { A: '1', E: '5' },
    });
  });

  it('brings back a variable that it had unset', () => {
    expect(appAfter(setEnv(2, {}, ['A']), fail(2)).env).toEqual({ A: '1' });
    expect(shipped(appAfter(setEnv(2, {}, ['A']), fail(2), push(3))).env).toEqual({ A: '1' });
  });

  it.each<[string, AppSettings]>([
    ['memory', { memoryBytes: 64 * MIB }],
    ['disk', { diskBytes: 512 * MIB }],
    ['health', { health: { kind: 'http', path: '/up', timeoutMs: 5_000 } }],
    ['strategy', { strategy: 'recreate' }],
    ['partition', { partition: 'fence' }],
    ['max-unavailable', { maxUnavailable: 2 }],
    ['max-surge', { maxSurge: 3 }],
  ])('of a push leaves the %s of the last good release', (name, settings) => {
    const [key] = Object.keys(settings) as (keyof AppSettings)[];
    const before = appAfter();
    const pushed = appAfter(push(2, { settings }));
    expect(pushed[key!]).toEqual(settings[key!]);
    const after = appAfter(push(2, { settings }), fail(2));
    expect(after[key!]).toEqual(before[key!]);
    expect(refused(after)).toMatchObject([{ version: 2, others: ['code', name] }]);
    expect(shipped(appAfter(push(2, { settings }), fail(2), setEnv(3, { E: '5' }))).settings).toEqual(
      shipped(before).settings,
    );
  });

  it('of a push leaves the scale of the last good release, also of a process that only the pushed one has', () => {
    const pushed = push(2, { scale: { web: 5, worker: 2 } }, { web: 'a', worker: 'b' });
    expect(appAfter(pushed).scale).toEqual({ web: 5, worker: 2 });
    expect(appAfter(pushed, fail(2)).scale).toEqual({ web: 1 });
    expect(appAfter(pushed, fail(2), setEnv(3, { E: '5' })).scale).toEqual({ web: 1 });
  });

  it('of the memory alone goes back to the same code with the memory it had', () => {
    const smaller = configure({ memoryBytes: 16 * MIB }, 3, { scale: { web: 4 } });
    const tried = appAfter(push(2), smaller);
    expect(tried).toMatchObject({ memoryBytes: 16 * MIB, scale: { web: 4 }, release: { version: 3 } });
    const shown = appAfter(push(2), smaller, fail(3));
    expect(shown).toMatchObject({ memoryBytes: 256 * MIB, scale: { web: 1 }, release: { version: 2 } });
    expect(refused(shown)).toMatchObject([{ version: 3, env: [], others: ['memory', 'scale web'] }]);
  });

  it('is shown with its names and reason until a later release runs, and with its release after that', () => {
    const shown = appAfter(setEnv(2, { D: 'secret' }), fail(2), setEnv(3, { E: 'secret' }, ['A']), fail(3));
    expect(refused(shown)).toEqual([
      { version: 3, env: ['A', 'E'], others: [], reason: 'v3 crashed' },
      { version: 2, env: ['D'], others: [], reason: 'v2 crashed' },
    ]);
    expect(refused(appAfter(setEnv(2, { D: '1' }), fail(2), push(3)))).toEqual([]);
  });

  it('can be asked for again', () => {
    expect(appAfter(setEnv(2, { D: '1' }), fail(2), setEnv(3, { D: '1' }))).toMatchObject({
      env: { A: '1', D: '1' },
      release: { version: 3, env: { A: '1', D: '1' } },
    });
    const settings = { strategy: 'recreate', memoryBytes: 64 * MIB } as const;
    const failed = [push(2, { settings, scale: { web: 5 } }), fail(2)];
    expect(appAfter(...failed, configure({ strategy: 'recreate' }, 3))).toMatchObject({ strategy: 'recreate' });
    expect(appAfter(...failed, scale({ web: 5 }))).toMatchObject({ scale: { web: 5 }, memoryBytes: 256 * MIB });
    expect(appAfter(...failed, configure({ memoryBytes: 64 * MIB }, 3))).toMatchObject({
      memoryBytes: 64 * MIB,
      strategy: 'rolling',
      release: { version: 3 },
    });
  });

  it('stays when it was the first ever, so that a person can mend it', () => {
    const shown = documentWith([createApp(1, { env: { D: '1' } }), push(1), fail(1)])
      .view()
      .apps.get(app(1))!;
    expect(shown).toMatchObject({ env: { D: '1' }, release: { version: 1 } });
    expect(refused(shown)).toEqual([]);
  });

  it('does not take a scale with it that was asked for apart from it', () => {
    expect(appAfter(push(2, { scale: { web: 2 } }), scale({ web: 7 }), fail(2)).scale).toEqual({ web: 7 });
    expect(appAfter(push(2, { scale: { web: 2 } }), scale({ web: 2 }), fail(2)).scale).toEqual({ web: 2 });
    expect(appAfter(push(2), scale({ web: 3 }), fail(2), push(3)).scale).toEqual({ web: 3 });
  });
});

describe('a change on top of one that is still starting', () => {
  it('builds on it, and is judged by itself: all it ships is in force once it runs', () => {
    const shown = appAfter(setEnv(2, { D: '1' }), setEnv(3, { E: '5' }), fail(2));
    expect(shown).toMatchObject({ env: { A: '1', D: '1', E: '5' }, release: { version: 3 } });
    expect(refused(shown)).toEqual([]);
  });

  it('is refused with it when both fail', () => {
    const shown = appAfter(setEnv(2, { D: '1' }), setEnv(3, { E: '5' }), fail(2), fail(3));
    expect(shown).toMatchObject({ env: { A: '1' }, release: { version: 1 } });
    expect(refused(shown)).toMatchObject([{ env: ['D', 'E'] }, { env: ['D'] }]);
  });

  it('leaves it in force when only the later one fails', () => {
    const shown = appAfter(setEnv(2, { D: '1' }), push(3, { env: { E: '5' }, settings: { maxSurge: 4 } }), fail(3));
    expect(shown).toMatchObject({ env: { A: '1', D: '1' }, maxSurge: 1, release: { version: 2 } });
  });
});

describe('a rollback', () => {
  it('takes the settings of the earlier release back, and leaves the scale', () => {
    const shown = appAfter(configure({ memoryBytes: 64 * MIB }, 2), scale({ web: 3 }), rollback(1, 3));
    expect(shown).toMatchObject({ memoryBytes: 256 * MIB, scale: { web: 3 }, release: { version: 3 } });
  });

  it('that fails itself leaves what was there before it', () => {
    const shown = appAfter(setEnv(2, { A: '2' }), rollback(1, 3), fail(3));
    expect(shown).toMatchObject({ env: { A: '2' }, release: { version: 2 } });
  });
});

describe('changes made apart', () => {
  it('keep what the one set that did not fail', () => {
    const shown = afterPartition(good, [setEnv(3, { D: '1' })], [setEnv(2, { E: '5' })], [fail(3)]);
    expect(shown.env).toEqual({ A: '1', E: '5' });
  });

  it('keep what was asked for again, though the other side cleared it away', () => {
    const failed = [...good, setEnv(2, { D: '1' }), fail(2)];
    const shown = afterPartition(failed, [setEnv(3, { D: '1' })], [setEnv(4, { E: '5' })], [push(5)]);
    expect(shown.env).toEqual({ A: '1', D: '1', E: '5' });
  });

  it('keep a setting that was made while a release failed elsewhere', () => {
    const base = [...good, push(2, { settings: { maxSurge: 4 } })];
    expect(afterPartition(base, [fail(2)], [scale({ web: 3 })])).toMatchObject({ scale: { web: 3 }, maxSurge: 1 });
  });
});

describe('a document of an older version', () => {
  const digest = `sha256:${'0'.repeat(64)}`;
  const ofOlder = (fields: object, ...releases: { env: Record<string, string>; failed?: object }[]) =>
    readView({
      apps: {
        a: {
          name: 'a',
          currentRelease: `r${releases.length}`,
          releases: Object.fromEntries(
            releases.map((one, index) => [`r${index + 1}`, { version: index + 1, droplet: { digest }, ...one }]),
          ),
          ...fields,
        },
      },
    }).apps.get(asAppId('a'))!;
  const failed = { reason: 'x', atMs: 1 };

  it('in which a refused variable stuck reads as the last good release has it', () => {
    const shown = ofOlder(
      { env: { D: '1', KEPT: '2' } },
      { env: { KEPT: '2' } },
      { env: { D: '1', KEPT: '2' }, failed },
    );
    expect(shown.env).toEqual({ KEPT: '2' });
    expect(refused(shown)).toMatchObject([{ version: 2, env: ['D'] }]);
  });

  it('keeps a variable that a later release shipped, and settings of which its releases say nothing', () => {
    const shown = ofOlder(
      { env: { D: '1' }, memoryBytes: 64 * MIB, scale: { web: 4 } },
      { env: {} },
      { env: { D: '1' }, failed },
      { env: { D: '1' } },
    );
    expect(shown).toMatchObject({ env: { D: '1' }, memoryBytes: 64 * MIB, scale: { web: 4 } });
  });

  it('gives the release that runs its settings once a newer one is made, so that a failure has where to return to', () => {
    const document = documentWith([...good]);
    const before = document.view().apps.get(app(1))!;
    expect(before.release?.settings).toMatchObject({ memoryBytes: 256 * MIB });
    const odd = ofOlder({ env: { constructor: 'x' } }, { env: {} }, { env: { constructor: 'x' }, failed });
    expect(odd.env).toEqual({});
  });
});
