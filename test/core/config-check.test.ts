// The relations between the core's constants hold, and a config that breaks one says which, and what goes wrong.

import { describe, expect, it } from 'vitest';
import { asNodeId } from '../../crdt/ids.ts';
import { type CoreConfig, defaultConfig } from '../../node/core/config.ts';
import { assertConfig, minorityFoundMs, RELATIONS } from '../../node/core/config-check.ts';
import { initialState } from '../../node/core/state.ts';
import { selfInfo } from './little-cluster.ts';

/** One for each relation, in their order. */
const BROKEN: [Partial<CoreConfig>, RegExp][] = [
  [{ fenceDelayMs: 11_999 }, /majorityStaleMs \+ silence .* \(12000\) must be at most fenceDelayMs \(11999\)/],
  [{ latenessExcusedMaxMs: 5_001 }, /latenessExcusedMaxMs \(5001\) must be at most majorityStaleMs \(5000\)/],
  [
    { latenessMs: 400, latenessExcusedMaxMs: 400, majorityStaleMs: 400 },
    /latenessMs \(400\) must be less than majorit/,
  ],
  [{ lossDelayMs: 12_000 }, /fenceDelayMs \(12000\) must be less than lossDelayMs \(12000\)/],
  [{ suspicionMinMs: 4_001 }, /suspicionMinMs \(4001\) must be at most suspicionMaxMs \(4000\)/],
  [{ suspicionRefusedMaxMs: 49 }, /suspicionRefusedMinMs \(50\) must be at most suspicionRefusedMaxMs \(49\)/],
  [{ suspicionMinMs: 49 }, /suspicionRefusedMinMs \(50\) must be at most suspicionMinMs \(49\)/],
  [{ suspicionMaxMs: 1_400 }, /suspicionRefusedMaxMs \(1500\) must be at most suspicionMaxMs \(1400\)/],
  [{ witnessesMax: 2 }, /witnessesWanted \(3\) must be at most witnessesMax \(2\)/],
  [{ membersProbedMax: 11 }, /witnessesMax \(12\) must be at most membersProbedMax \(11\)/],
  [{ looksAfterClaimMs: 251 }, /looksAfterClaimMs \(251\) must be at most looksAfterLossMs \(250\)/],
  [{ looksAfterLossMs: 1_501 }, /looksAfterLossMs \(1501\) must be at most suspicionRefusedMaxMs \(1500\)/],
  [{ overdueMaxMs: 4_001 }, /overdueMaxMs \+ probeTimeoutMs \(4501\) must be at most probeTimeoutMs \* .* \(4500\)/],
  [{ latenessExcusedMaxMs: 399 }, /latenessMs \(400\) must be at most latenessExcusedMaxMs \(399\)/],
  [{ reportGapMs: 2_001 }, /reportGapMs \(2001\) must be at most heartbeatMinMs \(2000\)/],
  [{ reportGapPerMemberMs: 41 }, /reportGapPerMemberMs \(41\) must be at most heartbeatPerMemberMs \(40\)/],
  [{ lastWordsMs: 2_001 }, /lastWordsMs \(2001\) must be at most heartbeatMinMs \(2000\)/],
  [{ offerValidMs: 5_000 }, /offerValidMs \(5000\) must be less than promiseHeldMs \(5000\)/],
  [{ backoffMaxMs: 29_999 }, /backoffFirstMs \(30000\) must be at most backoffMaxMs \(29999\)/],
  [{ nodeFaultMaxMs: 14_999 }, /nodeFaultFirstMs \(15000\) must be at most nodeFaultMaxMs \(14999\)/],
  [{ crashesFailRelease: 5 }, /crashesFailRelease - 1 \(4\) must be at most crashesRestartedAtOnce \(3\)/],
];

describe('the constants', () => {
  it('keep to every relation', () => {
    expect(() => assertConfig(defaultConfig)).not.toThrow();
  });

  it.each(BROKEN)('that break one are refused, with the values and what goes wrong: %j', (change, message) => {
    const start = () => initialState({ self: selfInfo(asNodeId('a')), incarnation: 1, nowMs: 0, config: change });
    expect(start).toThrow(message);
    expect(start).toThrow(/; otherwise \w/);
  });

  it('are each shown to be refused', () => {
    for (const [at, { smaller, larger, strictly }] of RELATIONS.entries()) {
      const [change] = BROKEN[at]!;
      const config = { ...defaultConfig, ...change };
      const [least, most] = [smaller.of(config), larger.of(config)];
      expect(strictly ? least >= most : least > most, `${smaller.text}, ${larger.text}`).toBe(true);
    }
    expect(BROKEN).toHaveLength(RELATIONS.length);
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY, -1])('are numbers from 0, and not %d', (value) => {
    expect(() => assertConfig({ ...defaultConfig, settleMs: value })).toThrow(`settleMs is ${value}`);
  });
});

describe('a minority', () => {
  it.each([1, 2, 10, 50])('with %i other members knows it before the majority starts what is fenced', (members) => {
    expect(minorityFoundMs(defaultConfig, members)).toBeLessThanOrEqual(defaultConfig.fenceDelayMs);
  });

  it('is not certain to in a cluster in which heartbeats are farther apart', () => {
    expect(minorityFoundMs(defaultConfig, 51)).toBeGreaterThan(defaultConfig.fenceDelayMs);
  });
});
