import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { asAppId } from '../../crdt/ids.ts';
import { findRoute, hostOf, indexRoutes } from '../../node/router/lookup.ts';
import { requestTarget } from '../../node/router/request-target.ts';

const index = (routes: string[]) =>
  indexRoutes(routes.map((route) => ({ route, app: asAppId(route), appName: route, upstreams: [] })));
const find = (routes: string[], host: string, path = '/') => findRoute(index(routes), hostOf(host), path)?.route;

describe('route lookup', () => {
  const routes = [
    'foo.com',
    'foo.com/api',
    'foo.com/api/v2',
    '*.foo.com',
    '*.baz.foo.com',
    '*.com/only',
    'shop.foo.com/cart',
    'x.*.org',
  ];
  it.each([
    ['foo.com', '/', 'foo.com'],
    ['FOO.com:8080', '/', 'foo.com'],
    ['foo.com.', '/', 'foo.com'],
    ['foo.com', '/api', 'foo.com/api'],
    ['foo.com', '/api/', 'foo.com/api'],
    ['foo.com', '/api/v1', 'foo.com/api'],
    ['foo.com', '/api/v2/x', 'foo.com/api/v2'],
    ['foo.com', '/apix', 'foo.com'],
    ['bar.foo.com', '/', '*.foo.com'],
    ['a.bar.foo.com', '/', '*.foo.com'],
    ['a.baz.foo.com', '/', '*.baz.foo.com'],
    ['shop.foo.com', '/cart/1', 'shop.foo.com/cart'],
    ['shop.foo.com', '/other', '*.foo.com'],
    ['bar.com', '/only', '*.com/only'],
    ['bar.com', '/', undefined],
    ['com', '/only', undefined],
    ['x.a.org', '/', undefined],
    ['[::1]:80', '/', undefined],
    ['', '/', undefined],
  ])('%s %s leads to %s', (host, path, expected) => {
    expect(find(routes, host, path)).toBe(expected);
  });

  it('is the same for any order of routes', () => {
    fc.assert(
      fc.property(
        fc.shuffledSubarray(routes),
        fc.constantFrom('foo.com', 'a.baz.foo.com', 'shop.foo.com'),
        (some, host) => {
          expect(find(some, host, '/api/v2')).toBe(find([...some].sort(), host, '/api/v2'));
        },
      ),
    );
  });

  it('only ever finds a route whose host and path hold the request', () => {
    const label = fc.constantFrom('a', 'b', 'c');
    const host = fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => labels.join('.'));
    const path = fc.array(label, { maxLength: 3 }).map((parts) => parts.map((part) => `/${part}`).join(''));
    const anyRoute = fc
      .tuple(fc.boolean(), host, path)
      .map(([wild, name, rest]) => `${wild ? '*.' : ''}${name}${rest}`);
    fc.assert(
      fc.property(fc.uniqueArray(anyRoute, { maxLength: 12 }), host, path, (all, name, rest) => {
        const asked = rest || '/';
        const holds = (route: string) => {
          const [routeHost, ...segments] = route.split('/');
          const hostHolds = routeHost!.startsWith('*.')
            ? name.endsWith(routeHost!.slice(1)) && name !== routeHost!.slice(2)
            : routeHost === name;
          return hostHolds && segments.every((segment, at) => asked.split('/')[at + 1] === segment);
        };
        const found = find(all, name, asked);
        if (found === undefined) expect(all.filter(holds)).toEqual([]);
        else {
          expect(holds(found)).toBe(true);
          const [foundHost] = found.split('/');
          for (const other of all.filter((route) => holds(route) && route.split('/')[0] === foundHost)) {
            expect(other.length).toBeLessThanOrEqual(found.length);
          }
        }
      }),
    );
  });

  it('does not search for names longer than any', () => {
    expect(find(['*.com'], `${'a.'.repeat(5_000)}com`)).toBeUndefined();
  });
});

describe('request target', () => {
  it.each([
    ['/a/b?x=1', 'h:1', { host: 'h:1', path: '/a/b', pathAndQuery: '/a/b?x=1', absolute: false }],
    ['http://Other:2/a?x', 'h', { host: 'Other:2', path: '/a', pathAndQuery: '/a?x', absolute: true }],
    ['http://other?x', 'h', { host: 'other', path: '/', pathAndQuery: '/?x', absolute: true }],
    ['http://user:pw@other/', 'h', { host: 'other', path: '/', pathAndQuery: '/', absolute: true }],
    ['*', 'h', undefined],
    ['', 'h', undefined],
    ['ftp://x/', 'h', undefined],
  ])('%s', (url, host, expected) => {
    expect(requestTarget(url, host)).toEqual(expected);
  });
});
