// Files of volumes that nothing refers to any more: which there are, and their end.

import type { OrphanShape, OrphansShape } from '../../node/api/data-shapes.ts';
import { answer } from '../client.ts';
import { confirmed } from '../confirm.ts';
import { type Context, flagOption, textOption } from '../context.ts';
import { CliError } from '../errors.ts';
import { formatAge, formatBytes } from '../format.ts';
import type { Output } from '../output.ts';
import { slotText } from '../services/text.ts';
import { renderTable } from '../table.ts';

type Args = readonly string[];

export async function listOrphans({ client, output }: Context): Promise<void> {
  const found = await answer((await client()).v1.orphans.$get());
  output.result(found, () => (found.orphans.length === 0 ? 'no orphans' : orphansTable(found.orphans, output)));
  const { silent } = found;
  if (silent.length > 0 && !output.json) output.note(`not asked, as they do not answer: ${silent.join(', ')}`);
}

export async function removeOrphan([lineage]: Args, { options, client, output }: Context): Promise<void> {
  const connected = await client();
  const orphan = orphanNamed(await answer(connected.v1.orphans.$get()), lineage!, textOption(options, 'node'));
  const { node, volume, usedBytes } = orphan;
  const size = usedBytes === null ? '' : `, ${formatBytes(usedBytes)}`;
  const what = `this deletes what ${node} has of ${whose(orphan)} (${WHY[orphan.why]}${size}); nothing brings it back`;
  await confirmed(what, node, flagOption(options, 'yes'));
  const param = { node, volume, lineage: orphan.lineage };
  const done = await answer(connected.v1.orphans[':node'][':volume'][':lineage'].$delete({ param }));
  output.result(done, () => `${whose(orphan)} is removed from ${node}`);
}

function orphanNamed({ orphans, silent }: OrphansShape, lineage: string, node: string | undefined): OrphanShape {
  const found = orphans.filter((one) => one.lineage === lineage && (node === undefined || one.node === node));
  const [only, another] = found;
  if (only === undefined) {
    const unasked = silent.length === 0 ? '' : `; not asked: ${silent.join(', ')}`;
    throw new CliError('not_found', `there is no orphan ${lineage}: see peer volumes --orphans${unasked}`);
  }
  if (another === undefined) return only;
  const nodes = found.map((one) => one.node).join(', ');
  throw new CliError('name_ambiguous', `${lineage} is on ${nodes}: say which with --node NODE`);
}

/** The process of services. */
const SERVICE = 'service';

const WHY: Record<OrphanShape['why'], string> = {
  deleted: 'it was deleted',
  replaced: 'another history has its place',
  moved: 'it was moved away',
  unreadable: 'its record cannot be read',
};

/** `/data of hello/0`; what is known of it. */
function whose({ owner, path, process, index, volume }: OrphanShape): string {
  if (owner === null) return `the volume ${volume}`;
  if (process === null || index === null) return `${path} of ${owner}`;
  const ownerKind = process === SERVICE ? 'service' : 'gone';
  return `${path} of ${slotText({ owner, ownerKind, process, index })}`;
}

function orphansTable(orphans: readonly OrphanShape[], { width }: Output): string {
  const age = (atMs: number | null): string => (atMs === null ? '?' : formatAge(Math.max(0, Date.now() - atMs)));
  return renderTable<OrphanShape>(
    [
      { title: 'WAS', cell: whose },
      { title: 'NODE', cell: (one) => one.node },
      { title: 'WHY', cell: (one) => WHY[one.why] },
      { title: 'SINCE', cell: (one) => age(one.sinceMs), align: 'right' },
      { title: 'USED', cell: (one) => (one.usedBytes === null ? '?' : formatBytes(one.usedBytes)), align: 'right' },
      { title: 'ORPHAN', cell: (one) => one.lineage },
    ],
    orphans,
    width,
  );
}
