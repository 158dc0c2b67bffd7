// Overdue: how late each member has been of late, and how much longer it is waited for because of that. A slow
// machine, or one that is held to a small share of a processor, speaks late and answers late as a rule; so what it
// took before, it may take again and more. Each member says how late its own loop was, and everyone sees for itself
// how late it was heard: a member that is always on time is missed as soon as ever.
//
// As round trip times are learnt for retransmission timers, with a maximum that fades in place of a mean and its
// deviation: being late comes in bursts. @see RFC 6298

import { type CoreConfig, silenceMs } from './config.ts';
import { probeTimeoutMs } from './lateness.ts';
import type { CoreState, Member } from './state.ts';

/**
 * Each heartbeat takes off this share: what was learnt halves in about 140 of them, as what pauses a process seldom
 * comes oftener.
 */
const FADES_BY = 0.005;
/** The lateness that is told is coarse, ms: a little less of it is nothing new. */
const TOLD_IN_MS = 50;
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

/** This node's own loop was late, beyond what nobody minds. */
export function learnOwnLateness(state: CoreState, lateMs: number): void {
  const { latenessMs, overdueMaxMs } = state.config;
  state.ownOverdueMs = Math.max(state.ownOverdueMs, Math.min(overdueMaxMs, lateMs - latenessMs));
}

/** What its report says of it, ms. */
export const toldLatenessMs = ({ ownOverdueMs }: CoreState): number =>
  Math.round(ownOverdueMs / TOLD_IN_MS) * TOLD_IN_MS;

/** With each report. */
export function fadeOwnLateness(state: CoreState): void {
  state.ownOverdueMs *= 1 - FADES_BY;
}

/** How late the member may well be, ms: at most overdueMaxMs, whatever it says of itself. */
const mayBeOverdueMs = ({ overdueMaxMs }: CoreConfig, { overdueMs, report }: Member): number =>
  Math.min(overdueMaxMs, Math.max(overdueMs, report?.lateMs ?? 0));

/** How much longer than others the member may be silent before it is probed, ms: at most overdueMaxMs. */
export const extraSilenceMs = (config: CoreConfig, member: Member): number =>
  Math.min(config.overdueMaxMs, MARGIN * mayBeOverdueMs(config, member));

/**
 * How long a probe of the member may take, ms. What is waited for it in silence first comes off the longest, so that a
 * node that has lost all others knows it as soon as fenceDelayMs asks.
 */
export function probeTimeoutOf(state: CoreState, member: Member): number {
  const { config } = state;
  const longestMs = config.probeTimeoutMs * (1 + config.latenessScoreMax) - extraSilenceMs(config, member);
  return Math.min(longestMs, probeTimeoutMs(state) + MARGIN * mayBeOverdueMs(config, member));
}
