// The desired state of a wide cluster: ten instances a node, of apps of several sizes, every node in one of four
// zones; and the placement in which it rests. A plain view: nobody writes to it while it is simulated.

import {
  asAppId,
  asClusterId,
  asDigest,
  asInstanceId,
  asNodeId,
  asReleaseId,
  type Digest,
  type NodeId,
} from '../../../crdt/ids.ts';
import type { AppView, DesiredView, NodeView, ReleaseView } from '../../../crdt/view.ts';
import { slotsOf } from '../../../node/core/slots.ts';
import type { SelfInfo } from '../../../node/core/state.ts';
import type { AdoptedInstance } from '../../../node/core/types.ts';
import { hexOf } from '../prng.ts';

const MIB = 1024 * 1024;
const ZONES = 4;
export const INSTANCES_PER_NODE = 10;
const APP_SIZES = [2, 5, 8, 10, 15, 20];
const APP_MEMORY_BYTES = 64 * MIB;
const NODE_MEMORY_BYTES = 2048 * MIB;

export function selfOf(index: number): SelfInfo {
  // As long as real ones, and as different from one another.
  const id = asNodeId(`12D3KooW${hexOf(`wide/${index}`, 20)}${String(index).padStart(4, '0')}`);
  const address = `10.${index >> 8}.${index & 255}.2`;
  return {
    node: id,
    name: `node-${index}`,
    version: '0.1.0',
    addresses: [`/ip4/${address}/tcp/7001/p2p/${id}`],
    link: `${address}:7002`,
    api: `127.0.0.1:7000`,
    http: `${address}:8080`,
    arch: 'x64',
    stacks: ['debian12-x64'],
    runtimes: ['process'],
    labels: { zone: `z${index % ZONES}` },
    memoryBytes: NODE_MEMORY_BYTES,
  };
}

export function desiredOf(nodes: readonly NodeId[]): DesiredView {
  const apps = new Map<AppView['id'], AppView>();
  let left = nodes.length * INSTANCES_PER_NODE;
  for (let number = 0; left > 0; number++) {
    const size = Math.min(left, nodes.length, APP_SIZES[number % APP_SIZES.length]!);
    left -= size;
    const app = appOf(number, size);
    apps.set(app.id, app);
  }
  return {
    cluster: { id: asClusterId('0'.repeat(32)), name: 'wide', domain: 'localhost', teams: 'flat' },
    nodes: new Map(nodes.map((id, index) => [id, nodeOf(id, index)])),
    removedNodes: new Set(),
    users: new Map(),
    invites: new Map(),
    apps,
    services: new Map(),
    volumes: new Map(),
    bindings: new Map(),
    keys: new Map(),
    workloads: apps,
    routes: new Map([...apps.values()].map((app) => [app.routes[0]!, app.id])),
    hosts: new Map(),
    conflicts: [],
    problems: [],
  };
}

const nodeOf = (id: NodeId, index: number): NodeView => ({
  id,
  name: `node-${index}`,
  draining: false,
  labels: {},
  admittedAtMs: 0,
  sealKey: undefined,
});

function appOf(number: number, size: number): AppView {
  const id = asAppId(hexOf(`app/${number}`, 16));
  const name = `app-${number}`;
  const release: ReleaseView = {
    id: asReleaseId(hexOf(`release/${number}`, 16)),
    version: 1,
    createdAtMs: 0,
    createdBy: 'ada',
    description: 'push',
    droplet: { digest: asDigest(`sha256:${hexOf(`droplet/${number}`, 32)}`), sizeBytes: 1, stack: 'debian12-x64' },
    buildpack: 'nodejs',
    processes: { web: 'node server.js' },
    env: {},
    failed: undefined,
  };
  return {
    id,
    name,
    ownsName: true,
    createdAtMs: 0,
    owner: undefined,
    members: [],
    stopped: false,
    scale: { web: size },
    memoryBytes: APP_MEMORY_BYTES,
    diskBytes: 1024 * MIB,
    env: {},
    health: { kind: 'port', path: '/', timeoutMs: 60_000 },
    strategy: 'rolling',
    partition: 'serve',
    maxUnavailable: 1,
    maxSurge: 1,
    restartCount: 0,
    release,
    releases: [release],
    routes: [`${name}.localhost`],
    volumes: [],
  };
}

/**
 * A placement that moves nothing: slots dealt out in turn, so that all nodes are equally full and every app is spread.
 */
export function restingInstances(view: DesiredView, nodes: number): AdoptedInstance[][] {
  const instances: AdoptedInstance[][] = Array.from({ length: nodes }, () => []);
  let turn = 0;
  for (const app of view.apps.values()) {
    for (const slot of slotsOf(app)) {
      const index = turn++ % nodes;
      const own = instances[index]!;
      own.push({
        ...slot,
        id: asInstanceId(`${hexOf(`host/${index}`, 3)}-1-${own.length + 1}`),
        release: app.release!.id,
        restartCount: 0,
        memoryBytes: APP_MEMORY_BYTES,
        port: 40_000 + own.length,
      });
    }
  }
  return instances;
}

export const dropletOf = (view: DesiredView, app: AppView['id']): Digest => view.apps.get(app)!.release!.droplet.digest;
