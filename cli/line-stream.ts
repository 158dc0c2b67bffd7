// Prints a stream of lines, for `peer logs` and `peer events`: as text, with --json as one list, or with --follow as
// one JSON document per line, as a list would never end.

import type { LinesEvent } from '../node/api/stream-events.ts';
import type { Client } from './client.ts';
import { type Context, flagOption, textOption } from './context.ts';
import { CliError } from './errors.ts';
import { parseWhole } from './values.ts';

const LINES_MAX = 2_000;

export async function printLines<T extends object>(
  { client, options, output }: Context,
  path: string,
  query: Record<string, string>,
  format: (line: T) => string,
): Promise<void> {
  const follow = flagOption(options, 'follow');
  const lines = textOption(options, 'lines');
  const search = new URLSearchParams({ ...query, follow: String(follow) });
  if (lines !== undefined) search.set('lines', String(parseWhole(lines, '--lines', { min: 0, max: LINES_MAX })));
  const connected: Client = await client();
  const all: T[] = [];
  for await (const event of connected.stream<LinesEvent<T>>(`${path}?${search}`)) {
    if (event.type === 'failed')
      throw new CliError((event as { code: string }).code, (event as { message: string }).message);
    if (event.type === 'end') {
      if (output.json && !follow) output.result(all, () => '');
      return;
    }
    if (event.type !== 'line') continue;
    const { type: _, ...line } = event;
    if (output.json && !follow) all.push(line as unknown as T);
    else output.line(line, () => format(line as unknown as T));
  }
  throw new CliError('connection_lost', 'the node ended the stream: it may be stopping');
}
