// The rules for names, routes and environments, as tables.

import { describe, expect, it } from 'vitest';
import {
  domainProblem,
  envKeyProblem,
  healthPathProblem,
  idProblem,
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
    ['https://Shop.example.org/a/', 'shop.example.org/a'],
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
    'tcp://a.b',
    'http://',
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

describe('ids', () => {
  it.each(['a', '12D3KooW', '0190a8f2-7c4e-7000-8000-000000000000', 'a.b_c-d', 'constructor'])('%s is one', (id) =>
    expect(idProblem(id)).toBeUndefined(),
  );
  it.each(['', 'x:y', '.', '..', '-a', 'a/b', 'a b', '__proto__', 'a\n', 'ä', 'a'.repeat(65), 7])('%j is none', (id) =>
    expect(idProblem(id)).toBeDefined(),
  );
});

it('leaves nothing in a line that would steer a terminal, and no half of a character', () => {
  expect(oneLine('a\u001b[31mb\u202ec\u0000\u009bd', 20)).toBe('a [31mb c d');
  expect(oneLine('\ud83d x', 20)).toBe('\ufffd x');
  expect(oneLine('ab\u{1f600}\u{1f600}', 4)).toBe('ab…');
});

it('cuts to one line', () => {
  expect(oneLine(' a\n b ', 10)).toBe('a b');
  expect(oneLine('abcdef', 4)).toBe('abc…');
});
