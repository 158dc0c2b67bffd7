// peer nodes, and what can be done to a node.

import type { KnownSecretsShape, NodeShape } from '../../node/api/shapes.ts';
import { answer } from '../client.ts';
import { type Context, flagOption } from '../context.ts';
import { UsageError } from '../errors.ts';
import { formatAge, formatBytes } from '../format.ts';
import { dataChoice, mayRemove, moveDataOf, strandedText } from '../node-data.ts';
import type { Output } from '../output.ts';
import { closest } from '../suggest.ts';
import { renderTable } from '../table.ts';
import { parseNameOrId, parsePairs } from '../values.ts';

const ACTIONS = ['drain', 'undrain', 'remove', 'data', 'label'];

export async function run(context: Context): Promise<void> {
  const { args, client, output } = context;
  const choice = dataChoice(context);
  if (args[0] !== 'drain' && (choice.withData || (choice.strand && args[0] !== 'remove'))) {
    throw new UsageError('--with-data and --strand go with peer nodes drain NAME and peer leave alone');
  }
  if (args[0] !== 'remove' && flagOption(context.options, 'yes')) {
    throw new UsageError('--yes goes with peer nodes remove NAME alone');
  }
  const [action, given, ...labels] = args;
  if (action === undefined) {
    const nodes = await answer((await client()).v1.nodes.$get());
    output.result(nodes, () =>
      [nodesTable(nodes, output), ...warningsOf(nodes, output), ...troubleLines(nodes)].join('\n'),
    );
    return;
  }
  if (!ACTIONS.includes(action)) {
    const meant = closest(action, ACTIONS);
    const hint = meant === undefined ? `it is one of ${ACTIONS.join(', ')}` : `did you mean ${meant}?`;
    throw new UsageError(`peer nodes has no action ${action}: ${hint}`);
  }
  if (given === undefined) throw new UsageError(`NAME is missing: peer nodes ${action} NAME`);
  const name = parseNameOrId(given, 'node');
  if (action !== 'label' && labels.length > 0) {
    throw new UsageError(`${JSON.stringify(labels[0])} is one argument too many: peer nodes ${action} NAME`);
  }
  if (action === 'label') {
    if (labels.length === 0) throw new UsageError('K=V is missing: peer nodes label NAME K=V…; K= removes a label');
    const json = { labels: parsePairs(labels, 'label') };
    const written = await answer((await client()).v1.nodes[':name'].labels.$post({ param: { name }, json }));
    output.result({ node: name, ...json, ...written }, () => `${name} is labelled`);
    return;
  }
  const node = (await client()).v1.nodes[':name'];
  const param = { name };
  if (action === 'data') {
    const data = await answer(node.data.$get({ param }));
    output.result(data, () => strandedText(name, data, output));
  } else if (action === 'drain') {
    const moved = choice.withData ? (await moveDataOf(await client(), output, name)).moved : [];
    const query = choice.strand ? { strand: 'true' as const } : {};
    const written = await answer(node.drain.$post({ param, query }));
    output.result({ node: name, draining: true, moved, ...written }, () => {
      const lines = moved.map((one) => `${one.what} is on ${one.node}${one.ready ? '' : ', and does not run yet'}`);
      return [...lines, `${name} is draining: peer nodes shows how far it is`].join('\n');
    });
  } else if (action === 'undrain') {
    const written = await answer(node.undrain.$post({ param }));
    output.result({ node: name, draining: false, ...written }, () => `${name} takes instances again`);
  } else {
    const query = (await mayRemove(context, name)) ? { strand: 'true' as const } : {};
    const written = await answer(node.$delete({ param, query }));
    output.result({ node: name, removed: true, ...written }, () =>
      [`${name} is removed, and refused from now on`, ...rotationAdvice(name, written.knew)].join('\n'),
    );
  }
}

/** What the node could read is sealed with another key from now on, but stays known to whoever has its disk. */
function rotationAdvice(node: string, knew: KnownSecretsShape | undefined): string[] {
  // A node of an older version says nothing of it.
  const { apps = [], services = [] } = knew ?? {};
  const lines: string[] = [];
  if (apps.length > 0) lines.push(`  apps: ${shortened(apps)} (peer env set APP KEY)`);
  if (services.length > 0) lines.push(`  services: ${shortened(services)} (bind their apps again)`);
  return lines.length === 0
    ? []
    : [`${node} could read secrets of these; give them new ones if it is not yours:`, ...lines];
}

