// peer logs: what an app and the platform say about it, from all nodes.

import type { LogShape } from '../../node/api/log-lines.ts';
import type { Context } from '../context.ts';
import { printLines } from '../line-stream.ts';
import { formatLogLine } from '../log-format.ts';
import { parseName } from '../values.ts';

export const run = async (context: Context): Promise<void> =>
  printLines<LogShape>(context, `/v1/apps/${parseName(context.args[0]!, 'app')}/logs`, {}, formatLogLine);
