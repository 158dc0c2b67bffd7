// Tables that fit the terminal: columns of little importance go first, then the longest cells are cut; what has to be
// read whole goes on in the lines below. Pure.

export type Column<Row> = {
  title: string;
  cell: (row: Row) => string;
  align?: 'left' | 'right';
  /** Columns with the lowest go first when it is too wide; those without one stay. */
  importance?: number;
  /** Sentences that have to be read whole: never cut, but broken into lines in the width that the others leave. */
  wraps?: true;
  /** Colours a padded cell; must not change what it says. */
  paint?: (text: string, row: Row) => string;
};

const GAP = '  ';
/** No column is cut below this. */
const CUT_WIDTH_MIN = 8;
/** Others go, or are cut, before one that wraps has less than this. */
const WRAP_WIDTH_MIN = 24;

export function renderTable<Row>(columns: readonly Column<Row>[], rows: readonly Row[], width: number): string {
  const cells = new Map(columns.map((column) => [column, rows.map((row) => printable(column.cell(row)))]));
  const { kept, widths } = layOut(columns, cells, width);
  const line = (texts: readonly string[], row: Row | undefined) =>
    kept
      .map((column, index) => {
        const isLast = index === kept.length - 1;
        const text = texts[index]!;
        const padded = pad(text, widths.get(column)!, column.align ?? 'left', isLast);
        return row === undefined || column.paint === undefined || text === '' ? padded : column.paint(padded, row);
      })
      .join(GAP)
      .trimEnd();
  const linesOf = (row: Row, at: number): string[] => {
    const texts = kept.map((column) => {
      const text = cells.get(column)![at]!;
      return column.wraps === true ? wrap(text, widths.get(column)!) : [text];
    });
    const height = Math.max(1, ...texts.map((lines) => lines.length));
    return Array.from({ length: height }, (_, level) =>
      line(
        texts.map((lines) => lines[level] ?? ''),
        row,
      ),
    );
  };
  const heading = line(
    kept.map(({ title }) => title),
    undefined,
  );
  return [heading, ...rows.flatMap(linesOf)].join('\n');
}

/** Which columns stay, and how wide each is. */
function layOut<Row>(
  columns: readonly Column<Row>[],
  cells: ReadonlyMap<Column<Row>, readonly string[]>,
  width: number,
): { kept: Column<Row>[]; widths: Map<Column<Row>, number> } {
  const whole = new Map(
    columns.map((column) => [
      column,
      Math.max(textWidth(column.title), ...cells.get(column)!.map((text) => textWidth(text))),
    ]),
  );
  // One that wraps makes do with less at first, and gets what is left in the end.
  const widths = new Map(
    columns.map((column) => [
      column,
      column.wraps === true ? Math.min(whole.get(column)!, WRAP_WIDTH_MIN) : whole.get(column)!,
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
  const shrink = (some: readonly Column<Row>[]): void => {
    while (total() > width && some.length > 0) {
      const widest = some.reduce((a, b) => (widths.get(b)! > widths.get(a)! ? b : a));
      if (widths.get(widest)! <= CUT_WIDTH_MIN) break;
      widths.set(widest, Math.max(CUT_WIDTH_MIN, widths.get(widest)! - (total() - width)));
    }
  };
  shrink(kept.filter((column) => column.wraps !== true));
  shrink(kept);
  for (const column of kept) {
    const free = Math.max(0, width - total());
    widths.set(column, Math.min(whole.get(column)!, widths.get(column)! + free));
  }
  return { kept, widths };
}

/** Lines of at most that width, broken between words where that can be. */
function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let rest = [...text.trim()];
  while (rest.length > width) {
    const space = rest.lastIndexOf(' ', width);
    const end = space > 0 ? space : width;
    lines.push(rest.slice(0, end).join('').trimEnd());
    rest = [...rest.slice(end).join('').trimStart()];
  }
  return [...lines, rest.join('')];
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
