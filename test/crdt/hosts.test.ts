// Whose a host is: the first app that claimed it, on every replica, in any order of arrival, and by no way around.

import { describe, expect, it } from 'vitest';
import type { ChangeAuthor, NamedChange } from '../../crdt/change.ts';
import type { DesiredDocument } from '../../crdt/document.ts';
import { ChangeRejected } from '../../crdt/errors.ts';
import { readView } from '../../crdt/read.ts';
import type { DesiredView } from '../../crdt/view.ts';
import { app, createApp, documentWith, merged, plain, replicaOf, tokenHash, writeAll } from './fixtures.ts';

const [victim, thief, third] = [app(1), app(2), app(3)];
const NAMES: Record<string, string> = { [victim]: 'victim', [thief]: 'thief', [third]: 'third' };

const addUser = (name: string, role: 'admin' | 'developer'): NamedChange => ({
  change: 'addUser',
  name,
  role,
  tokenHash,
});
const map = (route: string, to = thief): NamedChange => ({ change: 'mapRoute', app: to, route });
const share = (host: string, from = victim, to = thief, shared = true): NamedChange => ({
  change: 'shareHost',
  app: from,
  host,
  with: to,
  shared,
});
const by = (name: string, atMs = 2_000_000): ChangeAuthor => ({ by: name, atMs });
const dev = by('dev');
const root = by('root');

/** Three apps; only the victim has a route, its own name. */
const start = (routes = ['victim.localhost']): DesiredDocument =>
  documentWith([
    addUser('root', 'admin'),
    addUser('dev', 'developer'),
    createApp(1, { name: 'victim', routes }),
    createApp(2, { name: 'thief' }),
    createApp(3, { name: 'third' }),
  ]);

const refusal = (document: DesiredDocument, change: NamedChange, author = dev): string => {
  try {
    document.write([change], author);
  } catch (error) {
    if (error instanceof ChangeRejected) return `${error.code}: ${error.message}`;
    throw error;
  }
  return 'allowed';
};
const routesOf = (view: DesiredView): string[] => [...view.routes].map(([route, id]) => `${route} → ${NAMES[id]}`);
const conflictsOf = (view: DesiredView): string[] =>
  view.conflicts.map((one) =>
    one.kind === 'host' || one.kind === 'route'
      ? `${one.kind} ${one.route}: ${NAMES[one.winner]}, not ${NAMES[one.loser]}`
      : one.kind,
  );

