// Users with data: what they ask for of volumes and service instances and when, and how that is put to a node. Apart
// from the other users, so that a seed without data is as it was.

import type { ChangeAuthor, NamedChange } from '../../crdt/change.ts';
import {
  asAppId,
  asBindingId,
  asLineageId,
  asServiceId,
  asVolumeId,
  type NodeId,
  type VolumeId,
} from '../../crdt/ids.ts';
import type { DesiredView, VolumeView } from '../../crdt/view.ts';
import type { SimNode } from './node.ts';
import { hexOf, type Prng } from './prng.ts';
import type { Shape } from './shape.ts';
import type { World } from './world.ts';

const MIB = 1024 * 1024;
/** What every node has. */
export const ENGINE = 'postgres 15';
const [KIND, VERSION] = ENGINE.split(' ') as [string, string];
const SERVICES_MAX = 2;

/** `pick`: which of the volumes or services that are there; `target`: a node. */
export type DataAction = { atMs: number; by: 'data'; node: number; key: string; pick: number; target: number } & (
  | { do: 'volumes'; app: number; slots: number }
  | { do: 'service' | 'move' | 'recover' | 'deleteVolume' | 'bind' | 'deleteService' }
  | { do: 'restartService' | 'stopService' | 'startService' | 'upgradeService' }
);

export function dataSchedule(shape: Shape, rng: Prng): DataAction[] {
  const actions: DataAction[] = [];
  const add = (atMs: number, rest: object): void => {
    const [node, target] = [rng.between(0, shape.nodes - 1), rng.between(0, shape.nodes - 1)];
    const key = `d${actions.length}`;
    actions.push({ atMs, by: 'data', node, key, pick: rng.between(0, 99), target, ...rest } as DataAction);
  };
  for (let app = 0; app < shape.apps; app++) {
    const slots = rng.between(1, shape.instances);
    if (app === 0 || rng.chance(0.4)) add(rng.between(3_500, 6_000), { do: 'volumes', app, slots });
  }
  for (let index = rng.between(0, SERVICES_MAX); index > 0; index--) {
    add(rng.between(1_000, 6_000), { do: 'service' });
  }
  for (let atMs = 7_000; atMs < shape.activeMs; atMs += rng.between(shape.userEveryMs / 2, shape.userEveryMs * 1.5)) {
    add(atMs, {
      do: rng.pick([
        ...['move', 'move', 'move', 'recover', 'recover', 'deleteVolume', 'bind', 'service', 'deleteService'],
        ...['restartService', 'stopService', 'startService', 'startService', 'upgradeService'],
      ]),
    });
  }
  return actions;
}

export function actOnData(world: World, action: DataAction): void {
  const node = world.nodes[action.node % world.nodes.length]!;
  if (!isAwake(node)) return;
  const view = node.store!.document.view();
  if (action.do === 'move') {
    move(world, view, action);
    return;
  }
  const changes = changesOf(world, view, action);
  if (changes.length > 0) world.write(node, changes);
}

const isAwake = (node: SimNode): boolean => node.daemonUp && !node.frozen && node.store !== undefined;

const picked = <T>(of: Iterable<T>, { pick }: DataAction): T | undefined => {
  const all = [...of];
  return all.length === 0 ? undefined : all[pick % all.length];
};

/** By the node that has the data, as it has to copy it: another one could not know where it is by now. */
function move(world: World, view: DesiredView, action: DataAction): void {
  const volume = picked(view.volumes.values(), action);
  const node = world.nodes.find((one) => one.id === volume?.node);
  if (volume === undefined || node === undefined || !isAwake(node)) return;
  const known = node.store!.document.view();
  const here = known.volumes.get(volume.id);
  if (here?.node !== node.id || here.movedFrom !== undefined) return;
  const to = world.nodes[action.target % world.nodes.length]!.id;
  if (!known.nodes.has(to)) return;
  const moves = togetherWith(here, known).map(
    ({ id }): NamedChange => ({ change: 'moveVolume', volume: id, node: to }),
  );
  world.write(node, moves);
}

/**
 * Of a volume that the node has left, as its core found: what was written since the first copy has been brought, or
 * could not be, and then all of its slot stays, unless one has gone already.
 */
export function endOfMove(
  volume: VolumeId,
  { view, self, author }: { view: DesiredView | undefined; self: NodeId; author: ChangeAuthor },
): NamedChange[] {
  const left: NamedChange[] = [{ change: 'leaveVolume', volume, node: self }];
  const moved = view?.volumes.get(volume);
  if (view === undefined || moved === undefined || hexOf(`${volume}/${author.atMs}`, 1) > '3') return left;
  const together = togetherWith(moved, view).filter(({ mounted }) => mounted);
  if (together.length === 0 || together.some(({ movedFrom }) => movedFrom !== self)) return left;
  return together.map(({ id }) => ({ change: 'keepVolume', volume: id, node: self }));
}

