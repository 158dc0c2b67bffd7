// Follows what takes long with data on the cluster, to its end.

import type { LifeEvent } from '../node/api/stream-events.ts';
import type { Client } from './client.ts';
import { CliError } from './errors.ts';
import type { Output } from './output.ts';
import { createProgress } from './progress.ts';

/** `look`: the command that shows what became of it, when the connection is lost. */
export async function followLife<T extends object>(
  client: Client,
  output: Output,
  { path, json, look }: { path: string; json?: object; look: string },
): Promise<T> {
  const progress = await createProgress(output);
  const body =
    json === undefined
      ? {}
      : { body: Buffer.from(JSON.stringify(json)), headers: { 'content-type': 'application/json' } };
  try {
    for await (const event of client.stream<LifeEvent<T>>(path, { method: 'POST', ...body })) {
      if (event.type === 'line') progress.step(event.text);
      else if (event.type === 'failed') throw new CliError(event.code, event.message);
      else {
        progress.end('done');
        const { type: _, ...result } = event;
        return result as unknown as T;
      }
    }
  } catch (error) {
    progress.end('failed');
    throw error;
  }
  progress.end('failed');
  throw new CliError('connection_lost', `the node ended the connection before it was done: see ${look}`);
}
