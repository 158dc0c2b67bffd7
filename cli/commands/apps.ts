// peer apps: every app in a line.

import type { AppSummaryShape } from '../../node/api/shapes.ts';
import { answer } from '../client.ts';
import type { Context } from '../context.ts';
import { formatBytes } from '../format.ts';
import type { Output } from '../output.ts';
import { renderTable } from '../table.ts';

export async function run({ client, output }: Context): Promise<void> {
  const apps = await answer((await client()).v1.apps.$get());
  output.result(apps, () => (apps.length === 0 ? 'no apps yet: peer push DIR' : appsTable(apps, output)));
}

export function appsTable(
  apps: readonly AppSummaryShape[],
  { colours, width }: Pick<Output, 'colours' | 'width'>,
): string {
  const wanted = (app: AppSummaryShape) =>
    app.stopped ? 0 : Object.values(app.desired).reduce((sum, count) => sum + count, 0);
  return renderTable<AppSummaryShape>(
    [
      { title: 'NAME', cell: (app) => (app.ownsName ? app.name : `${app.name} (${app.id})`) },
      {
        title: 'READY',
        cell: (app) => (app.release === null ? 'no release' : app.stopped ? 'stopped' : `${app.ready}/${wanted(app)}`),
        paint: (text, app) => {
          if (app.release === null || app.stopped) return colours.dim(text);
          return app.ready >= wanted(app) ? colours.green(text) : colours.yellow(text);
        },
      },
      { title: 'RELEASE', cell: (app) => app.release ?? '-', importance: 2 },
      { title: 'MEMORY', cell: (app) => formatBytes(app.memoryBytes), align: 'right', importance: 1 },
      { title: 'ROUTES', cell: (app) => app.routes.join(', ') },
    ],
    apps,
    width,
  );
}
