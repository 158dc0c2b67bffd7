// Follows a push or a roll-out to its end: shows what happens on stderr, and returns what runs, or fails with why not.

import type { RolloutShape } from '../node/api/shapes.ts';
import type { PushEvent } from '../node/api/stream-events.ts';
import type { Client } from './client.ts';
import { CliError } from './errors.ts';
import { formatLogLine } from './log-format.ts';
import type { Output } from './output.ts';
import { createProgress, type Progress } from './progress.ts';

/** After a write: waits until what was asked for runs. */
export async function followRollout(
  client: Client,
  output: Output,
  app: string,
  query: { release?: string | null; replaced?: string } = {},
): Promise<RolloutShape> {
  const progress = await createProgress(output);
  const search = new URLSearchParams();
  if (query.release) search.set('release', query.release);
  if (query.replaced) search.set('replaced', query.replaced);
  const path = `/v1/apps/${encodeURIComponent(app)}/rollout?${search}`;
  return showEvents(client.stream<PushEvent>(path), progress, app);
}

export async function showEvents(
  events: AsyncIterable<PushEvent>,
  progress: Progress,
  app: string,
): Promise<RolloutShape> {
  try {
    for await (const event of events) {
      switch (event.type) {
        case 'step':
          if (event.step !== 'uploading') progress.step(event.step);
          break;
        case 'line':
          progress.line(event.text);
          break;
        case 'progress':
          progress.update(event.total === 0 ? 'stopping' : `starting: ${event.ready}/${event.total} ready`);
          break;
        case 'crash':
          progress.line(`${event.slot} crashed on ${event.node}: ${event.reason}`);
          break;
        case 'log':
          progress.line(formatLogLine(event));
          break;
        case 'failed':
          throw new CliError(event.code, event.message, { mayHold: event.mayHold === true });
        case 'done': {
          progress.end('done');
          const { type: _, ...result } = event;
          return result;
        }
      }
    }
  } catch (error) {
    progress.end('failed');
    throw error;
  }
  progress.end('failed');
  throw new CliError('connection_lost', `the node ended the connection before it was done: see peer app ${app}`);
}
