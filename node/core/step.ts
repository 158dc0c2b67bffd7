// step(state, event, nowMs) → { state, effects, wakeAtMs }: the one door into the core. No clock, no randomness, no
// I/O: the same state, event and time give the same result. The state passed in is consumed.

import { candidatesOf } from './candidates.ts';
import { isCaughtUp } from './caught-up.ts';
import { decisionGapMs, heartbeatMs, minorNewsMs, reportGapMs } from './config.ts';
import { decidesAlike } from './essence.ts';
import { doubtMajority, regainMajority } from './fencing.ts';
import {
  forgetOldCrashes,
  onAdopted,
  onExited,
  onFetchFailed,
  onLaunched,
  onReady,
  onUnhealthy,
  repeatVerdicts,
} from './instances.ts';
import { excuseLateness } from './lateness.ts';
import { stop } from './launching.ts';
import { onBelief } from './lives.ts';
import { noteLosses, restoreLost } from './loss.ts';
import {
  onConnected,
  onDisconnected,
  onLateness,
  onMembership,
  onMembershipTick,
  onProbeFailed,
  onProbeSucceeded,
  onReport,
} from './membership.ts';
import { fadeOwnLateness, learnOwnLateness } from './overdue.ts';
import { place } from './placement.ts';
import { endStartFault, onMeasured } from './pressure.ts';
import { isLarge } from './probing.ts';
import { reconcile } from './reconcile.ts';
import { buildReport } from './report.ts';
import { isSameTable, routeTable } from './routes.ts';
import { slotKey } from './slots.ts';
import type { CoreState } from './state.ts';
import { compareText } from './text.ts';
import type { Effect, Event, Report } from './types.ts';

export type StepResult = {
  state: CoreState;
  effects: Effect[];
  /** The caller sends a tick at this time at the latest (and may send one at any time). */
  wakeAtMs: number;
};

export function step(state: CoreState, event: Event, nowMs: number): StepResult {
  const effects: Effect[] = [];
  take(state, event, nowMs, effects);
  regainMajority(state);
  let wakeAtMs = onMembershipTick(state, nowMs, effects);
  wakeAtMs = Math.min(wakeAtMs, forgetOldCrashes(state, nowMs));
  wakeAtMs = Math.min(wakeAtMs, repeatVerdicts(state, nowMs, effects));
  wakeAtMs = Math.min(wakeAtMs, endStartFault(state, nowMs));
  wakeAtMs = Math.min(wakeAtMs, settle(state, nowMs));
  wakeAtMs = Math.min(wakeAtMs, decide(state, nowMs, effects));
  wakeAtMs = Math.min(wakeAtMs, publish(state, nowMs, effects));
  return { state, effects, wakeAtMs };
}

