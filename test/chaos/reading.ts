// What the API of one daemon says of itself and of the others, and the desired state as far as it can be told from
// that.

import { createHash } from 'node:crypto';
import {
  type AppId,
  asAppId,
  asClusterId,
  asNodeId,
  type Digest,
  type NodeId,
  type ReleaseId,
} from '../../crdt/ids.ts';
import type { AppView, DesiredView, NodeView, ReleaseView } from '../../crdt/view.ts';
import type { AppShape, AppSummaryShape, NodeShape, ReleaseShape } from '../../node/api/shapes.ts';
import type { LocalCluster, LocalNode } from '../../scripts/local-cluster.ts';

export type Reading = { nodes: NodeShape[]; apps: AppShape[]; view: DesiredView; heads: string[] };

const READ_TIMEOUT_MS = 2_000;
/** The API does not tell them; a chaos run pushes with the defaults. */
const ROLLOUT_DEFAULTS = { maxUnavailable: 1, maxSurge: 1 };

/** Releases never change but for their failing; read again when an app has one that is not known. */
export class Reader {
  readonly #cluster: LocalCluster;
  readonly #releases = new Map<AppId, ReleaseShape[]>();

  constructor(cluster: LocalCluster) {
    this.#cluster = cluster;
  }

  /** Fails when the daemon does not answer in time. */
  async read(node: LocalNode): Promise<Reading> {
    const read = <T>(path: string): Promise<T> => this.#cluster.read<T>(node, path, READ_TIMEOUT_MS);
    const [nodes, summaries] = await Promise.all([read<NodeShape[]>('/v1/nodes'), read<AppSummaryShape[]>('/v1/apps')]);
    const apps = await Promise.all(summaries.map(({ name }) => read<AppShape>(`/v1/apps/${name}`)));
    for (const app of apps) {
      const known = this.#releases.get(asAppId(app.id)) ?? [];
      if (app.release === null || known.some(({ release }) => release === app.release)) continue;
      this.#releases.set(asAppId(app.id), await read<ReleaseShape[]>(`/v1/apps/${app.name}/releases`));
    }
    const view = this.#viewOf(nodes, apps);
    const said = JSON.stringify([[...view.nodes], [...view.apps]]);
    return { nodes, apps, view, heads: [createHash('sha256').update(said).digest('hex')] };
  }

  #viewOf(nodes: readonly NodeShape[], apps: readonly AppShape[]): DesiredView {
    const byApp = new Map(apps.map((app) => [asAppId(app.id), this.#appView(app)]));
    return {
      cluster: { id: asClusterId(''), name: '', domain: 'localhost', teams: 'flat' },
      nodes: new Map(nodes.map((node) => [asNodeId(node.id), nodeView(node)])),
      removedNodes: new Set<NodeId>(),
      users: new Map(),
      invites: new Map(),
      apps: byApp,
      services: new Map(),
      volumes: new Map(),
      bindings: new Map(),
      keys: new Map(),
      workloads: byApp,
      routes: new Map([...byApp.values()].flatMap((app) => app.routes.map((route) => [route, app.id] as const))),
      hosts: new Map(),
      conflicts: [],
      problems: [],
    };
  }

  /** Nobody restarts an app during a chaos run, and what it has of environment does not matter to any checker. */
  #appView(shape: AppShape): AppView {
    const releases = (this.#releases.get(asAppId(shape.id)) ?? []).map(releaseView);
    return {
      id: asAppId(shape.id),
      name: shape.name,
      ownsName: shape.ownsName,
      createdAtMs: shape.createdAtMs,
      owner: undefined,
      members: [],
      stopped: shape.stopped,
      scale: shape.desired,
      memoryBytes: shape.memoryBytes,
      diskBytes: shape.diskBytes,
      env: {},
      health: shape.health,
      strategy: shape.strategy,
      partition: shape.partition,
      ...ROLLOUT_DEFAULTS,
      restartCount: 0,
      release: releases.find((release) => `v${release.version}` === shape.release),
      releases,
      routes: shape.routes,
      volumes: [],
    };
  }
}

const nodeView = ({ id, name, draining }: NodeShape): NodeView => ({
  id: asNodeId(id),
  name,
  draining,
  labels: {},
  admittedAtMs: 0,
  sealKey: undefined,
});

const releaseView = (shape: ReleaseShape): ReleaseView => ({
  id: shape.id as ReleaseId,
  version: Number(shape.release.slice(1)),
  createdAtMs: shape.createdAtMs,
  createdBy: shape.createdBy,
  description: shape.description,
  droplet: { digest: shape.droplet as Digest, sizeBytes: shape.sizeBytes, stack: '' },
  buildpack: shape.buildpack,
  processes: shape.processes,
  env: {},
  failed: shape.failed ?? undefined,
});
