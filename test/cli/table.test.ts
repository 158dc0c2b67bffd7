import picocolors from 'picocolors';
import { describe, expect, it } from 'vitest';
import { nodesTable } from '../../cli/commands/nodes.ts';
import { type Column, cut, renderTable } from '../../cli/table.ts';
import type { NodeShape } from '../../node/api/shapes.ts';

type Row = { name: string; size: number; note: string };
const columns: Column<Row>[] = [
  { title: 'NAME', cell: (row) => row.name },
  { title: 'SIZE', cell: (row) => String(row.size), align: 'right', importance: 2 },
  { title: 'NOTE', cell: (row) => row.note, importance: 1 },
];
const rows: Row[] = [
  { name: 'a', size: 5, note: 'short' },
  { name: 'a-much-longer-name', size: 12345, note: 'quite a long note' },
];

describe('a table', () => {
  it.each([
    [
      'as wide as it needs to be',
      Number.POSITIVE_INFINITY,
      [
        'NAME                 SIZE  NOTE',
        'a                       5  short',
        'a-much-longer-name  12345  quite a long note',
      ],
    ],
    [
      'without what matters least',
      30,
      ['NAME                 SIZE', 'a                       5', 'a-much-longer-name  12345'],
    ],
    ['with what must stay only', 20, ['NAME', 'a', 'a-much-longer-name']],
    ['cut where nothing else helps', 10, ['NAME', 'a', 'a-much-lo…']],
    ['never cut beyond reading', 3, ['NAME', 'a', 'a-much-…']],
  ])('is %s', (_, width, lines) => {
    expect(renderTable(columns, rows, width).split('\n')).toEqual(lines);
  });

  it('has a heading even when it is empty', () => {
    expect(renderTable(columns, [], 80)).toBe('NAME  SIZE  NOTE');
  });

  it('is laid out before it is coloured', () => {
    const { red } = picocolors.createColors(true);
    const painted: Column<Row>[] = [{ ...columns[0]!, paint: red }, columns[1]!];
    const plain = renderTable(columns.slice(0, 2), rows, 80);
    expect(renderTable(painted, rows, 80).replace(/\u001b\[\d+m/g, '')).toBe(plain);
  });

  it('lets no cell leave its line', () => {
    expect(renderTable(columns.slice(0, 1), [{ name: 'a\nb\u001b[2J', size: 0, note: '' }], 80)).toBe('NAME\na b [2J');
  });

  it('cuts by characters, not by bytes', () => {
    expect(cut('grüße aus köln', 6)).toBe('grüße…');
    expect(cut('🙂🙂🙂', 2)).toBe('🙂…');
  });
});

describe('the table of nodes', () => {
  const shape = (id: string, name: string): NodeShape => ({
    id,
    name,
    status: 'alive',
    draining: false,
    runtimes: ['process'],
    memoryBytes: 1,
    memoryUsedBytes: 0,
    instances: 0,
    address: '10.0.0.1',
    http: '',
    api: '',
    link: '',
    labels: {},
    version: '0',
    arch: 'x64',
    load: 0,
    disk: null,
    pressure: [],
    unreachable: [],
    warnings: [],
  });
  const shown = (...nodes: NodeShape[]): string =>
    nodesTable(nodes, { colours: picocolors.createColors(false), width: 50 });

  it('shows ids where there is no room when nothing else tells two nodes apart', () => {
    expect(shown(shape('id-1', 'one'), shape('id-2', 'two'))).not.toMatch(/id-/);
    expect(shown(shape('id-1', 'same'), shape('id-2', 'same'))).toMatch(/id-1\n.*id-2/);
  });
});
