// The routing table of this node: which ready instances serve each desired route. Chooses no upstream for a request
// (the router does) and never lists an instance under a route of another app.

import type { AppId, NodeId } from '../../crdt/ids.ts';
import type { DesiredView } from '../../crdt/view.ts';
import type { DecisionReport } from './essence.ts';
import type { CoreState } from './state.ts';
import { compareText } from './text.ts';
import type { LocalUpstream, RouteTable, Upstream } from './types.ts';

export function routeTable(state: CoreState): RouteTable {
  const table: RouteTable = { routes: [], local: [], admitted: [] };
  for (const instance of state.local.values()) {
    if (instance.port !== undefined && instance.phase === 'launched') {
      const { id, app, port, host } = instance;
      table.local.push({ instance: id, app, port, ...(host === undefined ? {} : { host }) });
    }
  }
  table.local.sort((a, b) => compareText(a.instance, b.instance));
  const view = state.desired;
  if (view === undefined) return table;
  const { admitted, routes } = sortedOf(view);
  table.admitted = admitted;
  const upstreams = upstreamsByApp(state);
  for (const [route, app] of routes) {
    const appName = view.apps.get(app)?.name ?? '';
    table.routes.push({ route, app, appName, upstreams: upstreams.get(app) ?? [] });
  }
  return table;
}

/** Whether nothing would change for a router that routes by them. */
export function isSameTable(a: RouteTable, b: RouteTable): boolean {
  return (
    isSameList(a.admitted, b.admitted, (one, other) => one === other) &&
    isSameList(a.local, b.local, isAlikeIn(LOCAL_FIELDS)) &&
    isSameList(
      a.routes,
      b.routes,
      (one, other) =>
        one.route === other.route &&
        one.app === other.app &&
        one.appName === other.appName &&
        isSameList(one.upstreams, other.upstreams, isAlikeIn(UPSTREAM_FIELDS)),
    )
  );
}

// Records of all fields, so that one which is added later cannot be left out.
const LOCAL_FIELDS = keysOf<LocalUpstream>({ instance: true, app: true, port: true, host: true });
const UPSTREAM_FIELDS = keysOf<Upstream>({
  instance: true,
  app: true,
  index: true,
  node: true,
  port: true,
  host: true,
  link: true,
  nodeName: true,
});

function keysOf<T>(fields: { [Key in keyof Required<T>]: true }): (keyof T)[] {
  return Object.keys(fields) as (keyof T)[];
}

const isAlikeIn =
  <T>(fields: readonly (keyof T)[]) =>
  (one: T, other: T): boolean =>
    one === other || fields.every((field) => one[field] === other[field]);

function isSameList<T>(a: readonly T[], b: readonly T[], isSame: (one: T, other: T) => boolean): boolean {
  return a === b || (a.length === b.length && a.every((one, index) => isSame(one, b[index]!)));
}

type Sorted = { admitted: NodeId[]; routes: [string, AppId][] };
/** Views are never changed, and decided on many times. */
const sortedViews = new WeakMap<DesiredView, Sorted>();

function sortedOf(view: DesiredView): Sorted {
  const known = sortedViews.get(view);
  if (known !== undefined) return known;
  const sorted: Sorted = {
    admitted: [...view.nodes.keys()].sort(compareText),
    routes: [...view.routes].sort((a, b) => compareText(a[0], b[0])),
  };
  sortedViews.set(view, sorted);
  return sorted;
}

/**
 * Reports are never changed, and routed by many times: ten thousand instances would be as many objects in every table.
 */
const upstreamsByReport = new WeakMap<DecisionReport, readonly Upstream[]>();

/** Ready web instances of another node. */
function upstreamsOf(report: DecisionReport): readonly Upstream[] {
  let upstreams = upstreamsByReport.get(report);
  if (upstreams === undefined) {
    const { node, name: nodeName, link } = report;
    upstreams = report.instances
      .filter(({ process, state, port }) => process === 'web' && state === 'ready' && port !== undefined)
      .map(({ id, app, index }) => ({ instance: id, app, index, node, nodeName, link }));
    upstreamsByReport.set(report, upstreams);
  }
  return upstreams;
}

/**
 * Ready web instances by app, sorted by instance. Nodes whose host refuses connections serve only when nobody else
 * does.
 */
function upstreamsByApp(state: CoreState): Map<AppId, Upstream[]> {
  const trusted = new Map<AppId, Upstream[]>();
  const doubted = new Map<AppId, Upstream[]>();
  const add = (to: Map<AppId, Upstream[]>, upstream: Upstream): void => {
    const list = to.get(upstream.app);
    if (list === undefined) to.set(upstream.app, [upstream]);
    else list.push(upstream);
  };
  for (const { id, app, index, process, state: instanceState, port, host } of state.local.values()) {
    if (process !== 'web' || instanceState !== 'ready' || port === undefined) continue;
    add(trusted, { instance: id, app, index, node: state.self.node, port, ...(host === undefined ? {} : { host }) });
  }
  for (const member of state.members.values()) {
    if (member.report === undefined || (member.status !== 'alive' && member.status !== 'suspect')) continue;
    const to = member.suspicion?.refused ? doubted : trusted;
    for (const upstream of upstreamsOf(member.report)) add(to, upstream);
  }
  for (const [app, list] of doubted) if (!trusted.has(app)) trusted.set(app, list);
  for (const list of trusted.values()) list.sort((a, b) => compareText(a.instance, b.instance));
  return trusted;
}
