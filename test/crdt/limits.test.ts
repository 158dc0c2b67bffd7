// The rules for names, routes and environments, as tables.

import { describe, expect, it } from 'vitest';
import {
  domainProblem,
  envKeyProblem,
  healthPathProblem,
  nameProblem,
  normaliseRoute,
  oneLine,
} from '../../crdt/limits.ts';

describe('names', () => {
  it.each(['a', 'a1', '1a', 'my-app', 'a'.repeat(63)])('%s is one', (name) =>
    expect(nameProblem(name)).toBeUndefined(),
  );
  it.each(['', 'A', '-a', 'a-', 'a.b', 'a_b', 'ä', 'a'.repeat(64), 7, null, undefined, 'a\n'])('%j is none', (name) =>
    expect(nameProblem(name)).toBeDefined(),
  );
});

describe('routes', () => {
  it.each([
    ['localhost', 'localhost'],
    ['App.Example.ORG', 'app.example.org'],
    ['app.example.org/', 'app.example.org'],
    ['app.example.org/Api/v1/', 'app.example.org/Api/v1'],
    ['*.Example.org', '*.example.org'],
    ['*.d/x', '*.d/x'],
    ['a.b/%20~!$', 'a.b/%20~!$'],
  ])('%s is kept as %s', (text, route) => expect(normaliseRoute(text)).toEqual({ route }));

  it.each([
    '',
    '/',
    '/path',
    '*',
    '*.',
    'a.*.b',
    '**.b',
    'a..b',
    '.a',
    'a.',
    'a_b.c',
    'http://a.b',
    'a.b:8080',
    'a.b//c',
    'a.b/./c',
    'a.b/../c',
    'a.b/c?d',
    'a.b/c#d',
    'a.b/c d',
    'a.b/%zz',
    'a b',
    `${'a'.repeat(64)}.b`,
    `${'abcdefg.'.repeat(32)}b`,
    `a.b/${'x'.repeat(300)}`,
    7,
    undefined,
  ])('%j is none', (text) => expect(normaliseRoute(text)).toHaveProperty('problem'));

  it('a normal route stays as it is', () => {
    for (const text of ['A.b/C/', '*.X.y', 'h']) {
      const once = normaliseRoute(text);
      expect('route' in once && normaliseRoute(once.route)).toEqual(once);
    }
  });
});

it.each(['A', '_', 'a1', 'PATH', 'constructor'])('%s may be an env name', (key) =>
  expect(envKeyProblem(key)).toBeUndefined(),
);
it.each(['', '1A', 'A-B', 'A.B', 'A=B', '__proto__', 'A\n'])('%j may not be an env name', (key) =>
  expect(envKeyProblem(key)).toBeDefined(),
);
it.each(['/', '/up', '/a?b=c&d'])('%s may be a health path', (path) => expect(healthPathProblem(path)).toBeUndefined());
it.each(['', 'up', '/a b', '/a\r\nX: y', 7])('%j may not be a health path', (path) =>
  expect(healthPathProblem(path)).toBeDefined(),
);
it.each(['localhost', 'apps.example.org'])('%s may be the domain', (domain) =>
  expect(domainProblem(domain)).toBeUndefined(),
);
it.each(['', '*.a', 'A.b', 'a b'])('%j may not be the domain', (domain) => expect(domainProblem(domain)).toBeDefined());

it('cuts to one line', () => {
  expect(oneLine(' a\n b ', 10)).toBe('a b');
  expect(oneLine('abcdef', 4)).toBe('abc…');
});
