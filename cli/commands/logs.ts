// peer logs: what an app and the platform say about it, from all nodes.

import type { LogShape } from '../../node/api/log-lines.ts';
import type { Context } from '../context.ts';
import { printLines } from '../line-stream.ts';
import { formatLogLine } from '../log-format.ts';

export const run = (context: Context): Promise<void> =>
  printLines<LogShape>(context, `/v1/apps/${encodeURIComponent(context.args[0]!)}/logs`, {}, formatLogLine);
