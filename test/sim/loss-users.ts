// Users who have their data restored by itself, and the long outages that call for it: snapshots taken, the policy
// changed, machines with data away, or cut off, for longer than the delay. Drawn apart from all else, so that seeds
// without it are as they were.

import { strike } from './faults.ts';
import type { SimNode } from './node.ts';
import type { Prng } from './prng.ts';
import type { Shape } from './shape.ts';
import type { World } from './world.ts';

/** `pick`: which of the volumes that are there. */
export type LossAction = { atMs: number; by: 'loss'; pick: number; node: number } & (
  | { do: 'snapshot' }
  | { do: 'policy'; onLoss: 'wait' | 'restore'; keep: number }
  /** Of the node that has the volume: its machine, or with some others it is cut off from the rest. */
  | { do: 'outage'; forMs: number; how: 'machine' | 'partition'; side: number[] }
);

const SNAPSHOT_EVERY_MS = 1_500;

export function lossSchedule(shape: Shape, rng: Prng): LossAction[] {
  const actions: LossAction[] = [];
  const draw = () => ({ pick: rng.between(0, 99), node: rng.between(0, shape.nodes - 1) });
  for (let atMs = 6_500; atMs < shape.activeMs; atMs += rng.between(SNAPSHOT_EVERY_MS / 2, SNAPSHOT_EVERY_MS * 1.5)) {
    actions.push({ atMs, by: 'loss', ...draw(), do: 'snapshot' });
  }
  for (let atMs = 6_200; atMs < shape.activeMs; atMs += rng.between(5_000, 20_000)) {
    const [onLoss, keep] = [rng.chance(0.8) ? 'restore' : 'wait', rng.between(1, 3)] as const;
    actions.push({ atMs, by: 'loss', ...draw(), do: 'policy', onLoss, keep });
  }
  for (let atMs = rng.between(8_000, 14_000); atMs < shape.activeMs; atMs += rng.between(15_000, 40_000)) {
    const side = Array.from({ length: shape.nodes }, (_, index) => index).filter(() => rng.chance(0.2));
    const how = rng.pick(['machine', 'machine', 'partition'] as const);
    actions.push({ atMs, by: 'loss', ...draw(), do: 'outage', forMs: rng.pick([18_000, 30_000, 45_000]), how, side });
  }
  return actions;
}

export function actOnLoss(world: World, action: LossAction): void {
  const asked = world.nodes[action.node % world.nodes.length]!;
  if (!isAwake(asked)) return;
  const volumes = [...asked.store!.document.view().volumes.values()];
  const volume = volumes[action.pick % Math.max(1, volumes.length)];
  if (volume === undefined) return;
  if (action.do === 'policy') {
    const { onLoss, keep } = action;
    const change = { change: 'configureVolume' as const, volume: volume.id, snapshotsKept: keep };
    const isOfApp = asked.store!.document.view().apps.has(volume.owner);
    world.write(asked, [isOfApp ? { ...change, onLoss } : change]);
    return;
  }
  const holder = world.nodes[world.indexOf(volume.node)]!;
  if (action.do === 'outage') {
    const { atMs, forMs, how, side } = action;
    const base = { atMs, by: 'fault' as const, forMs, node: holder.index, other: holder.index };
    const cutOff = [...new Set([holder.index, ...side])];
    if (how === 'machine' || cutOff.length === world.nodes.length) strike(world, { ...base, do: 'machine' });
    else strike(world, { ...base, do: 'partition', side: cutOff });
    return;
  }
  const known = isAwake(holder) ? holder.store!.document.view().volumes.get(volume.id) : undefined;
  if (known?.node === holder.id && known.movedFrom === undefined) holder.snapshots.take(known);
}

const isAwake = (node: SimNode): boolean => node.daemonUp && !node.frozen && node.store !== undefined;
