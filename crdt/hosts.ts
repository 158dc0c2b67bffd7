// Whose a host is. It belongs to the app that claimed it first; that app may share it. Wildcards and the domain itself
// are for admins to give. The one rule: asked where views are read, for claims made apart, and before a change is
// written. Pure; hosts and routes are as normaliseRoute writes them.

import type { AppId } from './ids.ts';
import type { ClaimRight } from './schema.ts';
import type { DesiredView, HostView } from './view.ts';

export type Claim = {
  route: string;
  app: AppId;
  createdAtMs: number;
  /** Undefined: made before there was this rule. */
  right: ClaimRight | undefined;
};

export type Share = { host: string; owner: AppId; with: AppId };

export const hostOfRoute = (route: string): string => {
  const slash = route.indexOf('/');
  return slash < 0 ? route : route.slice(0, slash);
};

const isWildcard = (host: string): boolean => host.startsWith('*.');

/** What only an admin may claim. */
export const isReserved = (host: string, domain: string): boolean => isWildcard(host) || host === domain;

/** Older first, then the smaller id. */
export const byAge = (a: Claim, b: Claim): number => a.createdAtMs - b.createdAtMs || (a.app < b.app ? -1 : 1);

/** Every host that is claimed, or shared by the app that has it. Claims and shares are of apps that are there. */
export function decideHosts(
  claims: readonly Claim[],
  shares: readonly Share[],
  domain: string,
): ReadonlyMap<string, HostView> {
  const first = new Map<string, Claim>();
  for (const claim of claims) {
    const host = hostOfRoute(claim.route);
    const earlier = first.get(host);
    if (earlier === undefined || byAge(claim, earlier) < 0) first.set(host, claim);
  }
  const sharesOf = Map.groupBy(shares, (share) => share.host);
  const hosts = new Map<string, HostView>();
  for (const host of [...new Set([...first.keys(), ...sharesOf.keys()])].sort()) {
    const owner = owningClaim(first, host, domain)?.app;
    if (owner === undefined) continue;
    const sharedWith = (sharesOf.get(host) ?? []).filter((share) => share.owner === owner).map((share) => share.with);
    hosts.set(host, { owner, sharedWith: [...new Set(sharedWith)].sort() });
  }
  return hosts;
}

/**
 * The first claim, unless the closest wildcard above it was claimed before: whose wildcard it is had the host's
 * traffic. A claim that an admin made, or that is older than this rule, is not asked for that.
 */
function owningClaim(first: ReadonlyMap<string, Claim>, host: string, domain: string): Claim | undefined {
  const own = first.get(host);
  if (own !== undefined && own.right !== 'host') return own;
  const wide = wildcardsAbove(host, domain)
    .map((wildcard) => first.get(wildcard))
    .find((claim) => claim !== undefined);
  return own === undefined || (wide !== undefined && byAge(wide, own) < 0) ? wide : own;
}

/** Closest first; without those that every app of the domain stands below. */
function wildcardsAbove(host: string, domain: string): string[] {
  const labels = (isWildcard(host) ? host.slice(2) : host).split('.');
  const parents = labels.map((_, at) => labels.slice(at + 1).join('.')).filter((parent) => parent !== '');
  return parents.filter((parent) => parent !== domain && !domain.endsWith(`.${parent}`)).map((parent) => `*.${parent}`);
}

/** Whether a claim counts, now that it is known whose the hosts are. */
export const counts = (claim: Claim, hosts: ReadonlyMap<string, HostView>): boolean =>
  claim.right !== 'host' || mayClaim(hosts.get(hostOfRoute(claim.route)), claim.app);

const mayClaim = (host: HostView | undefined, app: AppId): boolean =>
  host === undefined || host.owner === app || host.sharedWith.includes(app);

/**
 * Whose a host is, also one that nobody has claimed but that stands below an app's wildcard. Undefined: it is free.
 */
export function hostIn(view: Pick<DesiredView, 'hosts' | 'cluster'>, host: string): HostView | undefined {
  const known = view.hosts.get(host);
  if (known !== undefined) return known;
  const wildcard = wildcardsAbove(host, view.cluster.domain).find((wide) => view.hosts.has(wide));
  return wildcard === undefined ? undefined : { ...view.hosts.get(wildcard)!, sharedWith: [] };
}

/** By which right an app may claim a route now; `reserved` or `taken` (with whose host it is) when it may not. */
export function rightTo(
  view: DesiredView,
  { app, route, by }: { app: AppId; route: string; by: string },
): { right: ClaimRight } | { refused: 'reserved' } | { refused: 'taken'; owner: AppId } {
  const isAdmin = view.users.get(by)?.role === 'admin';
  const host = hostOfRoute(route);
  if (isReserved(host, view.cluster.domain)) return isAdmin ? { right: 'admin' } : { refused: 'reserved' };
  const holder = hostIn(view, host);
  if (mayClaim(holder, app)) return { right: 'host' };
  return isAdmin ? { right: 'admin' } : { refused: 'taken', owner: holder!.owner };
}