const NAMES_SHOWN_MAX = 20;

const shortened = (names: readonly string[]): string =>
  names.length <= NAMES_SHOWN_MAX
    ? names.join(', ')
    : `${names.slice(0, NAMES_SHOWN_MAX).join(', ')} and ${names.length - NAMES_SHOWN_MAX} more (--json has all)`;

/** More nodes in trouble have the same trouble. */
const TROUBLE_LINES_MAX = 20;

/** Who cannot reach whom, and what is wrong with a node. */
export function troubleLines(nodes: readonly NodeShape[]): string[] {
  const lines = nodes.flatMap(({ name, unreachable = [], warnings = [] }) => [
    ...warnings.map((warning) => `${name}: ${warning}`),
    ...unreachable.map(
      ({ node, by, why, sinceMs }) =>
        `${name} cannot reach ${node} (${by} ${why})${sinceMs > 0 ? `, for ${formatAge(sinceMs)} or longer` : ''}`,
    ),
  ]);
  const more = lines.length - TROUBLE_LINES_MAX;
  return more > 0 ? [...lines.slice(0, TROUBLE_LINES_MAX), `… and ${more} more: see peer nodes --json`] : lines;
}

/** What runs out where, below the table: a blank line first. */
function warningsOf(nodes: readonly NodeShape[], { colours }: Pick<Output, 'colours'>): string[] {
  // A node of an older version says nothing of it.
  const lines = nodes.flatMap((node) => (node.pressure ?? []).map(({ warning }) => warning));
  return lines.length === 0 ? [] : ['', ...lines.map((line) => colours.yellow(line))];
}

export function nodesTable(nodes: readonly NodeShape[], { colours, width }: Pick<Output, 'colours' | 'width'>): string {
  const hasNamesakes = new Set(nodes.map(({ name }) => name)).size < nodes.length;
  const statusOf = (node: NodeShape) => (node.draining ? `${node.status}, draining` : node.status);
  return renderTable<NodeShape>(
    [
      { title: 'NAME', cell: (node) => node.name },
      {
        title: 'STATUS',
        cell: statusOf,
        paint: (text, node) => {
          if (node.status === 'alive') return node.draining ? colours.yellow(text) : colours.green(text);
          return node.status === 'suspect' ? colours.yellow(text) : colours.red(text);
        },
      },
      { title: 'RUNTIMES', cell: (node) => node.runtimes.join(','), importance: 2 },
      { title: 'INSTANCES', cell: (node) => String(node.instances), align: 'right' },
      {
        title: 'MEMORY',
        cell: (node) => `${formatBytes(node.memoryUsedBytes)}/${formatBytes(node.memoryBytes)}`,
        align: 'right',
        importance: 4,
      },
      {
        title: 'DISK FREE',
        // A node of an older version, or one that was not heard of, says nothing of it.
        cell: (node) => (node.disk ? formatBytes(node.disk.freeBytes) : ''),
        paint: (text, node) => paintPressure(text, node, colours),
        align: 'right',
        importance: 3,
      },
      { title: 'ADDRESS', cell: (node) => node.address, importance: 5 },
      {
        title: 'LABELS',
        cell: (node) =>
          Object.entries(node.labels)
            .map(([key, value]) => `${key}=${value}`)
            .join(','),
        importance: 1,
      },
      // Of two nodes that were given one name, only the id says which is which.
      { title: 'ID', cell: (node) => node.id, ...(hasNamesakes ? {} : { importance: 0 }) },
    ],
    nodes,
    width,
  );
}

function paintPressure(text: string, node: NodeShape, colours: Output['colours']): string {
  const disk = (node.pressure ?? []).find(({ resource }) => resource === 'disk' || resource === 'inodes');
  if (disk === undefined) return text;
  return disk.level === 'full' ? colours.red(text) : colours.yellow(text);
}
