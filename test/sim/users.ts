// Users: what they ask for and when (a schedule made from the seed), and how a request is put to one node. An action
// names its target by number, so that it means the same when other actions are left out of the schedule.

import type { NamedChange } from '../../crdt/change.ts';
import { asAppId, asDigest, asReleaseId } from '../../crdt/ids.ts';
import type { AppView } from '../../crdt/view.ts';
import type { SimNode } from './node.ts';
import { hexOf, type Prng } from './prng.ts';
import type { Quality } from './runtime.ts';
import type { Shape, UserKind } from './shape.ts';
import type { World } from './world.ts';

export const MIB = 1024 * 1024;

export type UserAction = { atMs: number; by: 'user'; node: number; app: number; key: string } & (
  | { do: 'push'; quality: Quality }
  | { do: 'scale'; count: number }
  | { do: 'memory'; mib: number }
  | { do: 'env' | 'rollback' | 'restart' | 'restartSlot' | 'stop' | 'start' | 'delete' | 'map' | 'unmap' }
  | { do: 'drain' | 'undrain'; target: number }
  | { do: 'remove'; target: number }
);

/** A draw that stands for the kind in `userSchedule`. */
const DRAWS: Record<UserKind, number> = {
  push: 0,
  scale: 0.4,
  env: 0.5,
  rollback: 0.55,
  restart: 0.65,
  restartSlot: 0.7,
  stop: 0.75,
  delete: 0.78,
  map: 0.85,
  drain: 0.9,
  memory: 0.99,
};

const COPIES = 3;
const COPY_MS = 60;

export function userSchedule(shape: Shape, rng: Prng): UserAction[] {
  const actions: UserAction[] = [];
  const add = (atMs: number, app: number, rest: object): void => {
    const key = `${actions.length}`;
    actions.push({ atMs, by: 'user', node: rng.between(0, shape.nodes - 1), app, key, ...rest } as UserAction);
  };
  for (let app = 0; app < shape.apps; app++) add(rng.between(500, 3_000), app, { do: 'push', quality: 'good' });
  for (let atMs = 5_000; atMs < shape.activeMs; atMs += rng.between(shape.userEveryMs / 2, shape.userEveryMs * 1.5)) {
    const app = rng.between(0, shape.apps - 1);
    const target = rng.between(0, shape.nodes - 1);
    const draw = shape.users === undefined ? rng.share() : DRAWS[rng.pick(shape.users)];
    if (draw < 0.3) {
      add(atMs, app, {
        do: 'push',
        quality: rng.pick<Quality>(['good', 'good', 'good', 'slow', 'crash', 'never', 'flap']),
      });
    } else if (draw < 0.45) add(atMs, app, { do: 'scale', count: rng.between(0, shape.instances + 1) });
    else if (draw < 0.53) add(atMs, app, { do: 'env' });
    else if (draw < 0.6) add(atMs, app, { do: 'rollback' });
    else if (draw < 0.67) add(atMs, app, { do: 'restart' });
    else if (draw < 0.72) add(atMs, app, { do: 'restartSlot' });
    else if (draw < 0.77) add(atMs, app, { do: rng.pick(['stop', 'start', 'start']) });
    else if (draw < 0.8) add(atMs, app, { do: 'delete' });
    else if (draw < 0.86) add(atMs, app, { do: rng.pick(['map', 'unmap']) });
    else if (draw < 0.96) add(atMs, app, { do: rng.pick(['drain', 'undrain']), target });
    else if (draw < 0.98) add(atMs, app, { do: 'remove', target });
    else add(atMs, app, { do: 'memory', mib: rng.pick([shape.appMemoryMib, shape.appMemoryMib / 2]) });
  }
  return actions;
}

/** Puts the request to its node; a node that is down or frozen does not answer, as the user would find. */
export function act(world: World, action: UserAction): void {
  const node = world.nodes[action.node % world.nodes.length]!;
  if (!node.daemonUp || node.frozen || node.store === undefined) return;
  const view = node.store.document.view();
  const name = `app-${action.app}`;
  const app = [...view.apps.values()].find((one) => one.name === name && one.ownsName);
  if (action.do === 'push') {
    push(world, node, app, action);
    return;
  }
  if (action.do === 'restartSlot') {
    restartSlot(world, app, action);
    return;
  }
  const change = changeOf(world, app, action);
  if (change !== undefined) world.write(node, [change]);
}

