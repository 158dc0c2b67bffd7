// peer bind: as peer service bind.

import type { Context } from '../context.ts';
import { bind } from '../services/bind.ts';

export const run = (context: Context): Promise<void> =>
  bind({ service: context.args[0], app: context.args[1] }, context);
