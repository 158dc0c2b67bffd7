// What the document says of apps: their settings, releases, names and routes, with conflicts decided. Never throws, never
// writes. Part of readView.

import { type AppId, asAppId, asDigest, asReleaseId } from './ids.ts';
import {
  DIGEST_PATTERN,
  DISK_BYTES_DEFAULT,
  DISK_BYTES_MAX,
  DISK_BYTES_MIN,
  DROPLET_BYTES_MAX,
  envKeyProblem,
  HEALTH_KIND_DEFAULT,
  HEALTH_KINDS,
  HEALTH_PATH_DEFAULT,
  HEALTH_TIMEOUT_MS_DEFAULT,
  HEALTH_TIMEOUT_MS_MAX,
  HEALTH_TIMEOUT_MS_MIN,
  healthPathProblem,
  INSTANCES_MAX,
  idProblem,
  MAX_SURGE_DEFAULT,
  MAX_SURGE_MAX,
  MAX_SURGE_MIN,
  MAX_UNAVAILABLE_DEFAULT,
  MAX_UNAVAILABLE_MAX,
  MAX_UNAVAILABLE_MIN,
  MEMORY_BYTES_DEFAULT,
  MEMORY_BYTES_MAX,
  MEMORY_BYTES_MIN,
  normaliseRoute,
  PARTITION_DEFAULT,
  PARTITION_MODES,
  processTypeProblem,
  STRATEGIES,
  STRATEGY_DEFAULT,
  WEB_INSTANCES_DEFAULT,
} from './limits.ts';
import { anyText, choice, entries, field, integer, isMap, optionalText, text } from './read-values.ts';
import type { AppView, Conflict, HealthView, ReleaseView } from './view.ts';

/** Separates route and app id in the key of a claim; stands in neither. */
export const CLAIM_SEPARATOR = ' ';

export function readApps(appDocs: unknown, claimDocs: unknown, conflicts: Conflict[]) {
  const owned = new Map<AppId, string[]>();
  const read = new Map<AppId, AppView>();
  for (const [key, doc] of entries(appDocs)) {
    const id = asAppId(key);
    const routes: string[] = [];
    const app = idProblem(key) ? undefined : readApp(id, doc, routes);
    if (app === undefined) continue;
    owned.set(id, routes);
    read.set(id, app);
  }
  const apps = decideNames(read, conflicts);
  const routes = decideRoutes(claimDocs, apps, conflicts);
  // `routes` is in the order of the route, so each app's list is sorted too.
  for (const [route, app] of routes) owned.get(app)?.push(route);
  return { apps, routes };
}

function readApp(id: AppId, doc: unknown, routes: readonly string[]): AppView | undefined {
  const name = optionalText(field(doc, 'name'));
  if (name === undefined) return undefined;
  const releases = readReleases(field(doc, 'releases'));
  return {
    id,
    name,
    ownsName: true,
    createdAtMs: integer(field(doc, 'createdAtMs'), { default: 0 }),
    stopped: field(doc, 'stopped') === true,
    scale: readScale(field(doc, 'scale')),
    memoryBytes: integer(field(doc, 'memoryBytes'), {
      min: MEMORY_BYTES_MIN,
      max: MEMORY_BYTES_MAX,
      default: MEMORY_BYTES_DEFAULT,
    }),
    diskBytes: integer(field(doc, 'diskBytes'), {
      min: DISK_BYTES_MIN,
      max: DISK_BYTES_MAX,
      default: DISK_BYTES_DEFAULT,
    }),
    env: readEnv(field(doc, 'env')),
    health: readHealth(field(doc, 'health')),
    strategy: choice(field(doc, 'strategy'), STRATEGIES, STRATEGY_DEFAULT),
    partition: choice(field(doc, 'partition'), PARTITION_MODES, PARTITION_DEFAULT),
    maxUnavailable: integer(field(doc, 'maxUnavailable'), {
      min: MAX_UNAVAILABLE_MIN,
      max: MAX_UNAVAILABLE_MAX,
      default: MAX_UNAVAILABLE_DEFAULT,
    }),
    maxSurge: integer(field(doc, 'maxSurge'), { min: MAX_SURGE_MIN, max: MAX_SURGE_MAX, default: MAX_SURGE_DEFAULT }),
    restartCount: integer(field(doc, 'restartCount'), { default: 0 }),
    release: releaseToRun(releases, optionalText(field(doc, 'currentRelease'))),
    releases,
    routes,
  };
}

/** The oldest app owns its name, the smaller id among equals; `apps` comes in the order of ids, which sorting keeps. */
function decideNames(apps: ReadonlyMap<AppId, AppView>, conflicts: Conflict[]): Map<AppId, AppView> {
  const owners = new Map<string, AppId>();
  const decided = new Map(apps);
  for (const app of [...apps.values()].sort((a, b) => a.createdAtMs - b.createdAtMs)) {
    const owner = owners.get(app.name);
    if (owner === undefined) {
      owners.set(app.name, app.id);
      continue;
    }
    decided.set(app.id, { ...app, ownsName: false });
    conflicts.push({ kind: 'appName', name: app.name, winner: owner, loser: app.id });
  }
  return decided;
}

