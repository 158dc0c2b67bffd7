// How each shape that the API answers follows from the desired and the observed state. Pure.

import { hostOfRoute } from '../../crdt/hosts.ts';
import type { AppId, NodeId } from '../../crdt/ids.ts';
import { type Refusal, refusalOf, refusals } from '../../crdt/in-force.ts';
import { problemText } from '../../crdt/record-problems.ts';
import { eachSetting, type SettingValues } from '../../crdt/settings.ts';
import type { AppView, Conflict, DesiredView, ReleaseView, UserView } from '../../crdt/view.ts';
import { pressureWarning } from '../core/pressure.ts';
import { compareText } from '../core/text.ts';
import type { InstanceReport } from '../core/types.ts';
import type { MemberView, NodeService, ObservedView } from '../ports/node-service.ts';
import type { InstanceUsage } from '../ports/runtime.ts';
import type {
  AppShape,
  AppSummaryShape,
  InstanceShape,
  KnownSecretsShape,
  NodeShape,
  RefusedShape,
  ReleaseShape,
  RolloutShape,
  RouteShape,
  StatusShape,
  UsageShape,
  UserShape,
} from './shapes.ts';

/** An instance with the member that reported it. */
export type Observed = { member: MemberView; instance: InstanceReport };

export const versionOf = (release: ReleaseView): string => `v${release.version}`;

/** Instances of an app on members that are not known to be gone, in the order of slots. */
export function instancesOf(app: AppView, observed: ObservedView): Observed[] {
  const found: Observed[] = [];
  for (const member of observed.members) {
    if (member.status !== 'alive' && member.status !== 'suspect') continue;
    for (const instance of member.report?.instances ?? []) {
      if (instance.app === app.id) found.push({ member, instance });
    }
  }
  return found.sort(
    (a, b) =>
      compareText(a.instance.process, b.instance.process) ||
      a.instance.index - b.instance.index ||
      compareText(a.instance.id, b.instance.id),
  );
}

/** Slots wanted per process type; `web: 1` where nothing was said. Before the first release only `web` is known. */
export function desiredOf(app: AppView): Record<string, number> {
  const processes = app.release === undefined ? ['web'] : Object.keys(app.release.processes).sort(compareText);
  return Object.fromEntries(processes.map((process) => [process, app.scale[process] ?? (process === 'web' ? 1 : 0)]));
}

export function instanceShape(
  { member, instance }: { member: Pick<MemberView, 'name' | 'reportAgeMs'>; instance: InstanceReport },
  app: AppView,
): InstanceShape {
  const release = app.releases.find((candidate) => candidate.id === instance.release);
  return {
    id: instance.id,
    process: instance.process,
    index: instance.index,
    node: member.name,
    release: release === undefined ? 'unknown' : versionOf(release),
    state: instance.state,
    restarts: instance.crashes,
    sinceMs: instance.sinceMs + (member.reportAgeMs ?? 0),
    memoryBytes: instance.memoryBytes,
    ...(instance.reason === undefined ? {} : { reason: instance.reason }),
  };
}

/** Claims that lost, in the order of the route. */
export function lostRoutes(view: DesiredView, app?: AppId): { route: string; app: AppId; lostTo: AppId }[] {
  return view.conflicts
    .flatMap((one) =>
      (one.kind === 'route' || one.kind === 'host') && (app === undefined || one.loser === app)
        ? [{ route: one.route, app: one.loser, lostTo: one.winner }]
        : [],
    )
    .sort((a, b) => compareText(a.route, b.route) || compareText(a.app, b.app));
}

const appName = (view: DesiredView, app: AppId): string => view.apps.get(app)?.name ?? app;

export function appShape(app: AppView, view: DesiredView, observed: ObservedView): AppShape {
  return {
    name: app.name,
    id: app.id,
    release: app.release === undefined ? null : versionOf(app.release),
    desired: desiredOf(app),
    routes: [...app.routes],
    lostRoutes: lostRoutes(view, app.id).map(({ route, lostTo }) => ({ route, lostTo: appName(view, lostTo) })),
    instances: instancesOf(app, observed).map((found) => instanceShape(found, app)),
    stopped: app.stopped,
    health: { ...app.health },
    ...(eachSetting<string | number>((key) => app[key]) as SettingValues),
    buildpack: app.release?.buildpack ?? null,
    createdAtMs: app.createdAtMs,
    owner: app.owner ?? null,
    members: [...app.members],
    ownsName: app.ownsName,
    refused: refusedShapes(app),
  };
}

export function usageShape({ id, memoryBytes, cpu, diskBytes }: InstanceUsage): UsageShape {
  return { id, memoryBytes: memoryBytes ?? null, cpu: cpu ?? null, diskBytes: diskBytes ?? null };
}

