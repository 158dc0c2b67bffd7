// In which order a node over its budget gives things up, and what it never gives up.

import { describe, expect, it } from 'vitest';
import { asAppId, asDigest, asNodeId, type Digest } from '../../crdt/ids.ts';
import { type EvictionFacts, evictionOrder, firstThatFree } from '../../node/storage/eviction.ts';

const MINUTE_MS = 60_000;
const nowMs = 100 * MINUTE_MS;
const digest = (name: string): Digest => asDigest(`sha256:${name}`);
const nodes = (count: number) => Array.from({ length: count }, (_, index) => asNodeId(`node-${index}`));

type Told = { current?: string[]; old?: string[]; unused?: Record<string, number>; others?: number } & Partial<
  Pick<EvictionFacts, 'sources' | 'caches' | 'runningHere' | 'pinned'>
>;

/** `old` from the oldest on; `unused`: minutes since when. */
function order({ current = [], old = [], unused = {}, others = 3, ...rest }: Told): string[] {
  const releases = new Map<Digest, { current: boolean; releasedAtMs: number }>();
  for (const [index, name] of old.entries()) releases.set(digest(name), { current: false, releasedAtMs: index });
  for (const [index, name] of current.entries()) releases.set(digest(name), { current: true, releasedAtMs: index });
  const evictions = evictionOrder({
    nowMs,
    held: [...current, ...old.toReversed(), ...Object.keys(unused)].map(digest),
    unusedSinceMs: new Map(
      Object.entries(unused).map(([name, minutes]) => [digest(name), nowMs - minutes * MINUTE_MS]),
    ),
    releases,
    runningHere: new Set(),
    othersHolding: () => nodes(others),
    pinned: new Set(),
    sources: [],
    caches: [],
    ...rest,
  });
  return evictions.map((one) => `${one.kind} ${one.kind === 'cache' ? one.app : one.digest.slice('sha256:'.length)}`);
}

describe('a node over its budget', () => {
  it('gives up garbage, then build caches, then sources, then old releases, then what it holds ahead of time', () => {
    const everything = order({
      current: ['now'],
      old: ['v1', 'v2'],
      unused: { gone: 30 },
      sources: [{ digest: digest('source'), usedAtMs: 0 }],
      caches: [{ app: asAppId('shop'), bytes: 1, usedAtMs: 0 }],
    });
    expect(everything).toEqual([
      'garbage gone',
      'cache shop',
      'source source',
      'oldRelease v1',
      'oldRelease v2',
      'ahead now',
    ]);
  });

  it('gives up the build cache and the source first that were used the longest ago', () => {
    const caches = ['b', 'a'].map((app, index) => ({ app: asAppId(app), bytes: 1, usedAtMs: 5 - index }));
    const sources = ['y', 'x'].map((name, index) => ({ digest: digest(name), usedAtMs: 5 - index }));
    expect(order({ caches, sources })).toEqual(['cache a', 'cache b', 'source x', 'source y']);
  });

  it.each([
    [9, []],
    [10, ['garbage staged']],
  ])('takes a droplet that has been of no release for %i minutes for garbage: %j', (minutes, expected) => {
    expect(order({ unused: { staged: minutes } })).toEqual(expected);
  });

  it('leaves a source alone that may be of a push under way', () => {
    expect(order({ sources: [{ digest: digest('source'), usedAtMs: nowMs - 19 * MINUTE_MS }] })).toEqual([]);
  });

  it.each([
    [0, []],
    [1, []],
    [2, ['oldRelease v1']],
    [3, ['oldRelease v1', 'ahead now']],
  ])('with %i other holders gives up %j', (others, expected) => {
    expect(order({ current: ['now'], old: ['v1'], others })).toEqual(expected);
  });

  it('never gives up what runs here, or what it promised to keep', () => {
    const runningHere = new Set([digest('now'), digest('v2')]);
    expect(order({ current: ['now'], old: ['v1', 'v2'], runningHere, pinned: new Set([digest('v1')]) })).toEqual([]);
  });
});

describe('what goes', () => {
  const of = (name: string, freesBytes: number) => ({
    eviction: { kind: 'garbage' as const, digest: digest(name) },
    freesBytes,
  });
  const table: [needed: number, expected: string[]][] = [
    [0, []],
    [1, ['a']],
    [10, ['a']],
    [11, ['a', 'b', 'c']],
    [99, ['a', 'b', 'c']],
  ];
  it.each(table)('for %i bytes is %j: no more than frees them', (needed, expected) => {
    // `b` shares all it has with `c`.
    const chosen = firstThatFree(needed, [of('a', 10), of('b', 0), of('c', 5)]);
    expect(chosen.map((one) => ('digest' in one ? one.digest.slice('sha256:'.length) : ''))).toEqual(expected);
  });
});
