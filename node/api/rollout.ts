// Follows an app, or a service, until everything that was asked for runs, has failed, or takes too long. Only watches:
// the nodes do the rolling out, and go on with it when nobody follows.

import type { AppId, InstanceId, NodeId } from '../../crdt/ids.ts';
import type { AppView } from '../../crdt/view.ts';
import type { NodeService } from '../ports/node-service.ts';
import { oneLine } from './errors.ts';
import type { EventSink } from './event-stream.ts';
import { lastCrashReason, lastLogLines } from './last-words.ts';
import { type CrashedSlot, type RolloutProgress, type RolloutTarget, rolloutProgress } from './rollout-progress.ts';
import { instancesOf, rolloutShape, slotName, versionOf } from './shaping.ts';
import type { FailedEvent, ProgressEvent } from './stream-events.ts';

/** A release or a restart of which one slot crashed this often will not become ready by itself. */
const CRASHES_MAX = 3;
/**
 * On top of the health timeout, without any progress: time to fetch and unpack the droplet, and for news to travel.
 */
const PROGRESS_GRACE_MS = 60_000;
/**
 * The nodes mark a failed release by themselves; this long is waited for it, so that the answer says what runs now.
 */
const VERDICT_GRACE_MS = 10_000;
/** How long no node can take a slot before that is the answer: memory may be about to become free. */
const UNPLACEABLE_GRACE_MS = 10_000;
/** Deadlines are looked at this often when nothing changes. */
const CHECK_INTERVAL_MS = 500;

/**
 * Sends progress as events, at the end exactly one `done` or `failed`; neither when the client has gone. Resolves with
 * `done`, `gone` or the code of the failure.
 */
export async function followRollout(
  service: NodeService,
  app: AppId,
  target: RolloutTarget,
  sink: EventSink<ProgressEvent>,
): Promise<string> {
  const outcome = await watch(service, app, target, sink);
  if (sink.signal.aborted) return 'gone';
  const view = service.view().workloads.get(app);
  if (outcome === undefined && view !== undefined) {
    sink.send({ type: 'done', ...rolloutShape(view, service) });
    return 'done';
  }
  if (view !== undefined) {
    for (const line of await lastLogLines(service, app, sink.signal)) {
      sink.send({ type: 'log', ...line }, { droppable: true });
    }
  }
  const failure = outcome ?? failed('not_found', 'it was deleted meanwhile');
  sink.send(failure);
  return failure.code;
}

/** Resolves with nothing when all is ready. */
function watch(
  service: NodeService,
  app: AppId,
  target: RolloutTarget,
  sink: EventSink<ProgressEvent>,
): Promise<FailedEvent | undefined> {
  return new Promise((resolve, reject) => {
    const watcher = new RolloutWatcher(service, app, target, sink);
    const stopWatching = () => {
      clearInterval(timer);
      stopListening();
      sink.signal.removeEventListener('abort', onGone);
    };
    const onGone = () => {
      stopWatching();
      resolve(undefined);
    };
    const look = () => {
      try {
        const verdict = watcher.look(performance.now());
        if (verdict === 'wait') return;
        stopWatching();
        watcher.told().then(() => resolve(verdict === 'crashing' ? watcher.crashFailure() : verdict), reject);
      } catch (error) {
        stopWatching();
        reject(error);
      }
    };
    const timer = setInterval(look, CHECK_INTERVAL_MS);
    const stopListening = service.onChange(look);
    sink.signal.addEventListener('abort', onGone, { once: true });
    if (sink.signal.aborted) onGone();
    else look();
  });
}

class RolloutWatcher {
  readonly #service: NodeService;
  readonly #app: AppId;
  readonly #target: RolloutTarget;
  readonly #sink: EventSink<ProgressEvent>;
  /** Crashes seen so far per slot and node; those from before this roll-out do not count. */
  readonly #crashesSeen = new Map<string, number>();
  readonly #crashesCounted = new Map<string, number>();
  readonly #endedSeen = new Set<InstanceId>();
  #lastCrash: CrashedSlot | undefined;
  #reason: string | undefined;
  #telling: Promise<void> = Promise.resolve();
  #crashLimitAtMs: number | undefined;
  #unplaceableSinceMs: number | undefined;
  #progressAtMs: number | undefined;
  #announced = '';
  #readyMost = 0;

  constructor(service: NodeService, app: AppId, target: RolloutTarget, sink: EventSink<ProgressEvent>) {
    this.#service = service;
    this.#app = app;
    this.#target = target;
    this.#sink = sink;
    for (const member of service.observed().members) {
      for (const instance of member.report?.instances ?? []) {
        if (instance.app !== app || instance.release === target.release) continue;
        if (instance.state === 'crashed') this.#endedSeen.add(instance.id);
        const key = keyOf(member.id, slotName(instance));
        this.#crashesSeen.set(key, Math.max(this.#crashesSeen.get(key) ?? 0, instance.crashes));
      }
    }
  }

