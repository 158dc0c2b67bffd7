// peer app: one app, and each of its instances in a line.

import type { AppShape, InstanceShape } from '../../node/api/shapes.ts';
import { answer } from '../client.ts';
import type { Context } from '../context.ts';
import { formatAge, formatBytes } from '../format.ts';
import type { Output } from '../output.ts';
import { renderTable } from '../table.ts';

export async function run({ args, client, output }: Context): Promise<void> {
  const app = await answer((await client()).v1.apps[':name'].$get({ param: { name: args[0]! } }));
  output.result(app, () => appText(app, output));
}

export function appText(app: AppShape, { colours, width }: Pick<Output, 'colours' | 'width'>): string {
  const wanted = Object.entries(app.desired)
    .map(([process, count]) => `${process}=${count}`)
    .join(' ');
  const { kind, path, timeoutMs } = app.health;
  const lines = [
    `name       ${app.name}${app.stopped ? ' (stopped)' : ''}`,
    `release    ${app.release ?? 'none yet'}${app.buildpack === null ? '' : `, ${app.buildpack}`}`,
    `routes     ${app.routes.length === 0 ? 'none' : app.routes.join(', ')}`,
    `scale      ${wanted}, ${formatBytes(app.memoryBytes)} of memory, ${formatBytes(app.diskBytes)} of disk each`,
    `health     ${kind === 'http' ? `http:${path}` : kind}, ${timeoutMs / 1000} s to start`,
  ];
  if (app.instances.length === 0) return [...lines, '', 'no instances'].join('\n');
  const table = renderTable<InstanceShape>(
    [
      { title: 'INSTANCE', cell: (one) => `${one.process}/${one.index}` },
      {
        title: 'STATE',
        cell: (one) => one.state,
        paint: (text, one) => {
          if (one.state === 'ready') return colours.green(text);
          return one.state === 'crashed' ? colours.red(text) : colours.yellow(text);
        },
      },
      { title: 'SINCE', cell: (one) => formatAge(one.sinceMs), align: 'right', importance: 3 },
      { title: 'NODE', cell: (one) => one.node },
      { title: 'RELEASE', cell: (one) => one.release, importance: 2 },
      { title: 'RESTARTS', cell: (one) => String(one.restarts), align: 'right', importance: 1 },
      { title: 'REASON', cell: (one) => one.reason ?? '', importance: 0 },
    ],
    app.instances,
    width,
  );
  return [...lines, '', table].join('\n');
}
