// What a benchmark prints: bounds that are held or not, and what was left out, with the reason.

import { describe, expect, it } from 'vitest';
import { figure } from '../../scripts/bench/figure.ts';
import { besideRivals } from '../../scripts/bench/rivals.ts';

describe('figure', () => {
  it.each([
    ['as large as it has to be', 3, { atLeast: 3 }, true],
    ['too small', 2.9, { atLeast: 3 }, false],
    ['as small as it has to be', 2_000, { atMost: 2_000 }, true],
    ['too large', 2_001, { atMost: 2_000 }, false],
    ['unbounded', 7, {}, null],
  ])('says whether its bound is held: %s', (_what, value, bound, held) => {
    expect(figure('some', value, 'ratio', bound).held).toBe(held);
  });

  it('is not held when there is no sample', () => {
    expect(figure('some', Number.NaN, 'ratio', { atLeast: 3 }).held).toBe(false);
  });
});

describe('rivals', () => {
  const options = { names: ['node-1'], lan: undefined, failoverMs: [500], say: () => {} };

  it('are left out, each with a reason, when they are not asked for', async () => {
    const { figures, leftOut } = await besideRivals({ ...options, which: [] });
    expect(figures).toEqual([]);
    expect(leftOut).toEqual([
      { name: 'serf detection / failover', reason: 'not asked for (--rivals)' },
      { name: 'swarm replacement / failover', reason: 'not asked for (--rivals)' },
    ]);
  });
});
