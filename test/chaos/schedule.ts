// What strikes real daemons, and when: the simulator's schedule of the seed, and beside it, from the same seed, what
// only real disks and processes have. Decides nothing else; done by faults.ts.

import type { FaultAction } from '../sim/faults.ts';
import { Prng } from '../sim/prng.ts';
import { scenarioOf } from '../sim/run.ts';
import type { FaultKind, Shape } from '../sim/shape.ts';

/** Of the simulator's faults, those that can be done to real daemons and undone again. */
export const SIMULATED_FAULTS = ['daemon', 'machine', 'freeze', 'cut', 'partition', 'slow', 'loss'] as const;

/**
 * Those that only real daemons meet.
 * - `full-disk`: the file system under a data directory has nothing left, and gets it back.
 * - `restore`: a copy of a data directory, made while its node ran, is put in its place, and the node started on it.
 * - `stop`: SIGSTOP of a daemon, a router, or all processes of a node, some for longer than anyone waits.
 * - `stop-all`: every daemon and every router at once, as when the machine under all of them stands still.
 */
export const REAL_FAULTS = ['full-disk', 'restore', 'stop', 'stop-all'] as const;

export const CHAOS_FAULTS = [...SIMULATED_FAULTS, ...REAL_FAULTS] as const;
export type ChaosFault = (typeof CHAOS_FAULTS)[number];
type RealFault = (typeof REAL_FAULTS)[number];

export const STOPPABLE = ['daemon', 'router', 'machine'] as const;
export type Stoppable = (typeof STOPPABLE)[number];

export type RealAction = { atMs: number; by: 'chaos'; forMs: number; node: number } & (
  | { do: 'fullDisk' | 'copy' | 'restore' | 'stopAll' }
  | { do: 'stop'; what: Stoppable }
);
export type ChaosAction = FaultAction | RealAction;

export type ChaosShape = {
  seed: number;
  minutes: number;
  nodes: number;
  apps: number;
  instances: number;
  faults: readonly ChaosFault[];
};

/** Nobody waits for a stopped process as long as the last ones; others wait for all. */
const STOPPED_MS = [1_500, 4_000, 9_000, 20_000, 30_000];
const STOP_ALL_MS = 20_000;
const FULL_MS = [4_000, 9_000, 15_000];
/** How long a node is down while its data directory is put back; its peers hold it for dead after some of them. */
const RESTORE_DOWN_MS = [300, 2_000, 6_000];
/**
 * Means between two of a kind. A node that was put back has to have gone on for a while before that means anything
 * again.
 */
const EVERY_MS: Record<RealFault, number> = {
  'full-disk': 15_000,
  restore: 8_000,
  stop: 10_000,
  'stop-all': 60_000,
};
const FIRST_MS: Record<RealFault, number> = { 'full-disk': 5_000, restore: 2_000, stop: 4_000, 'stop-all': 7_000 };

/** In order of time. The same for the same shape; the simulator's part does not depend on what else strikes. */
export function chaosSchedule(options: ChaosShape): ChaosAction[] {
  const { seed, minutes, nodes, apps, instances, faults } = options;
  const simulated = faults.filter((fault) => (SIMULATED_FAULTS as readonly string[]).includes(fault)) as FaultKind[];
  const scenario = scenarioOf(seed, { nodes, apps, instances, minutes, faults: simulated });
  const actions: ChaosAction[] = scenario.actions.filter((action) => action.by === 'fault');
  for (const kind of REAL_FAULTS) {
    if (faults.includes(kind)) actions.push(...realSchedule(kind, scenario.shape, new Prng(`chaos/${seed}/${kind}`)));
  }
  return actions.sort((a, b) => a.atMs - b.atMs);
}

function realSchedule(kind: RealFault, shape: Shape, rng: Prng): RealAction[] {
  const actions: RealAction[] = [];
  /** Only one node is ever put back: a write that two nodes acknowledged is then on one that was not. */
  const restored = rng.between(0, shape.nodes - 1);
  let copies = 0;
  const everyMs = EVERY_MS[kind];
  for (let atMs = FIRST_MS[kind]; atMs < shape.activeMs; atMs += rng.between(everyMs / 2, everyMs * 1.5)) {
    const base = { atMs, by: 'chaos' as const, node: rng.between(0, shape.nodes - 1) };
    switch (kind) {
      case 'full-disk':
        actions.push({ ...base, do: 'fullDisk', forMs: rng.pick(FULL_MS) });
        break;
      case 'restore': {
        const isCopy = rng.chance(0.3) || copies === 0;
        if (isCopy) copies++;
        const forMs = isCopy ? 0 : rng.pick(RESTORE_DOWN_MS);
        actions.push({ ...base, node: restored, do: isCopy ? 'copy' : 'restore', forMs });
        break;
      }
      case 'stop':
        actions.push({ ...base, do: 'stop', what: rng.pick(STOPPABLE), forMs: rng.pick(STOPPED_MS) });
        break;
      case 'stop-all':
        actions.push({ ...base, do: 'stopAll', forMs: STOP_ALL_MS });
        break;
    }
  }
  return actions;
}

/** `freeze node-2 for 4000 ms` */
export function textOf(fault: ChaosAction, nameOf: (index: number) => string): string {
  const node = nameOf(fault.node);
  const forMs = `for ${fault.forMs} ms`;
  switch (fault.do) {
    case 'cut':
      return `cut ${node} from ${nameOf(fault.other)} ${forMs}`;
    case 'cutOneWay':
      return `cut the way from ${node} to ${nameOf(fault.other)} ${forMs}`;
    case 'partition':
      return `partition: ${fault.side.map(nameOf).join(', ')} apart ${forMs}`;
    case 'slow':
      return `slow link between ${node} and ${nameOf(fault.other)} ${forMs}`;
    case 'loss':
      return `lose ${fault.share * 100} % of all packets ${forMs}`;
    case 'daemon':
      return `kill the daemon of ${node}, back after ${fault.forMs} ms`;
    case 'machine':
      return `kill all of ${node}, back after ${fault.forMs} ms`;
    case 'fullDisk':
      return `fill the disk of ${node} ${forMs}`;
    case 'copy':
      return `copy the data directory of ${node}`;
    case 'restore':
      return `kill all of ${node}, put its data directory back as it was copied, start it after ${fault.forMs} ms`;
    case 'stop':
      return `stop ${fault.what === 'machine' ? `all of ${node}` : `the ${fault.what} of ${node}`} ${forMs}`;
    case 'stopAll':
      return `stop every daemon and every router ${forMs}`;
    default:
      return `${fault.do} ${node} ${forMs}`;
  }
}