export function appSummaryShape(app: AppView, observed: ObservedView): AppSummaryShape {
  return {
    name: app.name,
    id: app.id,
    release: app.release === undefined ? null : versionOf(app.release),
    stopped: app.stopped,
    desired: desiredOf(app),
    ready: instancesOf(app, observed).filter(({ instance }) => instance.state === 'ready').length,
    memoryBytes: app.memoryBytes,
    routes: [...app.routes],
    ownsName: app.ownsName,
  };
}

export function rolloutShape(app: AppView, service: Pick<NodeService, 'self' | 'observed'>): RolloutShape {
  const observed = service.observed();
  const own = observed.members.find((member) => member.id === service.self.id);
  return {
    app: app.name,
    release: app.release === undefined ? null : versionOf(app.release),
    processes: Object.keys(app.release?.processes ?? {}).sort(),
    desired: desiredOf(app),
    droplet: app.release?.droplet.digest ?? null,
    buildpack: app.release?.buildpack ?? null,
    routes: [...app.routes],
    urls: urlsOf(app.routes, own?.report?.http),
    instances: instancesOf(app, observed)
      .filter(({ instance }) => instance.state !== 'stopping')
      .map((found) => instanceShape(found, app)),
  };
}

/** @param http `host:port` of the public listener of the node that is asked. */
export function urlsOf(routes: readonly string[], http: string | undefined): string[] {
  const port = http === undefined ? undefined : /:(\d+)$/.exec(http)?.[1];
  if (port === undefined) return [];
  return routes
    .filter((route) => !route.startsWith('*.'))
    .map((route) => {
      const [host = '', ...path] = route.split('/');
      return `http://${host}${port === '80' ? '' : `:${port}`}/${path.join('/')}`;
    });
}

/** Everything that a refused change was about; names, never values. */
const namesOf = (refusal: Refusal | undefined): string[] =>
  refusal === undefined ? [] : [...refusal.others, ...refusal.env.map((key) => `env ${key}`)];

const refusedShapes = (app: AppView): RefusedShape[] =>
  refusals(app).map((one) => ({ release: versionOf(one.release), keys: namesOf(one), reason: one.reason }));

export const refusedEnvShapes = (app: AppView): RefusedShape[] =>
  refusals(app)
    .filter(({ env }) => env.length > 0)
    .map(({ release, env, reason }) => ({ release: versionOf(release), keys: env, reason }));

export function releaseShape(release: ReleaseView, app: AppView): ReleaseShape {
  return {
    release: versionOf(release),
    id: release.id,
    current: release.id === app.release?.id,
    createdAtMs: release.createdAtMs,
    createdBy: release.createdBy,
    description: release.description,
    droplet: release.droplet.digest,
    sizeBytes: release.droplet.sizeBytes,
    buildpack: release.buildpack,
    processes: { ...release.processes },
    failed: release.failed === undefined ? null : { ...release.failed },
    refused: namesOf(refusalOf(release, app)),
  };
}

/** Whose secrets every node of the cluster could read: all that have some. A node that goes still knows them. */
export function secretsKnownToNodes(view: DesiredView): KnownSecretsShape {
  const isAny = (env: Readonly<Record<string, string>>): boolean => Object.keys(env).length > 0;
  const apps = [...view.apps.values()].filter((app) => [app, ...app.releases].some(({ env }) => isAny(env)));
  const services = [...view.services.values()].map(({ name }) => name);
  return { apps: apps.map(({ name }) => name).sort(compareText), services: services.sort(compareText) };
}

/** Every admitted node, by name. One that was never heard of is `unknown`. */
export function nodeShapes(view: DesiredView, observed: ObservedView): NodeShape[] {
  const members = new Map<NodeId, MemberView>(observed.members.map((member) => [member.id, member]));
  return [...view.nodes.values()]
    .map((node) => {
      const member = members.get(node.id);
      const report = member?.report;
      const running = (report?.instances ?? []).filter(({ state }) => state !== 'crashed');
      return {
        id: node.id,
        name: node.name,
        status: member?.status ?? ('unknown' as const),
        draining: node.draining,
        runtimes: report?.runtimes ?? [],
        memoryBytes: report?.memoryBytes ?? 0,
        memoryUsedBytes: running.reduce((sum, instance) => sum + instance.memoryBytes, 0),
        instances: running.length,
        address: hostOf(report?.link ?? ''),
        http: report?.http ?? '',
        api: report?.api ?? '',
        link: report?.link ?? '',
        labels: { ...report?.labels, ...node.labels },
        version: report?.version ?? '',
        arch: report?.arch ?? '',
        load: report?.load ?? 0,
        ...troubleOf(member, members),
        disk: report?.disk ?? null,
        pressure: (report?.pressure ?? []).map((one) => ({ ...one, warning: pressureWarning(one, node.name) })),
      };
    })
    .sort((a, b) => compareText(a.name, b.name) || compareText(a.id, b.id));
}

