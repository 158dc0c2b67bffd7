// What the document says of routes: claims and shared hosts, with conflicts decided. Never throws, never writes. Part
// of readView.

import { byAge, type Claim, counts, decideHosts, hostOfRoute, isReserved, type Share } from './hosts.ts';
import { type AppId, asAppId } from './ids.ts';
import { normaliseRoute, ROUTES_PER_APP_MAX, SHARES_PER_HOST_MAX, TIME_MS_MAX } from './limits.ts';
import { anyText, entries, field, integerIn } from './read-values.ts';
import type { Place } from './record-problems.ts';
import type { AppView, Conflict, HostView } from './view.ts';

/** Separates route and app id in the key of a claim; stands in neither. */
export const CLAIM_SEPARATOR = ' ';
/** Before the key of a host that is shared. */
export const SHARE_MARK = 'share';

const CLAIM_RIGHTS = ['host', 'admin'] as const;
const TIME = { max: TIME_MS_MAX, default: 0 };

/** The app's list in `owned` gets each route that leads to it. */
export function readRoutes(
  docs: unknown,
  options: {
    apps: ReadonlyMap<AppId, AppView>;
    owned: ReadonlyMap<AppId, string[]>;
    domain: string;
    conflicts: Conflict[];
    place: Place;
  },
): { routes: Map<string, AppId>; hosts: ReadonlyMap<string, HostView> } {
  const { apps, domain, place } = options;
  const { claims, shares } = readClaims(docs, { apps, domain, place });
  const hosts = decideHosts(claims, shares, domain);
  return { routes: decideRoutes(claims, { ...options, hosts }), hosts };
}

/** Claims and shares of apps that were deleted vanish. */
function readClaims(
  docs: unknown,
  { apps, domain, place }: { apps: ReadonlyMap<AppId, AppView>; domain: string; place: Place },
): { claims: Claim[]; shares: Share[] } {
  const claims: Claim[] = [];
  const shares: Share[] = [];
  const sharesOf = new Map<string, number>();
  for (const [key, doc] of entries(docs)) {
    const at = place.in(key);
    const words = key.split(CLAIM_SEPARATOR);
    const isShare = words.length === 4 && words[0] === SHARE_MARK;
    const route = words[isShare ? 1 : 0] ?? '';
    const normal = normaliseRoute(route);
    if ((!isShare && words.length !== 2) || !('route' in normal) || normal.route !== route) {
      at.leftOut('must be HOST or HOST/PATH as peer routes writes it, a space, and the id of an app');
      continue;
    }
    const ids = words.slice(isShare ? 2 : 1).map(asAppId);
    if (!ids.every((id) => apps.has(id))) continue;
    if (isShare) {
      const count = (sharesOf.get(route) ?? 0) + 1;
      sharesOf.set(route, count);
      if (count <= SHARES_PER_HOST_MAX) shares.push({ host: route, owner: ids[0]!, with: ids[1]! });
      else at.leftOut(`a host is shared with at most ${SHARES_PER_HOST_MAX} apps`);
      continue;
    }
    const said = anyText(field(doc, 'right'));
    const right = CLAIM_RIGHTS.find((one) => one === said);
    // A right that this version does not know is no claim from before there were any: it asks for the host like any
    // other.
    const asked = right ?? (field(doc, 'right') === undefined ? undefined : 'host');
    // Nobody could have been given it by that right.
    if (asked === 'host' && isReserved(hostOfRoute(route), domain)) {
      at.leftOut('a wildcard or the domain itself is for an admin to map');
      continue;
    }
    claims.push({ route, app: ids[0]!, createdAtMs: integerIn(doc, 'createdAtMs', TIME, at), right: asked });
  }
  return { claims, shares };
}

/** Of the claims that count, the oldest wins, the smaller app id among equals. */
function decideRoutes(
  claims: readonly Claim[],
  options: {
    owned: ReadonlyMap<AppId, string[]>;
    hosts: ReadonlyMap<string, HostView>;
    conflicts: Conflict[];
    place: Place;
  },
): Map<string, AppId> {
  const { owned, hosts, conflicts, place } = options;
  const routes = new Map<string, AppId>();
  // In the order of the route, so that each app's list is sorted too.
  const byRoute = [...Map.groupBy(claims, (claim) => claim.route)].sort(([a], [b]) => (a < b ? -1 : 1));
  for (const [route, rivals] of byRoute) {
    const oldestFirst = rivals.sort(byAge);
    const winner = oldestFirst.find((claim) => counts(claim, hosts))?.app;
    if (winner !== undefined) {
      const list = owned.get(winner) ?? [];
      if (list.length >= ROUTES_PER_APP_MAX) {
        place
          .in(route + CLAIM_SEPARATOR + winner)
          .leftOut(`at most ${ROUTES_PER_APP_MAX} routes are allowed for an app`);
        continue;
      }
      list.push(route);
      routes.set(route, winner);
    }
    for (const { app: loser } of oldestFirst) {
      if (loser === winner) continue;
      const host = hostOfRoute(route);
      const owner = hosts.get(host)?.owner;
      if (winner !== undefined) conflicts.push({ kind: 'route', route, winner, loser });
      else if (owner !== undefined) conflicts.push({ kind: 'host', host, route, winner: owner, loser });
    }
  }
  return routes;
}
