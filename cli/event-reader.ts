// Reads a server-sent event stream into objects. Bounded: no event may be larger than a line of logs could ever be.

import { CliError } from './errors.ts';

export type StreamEvent = { type: string };

const EVENT_CHARS_MAX = 4 * 1024 * 1024;

/** Each event's JSON data with its name as `type`; comments, which are signs of life, are skipped. */
export async function* readEvents<E extends StreamEvent>(body: AsyncIterable<Uint8Array>): AsyncGenerator<E> {
  const decoder = new TextDecoder();
  let rest = '';
  try {
    for await (const chunk of body) {
      rest += decoder.decode(chunk, { stream: true });
      let end = rest.indexOf('\n\n');
      while (end >= 0) {
        const event = parseEvent(rest.slice(0, end));
        rest = rest.slice(end + 2);
        if (event !== undefined) yield event as E;
        end = rest.indexOf('\n\n');
      }
      if (rest.length > EVENT_CHARS_MAX)
        throw new CliError('bad_answer', 'the answer is not from a Peer node: check --api');
    }
  } catch (error) {
    if (error instanceof CliError) throw error;
    throw new CliError('connection_lost', 'the connection to the node was lost', { cause: error });
  }
}

function parseEvent(block: string): StreamEvent | undefined {
  let type: string | undefined;
  const data: string[] = [];
  for (const line of block.split('\n')) {
    if (line.startsWith('event:')) type = line.slice('event:'.length).trim();
    else if (line.startsWith('data:')) data.push(line.slice('data:'.length).replace(/^ /, ''));
  }
  if (type === undefined || data.length === 0) return undefined;
  return { ...(JSON.parse(data.join('\n')) as object), type };
}
