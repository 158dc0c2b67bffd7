// peer leave: the node's instances move elsewhere first, then it goes down.

import type { Context } from '../context.ts';
import { stopNode } from '../stop-node.ts';

export const run = (context: Context): Promise<void> => stopNode(context, true);
