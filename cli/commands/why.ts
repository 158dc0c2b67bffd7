// peer why: which node fills a slot, why that one, and how every other was weighed.

import type { NodeVerdictShape, WhyShape } from '../../node/api/shapes.ts';
import { answer } from '../client.ts';
import type { Context } from '../context.ts';
import { UsageError } from '../errors.ts';
import { formatAge, formatBytes } from '../format.ts';
import type { Output } from '../output.ts';
import { againstText, decisionText } from '../placement-text.ts';
import { renderTable } from '../table.ts';
import { parseAppOrSlot } from '../values.ts';

export async function run({ args, client, output }: Context): Promise<void> {
  const { app: name, slot } = parseAppOrSlot(args[0]!);
  if (slot === undefined) throw new UsageError(`INDEX is missing: peer why ${name}/INDEX`);
  const query = { process: slot.process, index: String(slot.index) };
  const why = await answer((await client()).v1.apps[':name'].why.$get({ param: { name }, query }));
  output.result(why, () => whyText(why, output));
}

export function whyText(why: WhyShape, { colours, width }: Pick<Output, 'colours' | 'width'>): string {
  const holders = why.holders.map((one) => {
    const old = one.current ? '' : ', replaced by what the app wants now';
    const stay = one.mayStay ? '' : ', but may not stay';
    return `${one.node} (${one.release}, ${one.state} for ${formatAge(one.sinceMs)}${old}${stay})`;
  });
  const lines = [
    `slot       ${why.process}/${why.index} of ${why.app}`,
    `goes to    ${decisionText(why)}`,
    `runs on    ${holders.join(', ') || 'no node'}`,
    `successors ${successorsText(why)}`,
    ...dataLines(why),
  ];
  if (why.decision === 'unwanted') return lines.slice(0, 3).join('\n');
  if (why.nodes.length === 0) return lines.join('\n');
  return [...lines, '', ...heading(why), verdictsTable(why.nodes, { colours, width })].join('\n');
}

/** Where the slot's data is, what it waits for, and what it was restored from. */
function dataLines({ data, app, process, index }: WhyShape): string[] {
  if (data === null) return [];
  const slot = `${app}/${process === 'web' ? '' : `${process}/`}${index}`;
  return data.volumes.map((one) => {
    const node = one.nodeStatus === 'alive' ? one.node : `${one.node}, which is ${one.nodeStatus}`;
    const parts = [`${one.path} is on ${node}`];
    if (one.restored !== null) {
      const { lost, atMs, snapshotAgeMs } = one.restored;
      const old = snapshotAgeMs === null ? '' : ` that was ${formatAge(snapshotAgeMs)} old`;
      parts.push(
        `restored ${formatAge(Math.max(0, Date.now() - atMs))} ago from a snapshot${old}, as ${lost} was lost`,
      );
    }
    if (data.asked) parts.push(newestText(one.newest), lossText(data, slot));
    return `data       ${parts.join('; ')}`;
  });
}

type WhyData = NonNullable<WhyShape['data']>;

const newestText = (newest: WhyData['volumes'][number]['newest']): string =>
  newest === null
    ? 'no node that answers holds a snapshot of it'
    : `its newest snapshot is ${formatAge(newest.ageMs)} old, on ${newest.holders.join(', ')}`;

const lossText = ({ loss }: WhyData, slot: string): string =>
  loss === null
    ? `it waits for its node (peer volume recover ${slot} takes the snapshot instead)`
    : `it is restored from that once ${loss.needed} nodes hold its node for lost: ${loss.said} do`;

/** They are those of the app: the owner of one slot may be the successor for another. */
const successorsText = ({ successors, app }: WhyShape): string =>
  successors.length === 0 ? 'no node' : `${successors.join(', ')} (of ${app}: they fetch its droplet ahead of time)`;

const heading = (why: WhyShape): string[] => (why.decision === 'kept' ? [`If ${why.owner} could not:`] : []);

function verdictsTable(
  nodes: readonly NodeVerdictShape[],
  { colours, width }: Pick<Output, 'colours' | 'width'>,
): string {
  const ranked =
    (cell: (one: Extract<NodeVerdictShape, { verdict: 'feasible' }>) => string) => (one: NodeVerdictShape) =>
      one.verdict === 'feasible' ? cell(one) : '';
  return renderTable<NodeVerdictShape>(
    [
      { title: 'RANK', cell: ranked((one) => String(nodes.indexOf(one) + 1)), align: 'right' },
      { title: 'NODE', cell: (one) => one.node },
      { title: 'SAME APP', cell: ranked(({ rank }) => String(rank.sameApp)), align: 'right', importance: 4 },
      { title: 'SAME ZONE', cell: ranked(({ rank }) => String(rank.sameZone)), align: 'right', importance: 3 },
      { title: 'FULLNESS', cell: ranked(({ rank }) => String(rank.fullness)), align: 'right', importance: 2 },
      { title: 'WEIGHT', cell: ranked(({ rank }) => shareText(rank.weight)), align: 'right', importance: 0 },
      { title: 'FREE', cell: ranked((one) => formatBytes(one.freeBytes)), align: 'right', importance: 1 },
      { title: 'AGAINST', cell: againstText, paint: (text) => colours.yellow(text), wraps: true },
    ],
    nodes,
    width,
  );
}

/** Weights are drawn from 53 bits; shown as a part of one. */
const shareText = (weight: number): string => (weight / 2 ** 53).toFixed(3);
