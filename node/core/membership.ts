// Membership: who is alive, suspect, dead or gone, from probes, connections, reports and other nodes' claims. Decides
// nothing about instances.
//
// SWIM's terms: a suspicion is gossiped, other nodes look for themselves and become witnesses, the suspect refutes
// with a higher incarnation; with witnesses the time to refute shrinks. A node whose own loop was late waits longer
// (Lifeguard).
// @see SWIM, Das, Gupta and Motivala, 2002; Lifeguard, arXiv:1707.00788

import type { NodeId } from '../../crdt/ids.ts';
import { silenceMs } from './config.ts';
import { forgetFalseAlarm, noteFalseAlarm } from './doubt.ts';
import { rendezvousWeight } from './hash.ts';
import { forgetLateness } from './lateness.ts';
import { askForReport, onClaim, tellIfBehind } from './lives.ts';
import { extraSilenceMs, learnOverdue } from './overdue.ts';
import {
  countConnected,
  findSilent,
  isLarge,
  isWitness,
  lookAfter,
  lookWhereTooFewDid,
  nextToProbe,
  probe,
} from './probing.ts';
import type { CoreState, Member, Suspicion } from './state.ts';
import { suspicionTimeoutMs } from './suspicion.ts';
import { compareText } from './text.ts';
import type { Effect, MemberStatus, MembershipMessage, Report } from './types.ts';

export function memberOf(state: CoreState, node: NodeId, nowMs: number): Member {
  const known = state.members.get(node);
  if (known !== undefined) return known;
  const member: Member = {
    node,
    status: 'dead',
    statusSinceMs: nowMs,
    incarnation: 0,
    report: undefined,
    heardAtMs: Number.NEGATIVE_INFINITY,
    reportAtMs: Number.NEGATIVE_INFINITY,
    connected: false,
    probing: false,
    probeAgain: false,
    probeExcused: false,
    excusedMs: 0,
    overdueMs: 0,
    suspicion: undefined,
    looksAtMs: Number.POSITIVE_INFINITY,
    syncAskedAtMs: Number.NEGATIVE_INFINITY,
    askedAtMs: Number.NEGATIVE_INFINITY,
    turn: rendezvousWeight(state.self.node, node),
  };
  state.members.set(node, member);
  return member;
}

/** Nodes the desired state does not admit are ignored, whatever is said of them or by them. */
export function isAdmitted(state: CoreState, node: NodeId): boolean {
  return state.desired?.nodes.has(node) ?? false;
}

export function onConnected(state: CoreState, node: NodeId, nowMs: number, effects: Effect[]): void {
  if (node === state.self.node || !isAdmitted(state, node)) return;
  const member = memberOf(state, node, nowMs);
  member.connected = true;
  member.looksAtMs = Number.POSITIVE_INFINITY;
  hear(state, member, nowMs);
  // Its process took part in an encrypted handshake just now: it lives, whatever was believed.
  if (member.report !== undefined && member.status !== 'left') setStatus(state, member, 'alive', nowMs, effects);
  // Gossip reaches a new neighbour only once both have exchanged subscriptions; asking is at once. This node's own
  // report is asked for likewise: to tell it to everyone would be as many messages as there are nodes, for each node
  // and each that joins.
  askForReport(member, nowMs, effects);
}

export function onDisconnected(state: CoreState, node: NodeId, nowMs: number, effects: Effect[]): void {
  const member = state.members.get(node);
  if (member === undefined) return;
  member.connected = false;
  // A probe under way may have been answered just before the connection went: its answer is no news of what came
  // after.
  member.probeAgain = member.probing;
  if (member.status !== 'alive' && member.status !== 'suspect') return;
  if (!isLarge(state)) {
    if (isWitness(state, member, countConnected(state))) probe(state, member, effects);
    return;
  }
  // A few look at once. Others join them if they are too few; by chance they may be none.
  if (isWitness(state, member, 3 * countConnected(state))) probe(state, member, effects);
  else lookAfter(state, member, nowMs + state.config.looksAfterLossMs);
}