  /** `crashing`: it has failed, and crashFailure() says how, once all has been told. */
  look(nowMs: number): FailedEvent | undefined | 'wait' | 'crashing' {
    this.#progressAtMs ??= nowMs;
    const view = this.#service.view();
    const app = view.workloads.get(this.#app);
    if (app === undefined) return failed('not_found', 'it was deleted meanwhile');
    const superseded = this.#verdictOnRelease(app);
    if (superseded !== undefined) return superseded;
    const progress = rolloutProgress(app, view, this.#service.observed(), this.#target);
    this.#announce(progress, nowMs);
    if (progress.settled) return undefined;
    return this.#countCrashes(progress, app, nowMs) ?? this.#deadlines(progress, app, nowMs) ?? 'wait';
  }

  /** The release was marked failed, or another one took its place. */
  #verdictOnRelease(app: AppView): FailedEvent | undefined {
    const wanted = this.#target.release;
    if (wanted === undefined || app.release?.id === wanted) return undefined;
    const release = app.releases.find((candidate) => candidate.id === wanted);
    if (release?.failed !== undefined) {
      const now = app.release === undefined ? 'nothing runs' : `${versionOf(app.release)} ${this.#whatItDoes(app)}`;
      return failed('release_failed', `${versionOf(release)} failed: ${release.failed.reason}; ${now}`);
    }
    const by = app.release === undefined ? 'nothing' : versionOf(app.release);
    return failed('superseded', `another release took its place: ${by} is current now`);
  }

  #whatItDoes(app: AppView): string {
    const runs = instancesOf(app, this.#service.observed()).some(
      ({ instance }) => instance.release === app.release?.id && instance.state === 'ready',
    );
    return runs ? 'keeps running' : 'is current again, but not ready';
  }

  #announce(progress: RolloutProgress, nowMs: number): void {
    if (progress.ready > this.#readyMost) {
      this.#readyMost = progress.ready;
      this.#progressAtMs = nowMs;
    }
    const text = `${progress.ready}/${progress.total}`;
    if (text === this.#announced) return;
    this.#announced = text;
    this.#sink.send({ type: 'progress', ready: progress.ready, total: progress.total }, { droppable: true });
  }

  #countCrashes(progress: RolloutProgress, app: AppView, nowMs: number): 'crashing' | undefined {
    for (const crash of progress.crashed) {
      const fresh = this.#freshCrashes(crash);
      // It waits for its next try, also when it crashed before anyone followed: restarts at once take milliseconds.
      const waits = crash.ended !== undefined && crash.crashes > CRASHES_MAX && this.#crashLimitAtMs === undefined;
      if (fresh === 0 && !waits) continue;
      const key = keyOf(crash.node, crash.slot);
      const counted = Math.max((this.#crashesCounted.get(key) ?? 0) + fresh, waits ? crash.crashes : 0);
      this.#crashesCounted.set(key, counted);
      this.#lastCrash = crash;
      this.#telling = this.#telling.then(() => this.#tell(crash, counted));
      if (counted >= CRASHES_MAX) this.#crashLimitAtMs ??= nowMs;
    }
    if (this.#crashLimitAtMs === undefined) return undefined;
    const graceMs = hasOlderGoodRelease(app) ? VERDICT_GRACE_MS : 0;
    return nowMs - this.#crashLimitAtMs >= graceMs ? 'crashing' : undefined;
  }

  async #tell(crash: CrashedSlot, crashes: number): Promise<void> {
    const { slot, node, nodeName } = crash;
    const known =
      crash.reason ?? (await lastCrashReason(this.#service, { app: this.#app, slot, node }, this.#sink.signal));
    this.#reason = known === undefined ? 'it ended' : oneLine(known);
    this.#sink.send({ type: 'crash', slot, node: nodeName, crashes, reason: this.#reason });
  }

  /** Resolves when every crash found so far has been sent. */
  told(): Promise<void> {
    return this.#telling;
  }

  /** Crashes of the slot that were not counted yet. The node's own count starts again with a new release. */
  #freshCrashes(crash: CrashedSlot): number {
    const key = keyOf(crash.node, crash.slot);
    const seen = this.#crashesSeen.get(key) ?? 0;
    this.#crashesSeen.set(key, crash.crashes);
    const isNewlyEnded = crash.ended !== undefined && !this.#endedSeen.has(crash.ended);
    if (crash.ended !== undefined) this.#endedSeen.add(crash.ended);
    const byCount = crash.crashes >= seen ? crash.crashes - seen : crash.crashes;
    return Math.max(byCount, isNewlyEnded ? 1 : 0);
  }

  crashFailure(): FailedEvent {
    const crash = this.#lastCrash!;
    return failed('crashed', `${crash.slot} keeps crashing on ${crash.nodeName}: ${this.#reason ?? 'it ended'}`);
  }

  #deadlines(progress: RolloutProgress, app: AppView, nowMs: number): FailedEvent | 'crashing' | undefined {
    if (progress.unplaceable.length === 0) this.#unplaceableSinceMs = undefined;
    else {
      this.#unplaceableSinceMs ??= nowMs;
      if (nowMs - this.#unplaceableSinceMs >= UNPLACEABLE_GRACE_MS) {
        return failed('insufficient_resources', progress.unplaceable[0]!);
      }
    }
    const quietMs = nowMs - this.#progressAtMs!;
    if (this.#lastCrash !== undefined && this.#readyMost === 0 && quietMs > app.health.timeoutMs) {
      if (!hasOlderGoodRelease(app)) return 'crashing';
    }
    if (quietMs <= app.health.timeoutMs + PROGRESS_GRACE_MS) return undefined;
    if (this.#lastCrash !== undefined) return 'crashing';
    return failed(
      'rollout_timeout',
      `${progress.ready} of ${progress.total} instances are ready, and nothing has changed for ${Math.round(quietMs / 1000)} s: see ${lookAt(app)}`,
    );
  }
}

/** The command that shows more of it. */
const lookAt = ({ name, release }: AppView): string =>
  release?.service === undefined ? `peer app ${name}` : `peer service status ${name}`;

const keyOf = (node: NodeId, slot: string): string => `${node} ${slot}`;

function hasOlderGoodRelease(app: AppView): boolean {
  return app.releases.some((release) => release.id !== app.release?.id && release.failed === undefined);
}

const failed = (code: string, message: string): FailedEvent => ({ type: 'failed', code, message: oneLine(message) });
