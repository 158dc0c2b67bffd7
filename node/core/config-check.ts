// The relations between the core's constants: what relies on one being no larger than another. Changes nothing;
// a config that breaks one throws, before anything is decided by it.

import { type CoreConfig, defaultConfig, silenceMs } from './config.ts';

type Term = { text: string; of(config: CoreConfig): number };

type Relation = {
  smaller: Term;
  larger: Term;
  /** They must not be equal either. */
  strictly?: true;
  /** What goes wrong otherwise. */
  otherwise: string;
};

const constant = (name: keyof CoreConfig): Term => ({ text: name, of: (config) => config[name] });

/** How long a probe may take at the most; what a member may be silent beyond others comes off it (overdue.ts). */
const longestProbe: Term = {
  text: 'probeTimeoutMs * (1 + latenessScoreMax)',
  of: ({ probeTimeoutMs, latenessScoreMax }) => probeTimeoutMs * (1 + latenessScoreMax),
};

/**
 * Within which a node that has lost all others knows it, in a cluster of so many members besides itself, ms: its loop
 * stands still for just less than majorityStaleMs, it misses them, and waits for its probes as long as it may. With
 * more than membersProbedMax members heartbeats are farther apart, and this exceeds fenceDelayMs: there a minority
 * finds out in time only because not all of its neighbours are looked at that late, which nothing here guarantees.
 */
export const minorityFoundMs = (config: CoreConfig, membersCount: number): number =>
  config.majorityStaleMs + silenceMs(config, membersCount) + longestProbe.of(config);

const atMost = (smaller: keyof CoreConfig, larger: keyof CoreConfig, otherwise: string): Relation => ({
  smaller: constant(smaller),
  larger: constant(larger),
  otherwise,
});

export const RELATIONS: readonly Relation[] = [
  // Fencing.
  {
    smaller: {
      text: 'majorityStaleMs + silence of membersProbedMax members + probeTimeoutMs * (1 + latenessScoreMax)',
      of: (config) => minorityFoundMs(config, config.membersProbedMax),
    },
    larger: constant('fenceDelayMs'),
    otherwise: 'a fenced app runs on both sides of a partition',
  },
  atMost(
    'latenessExcusedMaxMs',
    'majorityStaleMs',
    'a node that was late misses others later than by how late it was, and does not see in time that it is alone',
  ),
  {
    ...atMost('latenessMs', 'majorityStaleMs', 'a node that stood still doubts its majority and excuses nobody'),
    strictly: true,
  },
  {
    ...atMost('fenceDelayMs', 'lossDelayMs', 'data is restored while the side that had it has not stopped yet'),
    strictly: true,
  },

  // Suspicions.
  atMost('suspicionMinMs', 'suspicionMaxMs', 'a suspicion lasts longer with every witness'),
  atMost('suspicionRefusedMinMs', 'suspicionRefusedMaxMs', 'a suspicion lasts longer with every witness'),
  atMost('suspicionRefusedMinMs', 'suspicionMinMs', 'a refused connection counts for less than silence'),
  atMost('suspicionRefusedMaxMs', 'suspicionMaxMs', 'a refused connection counts for less than silence'),
  atMost('witnessesWanted', 'witnessesMax', 'a suspicion never has the witnesses that it waits for'),
  atMost('witnessesMax', 'membersProbedMax', 'in a cluster that is too large for everyone to look, everyone does'),
  atMost('looksAfterClaimMs', 'looksAfterLossMs', 'who has heard of nothing looks before who was told'),
  atMost('looksAfterLossMs', 'suspicionRefusedMaxMs', 'a lone witness decides before another one looks'),

  // Probes and lateness.
  {
    smaller: { text: 'overdueMaxMs + probeTimeoutMs', of: (config) => config.overdueMaxMs + config.probeTimeoutMs },
    larger: longestProbe,
    otherwise: 'a member that is late as a rule has less time to answer than others',
  },
  atMost('latenessMs', 'latenessExcusedMaxMs', 'the least lateness that counts is not wholly excused'),

  // Reports.
  atMost('reportGapMs', 'heartbeatMinMs', 'news waits longer than a heartbeat'),
  atMost('reportGapPerMemberMs', 'heartbeatPerMemberMs', 'news waits longer than a heartbeat'),
  atMost(
    'lastWordsMs',
    'heartbeatMinMs',
    'a living node that was held dead takes more than two heartbeats to be believed',
  ),

  // Handover.
  {
    ...atMost('offerValidMs', 'promiseHeldMs', 'a promise ends before the offer that it was given for'),
    strictly: true,
  },

  // Crashes and faults.
  atMost('backoffFirstMs', 'backoffMaxMs', 'the first back-off is longer than the longest'),
  atMost(
    'nodeFaultFirstMs',
    'nodeFaultMaxMs',
    'the first rest of a node that lacks something is longer than the longest',
  ),
  {
    smaller: { text: 'crashesFailRelease - 1', of: ({ crashesFailRelease }) => crashesFailRelease - 1 },
    larger: constant('crashesRestartedAtOnce'),
    otherwise: 'a bad release waits out a back-off before it is called off',
  },
];

/** Throws one line for the first constant that is no number, or relation that does not hold. */
export function assertConfig(config: CoreConfig): void {
  for (const name of Object.keys(defaultConfig) as (keyof CoreConfig)[]) {
    const value = config[name];
    if (!Number.isFinite(value) || value < 0)
      throw new Error(`core config: ${name} is ${value}, and must be 0 or more`);
  }
  for (const { smaller, larger, strictly, otherwise } of RELATIONS) {
    const [least, most] = [smaller.of(config), larger.of(config)];
    if (strictly ? least < most : least <= most) continue;
    const than = strictly ? 'less than' : 'at most';
    throw new Error(
      `core config: ${smaller.text} (${least}) must be ${than} ${larger.text} (${most}); otherwise ${otherwise}`,
    );
  }
}
