// peer releases: newest first, the one that runs marked.

import type { ReleaseShape } from '../../node/api/shapes.ts';
import { answer } from '../client.ts';
import type { Context } from '../context.ts';
import { formatBytes, formatTime } from '../format.ts';
import type { Output } from '../output.ts';
import { renderTable } from '../table.ts';
import { parseName } from '../values.ts';

export async function run({ args, client, output }: Context): Promise<void> {
  const name = parseName(args[0]!, 'app');
  const releases = await answer((await client()).v1.apps[':name'].releases.$get({ param: { name } }));
  output.result(releases, () => (releases.length === 0 ? 'no releases yet' : releasesTable(releases, output)));
}

export function releasesTable(
  releases: readonly ReleaseShape[],
  { colours, width }: Pick<Output, 'colours' | 'width'>,
): string {
  return renderTable<ReleaseShape>(
    [
      { title: 'RELEASE', cell: (one) => one.release },
      {
        title: 'STATE',
        cell: (one) => (one.failed !== null ? 'failed' : one.current ? 'current' : ''),
        paint: (text, one) => (one.failed !== null ? colours.red(text) : colours.green(text)),
      },
      { title: 'CREATED', cell: (one) => formatTime(one.createdAtMs), importance: 4 },
      { title: 'BY', cell: (one) => one.createdBy, importance: 2 },
      { title: 'BUILDPACK', cell: (one) => one.buildpack, importance: 1 },
      { title: 'SIZE', cell: (one) => formatBytes(one.sizeBytes), align: 'right', importance: 0 },
      {
        title: 'WHY',
        cell: (one) => (one.failed === null ? one.description : `${one.description}; ${refusal(one, one.failed)}`),
        wraps: true,
      },
    ],
    releases,
    width,
  );
}

/** A node of an older version does not say what was refused. */
function refusal({ refused = [] }: Partial<ReleaseShape>, { reason }: { reason: string }): string {
  return refused.length === 0 ? reason : `refused ${refused.join(', ')}: ${reason}`;
}
