// The core's constants: each with its meaning, its unit, and what moving it up or down costs. No logic but the
// heartbeat formula.

export type CoreConfig = typeof defaultConfig;

export const defaultConfig = {
  /**
   * How often this node probes one suspect (in a large cluster: one neighbour), in turn. Lower finds out sooner;
   * every node pays one ping for it.
   */
  probeIntervalMs: 1_000,
  /** How long a probe may take before it counts as missed; more when the node itself was late (lateness.ts). */
  probeTimeoutMs: 500,
  /**
   * Heartbeats are at least this far apart. They carry what is no news (the load); deaths are found by lost
   * connections and probes, changes are reported at once. Halving it costs an idle node about half a percent of a
   * core.
   */
  heartbeatMinMs: 2_000,
  /**
   * The interval is at least this per member, so that the heartbeats a node handles per second stay bounded (at
   * 1/this).
   */
  heartbeatPerMemberMs: 40,
  /** Reports caused by changes are at least this far apart, so that a burst of changes is one report. */
  reportGapMs: 25,
  /**
   * And at least this per member: when a tenth of a thousand nodes dies, each of the others has news several times.
   */
  reportGapPerMemberMs: 0.4,
  /**
   * Of more than membersProbedMax members: news that nobody waits for (a droplet held, an instance launched) waits
   * this long per member for other news to go with. When many nodes die, the fetches of new successors alone would be
   * a storm.
   */
  minorNewsPerMemberMs: 5,
  /** Suspicion of a silent member lasts at most this long without another witness… */
  suspicionMaxMs: 4_000,
  /** …and at least this long however many witnesses confirm it: the time it has to refute. */
  suspicionMinMs: 1_000,
  /**
   * The same minimum when its host answered that nothing listens on its port: the process is gone, there is nobody to
   * refute.
   */
  suspicionRefusedMinMs: 50,
  /** Without a second witness a refused connection waits this long: a firewall on one path looks the same. */
  suspicionRefusedMaxMs: 1_500,
  /** Witnesses (this node included) beyond which confirmation adds nothing. */
  witnessesWanted: 3,
  /**
   * Up to so many members, everyone looks for itself when one is missed, and says what it saw; in a larger cluster
   * about so many do. With fewer, a death sometimes waits for its witnesses; with more, the same death is told more
   * often.
   */
  witnessesMax: 12,
  /**
   * Of more than membersProbedMax members: whoever is one of those others waits this long for them before it looks,
   * and looks only if they are too few. Lower tells every death more often; higher is a delay where those who were
   * near died with it.
   */
  looksAfterClaimMs: 50,
  /**
   * The same for a neighbour that lost its connection and is not among the first to look: nobody else may be looking.
   */
  looksAfterLossMs: 250,
  /**
   * Up to so many members all are probed in turn; of more, those with a connection: each has such neighbours, and
   * others cost a handshake.
   */
  membersProbedMax: 50,
  /**
   * A report of a member held dead or suspect counts as life only when it is this much younger than the verdict: the
   * last words of a killed node travel too.
   */
  lastWordsMs: 2_000,
  /**
   * A tick later than this means that this node's own loop was blocked; it then distrusts its suspicions (Lifeguard).
   */
  latenessMs: 400,
  /**
   * Of its own lateness a node leaves out of account at most this much, in how long it has not heard a member. Lower
   * suspects more often on a machine that is slow for long; for so long a member that has gone is missed later there.
   */
  latenessExcusedMaxMs: 3_000,
  /**
   * What is learnt of how late a member is as a rule, and what it may be silent longer because of that, is at most
   * this much each (overdue.ts). Lower suspects members more often that are slow for long; higher finds their silent
   * deaths later.
   */
  overdueMaxMs: 1_500,
  /** Upper bound of the lateness score. */
  latenessScoreMax: 8,
  /**
   * Each false alarm of late adds once to the time that a silence or a suspicion by silence may last; more than so
   * many count as so many. Lower ends living nodes where all are slow; higher finds silent deaths later there.
   */
  falseAlarmsMax: 8,
  /**
   * After a start nothing is decided until every admitted member was heard, and the desired state is as one of them
   * has it, or this has passed: a stale view starts and stops nothing.
   */
  settleMs: 3_000,
  /** Decisions are at least this far apart; events in between are decided together. */
  decisionGapMs: 10,
  /**
   * And at least this for each of more than membersProbedMax members: decisions take longer in a larger cluster, and
   * may take a tenth of the time.
   */
  decisionGapPerMemberMs: 0.5,
  /** Crashes that are answered by an immediate restart. [Cloud Foundry HM9000: 3] */
  crashesRestartedAtOnce: 3,
  /** First delay after those; doubles with each crash. [HM9000: 30 s] */
  backoffFirstMs: 30_000,
  /** Upper bound of the delay. [HM9000: 960 s] */
  backoffMaxMs: 960_000,
  /**
   * How long crashed slots wait, after their delay, for the first slot of an app of which no copy is left to be
   * tried.
   */
  firstTriedMs: 10_000,
  /**
   * A node that cannot start an instance for want of disk, descriptors and the like takes no new slot for so long;
   * doubles with each such failure in a row. Lower finds out sooner that it can again, and tries more in vain until
   * then.
   */
  nodeFaultFirstMs: 15_000,
  nodeFaultMaxMs: 480_000,
  /** This long ready forgets earlier crashes. [Diego: 5 min] */
  stableAfterMs: 300_000,
  /** An instance that fails its health check this long after having been ready is replaced. */
  unhealthyReplaceMs: 30_000,
  /**
   * A release whose slot crashed this often without ever having been ready has failed, when there is an older good
   * one.
   */
  crashesFailRelease: 3,
  /**
   * How long the majority waits, after a member is declared dead, before it fills a fenced slot that ran there.
   * Covers the slowest way in which the other side can find out that it is the minority (a probe, then a whole
   * suspicion), with a margin for clock drift; lower risks two at once, higher is a longer outage of fenced apps.
   */
  fenceDelayMs: 12_000,
  /**
   * A node whose loop was blocked for this long sees no majority until it has heard one again: the others may have
   * held it for dead meanwhile, and it has less of fenceDelayMs left than it takes to miss them. Lower stops fenced
   * apps after shorter pauses; with this and the time to miss a member (silence, then a probe that a late node gives
   * longest) above fenceDelayMs, two may run.
   */
  majorityStaleMs: 5_000,
  /**
   * How long a node has to be dead, seen from a majority without a break, before data whose volumes say `onLoss:
   * restore` is made anew elsewhere of its newest snapshot. Well beyond a failover and a reboot: what was written
   * since the snapshot is given up then. Lower serves again sooner; higher gives the node longer to come back with all
   * of it.
   */
  lossDelayMs: 60_000,
  /** Before such a restore is tried again while the desired state does not have it. */
  lossRetryMs: 30_000,
  /** How often a node that came back looks whether it has heard what became of such data while it was away. */
  caughtUpLookMs: 500,
  /** Nodes next in rank for an app that hold its droplet ahead of time. */
  successorsCount: 2,
  /**
   * How long a copy that a daemon found when it started has to answer before it makes way for one that was started
   * elsewhere while the daemon was away. Lower ends more copies that serve; for so long one that hangs takes memory
   * beside another.
   */
  adoptedAnswersMs: 3_000,
  /** Before a failed droplet download is tried again. */
  fetchRetryMs: 2_000,
  /**
   * Before a release's failure is written again while the desired state does not say so: the first write may have
   * failed.
   */
  verdictRepeatMs: 10_000,
  /** How long an offer to go may be acted on, from when it was made (handover.ts). */
  offerValidMs: 4_000,
  /**
   * How long a promise to stay is held for a node that is not heard of any more; longer than an offer counts, even on
   * a clock that runs slow. A node that has just started decides nothing for settleMs, so that it cannot break one it
   * has forgotten.
   */
  promiseHeldMs: 5_000,
  /**
   * While a member's heads stay different, anti-entropy with it is asked for again after this: the first may have
   * failed.
   */
  syncRetryMs: 5_000,
  /** A member that goes on reporting from a life that is over, as known here, is told so at most this often. */
  tellBehindMs: 5_000,
};

