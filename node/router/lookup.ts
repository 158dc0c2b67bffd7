// Decides which route a request belongs to, from host and path alone. Pure; never looks at upstreams, never rewrites a
// path.
//
// An exact host wins over `*.` wildcards, a closer wildcard over a wider one; on one host the longest path of whole
// segments wins. A host whose paths do not match falls through to the wildcards.

import type { RouteTable } from '../core/types.ts';

export type RouteEntry = RouteTable['routes'][number];
/** By host; the entries of one host have the longest path first. `path` is empty or starts with a slash. */
export type RouteIndex = ReadonlyMap<string, readonly { path: string; entry: RouteEntry }[]>;

/** Longest name in DNS, and a port. Longer ones match nothing. */
const HOST_LENGTH_MAX = 255;

export function indexRoutes(routes: readonly RouteEntry[]): RouteIndex {
  const index = new Map<string, { path: string; entry: RouteEntry }[]>();
  for (const entry of routes) {
    const slash = entry.route.indexOf('/');
    const host = (slash === -1 ? entry.route : entry.route.slice(0, slash)).toLowerCase();
    const path = slash === -1 ? '' : entry.route.slice(slash).replace(/\/+$/, '');
    const entries = index.get(host);
    if (entries) entries.push({ path, entry });
    else index.set(host, [{ path, entry }]);
  }
  for (const entries of index.values()) entries.sort((a, b) => b.path.length - a.path.length);
  return index;
}

/** Lower case, without port and without the root's dot. */
export function hostOf(header: string): string {
  let host = header.toLowerCase();
  if (host.startsWith('[')) return host.slice(0, host.indexOf(']') + 1);
  const colon = host.indexOf(':');
  if (colon !== -1) host = host.slice(0, colon);
  return host.endsWith('.') ? host.slice(0, -1) : host;
}

/** `host` as hostOf gives it; `path` starts with a slash and has no query. */
export function findRoute(index: RouteIndex, host: string, path: string): RouteEntry | undefined {
  if (host.length > HOST_LENGTH_MAX) return undefined;
  const exact = longestPath(index, host, path);
  if (exact) return exact;
  for (let dot = host.indexOf('.'); dot !== -1; dot = host.indexOf('.', dot + 1)) {
    const found = longestPath(index, `*${host.slice(dot)}`, path);
    if (found) return found;
  }
  return undefined;
}

function longestPath(index: RouteIndex, host: string, path: string): RouteEntry | undefined {
  const entries = index.get(host);
  if (!entries) return undefined;
  for (const candidate of entries) {
    if (isWithin(path, candidate.path)) return candidate.entry;
  }
  return undefined;
}

function isWithin(path: string, route: string): boolean {
  return path.startsWith(route) && (path.length === route.length || route === '' || path[route.length] === '/');
}
