// peer routes: every route, and the app it leads to.

import type { RouteShape } from '../../node/api/shapes.ts';
import { answer } from '../client.ts';
import type { Context } from '../context.ts';
import { renderTable } from '../table.ts';

export async function run({ client, output }: Context): Promise<void> {
  const routes = await answer((await client()).v1.routes.$get());
  output.result(routes, () =>
    routes.length === 0
      ? 'no routes yet'
      : renderTable<RouteShape>(
          [
            { title: 'ROUTE', cell: ({ route }) => route },
            { title: 'APP', cell: ({ app }) => app },
          ],
          routes,
          output.width,
        ),
  );
}
