// What became of this node's instances: turns the runtime's events into states, crash history and verdicts on
// releases. Starts and stops nothing (reconcile.ts).

import type { Digest, InstanceId } from '../../crdt/ids.ts';
import { restartDelayMs } from './backoff.ts';
import { onStartFault, onStartSucceeded, type Resource } from './pressure.ts';
import { slotKey } from './slots.ts';
import { type CoreState, crashHistory, type LocalInstance, type SlotHistory } from './state.ts';
import type { AdoptedInstance, ClusterEvent, Effect, InstanceState } from './types.ts';

/** A reason travels in every report until it is over, and others refuse a report with a longer one than they allow. */
const REASON_CHARS_MAX = 500;
const cut = (reason: string): string => reason.slice(0, REASON_CHARS_MAX);

export function onAdopted(state: CoreState, instances: readonly AdoptedInstance[], nowMs: number): void {
  state.adopted = true;
  changed(state);
  for (const adopted of instances) {
    state.local.set(adopted.id, {
      ...adopted,
      state: 'starting',
      stateSinceMs: nowMs,
      phase: 'launched',
      everReady: true,
      reason: undefined,
    });
  }
}

/** Returns whether the instance is known here. Its port is minor news: other nodes route to it once it is ready. */
export function onLaunched(state: CoreState, launched: Pick<AdoptedInstance, 'id' | 'port' | 'host'>): boolean {
  const instance = state.local.get(launched.id);
  if (instance === undefined) return false;
  instance.port = launched.port;
  instance.host = launched.host;
  state.decisionDirty = true;
  return true;
}

export function onReady(state: CoreState, id: InstanceId, nowMs: number, effects: Effect[]): void {
  const instance = state.local.get(id);
  if (instance === undefined || instance.state === 'stopping' || instance.state === 'ready') return;
  setState(state, instance, 'ready', nowMs);
  if (!instance.everReady) onStartSucceeded(state);
  instance.everReady = true;
  instance.reason = undefined;
  const history = state.history.get(slotKey(instance));
  if (history !== undefined) history.crashesBeforeReady = 0;
  effects.push(record('instance.ready', state, instance, `is ready on ${state.self.name}`));
}

export function onUnhealthy(state: CoreState, id: InstanceId, said: string, nowMs: number, effects: Effect[]): void {
  const reason = cut(said);
  const instance = state.local.get(id);
  if (instance === undefined || instance.state !== 'ready') return;
  setState(state, instance, 'unhealthy', nowMs);
  instance.reason = reason;
  effects.push(record('instance.unhealthy', state, instance, reason));
}

export function onExited(
  state: CoreState,
  { id, reason: said, lacks }: { id: InstanceId; reason: string; lacks?: Resource },
  nowMs: number,
  effects: Effect[],
): void {
  const reason = cut(said);
  const instance = state.local.get(id);
  if (instance === undefined) return;
  changed(state);
  if (instance.state === 'stopping') {
    state.local.delete(id);
    effects.push(
      record('instance.stopped', state, instance, `has stopped on ${state.self.name}: ${instance.reason ?? reason}`),
    );
    return;
  }
  if (lacks !== undefined && !instance.everReady) {
    notStarted(state, instance, { resource: lacks, reason }, nowMs, effects);
    return;
  }
  const ranForMs = nowMs - instance.stateSinceMs;
  const wasStable = instance.state === 'ready' && ranForMs >= state.config.stableAfterMs;
  setState(state, instance, 'crashed', nowMs);
  instance.phase = 'gone';
  instance.port = undefined;
  instance.host = undefined;
  instance.reason = reason;
  const history = countCrash(state, instance, { wasStable, reason, nowMs });
  effects.push(record('instance.crashed', state, instance, `crashed on ${state.self.name}: ${reason}`));
  judgeRelease(state, instance, history, ranForMs, reason);
}

/**
 * The node's fault, not the release's: no crash is counted, nothing of the copy stays, so that the slot is anyone's,
 * and this node takes no new slot for a while.
 */
function notStarted(
  state: CoreState,
  instance: LocalInstance,
  fault: { resource: Resource; reason: string },
  nowMs: number,
  effects: Effect[],
): void {
  state.local.delete(instance.id);
  onStartFault(state, fault, nowMs);
  const what = `could not be started on ${state.self.name}: ${fault.reason}; the slot goes to another node if one can take it`;
  effects.push(record('instance.not_started', state, instance, what));
}

/** A droplet could not be stored here: whatever waits for it goes elsewhere. */
export function onFetchFailed(
  state: CoreState,
  { digest, reason, lacks }: { digest: Digest; reason: string; lacks?: Resource },
  nowMs: number,
  effects: Effect[],
): void {
  state.fetches.set(digest, nowMs + state.config.fetchRetryMs);
  state.decisionDirty = true;
  if (lacks === undefined) return;
  const waiting = [...state.local.values()].filter(
    (one) => one.phase === 'fetching' && one.state === 'starting' && dropletOf(state, one) === digest,
  );
  const fault = { resource: lacks, reason };
  if (waiting.length === 0) onStartFault(state, fault, nowMs);
  // One failure, however many waited for it.
  for (const [at, instance] of waiting.entries()) {
    if (at === 0) notStarted(state, instance, fault, nowMs, effects);
    else state.local.delete(instance.id);
  }
}

