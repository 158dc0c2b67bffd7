// One simulation from beginning to end: found the cluster, let users and faults loose, stop the faults, wait until it
// rests, shake the loads, and say what was violated first. The same scenario always gives the same result.

import { slotKey } from '../../node/core/slots.ts';
import type { Violation } from './checkers/checker.ts';
import { isRequired, unsettled } from './checkers/convergence.ts';
import { actOnData, type DataAction, dataSchedule } from './data-users.ts';
import { type FaultAction, faultSchedule, healEverything, overloadSchedule, strike } from './faults.ts';
import { actOnLoss, type LossAction, lossSchedule } from './loss-users.ts';
import { PINNED } from './pinned.ts';
import { Prng } from './prng.ts';
import { type Shape, type ShapeOptions, shapeOf } from './shape.ts';
import { act, type UserAction, userSchedule } from './users.ts';
import { World } from './world.ts';

export type Action = UserAction | DataAction | LossAction | FaultAction;

export type Scenario = { seed: number; shape: Shape; actions: Action[] };

export type Result = {
  seed: number;
  violation: Violation | undefined;
  traceHash: string;
  simulatedMs: number;
  /** From the end of the faults until the cluster rested, ms. */
  restedAfterMs: number;
  /** Starts and stops while nothing but loads changed. */
  movesAtRest: number;
  counts: World['counts'];
};

/** How long healing may take: a slow roll-out slot by slot, a failed release, a redial after the longest pause. */
const REST_WITHIN_MS = 150_000;
/** A slot that waits out a backoff may take until then, and this. */
const AFTER_BACKOFF_MS = 30_000;
/** Longer than a fenced slot waits for a member that was never heard. */
const QUIET_MS = 14_000;
const CALM_MS = 12_000;
/** A clock that runs slow comes to it later. */
const FORGOTTEN_LATER_MS = 7_000;
const POLL_MS = 250;
const LOAD_EVERY_MS = 700;
/** A run that takes more is stuck in a loop of events at one time. */
const STEPS_MAX = 2_000_000;

export function scenarioOf(seed: number, options: ShapeOptions = {}): Scenario {
  const rng = new Prng(`seed/${seed}`);
  // Seeds that taught something before there was data go on without it.
  const pinned = PINNED.find((one) => one.seed === seed);
  const shape = shapeOf(rng.fork('shape'), pinned === undefined ? options : { data: pinned.data ?? false, ...options });
  const actions: Action[] = [...userSchedule(shape, rng.fork('users')), ...faultSchedule(shape, rng.fork('faults'))];
  if (shape.data) actions.push(...dataSchedule(shape, rng.fork('data')));
  if (shape.lossDelayMs !== undefined) actions.push(...lossSchedule(shape, rng.fork('losses')));
  actions.push(...overloadSchedule(shape, rng.fork('overload')));
  return { seed, shape, actions: actions.sort((a, b) => a.atMs - b.atMs) };
}

function actOrStrike(world: World, action: Action): void {
  if (action.by === 'user') act(world, action);
  else if (action.by === 'data') actOnData(world, action);
  else if (action.by === 'loss') actOnLoss(world, action);
  else strike(world, action);
}