/** All volumes of the slot. */
const togetherWith = ({ owner, process, index }: VolumeView, view: DesiredView): VolumeView[] =>
  [...view.volumes.values()].filter((one) => one.owner === owner && one.process === process && one.index === index);

function changesOf(world: World, view: DesiredView, action: DataAction): NamedChange[] {
  const service = picked(
    [...view.services.values()].filter(({ volume }) => volume !== undefined),
    action,
  );
  switch (action.do) {
    case 'volumes':
      return volumesOf(world, view, action);
    case 'service':
      return view.services.size >= SERVICES_MAX ? [] : [newService(world, view, action)];
    case 'recover':
      return recovery(world, view, action);
    case 'deleteVolume': {
      const volume = picked(view.volumes.values(), action);
      return volume === undefined ? [] : [{ change: 'deleteVolume', volume: volume.id }];
    }
    case 'bind': {
      const app = picked(view.apps.values(), action);
      if (service === undefined || app === undefined) return [];
      const binding = asBindingId(`b-${hexOf(action.key, 8)}`);
      const which = { service: service.id, app: app.id, prefix: '', secret: 'sealed:x' };
      return [{ change: 'bindService', binding, ...which }];
    }
    case 'restartService':
      return service === undefined ? [] : [{ change: 'restartService', service: service.id }];
    case 'stopService':
    case 'startService':
      if (service === undefined) return [];
      return [{ change: 'setServiceStopped', service: service.id, stopped: action.do === 'stopService' }];
    case 'upgradeService':
      return service === undefined
        ? []
        : [{ change: 'configureService', service: service.id, plan: `plan-${action.pick}` }];
    case 'deleteService':
      return service === undefined ? [] : [{ change: 'deleteService', service: service.id }];
    default:
      return [];
  }
}

function volumesOf(world: World, view: DesiredView, action: DataAction & { do: 'volumes' }): NamedChange[] {
  const app = [...view.apps.values()].find(({ name, ownsName }) => name === `app-${action.app}` && ownsName);
  if (app === undefined) return [];
  const volumes = Array.from({ length: action.slots }, (_, index) => ({
    ...newVolume(world, action, index),
    owner: app.id,
    process: 'web',
    ...(world.shape.lossDelayMs === undefined || action.pick % 4 === 0 ? {} : RESTORED),
  }));
  // What runs already gets them with its next start.
  return [
    { change: 'createVolumes', volumes },
    { change: 'restartApp', app: app.id },
  ];
}

const RESTORED = { onLoss: 'restore', snapshotsKept: 2 } as const;

const newVolume = (world: World, action: DataAction, index: number) => ({
  id: asVolumeId(`v-${hexOf(`${action.key}/${index}`, 8)}`),
  owner: asAppId(''),
  process: 'service',
  index,
  path: '/data',
  sizeBytes: MIB,
  node: world.nodes[(action.target + index) % world.nodes.length]!.id,
  lineage: asLineageId(`l-${hexOf(`${action.key}/${index}`, 8)}`),
  snapshotEveryMs: 0,
  snapshotsKept: 0,
  onLoss: 'wait' as const,
});

function newService(world: World, view: DesiredView, action: DataAction): NamedChange {
  const service = asServiceId(`s-${hexOf(action.key, 8)}`);
  const number = Number(action.key.slice(1));
  return {
    change: 'createService',
    service,
    name: `db-${action.key}`,
    ...{ kind: KIND, version: VERSION, plan: 'small' },
    memoryBytes: (world.shape.appMemoryMib / 2) * MIB,
    storageBytes: MIB,
    address: `198.18.${view.services.size}.${(number % 200) + 1}`,
    secret: 'sealed:x',
    ...{ backupEveryMs: 0, backupsKept: 0 },
    volume: { ...newVolume(world, action, 0), owner: asAppId(service) },
  };
}

/** A person's word that the data is lost where it was, which it need not be. */
function recovery(world: World, view: DesiredView, action: DataAction): NamedChange[] {
  const isLost = ({ node }: VolumeView): boolean => world.nodes[world.indexOf(node)]?.machineUp !== true;
  const volumes = [...view.volumes.values()];
  const volume = picked(volumes.some(isLost) ? volumes.filter(isLost) : volumes, action);
  const to = world.nodes[action.target % world.nodes.length]!.id;
  if (volume === undefined || !view.nodes.has(to)) return [];
  return togetherWith(volume, view).map((one, at) => ({
    change: 'moveVolume',
    volume: one.id,
    node: to,
    lineage: asLineageId(`l-${hexOf(`${action.key}/${at}/recovered`, 8)}`),
  }));
}
