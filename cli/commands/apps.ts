// peer apps: every app in a line; and who works on an app.

import type { AppSummaryShape } from '../../node/api/shapes.ts';
import { answer } from '../client.ts';
import type { Context } from '../context.ts';
import { UsageError } from '../errors.ts';
import { formatBytes } from '../format.ts';
import type { Output } from '../output.ts';
import { renderTable } from '../table.ts';
import { parseName } from '../values.ts';

export async function run({ args, client, output }: Context): Promise<void> {
  const [action, app, user] = args;
  if (action !== undefined) return changeTeam({ action, app, user }, { client, output });
  const apps = await answer((await client()).v1.apps.$get());
  output.result(apps, () => (apps.length === 0 ? 'no apps yet: peer push DIR' : appsTable(apps, output)));
}

async function changeTeam(
  { action, app, user }: { action: string; app: string | undefined; user: string | undefined },
  { client, output }: Pick<Context, 'client' | 'output'>,
): Promise<void> {
  if (action !== 'share' && action !== 'unshare' && action !== 'give') {
    throw new UsageError(
      `peer apps has no action ${action}: it is share, unshare or give; one app: peer app ${action}`,
    );
  }
  if (app === undefined || user === undefined) {
    throw new UsageError(`${app === undefined ? 'APP' : 'USER'} is missing: peer apps ${action} APP USER`);
  }
  const name = parseName(app, 'app');
  const route = (await client()).v1.apps[':name'];
  if (action === 'give') {
    const given = await answer(route.owner.$post({ param: { name }, json: { owner: user } }));
    output.result(given, () => `${given.app} belongs to ${given.owner}`);
    return;
  }
  const member = action === 'share';
  const written = await answer(route.members.$post({ param: { name }, json: { user, member } }));
  output.result(written, () => `${user} ${member ? 'works' : 'no longer works'} on ${written.app}`);
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
