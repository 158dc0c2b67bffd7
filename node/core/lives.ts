// The lives of nodes: every start has a number, from which a node's incarnation and the ids of its instances follow,
// and a later one counts for more than all before it. A node whose data directory is an older copy of itself begins a
// life that others have seen the end of: it learns so from what they believe of it, and goes on as a life after those.
// Decides nothing about who is alive.

import type { InstanceId } from '../../crdt/ids.ts';
import { type CoreState, firstIncarnation, INCARNATIONS_PER_START, type Member, START_MAX } from './state.ts';
import { compareText } from './text.ts';
import type { Belief, Effect, MembershipMessage, Report } from './types.ts';

/** Ids hold the life in as few characters as there can be. */
const LIFE_RADIX = 36;

/** Unique for ever: lives that have one number, as their data directories count, still differ by their salt. */
export function nextInstanceId(state: CoreState): InstanceId {
  state.instanceCount++;
  const life = firstIncarnation(state).toString(LIFE_RADIX);
  return `${state.self.node.slice(-6).toLowerCase()}-${life}-${state.instanceCount}` as InstanceId;
}

/** Of instances of one node: what was started later comes first, in whichever life of the node that was. */
export function newestFirst(a: InstanceId, b: InstanceId): number {
  const [one, other] = [a, b].map((id) => id.split('-'));
  const lives = Number.parseInt(other!.at(-2)!, LIFE_RADIX) - Number.parseInt(one!.at(-2)!, LIFE_RADIX);
  return lives || Number(other!.at(-1)) - Number(one!.at(-1)) || compareText(b, a);
}

/** Asks the member for its report, and tells it what is believed of it here: both may be news. */
export function askForReport(member: Member, nowMs: number, effects: Effect[]): void {
  const { node, status, incarnation, report } = member;
  const sequence = report?.incarnation === incarnation ? report.sequence : 0;
  member.askedAtMs = nowMs;
  effects.push({ type: 'askReport', node, belief: { status, incarnation, sequence } });
}

/**
 * A member that goes on reporting from a life before the one that is known here has not heard of it yet, and neither
 * has one that reports in the life of which it said that it ended.
 */
export function tellIfBehind(state: CoreState, member: Member, report: Report, nowMs: number, effects: Effect[]): void {
  const isBehind =
    report.incarnation < member.incarnation ||
    (report.incarnation === member.incarnation && member.status === 'left' && report.status === 'alive');
  if (!isBehind || nowMs - member.askedAtMs < state.config.tellBehindMs) return;
  askForReport(member, nowMs, effects);
}

/** What another node believes of this one. */
export function onBelief(state: CoreState, belief: Belief, effects: Effect[]): void {
  if (state.leaving) return;
  const { status, incarnation, sequence } = belief;
  const isOfThisLife = incarnation === state.incarnation;
  if (incarnation > state.incarnation || (isOfThisLife && sequence > state.sequence)) {
    outlive(state, incarnation, effects);
  } else if (isOfThisLife && status === 'left') {
    refute(state, incarnation, effects);
  }
}

/** Another node claims that this one is dead, or about to be, or that it left. */
export function onClaim(state: CoreState, claim: MembershipMessage, effects: Effect[]): void {
  if (claim.kind === 'alive' || state.leaving) return;
  if (claim.incarnation > state.incarnation) outlive(state, claim.incarnation, effects);
  else refute(state, claim.incarnation, effects);
}

/**
 * Only a life of this node can have had the incarnation, and it is none that this one knows of: it goes on as one
 * after it.
 */
function outlive(state: CoreState, incarnation: number, effects: Effect[]): void {
  const start = Math.max(state.start, Math.floor(incarnation / INCARNATIONS_PER_START)) + 1;
  // Nobody has started so often: it was made up.
  if (start > START_MAX) return;
  state.start = start;
  state.incarnation = firstIncarnation(state);
  state.reportDirty = true;
  effects.push({ type: 'persistStart', start });
  const message =
    `the data directory of node ${state.self.name} is an older copy of itself, or has lost its counter of starts: ` +
    `others know of a later life of this node, so it goes on as start ${start}`;
  effects.push({ type: 'recordEvent', event: { name: 'node.restored', node: state.self.node, message } });
}

function refute(state: CoreState, incarnation: number, effects: Effect[]): void {
  if (incarnation < state.incarnation) return;
  state.incarnation = incarnation + 1;
  state.reportDirty = true;
  const { node } = state.self;
  if (state.members.size === 0) return;
  const message = { kind: 'alive', node, incarnation: state.incarnation, from: node } as const;
  effects.push({ type: 'publishMembership', message });
}
