// Carries out what the core decides, one effect after the other. One that throws costs no more than what it was for:
// it is said (event and log), and tried again after a pause that grows, by the core where the effect has an answer,
// else here.

import { oneLine } from '../../crdt/limits.ts';
import { resourceBehind } from '../core/pressure.ts';
import type { ClusterEvent, Effect, Event } from '../core/types.ts';
import type { Log } from '../lib/log.ts';
import type { Actors } from './agent.ts';

/** Before the n-th try in a row that follows a failure: 1 s, doubling to a minute. */
const RETRY_DELAY_MIN_MS = 1_000;
const RETRY_DELAY_MAX_MS = 60_000;
/** Effects that wait for another try; a stop for each of so many instances is more than a node runs. */
const RETRIES_MAX = 4_096;
/** The same failure again and again is said this often. */
const SAID_AGAIN_MS = 60_000;
const REASON_LENGTH_MAX = 300;

export const retryDelayMs = (failures: number): number =>
  Math.min(RETRY_DELAY_MAX_MS, RETRY_DELAY_MIN_MS * 2 ** Math.min(failures - 1, 20));

type Retry = { effect: Effect; failures: number; timer: NodeJS.Timeout };

export class Effects {
  readonly #actors: Actors;
  readonly #log: Log;
  readonly #nowMs: () => number;
  readonly #post: (event: Event) => void;
  /** By what the effect is for: a newer one takes the place of one that waits. */
  readonly #retries = new Map<string, Retry>();
  /** When each failure was said last. */
  readonly #saidAtMs = new Map<string, number>();
  #stopped = false;

  constructor(options: { actors: Actors; log: Log; nowMs: () => number; post: (event: Event) => void }) {
    this.#actors = options.actors;
    this.#log = options.log;
    this.#nowMs = options.nowMs;
    this.#post = options.post;
  }

  /** Never throws. */
  carryOut(effect: Effect): void {
    const key = keyOf(effect);
    const before = key === undefined ? undefined : this.#retries.get(key);
    if (before !== undefined) clearTimeout(before.timer);
    try {
      act(this.#actors, effect);
      if (key !== undefined) this.#retries.delete(key);
    } catch (error) {
      const reason = oneLine(error instanceof Error ? error.message : String(error), REASON_LENGTH_MAX);
      this.#say(effect, reason, error);
      const answer = failureOf(effect, reason, error);
      if (answer !== undefined) this.#post(answer);
      else if (key !== undefined) this.#tryAgain(key, effect, (before?.failures ?? 0) + 1);
    }
  }

  stop(): void {
    this.#stopped = true;
    for (const { timer } of this.#retries.values()) clearTimeout(timer);
    this.#retries.clear();
  }

  #tryAgain(key: string, effect: Effect, failures: number): void {
    if (this.#stopped || (this.#retries.size >= RETRIES_MAX && !this.#retries.has(key))) return;
    const timer = setTimeout(() => this.carryOut(effect), retryDelayMs(failures));
    this.#retries.set(key, { effect, failures, timer });
  }

  #say(effect: Effect, reason: string, error: unknown): void {
    const event = eventOf(effect, reason);
    const nowMs = this.#nowMs();
    const saidAtMs = this.#saidAtMs.get(event.message);
    if (saidAtMs !== undefined && nowMs - saidAtMs < SAID_AGAIN_MS) return;
    for (const [said, atMs] of this.#saidAtMs) if (nowMs - atMs >= SAID_AGAIN_MS) this.#saidAtMs.delete(said);
    this.#saidAtMs.set(event.message, nowMs);
    const at = error instanceof Error ? error.stack?.split('\n')[1]?.trim() : undefined;
    this.#log.error('effect.failed', { effect: effect.type, reason, at });
    if (effect.type === 'recordEvent') return;
    try {
      this.#actors.recordEvent(event);
    } catch {
      // The log has it.
    }
  }
}

function act(actors: Actors, effect: Effect): void {
  switch (effect.type) {
    case 'startInstance':
      actors.startInstance(effect.spec);
      break;
    case 'stopInstance':
      actors.stopInstance(effect.id, effect.reason);
      break;
    case 'fetchDroplet':
      actors.fetchDroplet(effect);
      break;
    case 'probe':
      actors.probe(effect.node, effect.timeoutMs);
      break;
    case 'publishReport':
      actors.publishReport(effect.report, { relay: effect.relay });
      break;
    case 'askReport':
      actors.askReport(effect.node, effect.belief);
      break;
    case 'persistStart':
      actors.persistStart(effect.start);
      break;
    case 'publishMembership':
      actors.publishMembership(effect.message);
      break;
    case 'setRoutes':
      actors.setRoutes(effect.table);
      break;
    case 'syncDesired':
      actors.syncDesired(effect.node);
      break;
    case 'failRelease':
      actors.failRelease(effect);
      break;
    case 'leaveVolume':
      actors.leaveVolume(effect);
      break;
    case 'restoreVolumes':
      actors.restoreVolumes(effect);
      break;
    case 'recordEvent':
      actors.recordEvent(effect.event);
      break;
  }
}

/**
 * What the core hears when an effect that it waits for an answer to could not even begin: its own pauses apply then.
 */
function failureOf(effect: Effect, reason: string, error: unknown): Event | undefined {
  const lacks = resourceBehind(error);
  switch (effect.type) {
    case 'startInstance':
      return {
        type: 'instanceExited',
        id: effect.spec.id,
        reason: `could not be started: ${reason}`,
        ...(lacks === undefined ? {} : { lacks }),
      };
    case 'fetchDroplet':
      return { type: 'dropletFetchFailed', digest: effect.digest, reason };
    case 'probe':
      return { type: 'probeFailed', node: effect.node, reason: 'error' };
    default:
      return undefined;
  }
}

/** Only of effects that nobody asks for again: reports, syncs and verdicts come again by themselves. */
function keyOf(effect: Effect): string | undefined {
  if (effect.type === 'setRoutes') return 'routes';
  return effect.type === 'stopInstance' ? `stop ${effect.id}` : undefined;
}

function eventOf(effect: Effect, reason: string): ClusterEvent {
  const name = 'effect.failed';
  switch (effect.type) {
    case 'startInstance': {
      const { id, app, process, index, release } = effect.spec;
      const message = `${app.name}/${process}/${index} could not be started: ${reason}`;
      return { name, app: app.id, slot: `${process}/${index}`, instance: id, release: release.id, message };
    }
    case 'stopInstance':
      return { name, instance: effect.id, message: `instance ${effect.id} could not be stopped: ${reason}` };
    case 'failRelease':
      return {
        name,
        app: effect.app,
        release: effect.release,
        message: `a release could not be marked failed: ${reason}`,
      };
    default:
      return { name, message: `${effect.type} failed on this node: ${reason}` };
  }
}
