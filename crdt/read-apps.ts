// What the document says of apps: their settings, names and routes, with conflicts decided. Never throws, never writes. Part
// of readView.

import { type AppId, asAppId } from './ids.ts';
import {
  APPS_MAX,
  DISK_BYTES_DEFAULT,
  DISK_BYTES_MAX,
  DISK_BYTES_MIN,
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
  nameProblem,
  normaliseRoute,
  PARTITION_DEFAULT,
  PARTITION_MODES,
  PROCESS_TYPES_MAX,
  processTypeProblem,
  RESTART_COUNT_MAX,
  ROUTES_PER_APP_MAX,
  STRATEGIES,
  STRATEGY_DEFAULT,
  TIME_MS_MAX,
  WEB_INSTANCES_DEFAULT,
} from './limits.ts';
import { readEnv } from './read-env.ts';
import { readReleases, releaseToRun } from './read-releases.ts';
import {
  anyText,
  choice,
  type Entries,
  entries,
  entriesIn,
  field,
  flag,
  integer,
  integerIn,
  isMap,
  optionalText,
  record,
} from './read-values.ts';
import type { Place } from './record-problems.ts';
import type { AppView, Conflict, HealthView } from './view.ts';

/** Separates route and app id in the key of a claim; stands in neither. */
export const CLAIM_SEPARATOR = ' ';

const TIME = { max: TIME_MS_MAX, default: 0 };

/** @param at the place of a map of the root. */
export function readApps(appDocs: unknown, claimDocs: unknown, conflicts: Conflict[], at: (key: string) => Place) {
  const owned = new Map<AppId, string[]>();
  const read = new Map<AppId, AppView>();
  for (const [key, doc] of entries(appDocs)) {
    const id = asAppId(key);
    const place = at('apps').in(key);
    const problem = appProblem(key, doc) ?? (read.size < APPS_MAX ? undefined : `at most ${APPS_MAX} apps are allowed`);
    if (problem !== undefined) {
      place.leftOut(problem);
      continue;
    }
    const routes: string[] = [];
    owned.set(id, routes);
    read.set(id, readApp(id, doc, routes, place));
  }
  const apps = decideNames(read, conflicts);
  const routes = decideRoutes(claimDocs, { apps, owned, conflicts, place: at('routes') });
  return { apps, routes };
}

/** An app without an id that may be a file's name, or without a name, is none. */
function appProblem(id: string, doc: unknown): string | undefined {
  const problem = idProblem(id);
  if (problem !== undefined) return `its id ${problem}`;
  if (!isMap(doc)) return 'must be a map';
  const name = nameProblem(anyText(field(doc, 'name')));
  return name === undefined ? undefined : `its name ${name}`;
}