export function onProbeSucceeded(state: CoreState, node: NodeId, nowMs: number, effects: Effect[]): void {
  const member = state.members.get(node);
  if (member === undefined) return;
  member.probing = false;
  if (isOutdated(state, member, effects)) return;
  member.looksAtMs = Number.POSITIVE_INFINITY;
  learnOverdue(state, member, nowMs);
  hear(state, member, nowMs);
  if (state.latenessScore > 0) setLateness(state, state.latenessScore - 1);
  forgetLateness(state);
  if (member.suspicion?.witnesses.delete(state.self.node)) state.suspicionEndsAtMs = Number.NEGATIVE_INFINITY;
  if (member.status === 'suspect' && member.suspicion?.witnesses.size === 0) {
    setStatus(state, member, 'alive', nowMs, effects);
  }
}

export function onProbeFailed(
  state: CoreState,
  node: NodeId,
  reason: 'refused' | 'timeout' | 'error',
  nowMs: number,
  effects: Effect[],
): void {
  const member = state.members.get(node);
  if (member === undefined) return;
  member.probing = false;
  if (isOutdated(state, member, effects)) return;
  if (member.status !== 'alive' && member.status !== 'suspect') return;
  const refused = reason === 'refused';
  if (!refused && isExcused(state, member, effects)) return;
  const isKnown = isKnownEnough(state, member, refused);
  const isNews = !member.suspicion?.witnesses.has(state.self.node) || (refused && !member.suspicion.refused);
  suspect(state, member, { witness: state.self.node, refused, nowMs }, effects);
  if (isNews && !isKnown) {
    publish(state, effects, {
      kind: 'suspect',
      node,
      incarnation: member.incarnation,
      from: state.self.node,
      evidence: refused ? 'refused' : 'silence',
    });
  }
}

/** A report is authored by the node itself. Returns whether it was news. */
export function onReport(state: CoreState, report: Report, nowMs: number, effects: Effect[]): boolean {
  if (report.node === state.self.node || !isAdmitted(state, report.node)) return false;
  const member = memberOf(state, report.node, nowMs);
  tellIfBehind(state, member, report, nowMs, effects);
  const known = member.report;
  if (known !== undefined) {
    if (report.incarnation < known.incarnation) return false;
    if (report.incarnation === known.incarnation && report.sequence <= known.sequence) return false;
  }
  const provesLife =
    report.incarnation > member.incarnation ||
    member.connected ||
    nowMs - member.statusSinceMs > state.config.lastWordsMs;
  if (known !== undefined && !provesLife && member.status !== 'alive') return false;
  const isNewLife = report.incarnation > member.incarnation;
  member.report = report;
  member.reportAtMs = nowMs;
  // A node that has started anew was away, not late; one that refutes was late.
  if (!isNewLife || member.status === 'suspect') learnOverdue(state, member, nowMs);
  hear(state, member, nowMs);
  member.incarnation = Math.max(member.incarnation, report.incarnation);
  if (member.status === 'left' && !isNewLife) return true;
  const refutes = isNewLife || !member.suspicion?.refused || member.connected;
  if (member.status !== 'alive' && refutes) setStatus(state, member, 'alive', nowMs, effects);
  return true;
}

/** What another node claims about a third one, or about this one. */
export function onMembership(state: CoreState, message: MembershipMessage, nowMs: number, effects: Effect[]): void {
  if (message.from === state.self.node || !isAdmitted(state, message.from)) return;
  if (message.node === state.self.node) {
    onClaim(state, message, effects);
    return;
  }
  const member = state.members.get(message.node);
  if (member === undefined) return;
  switch (message.kind) {
    case 'left':
      if (message.from === message.node && message.incarnation >= member.incarnation) {
        setStatus(state, member, 'left', nowMs, effects);
      }
      return;
    case 'alive':
      // Only the node itself can raise its incarnation, and only that refutes.
      if (message.from !== message.node || message.incarnation <= member.incarnation) return;
      member.incarnation = message.incarnation;
      learnOverdue(state, member, nowMs);
      hear(state, member, nowMs);
      if (member.report !== undefined) setStatus(state, member, 'alive', nowMs, effects);
      return;
    case 'suspect':
    case 'dead': {
      if (message.incarnation < member.incarnation) return;
      if (member.status !== 'alive' && member.status !== 'suspect') return;
      const refused = message.kind === 'suspect' && message.evidence === 'refused';
      suspect(state, member, { witness: message.from, refused, nowMs }, effects);
      // Look for ourselves: either we become a witness, or the node hears that it must refute.
      if (!isWitness(state, member, state.members.size)) return;
      if (isLarge(state)) lookAfter(state, member, nowMs + state.config.looksAfterClaimMs);
      else probe(state, member, effects);
      return;
    }
  }
}

