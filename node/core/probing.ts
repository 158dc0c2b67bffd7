// Who looks at whom: the round of probes, members that are overdue, and in a large cluster the few that look where
// everyone would otherwise. Decides nothing about what is seen (membership.ts).

import { silenceMs } from './config.ts';
import { RENDEZVOUS_WEIGHTS } from './hash.ts';
import { extraSilenceMs, probeTimeoutOf } from './overdue.ts';
import type { CoreState, Member } from './state.ts';
import { compareText } from './text.ts';
import type { Effect } from './types.ts';

/** Adds the alive members that were not heard for too long. */
export function findSilent(state: CoreState, nowMs: number, due: Member[]): void {
  const boundMs = silenceMs(state.config, state.members.size);
  state.silenceAtMs = Number.POSITIVE_INFINITY;
  for (const member of state.members.values()) {
    if (member.status !== 'alive' || member.probing || !isWitness(state, member, state.members.size)) continue;
    const overdueAtMs = member.heardAtMs + member.excusedMs + boundMs + extraSilenceMs(state.config, member);
    if (nowMs >= overdueAtMs) due.push(member);
    else state.silenceAtMs = Math.min(state.silenceAtMs, overdueAtMs);
  }
}

/** Looks at that time, unless others have done so. */
export function lookAfter(state: CoreState, member: Member, atMs: number): void {
  if (member.suspicion?.witnesses.has(state.self.node)) return;
  member.looksAtMs = Math.min(member.looksAtMs, atMs);
  state.looksAtMs = Math.min(state.looksAtMs, atMs);
}

export function lookWhereTooFewDid(state: CoreState, nowMs: number, effects: Effect[]): void {
  state.looksAtMs = Number.POSITIVE_INFINITY;
  const due: Member[] = [];
  for (const member of state.members.values()) {
    if (nowMs < member.looksAtMs) {
      state.looksAtMs = Math.min(state.looksAtMs, member.looksAtMs);
      continue;
    }
    member.looksAtMs = Number.POSITIVE_INFINITY;
    const witnesses = member.suspicion?.witnesses.size ?? 0;
    const isOpen = member.status === 'alive' || member.status === 'suspect';
    if (isOpen && witnesses < state.config.witnessesWanted) due.push(member);
  }
  for (const member of due.sort((a, b) => compareText(a.node, b.node))) probe(state, member, effects);
}

/**
 * Round robin, so that every member in question is probed once per round; the order differs from node to node, so that
 * the probes of one member are spread over the round. In a large cluster those are the neighbours, whose heartbeats
 * may have come from others. Else the suspects: whoever is alive is heard with every heartbeat, or probed when it is
 * overdue (findSilent).
 */
export function nextToProbe(state: CoreState): Member | undefined {
  let next: { member: Member; turn: number } | undefined;
  let first: { member: Member; turn: number } | undefined;
  const large = isLarge(state);
  for (const member of state.members.values()) {
    const { status, connected } = member;
    if (status !== 'suspect' && (status !== 'alive' || !large)) continue;
    if (large && !connected) continue;
    const { turn } = member;
    if (first === undefined || turn < first.turn) first = { member, turn };
    if (turn > state.probedTurn && (next === undefined || turn < next.turn)) next = { member, turn };
  }
  const chosen = next ?? first;
  if (chosen !== undefined) state.probedTurn = chosen.turn;
  return chosen?.member;
}

/** Too large for a connection to everyone. */
export const isLarge = (state: CoreState): boolean => state.members.size > state.config.membersProbedMax;

/**
 * Whether this node is one of about witnessesMax out of `among` nodes that look at the member. It decides by itself,
 * by its rendezvous weight with the member (Member.turn): a fixed number that is spread like a random one.
 */
export function isWitness(state: CoreState, member: Member, among: number): boolean {
  const { witnessesMax } = state.config;
  return among <= witnessesMax || member.turn / RENDEZVOUS_WEIGHTS < witnessesMax / among;
}

export function countConnected(state: CoreState): number {
  let count = 0;
  for (const member of state.members.values()) if (member.connected) count++;
  return count;
}

export function probe(state: CoreState, member: Member, effects: Effect[]): void {
  if (member.probing) return;
  member.probing = true;
  member.probeExcused = false;
  effects.push({
    type: 'probe',
    node: member.node,
    timeoutMs: probeTimeoutOf(state, member),
  });
}
