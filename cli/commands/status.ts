// peer status: the node that answers, and its cluster in a few lines.

import type { StatusShape } from '../../node/api/shapes.ts';
import { answer } from '../client.ts';
import type { Context } from '../context.ts';
import { formatBytes } from '../format.ts';
import type { Output } from '../output.ts';
import { printable } from '../table.ts';

export async function run({ client, output }: Context): Promise<void> {
  const status = await answer((await client()).v1.status.$get());
  output.result(status, () => statusText(status, output));
}

export function statusText(status: StatusShape, { colours }: Pick<Output, 'colours'>): string {
  const { node, cluster, user, members, instances, blobs, conflicts, problems } = status;
  const counts = (of: Record<string, number>) =>
    Object.entries(of)
      .filter(([, count]) => count > 0)
      .map(([state, count]) => `${count} ${state}`)
      .join(', ') || 'none';
  const lines = [
    `node       ${node.name} (${node.id}), version ${node.version}, pid ${node.pid}`,
    `cluster    ${cluster.name === '' ? cluster.id : cluster.name}, domain ${cluster.domain}`,
    `you        ${user.name}, ${user.role}`,
    `nodes      ${counts(members)}`,
    `apps       ${status.apps}`,
    `instances  ${counts(instances)}`,
    `blobs      ${formatBytes(blobs.usedBytes)} of ${formatBytes(blobs.budgetBytes)}`,
  ];
  for (const warning of status.warnings ?? []) lines.push(colours.yellow(`warning    ${printable(warning)}`));
  for (const conflict of conflicts) lines.push(colours.yellow(`conflict   ${printable(conflict)}`));
  for (const problem of problems) lines.push(colours.yellow(`record     ${printable(problem)}`));
  return lines.join('\n');
}
