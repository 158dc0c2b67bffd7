// The data that a node would take with it: shown, moved away, or left there, before the node drains or leaves.

import type { MovedDataShape, StrandedShape } from '../node/api/data-shapes.ts';
import type { Client } from './client.ts';
import { type Context, flagOption } from './context.ts';
import { UsageError } from './errors.ts';
import { followLife } from './follow-life.ts';
import { formatAge } from './format.ts';
import type { Output } from './output.ts';
import { renderTable } from './table.ts';

/** `withData`: it is moved first. `strand`: it stays. Fails with UsageError when both are asked for. */
export function dataChoice({ options }: Context): { withData: boolean; strand: boolean } {
  const [withData, strand] = [flagOption(options, 'withData'), flagOption(options, 'strand')];
  if (withData && strand)
    throw new UsageError('--with-data moves the data, --strand leaves it there: give one of them');
  return { withData, strand };
}

/** The node drains from then on. Fails when some of it stays. */
export function moveDataOf(client: Client, output: Output, node: string): Promise<MovedDataShape> {
  const path = `/v1/nodes/${encodeURIComponent(node)}/data/move`;
  return followLife<MovedDataShape>(client, output, { path, look: `peer nodes data ${node}` });
}

type Row = { what: string; kind: string; copy: string };

export function strandedText(node: string, { services, volumes }: StrandedShape, { width }: Output): string {
  const age = (what: string, ageMs: number | null): string =>
    ageMs === null ? `no ${what}` : `${what} ${formatAge(ageMs)} old`;
  const rows: Row[] = [
    ...services.map((one) => ({
      what: one.name,
      kind: `${one.kind} ${one.version}, ${one.state}`,
      copy: age('proven backup', one.provenBackupAgeMs),
    })),
    ...volumes.map(({ owner, process, index, path, mounted, snapshotAgeMs }) => ({
      what: `${owner}/${process === 'web' ? '' : `${process}/`}${index}:${path}`,
      kind: mounted ? 'volume' : 'volume that nothing mounts',
      copy: age('snapshot', snapshotAgeMs),
    })),
  ];
  if (rows.length === 0) return `${node} has no data of services or volumes`;
  return renderTable<Row>(
    [
      { title: 'DATA OF', cell: (row) => row.what },
      { title: 'KIND', cell: (row) => row.kind },
      { title: 'NEWEST COPY', cell: (row) => row.copy },
    ],
    rows,
    width,
  );
}
