// Overdue: how late each member has been of late, and how much longer it is waited for because of that. A slow machine, or one
// that is held to a small share of a processor, speaks late and answers late as a rule; so what it took before, it may take again
// and more. Learnt for each member by itself: one that is always on time is missed as soon as ever.
//
// As round trip times are learnt for retransmission timers, with a maximum that fades in place of a mean and its deviation:
// being late comes in bursts. @see RFC 6298

import { type CoreConfig, silenceMs } from './config.ts';
import { probeTimeoutMs } from './lateness.ts';
import type { CoreState, Member } from './state.ts';

/** Each heartbeat in time takes off this share: what was learnt halves in about 35 of them. */
const FADES_BY = 0.02;
/** May be late by so many times what it was. */
const MARGIN = 2;

/** The member has just proved alive, without having been away: takes note of how late that was. */
export function learnOverdue(state: CoreState, member: Member, nowMs: number): void {
  if (member.status !== 'alive' && member.status !== 'suspect') return;
  if (member.suspicion?.refused || !Number.isFinite(member.heardAtMs)) return;
  const dueAtMs = member.heardAtMs + member.excusedMs + silenceMs(state.config, state.members.size);
  const overdueMs = Math.min(state.config.overdueMaxMs, Math.max(0, nowMs - dueAtMs));
  member.overdueMs = Math.max(overdueMs, member.overdueMs * (1 - FADES_BY));
}

/** How much longer than others the member may be silent before it is probed, ms: at most overdueMaxMs. */
export const extraSilenceMs = (config: CoreConfig, member: Member): number =>
  Math.min(config.overdueMaxMs, MARGIN * member.overdueMs);

/**
 * How long a probe of the member may take, ms. What is waited for it in silence first comes off the longest, so that a node
 * that has lost all others knows it as soon as fenceDelayMs asks.
 */
export function probeTimeoutOf(state: CoreState, member: Member): number {
  const { config } = state;
  const longestMs = config.probeTimeoutMs * (1 + config.latenessScoreMax) - extraSilenceMs(config, member);
  return Math.min(longestMs, probeTimeoutMs(state) + MARGIN * member.overdueMs);
}