/** The oldest claim wins, the smaller app id among equals. Claims of deleted apps vanish. */
function decideRoutes(claimDocs: unknown, apps: ReadonlyMap<AppId, AppView>, conflicts: Conflict[]) {
  const claims = new Map<string, { app: AppId; createdAtMs: number }[]>();
  for (const [key, doc] of entries(claimDocs)) {
    const space = key.lastIndexOf(CLAIM_SEPARATOR);
    if (space < 0) continue;
    const route = key.slice(0, space);
    const app = asAppId(key.slice(space + 1));
    const normal = normaliseRoute(route);
    if (!apps.has(app) || !('route' in normal) || normal.route !== route) continue;
    const claim = { app, createdAtMs: integer(field(doc, 'createdAtMs'), { default: 0 }) };
    const rivals = claims.get(route);
    if (rivals === undefined) claims.set(route, [claim]);
    else rivals.push(claim);
  }
  const routes = new Map<string, AppId>();
  for (const [route, rivals] of [...claims].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const [winner, ...losers] = rivals.sort((a, b) => a.createdAtMs - b.createdAtMs || (a.app < b.app ? -1 : 1));
    if (winner === undefined) continue;
    routes.set(route, winner.app);
    for (const loser of losers) conflicts.push({ kind: 'route', route, winner: winner.app, loser: loser.app });
  }
  return routes;
}

/** Every release that can be run, oldest first by (version, id). */
function readReleases(docs: unknown): ReleaseView[] {
  const releases: ReleaseView[] = [];
  for (const [key, doc] of entries(docs)) {
    const droplet = field(doc, 'droplet');
    const digest = optionalText(field(droplet, 'digest'));
    if (idProblem(key) || digest === undefined || !DIGEST_PATTERN.test(digest)) continue;
    const failed = field(doc, 'failed');
    releases.push({
      id: asReleaseId(key),
      version: integer(field(doc, 'version'), { default: 0 }),
      createdAtMs: integer(field(doc, 'createdAtMs'), { default: 0 }),
      createdBy: text(field(doc, 'createdBy'), 'unknown'),
      description: text(field(doc, 'description'), 'push'),
      droplet: {
        digest: asDigest(digest),
        sizeBytes: integer(field(droplet, 'sizeBytes'), { max: DROPLET_BYTES_MAX, default: 0 }),
        stack: text(field(droplet, 'stack'), ''),
      },
      ...readImage(field(doc, 'image')),
      buildpack: text(field(doc, 'buildpack'), ''),
      processes: readProcesses(field(doc, 'processes')),
      env: readEnv(field(doc, 'env')),
      failed: isMap(failed)
        ? {
            reason: text(field(failed, 'reason'), 'unknown reason'),
            atMs: integer(field(failed, 'atMs'), { default: 0 }),
          }
        : undefined,
    });
  }
  // Entries come in the order of ids, and sorting keeps that order among equal versions.
  return releases.sort((a, b) => a.version - b.version);
}

/**
 * The current release unless it failed; then the newest good one before it; then, as nothing better exists, the failed one.
 * A current release that is gone (rolled back to on one side, dropped as too old on the other) counts as newer than all.
 */
function releaseToRun(releases: readonly ReleaseView[], currentId: string | undefined): ReleaseView | undefined {
  const position = releases.findIndex((release) => release.id === currentId);
  const current = releases[position];
  if (current !== undefined && current.failed === undefined) return current;
  const earlier = current === undefined ? releases : releases.slice(0, position);
  return earlier.findLast((release) => release.failed === undefined) ?? current ?? releases.at(-1);
}

function readScale(doc: unknown): Record<string, number> {
  const scale: [string, number][] = [['web', WEB_INSTANCES_DEFAULT]];
  for (const [type, count] of entries(doc)) {
    const byDefault = type === 'web' ? WEB_INSTANCES_DEFAULT : 0;
    if (!processTypeProblem(type)) scale.push([type, integer(count, { max: INSTANCES_MAX, default: byDefault })]);
  }
  return Object.fromEntries(scale);
}

function readEnv(doc: unknown): Record<string, string> {
  const env: [string, string][] = [];
  for (const [key, value] of entries(doc)) {
    const found = anyText(value);
    if (!envKeyProblem(key) && found !== undefined) env.push([key, found]);
  }
  return Object.fromEntries(env);
}

/** Nothing where there is none that an engine could name. */
function readImage(doc: unknown): Pick<ReleaseView, 'image'> {
  const id = optionalText(field(doc, 'id'));
  if (id === undefined || !DIGEST_PATTERN.test(id)) return {};
  return { image: { id, ref: text(field(doc, 'ref'), id), ownCommand: field(doc, 'ownCommand') === true } };
}

function readProcesses(doc: unknown): Record<string, string> {
  const processes: [string, string][] = [];
  for (const [type, command] of entries(doc)) {
    const found = optionalText(command);
    if (!processTypeProblem(type) && found !== undefined) processes.push([type, found]);
  }
  return Object.fromEntries(processes);
}

function readHealth(doc: unknown): HealthView {
  const path = text(field(doc, 'path'), HEALTH_PATH_DEFAULT);
  return {
    kind: choice(field(doc, 'kind'), HEALTH_KINDS, HEALTH_KIND_DEFAULT),
    path: healthPathProblem(path) ? HEALTH_PATH_DEFAULT : path,
    timeoutMs: integer(field(doc, 'timeoutMs'), {
      min: HEALTH_TIMEOUT_MS_MIN,
      max: HEALTH_TIMEOUT_MS_MAX,
      default: HEALTH_TIMEOUT_MS_DEFAULT,
    }),
  };
}
