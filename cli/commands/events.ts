// peer events: what happened in the cluster, or to one app.

import type { EventShape } from '../../node/api/log-lines.ts';
import type { Context } from '../context.ts';
import { printLines } from '../line-stream.ts';
import { formatEvent } from '../log-format.ts';
import { parseName } from '../values.ts';

export async function run(context: Context): Promise<void> {
  const [app] = context.args;
  const query: Record<string, string> = app === undefined ? {} : { app: parseName(app, 'app') };
  return printLines<EventShape>(context, '/v1/events', query, formatEvent);
}
