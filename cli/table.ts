// Tables that fit the terminal: columns of little importance go first, then the longest cells are cut. Pure.

export type Column<Row> = {
  title: string;
  cell: (row: Row) => string;
  align?: 'left' | 'right';
  /** Columns with the lowest go first when it is too wide; those without one stay. */
  importance?: number;
  /** Colours a padded cell; must not change what it says. */
  paint?: (text: string, row: Row) => string;
};

const GAP = '  ';
/** No column is cut below this. */
const CUT_WIDTH_MIN = 8;

export function renderTable<Row>(columns: readonly Column<Row>[], rows: readonly Row[], width: number): string {
  const cells = new Map(columns.map((column) => [column, rows.map((row) => printable(column.cell(row)))]));
  const widths = new Map(
    columns.map((column) => [
      column,
      Math.max(textWidth(column.title), ...cells.get(column)!.map((text) => textWidth(text))),
    ]),
  );
  const kept = [...columns];
  const total = () => kept.reduce((sum, column) => sum + widths.get(column)!, 0) + GAP.length * (kept.length - 1);
  while (total() > width) {
    const optional = kept.filter((column) => column.importance !== undefined);
    if (optional.length === 0) break;
    const least = optional.reduce((a, b) => (b.importance! < a.importance! ? b : a));
    kept.splice(kept.indexOf(least), 1);
  }
  while (total() > width) {
    const widest = kept.reduce((a, b) => (widths.get(b)! > widths.get(a)! ? b : a));
    if (widths.get(widest)! <= CUT_WIDTH_MIN) break;
    widths.set(widest, Math.max(CUT_WIDTH_MIN, widths.get(widest)! - (total() - width)));
  }
  const line = (texts: readonly string[], row: Row | undefined) =>
    kept
      .map((column, index) => {
        const isLast = index === kept.length - 1;
        const padded = pad(texts[index]!, widths.get(column)!, column.align ?? 'left', isLast);
        return row === undefined || column.paint === undefined ? padded : column.paint(padded, row);
      })
      .join(GAP)
      .trimEnd();
  return [
    line(
      kept.map(({ title }) => title),
      undefined,
    ),
    ...rows.map((row, index) =>
      line(
        kept.map((column) => cells.get(column)![index]!),
        row,
      ),
    ),
  ].join('\n');
}

function pad(text: string, width: number, align: 'left' | 'right', isLast: boolean): string {
  const fitted = cut(text, width);
  const space = ' '.repeat(Math.max(0, width - textWidth(fitted)));
  if (align === 'right') return space + fitted;
  return isLast ? fitted : fitted + space;
}

/** Cut to the width, with … for what is missing. */
export function cut(text: string, width: number): string {
  return textWidth(text) <= width ? text : `${[...text].slice(0, Math.max(0, width - 1)).join('')}…`;
}

/** In code points; names and addresses here are narrow ones. */
const textWidth = (text: string): number => [...text].length;

/** Text from elsewhere must not move the cursor or change colours. */
export const printable = (text: string): string => text.replace(/[\u0000-\u001f\u007f-\u009f]/g, ' ');
