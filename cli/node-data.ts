// The data that a node would take with it: shown, moved away, or left there, before the node drains or leaves.

import type { MovedDataShape, StrandedShape } from '../node/api/data-shapes.ts';
import { answer, type Client } from './client.ts';
import { confirmed } from './confirm.ts';
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

export function strandedText(
  node: string,
  { services, volumes, exports = [] }: StrandedShape,
  { width }: Output,
): string {
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
  const open = exportLines(node, exports);
  if (rows.length === 0) return [`${node} has no data of services or volumes`, ...open].join('\n');
  const table = renderTable<Row>(
    [
      { title: 'DATA OF', cell: (row) => row.what },
      { title: 'KIND', cell: (row) => row.kind },
      { title: 'NEWEST COPY', cell: (row) => row.copy },
    ],
    rows,
    width,
  );
  return [table, ...open].join('\n');
}

/** A line each: what becomes of it, and what to do. A node of an older version says nothing of exports. */
export const exportLines = (node: string, exports: StrandedShape['exports'] = []): string[] =>
  exports.map(
    ({ service, host, port }) =>
      `${service} is open to others at ${host.includes(':') ? `[${host}]` : host}:${port} of ${node}, which closes when it goes: peer service export ${service} --stop, then HOST:PORT --node NODE, opens it elsewhere, with new credentials`,
  );

/**
 * Whether the node may be removed with all that it has: nothing, or a person says that it is meant, at the terminal or
 * by --strand or --yes. Where nobody can be asked it is left to the node, which refuses and says what to do.
 */
export async function mayRemove({ client, options, output }: Context, node: string): Promise<boolean> {
  if (flagOption(options, 'strand') || flagOption(options, 'yes')) return true;
  const data = await answer((await client()).v1.nodes[':name'].data.$get({ param: { name: node } }));
  for (const line of exportLines(node, data.exports)) output.note(line);
  if (data.services.length + data.volumes.length === 0 || process.stdin.isTTY !== true) return false;
  output.note(strandedText(node, { ...data, exports: [] }, output));
  await confirmed(`this puts the data above out of reach of the cluster for good`, node, false);
  return true;
}
