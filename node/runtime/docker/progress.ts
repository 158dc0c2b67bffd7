// Reads what an engine says while it builds or loads: one JSON object a line. Holds one line at most, keeps none.

import { StringDecoder } from 'node:string_decoder';

const LINE_CHARACTERS_MAX = 1024 * 1024;

export type Progress = { stream?: string; status?: string; error?: string; aux?: { ID?: string } };

export async function* progressOf(stream: AsyncIterable<Buffer>): AsyncGenerator<Progress> {
  const decoder = new StringDecoder('utf8');
  let rest = '';
  for await (const chunk of stream) {
    const lines = (rest + decoder.write(chunk)).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) yield* parsed(line);
    if (rest.length > LINE_CHARACTERS_MAX) throw new Error('the engine said something that is no progress');
  }
  yield* parsed(rest);
}

function* parsed(line: string): Generator<Progress> {
  if (line.trim() === '') return;
  try {
    yield JSON.parse(line) as Progress;
  } catch {
    // Not all engines keep to JSON in their warnings.
    yield { stream: line };
  }
}
