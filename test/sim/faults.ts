// Faults: what strikes and when (a schedule made from the seed), and how it is done to the twins. Each fault ends by
// itself; when all has to stop, `healEverything` does.

import type { SimNode } from './node.ts';
import type { Prng } from './prng.ts';
import type { FaultKind, Shape } from './shape.ts';
import type { World } from './world.ts';

export type FaultAction = { atMs: number; by: 'fault'; forMs: number; node: number; other: number } & (
  | { do: 'daemon' | 'machine' | 'wipe' | 'freeze' | 'cut' | 'cutOneWay' | 'diskFull' | 'diskSlow' | 'memory' }
  | { do: 'partition'; side: number[] }
  | { do: 'slow'; addedMs: number }
  | { do: 'loss' | 'duplicate'; share: number }
  | { do: 'instanceCrash' | 'instanceHang'; pick: number }
  | { do: 'restore'; machine: boolean }
  /** The machine of one node, or every machine, is slower for a while. */
  | { do: 'busy' | 'overload'; slowness: number }
  | { do: 'freezeAll' }
);

type StrikingKind = Exclude<FaultKind, 'clock' | 'work' | 'restore'>;

/** A machine's instances run with as little as this share of its memory after a restart. */
const LOW_MEMORY_SHARE = 0.6;
const SLOW_FSYNC_MS = 400;
const ALL_FROZEN_MS = 20_000;

export function faultSchedule(shape: Shape, rng: Prng): FaultAction[] {
  const actions: FaultAction[] = [];
  // Clocks run fast or slow all the time: nothing strikes. Work and restored disks have schedules of their own.
  const kinds = shape.faults.filter((kind): kind is StrikingKind => !['clock', 'work', 'restore'].includes(kind));
  if (shape.faults.includes('restore')) actions.push(...restoreSchedule(shape, rng.fork('restore')));
  if (kinds.length === 0) return actions;
  let wiped = 0;
  // The first seconds are quiet: a cluster is founded in peace.
  for (let atMs = 4_000; atMs < shape.activeMs; atMs += rng.between(shape.faultEveryMs / 2, shape.faultEveryMs * 1.5)) {
    const kind = rng.pick(kinds);
    const node = rng.between(0, shape.nodes - 1);
    const other = (node + rng.between(1, Math.max(1, shape.nodes - 1))) % shape.nodes;
    const forMs = rng.pick([300, 1_500, 4_000, 9_000, 15_000]);
    const base = { atMs, by: 'fault' as const, forMs, node, other };
    switch (kind) {
      case 'wipe':
        // A majority of the nodes, and two at least, keep their disks.
        if (wiped + 1 < shape.nodes / 2 && shape.nodes - wiped > 2) {
          wiped++;
          actions.push({ ...base, do: 'wipe' });
        }
        break;
      case 'cut':
        if (shape.nodes > 1) actions.push({ ...base, do: rng.chance(0.5) ? 'cut' : 'cutOneWay' });
        break;
      case 'partition': {
        const side = Array.from({ length: shape.nodes }, (_, index) => index).filter(() => rng.chance(0.5));
        // Some last beyond the fencing delay.
        const lastsMs = rng.chance(0.3) ? 28_000 : forMs;
        if (side.length > 0 && side.length < shape.nodes)
          actions.push({ ...base, forMs: lastsMs, do: 'partition', side });
        break;
      }
      case 'slow':
        actions.push({ ...base, do: 'slow', addedMs: rng.pick([50, 300, 900]) });
        break;
      case 'loss':
        actions.push({ ...base, do: 'loss', share: rng.pick([0.02, 0.1, 0.4]) });
        break;
      case 'duplicate':
        actions.push({ ...base, do: 'duplicate', share: rng.pick([0.1, 0.5]) });
        break;
      case 'instance':
        actions.push({ ...base, do: rng.chance(0.6) ? 'instanceCrash' : 'instanceHang', pick: rng.between(0, 9) });
        break;
      case 'disk':
        actions.push({ ...base, do: rng.chance(0.5) ? 'diskFull' : 'diskSlow' });
        break;
      case 'daemon':
      case 'machine':
      case 'freeze':
      case 'memory':
        actions.push({ ...base, do: kind });
        break;
    }
  }
  return actions;
}

/** A copy of one node's disk is kept, and put back once the node has gone on for a while and been started again. */
function restoreSchedule(shape: Shape, rng: Prng): FaultAction[] {
  const actions: FaultAction[] = [];
  for (let atMs = 5_000; atMs < shape.activeMs; atMs += rng.between(10_000, 25_000)) {
    const node = rng.between(0, shape.nodes - 1);
    const forMs = rng.pick([3_000, 6_000, 9_000]);
    actions.push({ atMs, by: 'fault', forMs, node, other: node, do: 'restore', machine: rng.chance(0.5) });
  }
  return actions;
}

/**
 * Machines that have too much to do: one, or all at once, or nothing goes on anywhere for longer than every time-out.
 */
