// peer restart: all instances one after the other, or one of them at once.

import { answer } from '../client.ts';
import type { Context } from '../context.ts';
import { followRollout } from '../rollout.ts';
import { rolloutText } from '../rollout-result.ts';
import { parseAppOrSlot } from '../values.ts';

export async function run({ args, client, output }: Context): Promise<void> {
  const { app: name, slot } = parseAppOrSlot(args[0]!);
  const connected = await client();
  const app = connected.v1.apps[':name'];
  const param = { name };
  const query =
    slot === undefined
      ? await answer(app.restart.$post({ param })).then(() => ({}))
      : await answer(app['restart-slot'].$post({ param, json: slot }));
  const result = await followRollout(connected, output, name, query);
  output.result(result, () => rolloutText(result));
}
