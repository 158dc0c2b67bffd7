// Shapes: how large a simulated cluster is, how its machines and network are, and which faults it meets. Varied by the
// seed, each part overridable from the command line.

import type { Prng } from './prng.ts';

export const FAULT_KINDS = [
  'daemon',
  'machine',
  'wipe',
  'freeze',
  'cut',
  'partition',
  'slow',
  'loss',
  'duplicate',
  'instance',
  'disk',
  'memory',
  'clock',
  'restore',
  'work',
] as const;
export type FaultKind = (typeof FAULT_KINDS)[number];

export const USER_KINDS = [
  'push',
  'scale',
  'env',
  'rollback',
  'restart',
  'restartSlot',
  'stop',
  'delete',
  'map',
  'drain',
  'memory',
] as const;
export type UserKind = (typeof USER_KINDS)[number];

export type Shape = {
  nodes: number;
  apps: number;
  instances: number;
  /** How long users act and faults strike. */
  activeMs: number;
  nodeMemoryMib: number;
  appMemoryMib: number;
  zones: number;
  startMs: number;
  /** An instance that minds TERM takes at most this long to end. */
  stopMaxMs: number;
  healthTimeoutMs: number;
  delayMaxMs: number;
  /** Clocks run at 1 ± this. */
  clockDrift: number;
  /** Mean time between faults, and between users' actions. */
  faultEveryMs: number;
  userEveryMs: number;
  faults: FaultKind[];
  /** Work takes so many times what it takes on a good machine (thread.ts); 0: no time at all. */
  workScale: number;
  /** Processors that all nodes share, as where many run on one host; undefined: each has its own. */
  processors?: number;
  /** Apps with volumes, service instances, moves and recoveries. */
  data: boolean;
  /**
   * With data: after how long a node's is restored elsewhere by itself, and that there are snapshots, policies and
   * outages for it; undefined: nothing of that.
   */
  lossDelayMs?: number;
  /** What users do besides their first pushes, each as often; undefined: all that they can, in a natural mix. */
  users?: UserKind[];
  /** The run goes on until crashes are forgotten: five minutes that are seldom worth their time. */
  forgets: boolean;
};

export type ShapeOptions = {
  nodes?: number;
  apps?: number;
  instances?: number;
  minutes?: number;
  faults?: FaultKind[];
  users?: UserKind[];
  /** Memory of all nodes over what all instances want. */
  slack?: number;
  work?: number;
  processors?: number;
  forgets?: boolean;
  stopMaxMs?: number;
  data?: boolean;
  losses?: boolean;
};

export function shapeOf(rng: Prng, options: ShapeOptions = {}): Shape {
  // Small clusters are where majorities, witnesses and spare room run out.
  const nodes = options.nodes ?? rng.pick([1, 2, 2, 3, 3, 3, 4, 5, 5, 6, 7]);
  const apps = options.apps ?? rng.between(1, 3);
  const instances = options.instances ?? rng.between(1, 5);
  const appMemoryMib = rng.pick([64, 128, 256]);
  const wantedMib = apps * instances * appMemoryMib;
  // From hardly enough to plenty.
  const drawnSlack = rng.pick([1.2, 2, 3, 3, 4]);
  const slack = options.slack ?? drawnSlack;
  const work = rng.fork('work');
  const scale = work.pick([0, 0, 1, 1, 1, 1, 2, 4]);
  const shared = work.chance(0.3) ? 1 : undefined;
  const isWork = work.chance(0.3);
  const drawn = FAULT_KINDS.filter((kind) => {
    if (kind === 'work') return isWork;
    // Drawn apart: it came later, and seeds that taught something have the shape that they had.
    return kind === 'restore' ? rng.fork('restore').chance(0.2) : rng.chance(0.45);
  });
  const processors = options.processors ?? shared;
  const faults = options.faults ?? drawn;
  const data = options.data ?? rng.fork('data').chance(0.35);
  const losses = rng.fork('losses');
  const isLost = losses.chance(0.6);
  // Beyond the fencing delay, and short enough to come to pass.
  const lossDelayMs = losses.pick([13_000, 13_000, 13_000, 20_000]);
  return {
    nodes,
    apps,
    instances,
    activeMs: options.minutes === undefined ? rng.between(15_000, 50_000) : options.minutes * 60_000,
    nodeMemoryMib: Math.max(appMemoryMib, Math.ceil((slack * wantedMib) / nodes / 64) * 64),
    appMemoryMib,
    zones: rng.pick([0, 0, 2, 3]),
    startMs: rng.pick([50, 200, 1_000]),
    stopMaxMs: options.stopMaxMs ?? rng.fork('stops').pick([200, 200, 200, 200, 5_000]),
    healthTimeoutMs: rng.pick([4_000, 6_000]),
    delayMaxMs: rng.pick([2, 10, 60]),
    clockDrift: faults.includes('clock') ? 0.02 : 0,
    faultEveryMs: rng.pick([2_000, 4_000, 8_000]),
    userEveryMs: rng.pick([2_000, 4_000, 8_000]),
    faults,
    workScale: options.work ?? scale,
    ...(processors === undefined ? {} : { processors }),
    // Drawn apart, as it came later too.
    data,
    ...(data && (options.losses ?? isLost) ? { lossDelayMs } : {}),
    forgets: options.forgets ?? rng.fork('forgets').chance(0.15),
    ...(options.users === undefined ? {} : { users: options.users }),
  };
}