function take(state: CoreState, event: Event, nowMs: number, effects: Effect[]): void {
  switch (event.type) {
    case 'desiredChanged':
      state.desired = event.view;
      state.heads = event.heads;
      state.decisionDirty = true;
      state.reportDirty = true;
      break;
    case 'reportReceived':
      takeReport(state, event.report, nowMs, effects);
      break;
    case 'membershipReceived':
      onMembership(state, event.message, nowMs, effects);
      break;
    case 'beliefHeard':
      onBelief(state, event.belief, effects);
      break;
    case 'connected':
      onConnected(state, event.node, nowMs, effects);
      break;
    case 'disconnected':
      onDisconnected(state, event.node, nowMs, effects);
      break;
    case 'probeSucceeded':
      onProbeSucceeded(state, event.node, nowMs, effects);
      break;
    case 'probeFailed':
      onProbeFailed(state, event.node, event.reason, nowMs, effects);
      break;
    case 'instancesAdopted':
      onAdopted(state, event.instances, nowMs);
      break;
    case 'instanceLaunched':
      if (onLaunched(state, event)) tellInTime(state, nowMs);
      break;
    case 'instanceReady':
      onReady(state, event.id, nowMs, effects);
      break;
    case 'instanceUnhealthy':
      onUnhealthy(state, event.id, event.reason, nowMs, effects);
      break;
    case 'instanceExited':
      onExited(state, event, nowMs, effects);
      break;
    case 'dropletsHeld':
      state.droplets = new Set(event.digests);
      for (const digest of event.digests) state.fetches.delete(digest);
      state.decisionDirty = true;
      tellInTime(state, nowMs);
      break;
    case 'dropletFetchFailed':
      onFetchFailed(state, event, nowMs, effects);
      break;
    case 'resourcesMeasured':
      // No news by itself: the next heartbeat carries it. A level that changed is.
      state.load = Math.round(event.load * 4) / 4;
      onMeasured(state, event.measures ?? []);
      break;
    case 'selfMoved':
      state.self = { ...state.self, ...event.to };
      state.reportDirty = true;
      break;
    case 'troubleSeen':
      state.unreachable = event.unreachable;
      state.warnings = event.warnings;
      tellInTime(state, nowMs);
      break;
    case 'restartSlot':
      restartSlot(state, slotKey(event.slot), nowMs, effects);
      break;
    case 'leave':
      leave(state, event.keepInstances, nowMs, effects);
      break;
    case 'tick':
      onLateness(state, event.lateMs);
      excuseLateness(state, event.lateMs, nowMs);
      learnOwnLateness(state, event.lateMs);
      doubtMajority(state, event.lateMs, nowMs);
      break;
  }
}

function takeReport(state: CoreState, report: Report, nowMs: number, effects: Effect[]): void {
  const before = state.members.get(report.node)?.report;
  if (!onReport(state, report, nowMs, effects)) return;
  if (before === undefined || !decidesAlike(before, report)) state.decisionDirty = true;
  askForSync(state, report, before, nowMs, effects);
}

/** At once for heads not seen of it before; again while they stay different, as an exchange can fail. */
function askForSync(
  state: CoreState,
  report: Report,
  before: Report | undefined,
  nowMs: number,
  effects: Effect[],
): void {
  const theirs = report.heads.join();
  const member = state.members.get(report.node);
  if (member === undefined || theirs === state.heads.join()) return;
  const isRetry = before?.heads.join() === theirs;
  if (isRetry && nowMs - member.syncAskedAtMs < state.config.syncRetryMs) return;
  member.syncAskedAtMs = nowMs;
  effects.push({ type: 'syncDesired', node: report.node });
}

/**
 * Nothing is decided on a stale view: after a start every admitted member is heard first, and what they ask for, or
 * some time passes.
 */
function settle(state: CoreState, nowMs: number): number {
  if (state.settled || state.desired === undefined) return Number.POSITIVE_INFINITY;
  const settleAtMs = state.startedAtMs + state.config.settleMs;
  if (nowMs < settleAtMs) {
    if (state.members.size < state.desired.nodes.size - 1) return settleAtMs;
    for (const node of state.desired.nodes.keys()) {
      if (node !== state.self.node && state.members.get(node)?.report === undefined) return settleAtMs;
    }
    if (!isCaughtUp(state)) return settleAtMs;
  }
  state.settled = true;
  state.decisionDirty = true;
  return Number.POSITIVE_INFINITY;
}

function decide(state: CoreState, nowMs: number, effects: Effect[]): number {
  if (!state.decisionDirty && nowMs < state.reconcileAtMs) return state.reconcileAtMs;
  const gapMs = decisionGapMs(state.config, state.members.size);
  const notBeforeMs = state.decidedAtMs + gapMs;
  if (nowMs < notBeforeMs) return notBeforeMs;
  state.decidedAtMs = nowMs;
  state.decisionDirty = false;
  state.reconcileAtMs = Number.POSITIVE_INFINITY;
  const view = state.desired;
  if (view !== undefined && state.settled && state.adopted && !state.leaving) {
    const lossAtMs = noteLosses(state, view, nowMs);
    const candidates = candidatesOf(state, nowMs);
    // Itself as it is now; what reconciling changes is looked at when it is told.
    state.decidedOn = candidates.find(({ node }) => node === state.self.node)?.report;
    const placement = place(view, candidates);
    const reconcileAtMs = reconcile({ state, view, placement, candidates, nowMs }, effects);
    const restoreAtMs = restoreLost({ state, view, candidates, nowMs }, effects);
    state.reconcileAtMs = Math.min(reconcileAtMs, lossAtMs, restoreAtMs);
  }
  giveRoutes(state, effects);
  // Reconciling may have called for another look (a slot freed by a stop that needed no waiting).
  return state.decisionDirty ? nowMs + gapMs : state.reconcileAtMs;
}

