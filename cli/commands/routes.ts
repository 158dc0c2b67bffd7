// peer routes: every route, and the app it leads to; and sharing a host with another app.

import type { RouteShape } from '../../node/api/shapes.ts';
import { answer } from '../client.ts';
import type { Context } from '../context.ts';
import { UsageError } from '../errors.ts';
import type { Output } from '../output.ts';
import { type Column, renderTable } from '../table.ts';

export async function run({ args, client, output }: Context): Promise<void> {
  const [action, host, app] = args;
  if (action !== undefined) {
    if (action !== 'share' && action !== 'unshare') {
      throw new UsageError(`peer routes has no action ${action}: it is share or unshare`);
    }
    if (host === undefined || app === undefined) {
      throw new UsageError(`${host === undefined ? 'HOST' : 'APP'} is missing: peer routes ${action} HOST APP`);
    }
    const json = { host, app, shared: action === 'share' };
    const written = await answer((await client()).v1.routes.share.$post({ json }));
    const may = written.shared ? 'may have routes on' : 'may have no more routes on';
    output.result(written, () => `${written.app} ${may} ${written.host}, which belongs to ${written.owner}`);
    return;
  }
  const routes = await answer((await client()).v1.routes.$get());
  output.result(routes, () => (routes.length === 0 ? 'no routes yet' : routesTable(routes, output)));
}

export function routesTable(
  routes: readonly RouteShape[],
  { colours, width }: Pick<Output, 'colours' | 'width'>,
): string {
  const lostColumn: Column<RouteShape> = {
    title: 'LOST TO',
    cell: ({ lostTo = '' }) => lostTo,
    paint: (text) => colours.yellow(text),
  };
  const table = renderTable<RouteShape>(
    [
      { title: 'ROUTE', cell: ({ route }) => route },
      { title: 'APP', cell: ({ app }) => app },
      ...(routes.some(isShared) ? [hostColumn] : []),
      ...(routes.some(isLost) ? [lostColumn] : []),
    ],
    routes,
    width,
  );
  const [lost] = routes.filter(isLost);
  if (lost === undefined) return table;
  return `${table}\n\na route that is lost leads to another app, or nowhere: peer unmap ${lost.app} ${lost.route} gives it up`;
}

const isLost = ({ lostTo }: RouteShape): boolean => lostTo !== undefined;
const isShared = (one: RouteShape): boolean => !isLost(one) && one.hostApp !== one.app;
const hostColumn = { title: 'HOST OF', cell: (one: RouteShape) => (isShared(one) ? one.hostApp : ''), importance: 0 };
