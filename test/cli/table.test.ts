import picocolors from 'picocolors';
import { describe, expect, it } from 'vitest';
import { appText, type UsedApp } from '../../cli/commands/app.ts';
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

  it('breaks what has to be read whole into lines, in the width that the others leave', () => {
    const wrapping: Column<Row>[] = [
      columns[0]!,
      { ...columns[1]!, importance: 0 },
      { title: 'NOTE', cell: (row) => row.note, wraps: true, paint: (text) => `<${text}>` },
    ];
    const told = [
      { name: 'a', size: 5, note: 'exited with status 3: Error: Cannot find module express' },
      { name: 'b'.repeat(30), size: 6, note: '' },
    ];
    const at = (width: number) => renderTable(wrapping, told, width).split('\n');
    expect(at(60)).toEqual([
      'NAME                            NOTE',
      `a                               <exited with status 3: Error:>`,
      '                                <Cannot find module express>',
      'b'.repeat(30),
    ]);
    // Others are cut first.
    expect(at(40)).toEqual([
      'NAME            NOTE',
      'a               <exited with status 3:>',
      '                <Error: Cannot find>',
      '                <module express>',
      `${'b'.repeat(13)}…`,
    ]);
    const whole = at(Number.POSITIVE_INFINITY);
    expect(whole).toHaveLength(3);
    expect(whole[1]).toContain('exited with status 3: Error: Cannot find module express');
    expect(
      renderTable([wrapping[2]!], [{ name: '', size: 0, note: 'x'.repeat(30) }], 10)
        .split('\n')
        .slice(1),
    ).toEqual([`<${'x'.repeat(10)}>`, `<${'x'.repeat(10)}>`, `<${'x'.repeat(10)}>`]);
  });

  it('lets no cell leave its line', () => {
    expect(renderTable(columns.slice(0, 1), [{ name: 'a\nb\u001b[2J', size: 0, note: '' }], 80)).toBe('NAME\na b [2J');
  });

  it('cuts by characters, not by bytes', () => {
    expect(cut('grüße aus köln', 6)).toBe('grüße…');
    expect(cut('🙂🙂🙂', 2)).toBe('🙂…');
  });
});

describe('the table of instances', () => {
  const reason = 'exited with status 1: Error: connect ECONNREFUSED 10.0.0.5:5432, as the database is not up yet';
  const instance = (index: number, more: object) => ({
    id: `i-${index}`,
    process: 'web',
    index,
    node: 'a-node-with-a-name',
    release: 'v12',
    state: 'ready',
    restarts: 0,
    sinceMs: 90_000,
    memoryBytes: 1,
    usage: null,
    ...more,
  });
  const app = (instances: object[]) =>
    ({
      name: 'shop',
      desired: { web: 2 },
      memoryBytes: 1,
      diskBytes: 1,
      health: { kind: 'port', path: '/', timeoutMs: 1 },
      routes: [],
      members: [],
      instances,
    }) as unknown as UsedApp;
  const shown = (instances: object[], width: number): string =>
    appText(app(instances), { colours: picocolors.createColors(false), width }).split('\n\n')[1]!;

  it.each([60, 80, 120])('says at %d columns why an instance does not run, in whole words', (width) => {
    const text = shown([instance(0, {}), instance(1, { state: 'crashed', reason })], width);
    const lines = text.split('\n');
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(width);
    const at = lines[0]!.indexOf('REASON');
    const read = lines.slice(2).map((line) => line.slice(at).trim());
    expect(read.join(' ')).toBe(reason);
  });

  it('has no room for reasons when there are none', () => {
    expect(shown([instance(0, {})], 60)).toMatch(/^INSTANCE +STATE +SINCE +NODE.*RELEASE/);
    expect(shown([instance(0, {})], 200)).not.toContain('REASON');
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
