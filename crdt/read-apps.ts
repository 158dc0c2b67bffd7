// What the document says of apps: their settings, names and routes, with conflicts decided. Never throws, never
// writes. Part of readView.

import { type AppId, asAppId } from './ids.ts';
import { configInForce } from './in-force.ts';
import {
  APPS_MAX,
  AUTHOR_LENGTH_MAX,
  idProblem,
  MEMBERS_PER_APP_MAX,
  nameProblem,
  RESTART_COUNT_MAX,
  TIME_MS_MAX,
} from './limits.ts';
import { readRoutes } from './read-claims.ts';
import { readConfig } from './read-config.ts';
import { MAKER_UNKNOWN, readReleases, releaseToRun } from './read-releases.ts';
import { anyText, entries, entriesIn, field, flag, integerIn, isMap, line, optionalText } from './read-values.ts';
import type { Place } from './record-problems.ts';
import type { AppView, Conflict, ReleaseView } from './view.ts';

/** Before a member's name, in the key that says so. */
export const MEMBER_MARK = 'member ';

const TIME = { max: TIME_MS_MAX, default: 0 };

/** `at`: the place of a map of the root. */
export function readApps(
  appDocs: unknown,
  claimDocs: unknown,
  { domain, conflicts, at }: { domain: string; conflicts: Conflict[]; at: (key: string) => Place },
) {
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
  const { routes, hosts } = readRoutes(claimDocs, { apps, owned, domain, conflicts, place: at('routes') });
  return { apps, routes, hosts };
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
    owner: readOwner(doc, releases, place),
    members: readMembers(doc, place),
    stopped: flag(doc, 'stopped', place),
    ...configInForce(readConfig(doc, place), release, releases),
    restartCount: integerIn(doc, 'restartCount', { max: RESTART_COUNT_MAX, default: 0 }, place),
    release,
    releases,
    routes,
    volumes: [],
  };
}

/**
 * The user it names, else the author of the first release; undefined once that is gone, as a later one may be
 * anybody's.
 */
function readOwner(doc: unknown, [first]: readonly ReleaseView[], place: Place): string | undefined {
  const said = line(doc, 'owner', { lengthMax: AUTHOR_LENGTH_MAX, default: '' }, place);
  if (said !== '') return said;
  return first?.version === 1 && first.createdBy !== MAKER_UNKNOWN ? first.createdBy : undefined;
}

function readMembers(doc: unknown, place: Place): string[] {
  const members: string[] = [];
  for (const [key] of entries(doc)) {
    if (!key.startsWith(MEMBER_MARK)) continue;
    const name = key.slice(MEMBER_MARK.length);
    const problem =
      nameProblem(name) ??
      (members.length < MEMBERS_PER_APP_MAX ? undefined : `an app has at most ${MEMBERS_PER_APP_MAX} members`);
    if (problem === undefined) members.push(name);
    else place.in(key).leftOut(problem);
  }
  return members;
}

/**
 * The oldest app owns its name, the smaller id among equals; `apps` comes in the order of ids, which sorting keeps.
 */
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
