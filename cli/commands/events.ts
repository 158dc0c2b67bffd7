// peer events: what happened in the cluster, or to one app.

import type { EventShape } from '../../node/api/log-lines.ts';
import type { Context } from '../context.ts';
import { printLines } from '../line-stream.ts';
import { formatEvent } from '../log-format.ts';

export function run(context: Context): Promise<void> {
  const app = context.args[0];
  return printLines<EventShape>(context, '/v1/events', app === undefined ? {} : { app }, formatEvent);
}