function changeOf(world: World, app: AppView | undefined, action: UserAction): NamedChange | undefined {
  switch (action.do) {
    case 'drain':
    case 'undrain':
      return {
        change: 'setDraining',
        node: world.nodes[action.target % world.nodes.length]!.id,
        draining: action.do === 'drain',
      };
    case 'remove': {
      // Only what will not come back is removed: anything else would be another way to lose a machine.
      const target = world.nodes[action.target % world.nodes.length]!;
      return target.gone ? { change: 'removeNode', node: target.id } : undefined;
    }
  }
  if (app === undefined) return undefined;
  const release = asReleaseId(`r-${hexOf(`release/${action.key}`, 8)}`);
  const route = `extra-${Number(action.key) % 2}.localhost`;
  switch (action.do) {
    case 'scale':
      return { change: 'scaleApp', app: app.id, scale: { web: action.count } };
    case 'memory':
      return { change: 'configureApp', app: app.id, settings: { memoryBytes: action.mib * MIB } };
    case 'env':
      return { change: 'setEnv', app: app.id, set: { KEY: action.key }, unset: [], release };
    case 'rollback': {
      const earlier = app.releases.filter((one) => one.id !== app.release?.id);
      if (earlier.length === 0) return undefined;
      return { change: 'rollback', app: app.id, to: earlier[Number(action.key) % earlier.length]!.id, release };
    }
    case 'restart':
      return { change: 'restartApp', app: app.id };
    case 'stop':
    case 'start':
      return { change: 'setStopped', app: app.id, stopped: action.do === 'stop' };
    case 'delete':
      return { change: 'deleteApp', app: app.id };
    case 'map':
      return { change: 'mapRoute', app: app.id, route };
    case 'unmap':
      return { change: 'unmapRoute', app: app.id, route };
    default:
      return undefined;
  }
}

/** Staged on the node, copied to others, then written: the droplet is there before the release is. */
function push(world: World, node: SimNode, app: AppView | undefined, action: UserAction & { do: 'push' }): void {
  const digest = asDigest(`sha256:${hexOf(`droplet/${action.key}`, 32)}`);
  world.qualities.set(digest, action.quality);
  node.holdBlob(digest);
  let copies = 1;
  for (const other of world.nodes) {
    if (copies >= COPIES || other === node || !other.daemonUp || other.frozen || other.disk.full) continue;
    if (!world.network.reaches(node.index, other.index) || !node.admits(other.index)) continue;
    copies++;
    other.later(COPY_MS, () => other.holdBlob(digest));
  }
  const appId = app?.id ?? asAppId(`a-${hexOf(`app/${action.app}/${action.key}`, 8)}`);
  const release: NamedChange = {
    change: 'addRelease',
    app: appId,
    release: {
      id: asReleaseId(`r-${hexOf(`release/${action.key}`, 8)}`),
      description: 'push',
      droplet: { digest, sizeBytes: 1_000, stack: 'debian12-x64' },
      buildpack: 'nodejs',
      processes: { web: 'node server.js' },
    },
  };
  const { shape } = world;
  const rng = world.rng.fork(`app/${action.app}`);
  const create: NamedChange = {
    change: 'createApp',
    app: appId,
    name: `app-${action.app}`,
    settings: {
      memoryBytes: shape.appMemoryMib * MIB,
      health: { kind: 'port', timeoutMs: shape.healthTimeoutMs },
      strategy: rng.chance(0.15) ? 'recreate' : 'rolling',
      partition: rng.chance(0.3) ? 'fence' : 'serve',
      maxUnavailable: rng.pick([1, 1, 1, 2]),
      maxSurge: world.rng.fork(`surge/${action.app}`).pick([0, 1, 1, 2]),
    },
    scale: { web: rng.between(1, shape.instances) },
    env: {},
    routes: [`app-${action.app}.localhost`],
    stopped: false,
  };
  node.later(2 * COPY_MS, () => world.write(node, app === undefined ? [create, release] : [release]));
}

/** As the API does: the node that runs the slot is asked. */
function restartSlot(world: World, app: AppView | undefined, action: UserAction): void {
  if (app === undefined) return;
  for (const node of world.nodes) {
    if (!node.daemonUp) continue;
    const [running] = node.runtime.readyOf(app.id);
    if (running === undefined) continue;
    const { process, index } = running.spec;
    world.trace(node, 'user-restart', `${action.key} ${running.spec.id}`);
    node.deliver(() => node.post({ type: 'restartSlot', slot: { app: app.id, process, index } }));
    return;
  }
}
