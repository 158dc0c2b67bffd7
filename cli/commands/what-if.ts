// peer what-if: where instances would go if some nodes were gone, and how full the others would be.

import type { WhatIfShape } from '../../node/api/shapes.ts';
import { answer } from '../client.ts';
import { type Context, textsOption } from '../context.ts';
import { UsageError } from '../errors.ts';
import { formatBytes } from '../format.ts';
import type { Output } from '../output.ts';
import { reasonsText } from '../placement-text.ts';
import { renderTable } from '../table.ts';
import { parseNameOrId } from '../values.ts';

type Move = WhatIfShape['moves'][number];

export async function run({ client, options, output }: Context): Promise<void> {
  const without = textsOption(options, 'without');
  if (without === undefined) throw new UsageError('NODE is missing: peer what-if --without NODE');
  const query = { without: without.map((node) => parseNameOrId(node, '--without')) };
  const foreseen = await answer((await client()).v1['what-if'].$get({ query }));
  output.result(foreseen, () => whatIfText(foreseen, output));
}

export function whatIfText(foreseen: WhatIfShape, { colours, width }: Pick<Output, 'colours' | 'width'>): string {
  const { moves } = foreseen;
  const lost = moves.filter(({ to }) => to === null).length;
  const lines = [`without ${foreseen.without.join(', ')}: ${summary(moves.length - lost, lost)}`];
  if (moves.length > 0) {
    const table = renderTable<Move>(
      [
        { title: 'INSTANCE', cell: (one) => `${one.app}/${one.process}/${one.index}` },
        { title: 'FROM', cell: (one) => one.from ?? 'no node' },
        {
          title: 'TO',
          cell: (one) => one.to ?? 'no node',
          paint: (text, one) => (one.to === null ? colours.red(text) : text),
        },
        {
          title: 'AGAINST',
          cell: againstText,
          wraps: true,
        },
      ],
      moves,
      width,
    );
    lines.push('', table);
  }
  const nodes = renderTable<WhatIfShape['nodes'][number]>(
    [
      { title: 'NODE', cell: (one) => one.node },
      { title: 'MEMORY NOW', cell: (one) => formatBytes(one.beforeBytes), align: 'right' },
      {
        title: 'THEN',
        cell: (one) => (one.afterBytes === null ? 'gone' : formatBytes(one.afterBytes)),
        align: 'right',
      },
      { title: 'OF', cell: (one) => formatBytes(one.budgetBytes), align: 'right' },
    ],
    foreseen.nodes,
    width,
  );
  return [...lines, '', nodes].join('\n');
}

function againstText({ to, refusals }: Move): string {
  if (to === null && refusals.length === 0) return 'no node is left';
  return refusals.map(({ node, reasons }) => `${node} ${reasonsText(reasons)}`).join(', ');
}

function summary(moved: number, lost: number): string {
  const count = (n: number) => (n === 1 ? '1 instance' : `${n} instances`);
  if (moved === 0 && lost === 0) return 'no instance would move';
  const parts = [
    ...(moved > 0 ? [`${count(moved)} would move`] : []),
    ...(lost > 0 ? [`${count(lost)} would have no node`] : []),
  ];
  return parts.join(', ');
}
