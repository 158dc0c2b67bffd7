// What the document says of apps: their settings, names and routes, with conflicts decided. Never throws, never writes. Part
// of readView.

import { type AppId, asAppId } from './ids.ts';
import { configInForce } from './in-force.ts';
import {
  APPS_MAX,
  idProblem,
  nameProblem,
  normaliseRoute,
  RESTART_COUNT_MAX,
  ROUTES_PER_APP_MAX,
  TIME_MS_MAX,
} from './limits.ts';
import { readConfig } from './read-config.ts';
import { readReleases, releaseToRun } from './read-releases.ts';
import { anyText, entries, entriesIn, field, flag, integerIn, isMap, optionalText } from './read-values.ts';
import type { Place } from './record-problems.ts';
import type { AppView, Conflict } from './view.ts';

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
  const release = releaseToRun(releases, optionalText(field(doc, 'currentRelease')));
  return {
    id,
    name: anyText(field(doc, 'name')) ?? '',
    ownsName: true,
    createdAtMs: integerIn(doc, 'createdAtMs', TIME, place),
    stopped: flag(doc, 'stopped', place),
    ...configInForce(readConfig(doc, place), release, releases),
    restartCount: integerIn(doc, 'restartCount', { max: RESTART_COUNT_MAX, default: 0 }, place),
    release,
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