const dropletOf = (state: CoreState, { app, release }: LocalInstance): Digest | undefined =>
  state.desired?.apps.get(app)?.releases.find(({ id }) => id === release)?.droplet.digest;

function countCrash(
  state: CoreState,
  instance: LocalInstance,
  options: { wasStable: boolean; reason: string; nowMs: number },
): SlotHistory {
  const key = slotKey(instance);
  // A new release, or a restart that a person asked for, starts with a clean record: it may be the cure.
  const before = crashHistory(state, instance);
  const crashes = before !== undefined && !options.wasStable ? before.crashes + 1 : 1;
  const beforeReady = before?.crashesBeforeReady ?? 0;
  const history: SlotHistory = {
    slot: { app: instance.app, process: instance.process, index: instance.index },
    crashes,
    crashesBeforeReady: instance.everReady ? beforeReady : beforeReady + 1,
    release: instance.release,
    restartCount: instance.restartCount,
    reason: options.reason,
    crashedAtMs: options.nowMs,
    nextStartAtMs: options.nowMs + restartDelayMs(state.config, crashes),
  };
  state.history.set(key, history);
  return history;
}

/** A release that cannot become ready has failed when there is an older one to return to; its owner says so. */
function judgeRelease(
  state: CoreState,
  instance: LocalInstance,
  history: SlotHistory,
  ranForMs: number,
  reason: string,
): void {
  if (instance.everReady || state.verdicts.has(instance.release)) return;
  const app = state.desired?.apps.get(instance.app);
  const release = app?.releases.find((one) => one.id === instance.release);
  if (app === undefined || release === undefined || release.failed !== undefined) return;
  const tookAllItsTime = ranForMs >= app.health.timeoutMs;
  if (history.crashesBeforeReady < state.config.crashesFailRelease && !tookAllItsTime) return;
  const hasOlderGoodOne = app.releases.some((one) => one.version < release.version && one.failed === undefined);
  if (!hasOlderGoodOne) return;
  // Said at once by repeatVerdicts, in the same step.
  const where = `${instance.process}/${instance.index} on ${state.self.name}`;
  state.verdicts.set(release.id, { app: app.id, reason: `${where}: ${reason}`, sayAtMs: Number.NEGATIVE_INFINITY });
}

/** Says of each release that failed here that it did, until the desired state says so too: a write can fail. */
export function repeatVerdicts(state: CoreState, nowMs: number, effects: Effect[]): number {
  let wakeAtMs = Number.POSITIVE_INFINITY;
  for (const [id, verdict] of state.verdicts) {
    const release = state.desired?.apps.get(verdict.app)?.releases.find((one) => one.id === id);
    if (release === undefined || release.failed !== undefined) {
      state.verdicts.delete(id);
      continue;
    }
    if (nowMs >= verdict.sayAtMs) {
      verdict.sayAtMs = nowMs + state.config.verdictRepeatMs;
      effects.push({ type: 'failRelease', app: verdict.app, release: id, reason: verdict.reason });
    }
    wakeAtMs = Math.min(wakeAtMs, verdict.sayAtMs);
  }
  return wakeAtMs;
}

/** Forgets crashes of slots that have been ready long enough. Returns when the next one will have been. */
export function forgetOldCrashes(state: CoreState, nowMs: number): number {
  let wakeAtMs = Number.POSITIVE_INFINITY;
  if (state.history.size === 0) return wakeAtMs;
  for (const instance of state.local.values()) {
    if (instance.state !== 'ready') continue;
    const key = slotKey(instance);
    if (!state.history.has(key)) continue;
    const stableAtMs = instance.stateSinceMs + state.config.stableAfterMs;
    if (nowMs >= stableAtMs) {
      state.history.delete(key);
      state.reportDirty = true;
    } else {
      wakeAtMs = Math.min(wakeAtMs, stableAtMs);
    }
  }
  return wakeAtMs;
}

function setState(state: CoreState, instance: LocalInstance, to: InstanceState, nowMs: number): void {
  instance.state = to;
  instance.stateSinceMs = nowMs;
  changed(state);
}

function changed(state: CoreState): void {
  state.reportDirty = true;
  state.decisionDirty = true;
}

function record(name: string, state: CoreState, instance: LocalInstance, what: string): Effect {
  const appName = state.desired?.workloads.get(instance.app)?.name ?? instance.app;
  const event: ClusterEvent = {
    name,
    app: instance.app,
    slot: `${instance.process}/${instance.index}`,
    instance: instance.id,
    node: state.self.node,
    release: instance.release,
    message: `${appName}/${instance.process}/${instance.index} ${what}`,
  };
  return { type: 'recordEvent', event };
}
