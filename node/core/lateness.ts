// Lateness: a node whose own loop was late has not read yet what waited for it, so what it missed meanwhile is no
// evidence against anyone. Time that it waits for others stands still while it is late. Decides nothing about whom it
// hears or misses otherwise.

import type { CoreState } from './state.ts';

/**
 * An answer waits for two turns of the answering node's loop and for two of the asking one's, as each comes in the
 * middle of one; and a timer finds the loop late by half a turn on average.
 */
const LATENESS_PER_ANSWER = 8;

/**
 * How long a probe may take, ms. A loop that was late of late is busy, and others are perhaps on the same machine:
 * then answers take a few of its turns, and a node that gives up before that makes more work for all of them.
 */
export function probeTimeoutMs({ config, latenessScore, falseAlarms, recentLateMs }: CoreState): number {
  const doubt = Math.max(latenessScore, falseAlarms);
  const timeoutMs = config.probeTimeoutMs * (1 + doubt) + LATENESS_PER_ANSWER * recentLateMs;
  return Math.min(timeoutMs, config.probeTimeoutMs * (1 + config.latenessScoreMax));
}

/** An answer has come in time. */
export function forgetLateness(state: CoreState): void {
  state.recentLateMs = Math.floor(state.recentLateMs / 2);
}

/**
 * Silence and suspicions last longer by the time that the node was late, and probes that were under way are made again
 * before they count as failed. A node that is late time and again is excused for latenessExcusedMaxMs of it before it
 * hears a member again; one that stood still for majorityStaleMs, for all of it, as it counts no majority then until
 * it has heard one.
 */
export function excuseLateness(state: CoreState, lateMs: number, nowMs: number): void {
  const { latenessMs, latenessExcusedMaxMs, majorityStaleMs } = state.config;
  state.recentLateMs = Math.max(state.recentLateMs, Math.min(lateMs, latenessMs));
  if (lateMs < latenessMs) return;
  for (const member of state.members.values()) {
    if (member.status !== 'alive' && member.status !== 'suspect') continue;
    const leftMs = Math.max(0, latenessExcusedMaxMs - member.excusedMs);
    const excusedMs = lateMs >= majorityStaleMs ? lateMs : Math.min(lateMs, leftMs);
    if (excusedMs === 0) continue;
    member.excusedMs += excusedMs;
    member.probeExcused = member.probing;
    if (member.suspicion !== undefined) {
      member.suspicion.sinceMs = Math.min(nowMs, member.suspicion.sinceMs + excusedMs);
    }
  }
  state.silenceAtMs = Number.NEGATIVE_INFINITY;
  state.suspicionEndsAtMs = Number.NEGATIVE_INFINITY;
}