function giveRoutes(state: CoreState, effects: Effect[]): void {
  const table = routeTable(state);
  if (state.routesGiven !== undefined && isSameTable(table, state.routesGiven)) return;
  state.routesGiven = table;
  effects.push({ type: 'setRoutes', table });
}

/** News goes out at once, but bursts as one report; an unchanged node is heard on the heartbeat. */
function publish(state: CoreState, nowMs: number, effects: Effect[]): number {
  const intervalMs = state.pace * heartbeatMs(state.config, state.members.size);
  const heartbeatAtMs = state.reportedAtMs + intervalMs;
  const newsAtMs = state.reportedAtMs + reportGapMs(state.config, state.members.size);
  const dueAtMs = state.reportDirty ? newsAtMs : Math.min(heartbeatAtMs, Math.max(newsAtMs, state.minorNewsAtMs));
  if (nowMs < dueAtMs) return dueAtMs;
  const relay = !reachesAll(state);
  state.sequence++;
  state.reportedAtMs = nowMs;
  state.reportDirty = false;
  state.minorNewsAtMs = Number.POSITIVE_INFINITY;
  state.loadTold = state.load;
  fadeOwnLateness(state);
  const report = buildReport(state, nowMs);
  // What makes others decide makes this node decide: otherwise they would leave to it what it does not take.
  if (state.decidedOn !== undefined && !decidesAlike(state.decidedOn, report)) state.decisionDirty = true;
  effects.push({ type: 'publishReport', report, relay });
  if (state.decisionDirty) return state.decidedAtMs + decisionGapMs(state.config, state.members.size);
  return nowMs + intervalMs;
}

/** Whether every member that may live has a connection to this node. */
function reachesAll(state: CoreState): boolean {
  if (isLarge(state)) return false;
  for (const { connected, status } of state.members.values()) {
    if (!connected && (status === 'alive' || status === 'suspect')) return false;
  }
  return true;
}

/** Minor news: at once in a small cluster, with other news in a large one. */
function tellInTime(state: CoreState, nowMs: number): void {
  const waitMs = minorNewsMs(state.config, state.members.size);
  if (waitMs === 0) state.reportDirty = true;
  else state.minorNewsAtMs = Math.min(state.minorNewsAtMs, nowMs + waitMs);
}

/**
 * The user's word: the slot's instance here ends now, and its crash history with it; the slot is filled again at once.
 */
function restartSlot(state: CoreState, key: string, nowMs: number, effects: Effect[]): void {
  state.history.delete(key);
  state.decisionDirty = true;
  for (const id of [...state.local.keys()].sort(compareText)) {
    const instance = state.local.get(id)!;
    if (slotKey(instance) !== key) continue;
    if (instance.state === 'crashed') state.local.delete(id);
    else stop(state, instance, 'restart asked for', nowMs, effects);
  }
}

function leave(state: CoreState, keepInstances: boolean, nowMs: number, effects: Effect[]): void {
  state.leaving = true;
  state.reportDirty = true;
  if (!keepInstances) {
    for (const instance of [...state.local.values()]) stop(state, instance, 'the node stops', nowMs, effects);
  }
  const { incarnation, self } = state;
  effects.push({ type: 'publishMembership', message: { kind: 'left', node: self.node, incarnation, from: self.node } });
}