describe('a host', () => {
  it('belongs to the app that claimed it first: no other takes a path on it', () => {
    expect(refusal(start(), map('victim.localhost/login'))).toBe(
      'route_taken: Host victim.localhost belongs to victim; choose another, or let victim share it with ' +
        '`peer routes share victim.localhost thief`.',
    );
    expect(refusal(start(), createApp(4, { routes: ['victim.localhost/login'] }))).toContain('belongs to victim');
    expect(refusal(start(), map('victim.localhost/login', victim))).toBe('allowed');
  });

  it('belongs to the app that claimed a path on it first', () => {
    const view = start(['shop.example.org/api']);
    expect(refusal(view, map('shop.example.org'))).toContain('Host shop.example.org belongs to victim');
  });

  it.each([
    'VICTIM.localhost/login',
    'victim.LOCALHOST/Login',
    'victim.localhost./login',
    'victim.localhost:80/login',
    'victim.localhost:8080',
    'http://victim.localhost/login',
    'victim.localhost//login',
    'victim.localhost/../login',
    'victim%2elocalhost/login',
    'victim.localhost\t/login',
    ' victim.localhost/login',
    '\u{1d42f}ictim.localhost/login',
    'victim。localhost/login',
  ])('is not another when it is written as %j', (route) => {
    expect(refusal(start(), map(route))).toMatch(/^(route_taken|invalid_route)/);
  });

  it('is the same in capitals, also as an international name', () => {
    const view = start(['xn--bcher-kva.example']);
    expect(refusal(view, map('XN--BCHER-KVA.Example/x'))).toContain('route_taken');
    expect(refusal(view, map('bücher.example/x'))).toContain('invalid_route');
    // The Kelvin sign is a k in lower case.
    expect(refusal(start(['kiosk.example']), map('\u212Aiosk.example/x'))).toContain('route_taken');
  });

  it('can be given to an app by an admin, all of it or a path', () => {
    const view = writeAll(start(), [map('victim.localhost/login')], root).view();
    expect(routesOf(view)).toEqual(['victim.localhost → victim', 'victim.localhost/login → thief']);
    expect(view.hosts.get('victim.localhost')?.owner).toBe(victim);
    expect(refusal(start(), map('victim.localhost'), root)).toContain('Route victim.localhost belongs to victim');
  });

  it('is shared by the app that has it, and only by that, for as long as it says', () => {
    expect(refusal(start(), share('victim.localhost', thief, third))).toContain(
      'Host victim.localhost belongs to victim',
    );
    expect(refusal(start(), share('free.localhost'))).toContain('belongs to nobody');
    expect(refusal(start(), share('victim.localhost/login'))).toContain('invalid_route');
    const shared = writeAll(start(), [share('Victim.localhost'), map('victim.localhost/login')], dev);
    expect(routesOf(shared.view())).toEqual(['victim.localhost → victim', 'victim.localhost/login → thief']);
    expect(refusal(shared, map('victim.localhost/other', third))).toContain('belongs to victim');
    const ended = writeAll(shared, [share('victim.localhost', victim, thief, false)], dev);
    expect(routesOf(ended.view())).toEqual(['victim.localhost → victim']);
    expect(conflictsOf(ended.view())).toEqual(['host victim.localhost/login: victim, not thief']);
    const cleared = writeAll(
      ended,
      [{ change: 'unmapRoute', app: thief, route: 'victim.localhost/login' }],
      dev,
    ).view();
    expect(cleared.conflicts).toEqual([]);
    expect(refusal(ended, share('victim.localhost', victim, thief, false))).toContain('does not share');
  });

  it('is free once its app has gone, and nothing of what that shared is left', () => {
    const gone = writeAll(start(), [share('victim.localhost'), { change: 'deleteApp', app: victim }], dev);
    expect(gone.view().hosts.size).toBe(0);
    const taken = writeAll(gone, [map('victim.localhost', third)], dev);
    expect(refusal(taken, map('victim.localhost/login'))).toContain('belongs to third');
    const back = writeAll(taken, [{ change: 'deleteApp', app: thief }], dev);
    expect(back.view().hosts.get('victim.localhost')).toEqual({ owner: third, sharedWith: [] });
  });
});

describe('what only an admin gives', () => {
  it.each([
    ['localhost', "the cluster's domain itself"],
    ['LOCALHOST/login', "the cluster's domain itself"],
    ['*.localhost', 'a wildcard'],
    ['*.Victim.localhost', 'a wildcard'],
    ['*.example.org/api', 'a wildcard'],
  ])('%s', (route, what) => {
    expect(refusal(start(), map(route))).toMatch(new RegExp(`^route_reserved: .* is ${what}, which only an admin`));
    expect(refusal(start(), createApp(4, { routes: [route] }))).toContain('route_reserved');
    expect(refusal(start(), map(route), by('nobody'))).toContain('route_reserved');
    expect(refusal(start(), map(route), root)).toBe('allowed');
  });

  it('leaves the hosts below the domain free, whoever was given its wildcard', () => {
    const wide = writeAll(start([]), [map('*.localhost', victim), map('localhost', victim)], root);
    expect(refusal(wide, map('thief.localhost'))).toBe('allowed');
  });

  it('brings the hosts below any other wildcard, which another app gets when they are shared', () => {
    const wide = writeAll(start([]), [map('*.shop.example', victim)], root);
    expect(refusal(wide, map('pay.shop.example'))).toContain('Host pay.shop.example belongs to victim');
    const shared = writeAll(wide, [share('pay.shop.example'), map('pay.shop.example')], dev);
    expect(routesOf(shared.view())).toEqual(['*.shop.example → victim', 'pay.shop.example → thief']);
    expect(refusal(shared, map('pay.shop.example/x', third))).toContain('belongs to victim');
    const given = writeAll(wide, [map('pay.shop.example')], root);
    expect(given.view().hosts.get('pay.shop.example')?.owner).toBe(thief);
  });

  it('takes no host from an app that had it before', () => {
    const wide = writeAll(start(['www.shop.example']), [map('*.shop.example', third)], root);
    expect(routesOf(wide.view())).toContain('www.shop.example → victim');
    expect(refusal(wide, map('www.shop.example/x', victim))).toBe('allowed');
  });
});

