// Doubt: a member that was missed and proves alive was only slow, and where one is slow for the lack of processors or
// of network, others are too. A cluster that takes slowness for death moves instances and tells everyone so, which
// makes all of it slower still. So each false alarm makes this node wait longer with the next silence, until none has
// come for a while. A connection that was refused needs no such doubt: a slow host refuses nothing.

import type { CoreState, Member } from './state.ts';
import type { MemberStatus } from './types.ts';

/** Takes note of a suspicion that ends because the member is alive. */
export function noteFalseAlarm(state: CoreState, { suspicion }: Member, status: MemberStatus): void {
  if (status !== 'alive' || suspicion === undefined || suspicion.refused) return;
  state.falseAlarms = Math.min(state.config.falseAlarmsMax, state.falseAlarms + 1);
  state.suspicionEndsAtMs = Number.NEGATIVE_INFINITY;
}

/** Once in probeIntervalMs. */
export function forgetFalseAlarm(state: CoreState): void {
  if (state.falseAlarms === 0) return;
  state.falseAlarms--;
  state.suspicionEndsAtMs = Number.NEGATIVE_INFINITY;
}
