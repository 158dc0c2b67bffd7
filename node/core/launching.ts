// How a slot comes to be filled here, and an instance to its end: claims, downloads and launches, and what their
// effects say. Decides neither what is to run nor when (reconcile.ts, pinned.ts).

import type { NodeId } from '../../crdt/ids.ts';
import type { AppView, DesiredView, ReleaseView } from '../../crdt/view.ts';
import type { Candidate } from './candidates.ts';
import { nextInstanceId } from './lives.ts';
import { mountsOf, pinsOf } from './pins.ts';
import type { Placement } from './placed.ts';
import type { Rollout } from './rollout.ts';
import { isCurrent, slotKey } from './slots.ts';
import { type CoreState, crashHistory, type LocalInstance, type SlotHistory } from './state.ts';
import { compareText } from './text.ts';
import type { Effect, Slot } from './types.ts';

export type ReconcileInput = {
  state: CoreState;
  view: DesiredView;
  placement: Placement;
  candidates: readonly Candidate[];
  nowMs: number;
};

export type OwnSlot = {
  app: AppView;
  release: ReleaseView;
  slot: Slot;
  local: LocalInstance[];
  rollout: Rollout;
  /** Takes the copies that ask to leave their slot empty for a while. */
  vacating: Set<LocalInstance>;
};

/** Takes the slot for this node: from now on its report says so, and other nodes leave it alone. */
export function claim(
  state: CoreState,
  options: { app: AppView; release: ReleaseView; slot: Slot; nowMs: number },
): LocalInstance {
  const instance = newInstance(state, options);
  state.local.set(instance.id, instance);
  state.reportDirty = true;
  return instance;
}

function newInstance(
  state: CoreState,
  options: { app: AppView; release: ReleaseView; slot: Slot; nowMs: number },
): LocalInstance {
  const { app, release, slot, nowMs } = options;
  const copy = { ...slot, release: release.id, restartCount: app.restartCount };
  return {
    id: nextInstanceId(state),
    ...copy,
    memoryBytes: app.memoryBytes,
    state: 'starting',
    stateSinceMs: nowMs,
    phase: 'fetching',
    port: undefined,
    everReady: false,
    // Until it is ready: restarts at once are too quick for anyone to see the crashed one.
    reason: crashHistory(state, copy)?.reason,
  };
}

/**
 * A slot that waits out its crashes says so, as the copy that crashed did before one of another release ran in its
 * place: otherwise others would take it for a slot that anyone may fill.
 */
function recordCrash(state: CoreState, { app, release, slot }: OwnSlot, history: SlotHistory): void {
  const instance = newInstance(state, { app, release, slot, nowMs: history.crashedAtMs });
  state.local.set(instance.id, { ...instance, state: 'crashed', phase: 'gone', reason: history.reason });
  state.reportDirty = true;
  state.decisionDirty = true;
}

/** Until when a slot that has crashed here is not started again; undefined: it may start. */
export function heldBackUntilMs(
  { state, nowMs }: ReconcileInput,
  own: OwnSlot,
  running: readonly LocalInstance[],
): number | undefined {
  const { app, release, slot, local, rollout } = own;
  const history = crashHistory(state, { ...slot, release: release.id, restartCount: app.restartCount });
  if (history === undefined) return undefined;
  if (nowMs < history.nextStartAtMs) {
    if (running.length === 0 && !local.some((one) => isCurrent(one, app, release))) recordCrash(state, own, history);
    return history.nextStartAtMs;
  }
  const followsAtMs = history.nextStartAtMs + state.config.firstTriedMs;
  return nowMs < followsAtMs && rollout.waitsForFirst(slot, history.crashes) ? followsAtMs : undefined;
}

export function launchWhenFetched(
  input: ReconcileInput,
  own: OwnSlot,
  instance: LocalInstance,
  effects: Effect[],
): number {
  const { state } = input;
  const { app, release, slot } = own;
  if (release.service === undefined && !state.droplets.has(release.droplet.digest)) {
    return wantDroplet(input, release, effects);
  }
  instance.phase = 'launched';
  const pin = pinsOf(app)?.get(slotKey(slot));
  const volumes = pin === undefined ? undefined : mountsOf(pin);
  if (volumes !== undefined) instance.volumes = volumes;
  effects.push({
    type: 'startInstance',
    spec: {
      id: instance.id,
      app: { id: app.id, name: app.name },
      process: slot.process,
      index: slot.index,
      release: { id: release.id, version: release.version },
      restartCount: instance.restartCount,
      droplet: release.droplet,
      ...(release.image === undefined ? {} : { image: release.image }),
      command: release.processes[slot.process] ?? '',
      env: release.env,
      memoryBytes: app.memoryBytes,
      diskBytes: app.diskBytes,
      health: slot.process === 'web' ? app.health : { ...app.health, kind: 'process' },
      uris: [...app.routes],
      ...(volumes === undefined ? {} : { volumes }),
      ...(release.service === undefined ? {} : { service: release.service }),
    },
  });
  return Number.POSITIVE_INFINITY;
}

export function wantDroplet(input: ReconcileInput, release: ReleaseView, effects: Effect[]): number {
  const { state, nowMs } = input;
  const { digest, sizeBytes } = release.droplet;
  if (state.droplets.has(digest)) return Number.POSITIVE_INFINITY;
  const tryAtMs = state.fetches.get(digest) ?? nowMs;
  if (nowMs < tryAtMs) return tryAtMs;
  const holders: NodeId[] = [];
  for (const candidate of input.candidates) {
    if (candidate.node !== state.self.node && candidate.report.droplets.includes(digest)) holders.push(candidate.node);
  }
  holders.sort(compareText);
  if (holders.length === 0) {
    // Nobody is known to hold it yet: the next report that says so is another look.
    return Number.POSITIVE_INFINITY;
  }
  state.fetches.set(digest, Number.POSITIVE_INFINITY);
  effects.push({ type: 'fetchDroplet', digest, sizeBytes, holders });
  return Number.POSITIVE_INFINITY;
}

/** Whether the node's budget has room beside everything that still occupies memory here. */
export function hasRoom(state: CoreState, memoryBytes: number): boolean {
  let usedBytes = 0;
  for (const instance of state.local.values()) if (instance.state !== 'crashed') usedBytes += instance.memoryBytes;
  return usedBytes + memoryBytes <= state.self.memoryBytes;
}

/** Ends an instance; one that the runtime never had simply goes. */
export function stop(
  state: CoreState,
  instance: LocalInstance,
  reason: string,
  nowMs: number,
  effects: Effect[],
): void {
  if (instance.state === 'stopping') return;
  state.reportDirty = true;
  state.decisionDirty = true;
  if (instance.phase !== 'launched') {
    state.local.delete(instance.id);
    return;
  }
  instance.state = 'stopping';
  instance.reason = reason;
  instance.stateSinceMs = nowMs;
  effects.push({ type: 'stopInstance', id: instance.id, reason });
}

export function forget(state: CoreState, instance: LocalInstance): void {
  state.local.delete(instance.id);
  state.reportDirty = true;
}