/** What a node that is not alive said last is history, and so is its trouble with others that are gone. */
function troubleOf(
  member: MemberView | undefined,
  members: ReadonlyMap<NodeId, MemberView>,
): Pick<NodeShape, 'unreachable' | 'warnings'> {
  if (member?.status !== 'alive') return { unreachable: [], warnings: [] };
  const { unreachable = [], warnings = [] } = member.report ?? {};
  return {
    unreachable: unreachable.flatMap(({ node, by, why, sinceMs }) => {
      const other = members.get(node);
      const isThere = other?.status === 'alive' || other?.status === 'suspect';
      return isThere ? [{ node: other.name, by, why, sinceMs }] : [];
    }),
    warnings: [...warnings],
  };
}

export function statusShape(service: NodeService, user: UserView): StatusShape {
  const view = service.view();
  const observed = service.observed();
  const members = { alive: 0, suspect: 0, dead: 0, left: 0 };
  const instances = { starting: 0, ready: 0, unhealthy: 0, crashed: 0, stopping: 0 };
  for (const member of observed.members) {
    members[member.status]++;
    if (member.status !== 'alive' && member.status !== 'suspect') continue;
    for (const { state } of member.report?.instances ?? []) instances[state]++;
  }
  const { id, name, version, pid } = service.self;
  return {
    node: { id, name, version, pid },
    cluster: { ...view.cluster },
    user: { name: user.name, role: user.role },
    members,
    apps: view.apps.size,
    instances,
    blobs: service.blobUsage(),
    warnings: pressureWarnings(observed),
    conflicts: view.conflicts.map((conflict) => conflictLine(conflict, view)),
    problems: view.problems.map(problemText),
  };
}

/** What runs out on the nodes that are there, and what to do: one line each, those that take nothing new first. */
export function pressureWarnings(observed: ObservedView): string[] {
  const lines = observed.members
    .filter(({ status }) => status === 'alive' || status === 'suspect')
    .flatMap(({ name, report }) => (report?.pressure ?? []).map((pressure) => ({ name, pressure })))
    .sort(
      (a, b) =>
        Number(b.pressure.level === 'full') - Number(a.pressure.level === 'full') || compareText(a.name, b.name),
    );
  return lines.map(({ name, pressure }) => pressureWarning(pressure, name));
}

export function routeShapes(view: DesiredView): RouteShape[] {
  const shape = (route: string, app: AppId): RouteShape => {
    const owner = view.hosts.get(hostOfRoute(route))?.owner ?? app;
    return { route, app: appName(view, app), hostApp: appName(view, owner) };
  };
  const held = [...view.routes].map(([route, app]) => shape(route, app));
  const lost = lostRoutes(view).map((one) => ({ ...shape(one.route, one.app), lostTo: appName(view, one.lostTo) }));
  // A route that two apps claimed stands with the one that has it first.
  return [...held, ...lost].sort((a, b) => compareText(a.route, b.route));
}

export function userShape(user: UserView, view: DesiredView): UserShape {
  return {
    name: user.name,
    role: user.role,
    createdAtMs: user.createdAtMs,
    node: user.node === undefined ? null : (view.nodes.get(user.node)?.name ?? user.node),
  };
}

function conflictLine(conflict: Conflict, view: DesiredView): string {
  switch (conflict.kind) {
    case 'route': {
      const { route } = conflict;
      const winner = appName(view, conflict.winner);
      const loser = appName(view, conflict.loser);
      return `route ${route} belongs to ${winner}; ${loser} claimed it too: peer unmap ${loser} ${route}, or peer unmap ${winner} ${route}`;
    }
    case 'host': {
      const owner = appName(view, conflict.winner);
      const name = appName(view, conflict.loser);
      return `host ${conflict.host} belongs to ${owner}, so ${conflict.route} does not lead to ${name}: peer routes share ${conflict.host} ${name}, or peer unmap ${name} ${conflict.route}`;
    }
    case 'appName':
      return `two apps are called ${conflict.name}; ${conflict.loser} cannot be addressed until the other is deleted`;
    case 'serviceName':
      return `two services are called ${conflict.name}; ${conflict.loser} cannot be addressed until the other is deleted`;
    case 'volume':
      return `two volumes were made for one slot: ${conflict.winner} is used, ${conflict.loser} is kept: peer volumes`;
    case 'nodeName':
      return `two nodes are called ${conflict.name}: ${conflict.winner} and ${conflict.loser}; use the ids`;
  }
}

function hostOf(hostPort: string): string {
  const colon = hostPort.lastIndexOf(':');
  return colon < 0 ? hostPort : hostPort.slice(0, colon).replace(/^\[|\]$/g, '');
}

/** `web/0` */
export const slotName = (slot: { process: string; index: number }): string => `${slot.process}/${slot.index}`;