export function overloadSchedule(shape: Shape, rng: Prng): FaultAction[] {
  const actions: FaultAction[] = [];
  if (!shape.faults.includes('work')) return actions;
  for (let atMs = 8_000; atMs < shape.activeMs; atMs += rng.between(10_000, 25_000)) {
    const node = rng.between(0, shape.nodes - 1);
    const base = { atMs, by: 'fault' as const, forMs: rng.pick([1_500, 6_000, 15_000]), node, other: node };
    const slowness = rng.pick([20, 60, 200]);
    const draw = rng.share();
    if (draw < 0.4) actions.push({ ...base, do: 'busy', slowness });
    else if (draw < 0.8) actions.push({ ...base, do: 'overload', slowness });
    else actions.push({ ...base, forMs: ALL_FROZEN_MS, do: 'freezeAll' });
  }
  return actions;
}

export function strike(world: World, fault: FaultAction): void {
  const node = world.nodes[fault.node]!;
  const { clock, network } = world;
  const after = (run: () => void): void => clock.in(fault.forMs, run);
  switch (fault.do) {
    case 'daemon':
      if (!node.daemonUp) return;
      node.crashDaemon();
      bootAfter(world, node, fault.forMs);
      return;
    case 'machine':
      if (!node.machineUp) return;
      node.crashMachine();
      bootAfter(world, node, fault.forMs);
      return;
    case 'memory':
      if (!node.daemonUp) return;
      node.memoryBytes = Math.floor(node.self.memoryBytes * LOW_MEMORY_SHARE);
      node.crashDaemon();
      bootAfter(world, node, 200);
      return;
    case 'wipe':
      node.wipe();
      return;
    case 'freeze':
      node.freeze();
      after(() => node.thaw());
      return;
    case 'cut':
      cutBetween(
        world,
        [
          [fault.node, fault.other],
          [fault.other, fault.node],
        ],
        fault.forMs,
      );
      return;
    case 'cutOneWay':
      cutBetween(world, [[fault.node, fault.other]], fault.forMs);
      return;
    case 'partition': {
      const ways: [number, number][] = [];
      for (const a of world.nodes) {
        for (const b of world.nodes) {
          if (fault.side.includes(a.index) && !fault.side.includes(b.index))
            ways.push([a.index, b.index], [b.index, a.index]);
        }
      }
      cutBetween(world, ways, fault.forMs);
      return;
    }
    case 'slow':
      network.slowDown(fault.node, fault.other, fault.addedMs);
      after(() => network.slowDown(fault.node, fault.other, 0));
      return;
    case 'loss':
      network.conditions = { ...network.conditions, loss: fault.share };
      after(() => {
        network.conditions = { ...network.conditions, loss: 0 };
      });
      return;
    case 'duplicate':
      network.conditions = { ...network.conditions, duplication: fault.share };
      after(() => {
        network.conditions = { ...network.conditions, duplication: 0 };
      });
      return;
    case 'instanceCrash':
    case 'instanceHang': {
      const ready = [...node.runtime.running.values()].filter((one) => one.state === 'ready');
      const victim = ready[fault.pick % Math.max(1, ready.length)];
      if (victim === undefined) return;
      if (fault.do === 'instanceCrash') node.runtime.crash(victim.spec.id, 'exited with status 9');
      else node.runtime.hang(victim.spec.id, fault.forMs);
      return;
    }
    case 'restore': {
      if (!node.daemonUp) return;
      const copy = node.copyDataDir();
      node.crashDaemon();
      bootAfter(world, node, 100);
      after(() => {
        if (node.gone || world.faultsOver) return;
        if (fault.machine) node.crashMachine();
        else node.crashDaemon();
        node.restoreDataDir(copy);
        bootAfter(world, node, 300);
      });
      return;
    }
    case 'busy':
    case 'overload': {
      const slowed = fault.do === 'busy' ? [node] : world.nodes;
      for (const one of slowed) one.thread.slowness = fault.slowness;
      after(() => {
        for (const one of slowed) one.thread.slowness = 1;
      });
      return;
    }
    case 'freezeAll':
      for (const one of world.nodes) one.freeze();
      after(() => {
        for (const one of world.nodes) one.thaw();
      });
      return;
    case 'diskFull':
      node.disk.full = true;
      node.measureDisk();
      after(() => {
        node.disk.full = false;
        node.measureDisk();
      });
      return;
    case 'diskSlow':
      world.slowDisks.set(node.index, SLOW_FSYNC_MS);
      after(() => world.slowDisks.delete(node.index));
      return;
  }
}

/** Every fault is over: all machines with a disk run, everyone reaches everyone. */
export function healEverything(world: World): void {
  world.network.healAll();
  world.slowDisks.clear();
  for (const node of world.nodes) {
    node.disk.full = false;
    node.measureDisk();
    node.thread.slowness = 1;
    node.thaw();
    node.boot();
  }
}

function bootAfter(world: World, node: SimNode, delayMs: number): void {
  const { epoch } = node;
  world.clock.in(delayMs, () => {
    if (node.epoch === epoch) node.boot();
  });
}

function cutBetween(world: World, ways: [number, number][], forMs: number): void {
  const { network, clock } = world;
  for (const [from, to] of ways) network.cut(from, to);
  world.cutsChanged();
  clock.in(forMs, () => {
    if (world.faultsOver) return;
    for (const [from, to] of ways) network.heal(from, to);
    world.cutsChanged();
  });
}