/**
 * Lets suspicions run out, probes the next member, and forgets removed nodes. Returns when it wants to be called
 * again.
 */
export function onMembershipTick(state: CoreState, nowMs: number, effects: Effect[]): number {
  forgetRemoved(state);
  const due: Member[] = [];
  if (nowMs >= state.suspicionEndsAtMs) endSuspicions(state, nowMs, due);
  if (nowMs >= state.silenceAtMs) findSilent(state, nowMs, due);
  for (const member of due.sort((a, b) => compareText(a.node, b.node))) {
    if (member.status === 'suspect') declareDead(state, member, nowMs, effects);
    else probe(state, member, effects);
  }
  if (nowMs >= state.looksAtMs) lookWhereTooFewDid(state, nowMs, effects);
  if (nowMs >= state.nextProbeAtMs) {
    state.nextProbeAtMs = nowMs + state.pace * state.config.probeIntervalMs;
    forgetFalseAlarm(state);
    const next = nextToProbe(state);
    if (next !== undefined) probe(state, next, effects);
    // This turn was in time and nobody is overdue: it counts like an answered probe.
    else {
      if (state.latenessScore > 0) setLateness(state, state.latenessScore - 1);
      forgetLateness(state);
    }
  }
  return Math.min(state.suspicionEndsAtMs, state.silenceAtMs, state.looksAtMs, state.nextProbeAtMs);
}

function forgetRemoved(state: CoreState): void {
  if (state.desired === state.membersOf) return;
  state.membersOf = state.desired;
  for (const [node, member] of state.members) {
    if (isAdmitted(state, node)) continue;
    state.members.delete(node);
    state.suspects.delete(node);
    if (member.status === 'alive') state.aliveCount--;
    state.suspicionEndsAtMs = Number.NEGATIVE_INFINITY;
    // Silence is judged by the number of members.
    state.silenceAtMs = Number.NEGATIVE_INFINITY;
    state.decisionDirty = true;
  }
}

/** Adds the suspects whose time is over. */
function endSuspicions(state: CoreState, nowMs: number, due: Member[]): void {
  state.suspicionEndsAtMs = Number.POSITIVE_INFINITY;
  for (const node of state.suspects) {
    const member = state.members.get(node);
    if (member?.suspicion === undefined) continue;
    const deadAtMs = suspicionEndsAtMs(state, member, member.suspicion);
    if (nowMs >= deadAtMs) due.push(member);
    else state.suspicionEndsAtMs = Math.min(state.suspicionEndsAtMs, deadAtMs);
  }
}

/** It lives: it said or answered something. */
function hear(state: CoreState, member: Member, nowMs: number): void {
  member.heardAtMs = nowMs;
  member.excusedMs = 0;
  state.silenceAtMs = Math.min(state.silenceAtMs, nowMs + silenceMs(state.config, state.members.size));
}

function setLateness(state: CoreState, score: number): void {
  state.latenessScore = score;
  state.suspicionEndsAtMs = Number.NEGATIVE_INFINITY;
}

/** A late tick means that missed answers may be our own fault. */
export function onLateness(state: CoreState, lateMs: number): void {
  if (lateMs < state.config.latenessMs) return;
  const steps = Math.ceil(lateMs / 1_000);
  setLateness(state, Math.min(state.config.latenessScoreMax, state.latenessScore + steps));
}

/** Whether the answer is older than the loss of the connection; then the member is probed again. */
function isOutdated(state: CoreState, member: Member, effects: Effect[]): boolean {
  if (!member.probeAgain) return false;
  member.probeAgain = false;
  probe(state, member, effects);
  return true;
}