describe('claims on one host, made apart', () => {
  const apart = (first: number, second: number) => {
    const begin = start([]);
    const left = writeAll(replicaOf(begin, 11), [map('new.localhost', victim)], by('dev', first));
    const right = writeAll(replicaOf(begin, 12), [map('new.localhost/login')], by('dev', second));
    return [merged(left, right), merged(right, left)] as const;
  };

  it('are decided alike on both sides: the older has the host, the other is shown as a conflict', () => {
    const [left, right] = apart(5_000, 6_000);
    expect(plain(left.view())).toEqual(plain(right.view()));
    expect(routesOf(left.view())).toEqual(['new.localhost → victim']);
    expect(conflictsOf(left.view())).toEqual(['host new.localhost/login: victim, not thief']);
    expect(routesOf(apart(6_000, 5_000)[0].view())).toEqual(['new.localhost/login → thief']);
    expect(routesOf(apart(5_000, 5_000)[0].view())).toEqual(['new.localhost → victim']);
  });

  it('count once the host is shared, or an admin maps the route again', () => {
    const [both] = apart(5_000, 6_000);
    expect(routesOf(writeAll(both, [share('new.localhost')], dev).view())).toHaveLength(2);
    const mapped = writeAll(both, [map('new.localhost/login')], root).view();
    expect(routesOf(mapped)).toHaveLength(2);
    expect(mapped.conflicts).toEqual([]);
  });

  it('are not judged by a clock that is behind when the owner was known', () => {
    expect(refusal(start(), map('victim.localhost/login'), by('dev', 1))).toContain('belongs to victim');
  });
});

describe('an older document', () => {
  const claim = (createdAtMs: number, right?: string) => ({ createdAtMs, ...(right && { right }) });
  const older = (routes: object) => ({
    cluster: { domain: 'localhost' },
    apps: { [victim]: { name: 'victim' }, [thief]: { name: 'thief' }, [third]: { name: 'third' } },
    routes,
  });

  it('goes on as it was: what shared a host before hosts had owners still does, and the oldest claim has the host', () => {
    const view = readView(
      older({
        [`shop.localhost ${victim}`]: claim(1),
        [`shop.localhost/blog ${thief}`]: claim(2),
        [`*.localhost ${thief}`]: claim(3),
        [`localhost ${thief}`]: claim(4),
      }),
    );
    expect(routesOf(view)).toEqual([
      '*.localhost → thief',
      'localhost → thief',
      'shop.localhost → victim',
      'shop.localhost/blog → thief',
    ]);
    expect(view.conflicts).toEqual([]);
    expect(view.hosts.get('shop.localhost')).toEqual({ owner: victim, sharedWith: [] });
  });

  it('does not open its hosts to claims of today', () => {
    const view = readView(
      older({
        [`shop.localhost ${victim}`]: claim(5),
        [`shop.localhost/blog ${thief}`]: claim(6),
        [`shop.localhost/pay ${thief}`]: claim(7, 'host'),
        [`shop.localhost/cart ${third}`]: claim(8, 'host'),
        [`*.localhost ${third}`]: claim(9, 'host'),
      }),
    );
    expect(routesOf(view)).toEqual(['shop.localhost → victim', 'shop.localhost/blog → thief']);
    expect(conflictsOf(view)).toEqual([
      'host shop.localhost/cart: victim, not third',
      'host shop.localhost/pay: victim, not thief',
    ]);
  });

  it('takes shares only from the app that has the host', () => {
    const view = readView(
      older({
        [`shop.localhost ${victim}`]: claim(1),
        [`share shop.localhost ${thief} ${thief}`]: claim(2),
        [`share shop.localhost ${third} ${thief}`]: claim(2),
        [`share shop.localhost ${victim} gone`]: claim(2),
        [`share SHOP.localhost ${victim} ${thief}`]: claim(2),
        [`share shop.localhost ${thief}`]: claim(2),
        [`shop.localhost/x ${thief}`]: claim(3, 'host'),
      }),
    );
    expect(view.hosts.get('shop.localhost')).toEqual({ owner: victim, sharedWith: [] });
    expect(routesOf(view)).toEqual(['shop.localhost → victim']);
  });
});
