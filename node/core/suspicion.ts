// Suspicion: how long a member that was missed has to refute before it is declared dead. Arithmetic alone;
// who is suspected, and by whom, is membership.ts's.

import type { CoreConfig } from './config.ts';

/**
 * How long a suspicion lasts from its beginning, ms. A node that was late doubts what it saw itself: with its own
 * evidence it waits longer. What others witnessed without it needs no such doubt, unless there were false alarms of
 * late.
 */
export function suspicionTimeoutMs(
  config: CoreConfig,
  options: {
    /** This node included, when it is one. */
    witnesses: number;
    others: number;
    witnessesPossible: number;
    refused: boolean;
    latenessScore: number;
    falseAlarms: number;
  },
): number {
  const { witnesses, others, witnessesPossible, refused, latenessScore, falseAlarms } = options;
  const timeoutMs = undoubtedTimeoutMs(config, { witnesses, witnessesPossible, refused });
  if (refused) return timeoutMs;
  const ownMs = timeoutMs * (1 + Math.max(latenessScore, falseAlarms));
  if (others === 0) return ownMs;
  const othersMs = undoubtedTimeoutMs(config, { witnesses: others, witnessesPossible, refused }) * (1 + falseAlarms);
  return Math.min(ownMs, othersMs);
}

/**
 * Falls from max to min with the logarithm of the witnesses; a refused connection is stronger evidence than silence
 * and has lower bounds.
 * @see Lifeguard, arXiv:1707.00788, section IV-B
 */
function undoubtedTimeoutMs(
  config: CoreConfig,
  options: { witnesses: number; witnessesPossible: number; refused: boolean },
): number {
  const minMs = options.refused ? config.suspicionRefusedMinMs : config.suspicionMinMs;
  const maxMs = options.refused ? config.suspicionRefusedMaxMs : config.suspicionMaxMs;
  const wanted = Math.max(1, Math.min(config.witnessesWanted, options.witnessesPossible));
  // In a cluster of two nobody else can confirm: the only witness has to take the whole time.
  const confirmations = options.witnessesPossible < 2 ? 0 : Math.max(0, options.witnesses - 1);
  const share = wanted < 2 ? 0 : Math.min(1, Math.log(confirmations + 1) / Math.log(wanted));
  return maxMs - (maxMs - minMs) * share;
}
