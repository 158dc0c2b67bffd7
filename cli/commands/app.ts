// peer app: one app, and each of its instances in a line.

import type { AppShape, InstanceShape, UsageShape } from '../../node/api/shapes.ts';
import { answer } from '../client.ts';
import type { Context } from '../context.ts';
import { formatAge, formatBytes } from '../format.ts';
import type { Output } from '../output.ts';
import { refusedText } from '../refused.ts';
import { type Column, renderTable } from '../table.ts';
import { parseName } from '../values.ts';

export async function run({ args, client, output }: Context): Promise<void> {
  const param = { name: parseName(args[0]!, 'app') };
  const route = (await client()).v1.apps[':name'];
  const [app, usage] = await Promise.all([
    answer(route.$get({ param })),
    // A node that does not know of it still knows of the app.
    answer(route.usage.$get({ param })).catch(() => ({ instances: [] })),
  ]);
  const used = withUsage(app, usage.instances);
  output.result(used, () => appText(used, output));
}

type UsedInstance = InstanceShape & { usage: Omit<UsageShape, 'id'> | null };
export type UsedApp = Omit<AppShape, 'instances'> & { instances: UsedInstance[] };

export function withUsage(app: AppShape, usage: readonly UsageShape[]): UsedApp {
  const byId = new Map(usage.map(({ id, ...used }) => [id, used]));
  return { ...app, instances: app.instances.map((one) => ({ ...one, usage: byId.get(one.id) ?? null })) };
}

/** A node of an older version does not say. */
function rolloutBounds({ strategy, maxUnavailable, maxSurge }: UsedApp): string {
  if (strategy !== 'rolling' || maxUnavailable === undefined) return '';
  return `, at most ${maxUnavailable} down and ${maxSurge} extra at a time`;
}

export function appText(app: UsedApp, { colours, width }: Pick<Output, 'colours' | 'width'>): string {
  const wanted = Object.entries(app.desired)
    .map(([process, count]) => `${process}=${count}`)
    .join(' ');
  const { kind, path, timeoutMs } = app.health;
  const lines = [
    `name       ${app.name}${app.stopped ? ' (stopped)' : ''}`,
    `release    ${app.release ?? 'none yet'}${app.buildpack === null ? '' : `, ${app.buildpack}`}`,
    `owner      ${app.owner ?? 'unknown'}${app.members.length === 0 ? '' : `, shared with ${app.members.join(', ')}`}`,
    `routes     ${app.routes.length === 0 ? 'none' : app.routes.join(', ')}`,
    // A node of an older version says nothing of them.
    ...(app.lostRoutes ?? []).map(({ route, lostTo }) =>
      colours.yellow(`lost       ${route}, which ${lostTo} has: peer unmap ${app.name} ${route} gives it up`),
    ),
    `scale      ${wanted}, ${formatBytes(app.memoryBytes)} of memory, ${formatBytes(app.diskBytes)} of disk each`,
    `health     ${kind === 'http' ? `http:${path}` : kind}, ${timeoutMs / 1000} s to start`,
    `rollout    ${app.strategy}${rolloutBounds(app)}`,
    `partition  ${app.partition}`,
    // A node of an older version says nothing of it.
    ...(app.refused ?? []).map((one) => `refused    ${refusedText(one)}`),
  ];
  if (app.instances.length === 0) return [...lines, '', 'no instances'].join('\n');
  const table = renderTable<UsedInstance>(
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
      { title: 'SINCE', cell: (one) => formatAge(one.sinceMs), align: 'right', importance: 6 },
      { title: 'NODE', cell: (one) => one.node },
      { title: 'RELEASE', cell: (one) => one.release, importance: 5 },
      { title: 'CPU', cell: ({ usage }) => measured(usage?.cpu, formatCpu), align: 'right', importance: 3 },
      {
        title: 'MEMORY',
        cell: ({ usage }) => measured(usage?.memoryBytes, formatBytes),
        align: 'right',
        importance: 4,
      },
      { title: 'DISK', cell: ({ usage }) => measured(usage?.diskBytes, formatBytes), align: 'right', importance: 2 },
      { title: 'RESTARTS', cell: (one) => String(one.restarts), align: 'right', importance: 1 },
      ...(app.instances.some(({ reason }) => reason) ? [reasonColumn] : []),
    ],
    app.instances,
    width,
  );
  return [...lines, '', table].join('\n');
}

/** Whoever looks at an instance that does not run wants to know this first. */
const reasonColumn: Column<UsedInstance> = { title: 'REASON', cell: (one) => one.reason ?? '', wraps: true };

/** Percent of one processor. */
const formatCpu = (processors: number): string => `${Math.round(processors * 100)}%`;

function measured(value: number | null | undefined, format: (value: number) => string): string {
  return value === null || value === undefined ? '-' : format(value);
}