/** Time between two reports of an unchanged node, ms. */
export function heartbeatMs(config: CoreConfig, membersCount: number): number {
  return Math.max(config.heartbeatMinMs, config.heartbeatPerMemberMs * membersCount);
}

/** Time between two reports of a node that has news, ms. */
export const reportGapMs = (config: CoreConfig, membersCount: number): number =>
  Math.max(config.reportGapMs, config.reportGapPerMemberMs * membersCount);

/** How long news, or a download, that nobody waits for may wait, ms. */
export const minorNewsMs = (config: CoreConfig, membersCount: number): number =>
  Math.max(0, membersCount - config.membersProbedMax) * config.minorNewsPerMemberMs;

/** Time between two decisions, ms. */
export const decisionGapMs = (config: CoreConfig, membersCount: number): number =>
  Math.max(config.decisionGapMs, config.decisionGapPerMemberMs * (membersCount - config.membersProbedMax));

/**
 * Heartbeats that may be missed before a member is probed out of turn. Lower finds silent deaths sooner and sends
 * more probes when heartbeats are a little late.
 */
const SILENT_HEARTBEATS = 1.25;

/**
 * A member whose heartbeat is overdue by this much is probed out of turn, ms. Everyone misses it at the same time, so
 * the witnesses of a silent death come together, whatever their turns in the round of probes.
 */
export function silenceMs(config: CoreConfig, membersCount: number): number {
  return SILENT_HEARTBEATS * heartbeatMs(config, membersCount);
}
