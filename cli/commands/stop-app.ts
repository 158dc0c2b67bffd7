// peer stop-app: ends all instances, and keeps the app with its routes and releases.

import { answer } from '../client.ts';
import type { Context } from '../context.ts';
import { followRollout } from '../rollout.ts';
import { rolloutText } from '../rollout-result.ts';
import { parseName } from '../values.ts';

export async function run({ args, client, output }: Context): Promise<void> {
  const name = parseName(args[0]!, 'app');
  const connected = await client();
  await answer(connected.v1.apps[':name'].stop.$post({ param: { name } }));
  const result = await followRollout(connected, output, name);
  output.result(result, () => rolloutText(result));
}