/** Whether the answer may have waited unread while this node was late; then the member is probed again. */
function isExcused(state: CoreState, member: Member, effects: Effect[]): boolean {
  if (!member.probeExcused) return false;
  probe(state, member, effects);
  return true;
}

/** Two, as one of them may fail too. */
const DEATH_HERALDS = 2;

/**
 * Nobody adds to a suspicion that has its witnesses: on machines that are slow, what everyone says of everyone is a
 * storm.
 */
function isKnownEnough(state: CoreState, { suspicion }: Member, refused: boolean): boolean {
  const { witnessesWanted } = state.config;
  if (suspicion === undefined) return false;
  return suspicion.witnesses.size >= witnessesWanted && (suspicion.refused || !refused);
}

/** The first few witnesses say that the member is dead: everyone else finds the same at the same time. */
function saysDead(state: CoreState, { suspicion }: Member): boolean {
  if (suspicion === undefined) return true;
  return [...suspicion.witnesses].sort(compareText).slice(0, DEATH_HERALDS).includes(state.self.node);
}

function suspect(
  state: CoreState,
  member: Member,
  options: { witness: NodeId; refused: boolean; nowMs: number },
  effects: Effect[],
): void {
  if (member.suspicion === undefined || member.status !== 'suspect') {
    member.suspicion = { sinceMs: options.nowMs, witnesses: new Set(), refused: false };
    setStatus(state, member, 'suspect', options.nowMs, effects);
  }
  member.suspicion.witnesses.add(options.witness);
  state.suspicionEndsAtMs = Number.NEGATIVE_INFINITY;
  if (options.refused && !member.suspicion.refused) {
    member.suspicion.refused = true;
    state.decisionDirty = true;
  }
  if (options.nowMs >= suspicionEndsAtMs(state, member, member.suspicion))
    declareDead(state, member, options.nowMs, effects);
}

function suspicionEndsAtMs(state: CoreState, member: Member, suspicion: Suspicion): number {
  const patienceMs = suspicion.refused ? 0 : extraSilenceMs(state.config, member);
  return (
    suspicion.sinceMs +
    patienceMs +
    suspicionTimeoutMs(state.config, {
      witnesses: suspicion.witnesses.size,
      others: suspicion.witnesses.size - (suspicion.witnesses.has(state.self.node) ? 1 : 0),
      witnessesPossible: 1 + state.aliveCount,
      refused: suspicion.refused,
      latenessScore: state.latenessScore,
      falseAlarms: state.falseAlarms,
    })
  );
}

function declareDead(state: CoreState, member: Member, nowMs: number, effects: Effect[]): void {
  const says = saysDead(state, member);
  setStatus(state, member, 'dead', nowMs, effects);
  if (!says) return;
  publish(state, effects, {
    kind: 'dead',
    node: member.node,
    incarnation: member.incarnation,
    from: state.self.node,
  });
}

function setStatus(state: CoreState, member: Member, status: MemberStatus, nowMs: number, effects: Effect[]): void {
  if (member.status === 'suspect') noteFalseAlarm(state, member, status);
  if (status !== 'suspect') member.suspicion = undefined;
  if (member.status === status) return;
  if (member.status === 'suspect') state.suspects.delete(member.node);
  if (status === 'suspect') state.suspects.add(member.node);
  if (member.status === 'alive' || status === 'alive') {
    state.aliveCount += status === 'alive' ? 1 : -1;
    state.suspicionEndsAtMs = Number.NEGATIVE_INFINITY;
  }
  member.status = status;
  member.statusSinceMs = nowMs;
  state.decisionDirty = true;
  const name = member.report?.name ?? state.desired?.nodes.get(member.node)?.name ?? member.node;
  effects.push({
    type: 'recordEvent',
    event: { name: `member.${status}`, node: member.node, message: `node ${name} is ${status}` },
  });
}

function publish(state: CoreState, effects: Effect[], message: MembershipMessage): void {
  if (state.members.size > 0) effects.push({ type: 'publishMembership', message });
}
