// peer unbind: as peer service unbind.

import type { Context } from '../context.ts';
import { unbind } from '../services/bind.ts';

export const run = (context: Context): Promise<void> =>
  unbind({ service: context.args[0], app: context.args[1] }, context);