/** `calmMs`: how long loads are shaken at the end, while nothing may move. */
export function run(scenario: Scenario, print?: (line: string) => void, calmMs = CALM_MS): Result {
  const world = new World({ seed: scenario.seed, shape: scenario.shape, ...(print === undefined ? {} : { print }) });
  const stepsMax = STEPS_MAX * Math.max(1, calmMs / CALM_MS);
  const isOver = (): boolean => {
    if (world.counts.steps > stepsMax) world.fail('convergence', `more than ${stepsMax} steps`, 'liveness');
    return world.violation !== undefined;
  };
  for (const action of scenario.actions) {
    world.clock.at(action.atMs, () => actOrStrike(world, action));
  }
  world.clock.runTo(scenario.shape.activeMs, isOver);
  let restedAfterMs = 0;
  let movesAtRest = 0;
  if (!isOver()) {
    world.faultsOver = true;
    healEverything(world);
    world.cutsChanged();
    restedAfterMs = waitForRest(world, isOver);
  }
  if (!isOver() && scenario.shape.forgets) {
    const forgottenMs = lastForgottenMs(world);
    if (forgottenMs > world.clock.nowMs) {
      // What had to wait for it comes then: until it has, the cluster is not at rest.
      world.clock.runTo(forgottenMs, isOver);
      waitForRest(world, isOver);
    }
  }
  if (!isOver()) {
    world.checkers.rested();
    const before = world.counts.starts + world.counts.stops;
    shakeLoads(world, isOver, calmMs);
    if (!isOver()) world.checkers.atEnd();
    movesAtRest = world.counts.starts + world.counts.stops - before;
  }
  const result: Result = {
    seed: scenario.seed,
    violation: world.violation,
    traceHash: world.traceHash(),
    simulatedMs: world.clock.nowMs,
    restedAfterMs,
    movesAtRest,
    counts: world.counts,
  };
  world.close();
  return result;
}

function waitForRest(world: World, isOver: () => boolean): number {
  const fromMs = world.clock.nowMs;
  let problem: string | undefined;
  for (;;) {
    world.clock.runTo(world.clock.nowMs + POLL_MS, isOver);
    if (isOver()) return 0;
    problem = unsettled(world);
    const quietMs = Math.min(world.quietMs(), world.clock.nowMs - fromMs);
    if (problem === undefined && quietMs >= QUIET_MS) return world.clock.nowMs - fromMs;
    const untilMs = Math.max(fromMs + REST_WITHIN_MS, lastBackoffMs(world) + AFTER_BACKOFF_MS);
    if (world.clock.nowMs >= untilMs) break;
  }
  const why = problem ?? `something still moves (${world.quietMs()} ms ago)`;
  world.fail(
    'convergence',
    `not at rest ${Math.round((world.clock.nowMs - fromMs) / 1000)} s after the last fault: ${why}`,
    'liveness',
  );
  return 0;
}

/**
 * When the last slot, or node, that waits out a backoff may start again; slots of releases that crash by themselves
 * left out.
 */
function lastBackoffMs(world: World): number {
  let lastMs = 0;
  for (const node of world.nodes) {
    const faultMs = (node.core?.startFault?.untilMs ?? 0) - node.localMs();
    if (faultMs > 0) lastMs = Math.max(lastMs, world.clock.nowMs + faultMs);
    for (const history of node.core?.history.values() ?? []) {
      const app = node.core?.desired?.workloads.get(history.slot.app);
      const quality = app?.release && world.qualityOf(app.release.droplet.digest);
      if (quality === 'flap' || history.nextStartAtMs < node.localMs()) continue;
      lastMs = Math.max(lastMs, world.clock.nowMs + history.nextStartAtMs - node.localMs());
    }
  }
  return lastMs;
}

/** When the last crash of a slot that has run well since will have been forgotten. */
function lastForgottenMs(world: World): number {
  let lastMs = 0;
  for (const node of world.nodes) {
    for (const instance of node.core?.local.values() ?? []) {
      if (instance.state !== 'ready' || !node.core!.history.has(slotKey(instance))) continue;
      const app = node.core!.desired?.workloads.get(instance.app);
      if (app === undefined || !isRequired(world, app)) continue;
      const atMs = instance.stateSinceMs + node.core!.config.stableAfterMs;
      lastMs = Math.max(lastMs, world.clock.nowMs + atMs - node.localMs() + FORGOTTEN_LATER_MS);
    }
  }
  return lastMs;
}

function shakeLoads(world: World, isOver: () => boolean, calmMs: number): void {
  const rng = world.rng.fork('loads');
  const endMs = world.clock.nowMs + calmMs;
  while (world.clock.nowMs < endMs && !isOver()) {
    for (const node of world.nodes) node.post({ type: 'resourcesMeasured', load: rng.share() * 8 });
    world.clock.runTo(world.clock.nowMs + LOAD_EVERY_MS, isOver);
  }
}
