// peer stop: the node goes down; what it ran is started elsewhere.

import type { Context } from '../context.ts';
import { stopNode } from '../stop-node.ts';

export const run = (context: Context): Promise<void> => stopNode(context, false);