function readApp(id: AppId, doc: unknown, routes: readonly string[], place: Place): AppView {
  const releases = readReleases(entriesIn(doc, 'releases', place), place.in('releases'));
  return {
    id,
    name: anyText(field(doc, 'name')) ?? '',
    ownsName: true,
    createdAtMs: integerIn(doc, 'createdAtMs', TIME, place),
    stopped: flag(doc, 'stopped', place),
    scale: readScale(entriesIn(doc, 'scale', place), place.in('scale')),
    memoryBytes: integerIn(
      doc,
      'memoryBytes',
      { min: MEMORY_BYTES_MIN, max: MEMORY_BYTES_MAX, default: MEMORY_BYTES_DEFAULT },
      place,
    ),
    diskBytes: integerIn(
      doc,
      'diskBytes',
      { min: DISK_BYTES_MIN, max: DISK_BYTES_MAX, default: DISK_BYTES_DEFAULT },
      place,
    ),
    env: readEnv(entriesIn(doc, 'env', place), place.in('env')),
    health: readHealth(field(doc, 'health'), place.in('health')),
    strategy: choice(doc, 'strategy', { choices: STRATEGIES, default: STRATEGY_DEFAULT }, place),
    partition: choice(doc, 'partition', { choices: PARTITION_MODES, default: PARTITION_DEFAULT }, place),
    maxUnavailable: integerIn(
      doc,
      'maxUnavailable',
      { min: MAX_UNAVAILABLE_MIN, max: MAX_UNAVAILABLE_MAX, default: MAX_UNAVAILABLE_DEFAULT },
      place,
    ),
    maxSurge: integerIn(doc, 'maxSurge', { min: MAX_SURGE_MIN, max: MAX_SURGE_MAX, default: MAX_SURGE_DEFAULT }, place),
    restartCount: integerIn(doc, 'restartCount', { max: RESTART_COUNT_MAX, default: 0 }, place),
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

type Claim = { app: AppId; createdAtMs: number };

/** By route. Claims of deleted apps vanish. */
function readClaims(claimDocs: unknown, apps: ReadonlyMap<AppId, AppView>, place: Place): Map<string, Claim[]> {
  const claims = new Map<string, Claim[]>();
  for (const [key, doc] of entries(claimDocs)) {
    const at = place.in(key);
    const space = key.lastIndexOf(CLAIM_SEPARATOR);
    const route = key.slice(0, Math.max(space, 0));
    const app = asAppId(key.slice(space + 1));
    const normal = normaliseRoute(route);
    if (space < 0 || !('route' in normal) || normal.route !== route) {
      at.leftOut('must be HOST or HOST/PATH as peer routes writes it, a space, and the id of an app');
      continue;
    }
    if (!apps.has(app)) continue;
    const claim = { app, createdAtMs: integerIn(doc, 'createdAtMs', TIME, at) };
    const rivals = claims.get(route);
    if (rivals === undefined) claims.set(route, [claim]);
    else rivals.push(claim);
  }
  return claims;
}

/** The oldest claim wins, the smaller app id among equals. The winner's list in `owned` gets the route. */
function decideRoutes(
  claimDocs: unknown,
  options: {
    apps: ReadonlyMap<AppId, AppView>;
    owned: ReadonlyMap<AppId, string[]>;
    conflicts: Conflict[];
    place: Place;
  },
): Map<string, AppId> {
  const { apps, owned, conflicts, place } = options;
  const routes = new Map<string, AppId>();
  // In the order of the route, so that each app's list is sorted too.
  const claims = [...readClaims(claimDocs, apps, place)].sort(([a], [b]) => (a < b ? -1 : 1));
  for (const [route, rivals] of claims) {
    const [winner, ...losers] = rivals.sort((a, b) => a.createdAtMs - b.createdAtMs || (a.app < b.app ? -1 : 1));
    if (winner === undefined) continue;
    const list = owned.get(winner.app) ?? [];
    if (list.length >= ROUTES_PER_APP_MAX) {
      place
        .in(route + CLAIM_SEPARATOR + winner.app)
        .leftOut(`at most ${ROUTES_PER_APP_MAX} routes are allowed for an app`);
      continue;
    }
    list.push(route);
    routes.set(route, winner.app);
    for (const loser of losers) conflicts.push({ kind: 'route', route, winner: winner.app, loser: loser.app });
  }
  return routes;
}

function readScale(docs: Entries, place: Place): Record<string, number> {
  const scale = record<number>([['web', WEB_INSTANCES_DEFAULT]]);
  let types = 0;
  for (const [type, count] of docs) {
    const at = place.in(type);
    const problem = processTypeProblem(type) ?? tooMany(types);
    if (problem !== undefined) {
      at.leftOut(problem);
      continue;
    }
    types++;
    scale[type] = integer(count, { max: INSTANCES_MAX, default: type === 'web' ? WEB_INSTANCES_DEFAULT : 0 }, at);
  }
  return scale;
}

const tooMany = (types: number): string | undefined =>
  types < PROCESS_TYPES_MAX ? undefined : `at most ${PROCESS_TYPES_MAX} process types are allowed`;

function readHealth(doc: unknown, place: Place): HealthView {
  if (doc !== undefined && !isMap(doc)) place.replaced('must be a map');
  const path = field(doc, 'path') === undefined ? HEALTH_PATH_DEFAULT : anyText(field(doc, 'path'));
  const problem = healthPathProblem(path);
  if (problem !== undefined) place.in('path').replaced(problem);
  return {
    kind: choice(doc, 'kind', { choices: HEALTH_KINDS, default: HEALTH_KIND_DEFAULT }, place),
    path: problem === undefined && path !== undefined ? path : HEALTH_PATH_DEFAULT,
    timeoutMs: integerIn(
      doc,
      'timeoutMs',
      { min: HEALTH_TIMEOUT_MS_MIN, max: HEALTH_TIMEOUT_MS_MAX, default: HEALTH_TIMEOUT_MS_DEFAULT },
      place,
    ),
  };
}
