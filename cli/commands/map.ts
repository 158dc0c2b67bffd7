// peer map: an app gets a route.

import { answer } from '../client.ts';
import type { Context } from '../context.ts';
import { parseName } from '../values.ts';

export async function run({ args, client, output }: Context): Promise<void> {
  const [app, route] = args as [string, string];
  const name = parseName(app, 'app');
  const mapped = await answer((await client()).v1.apps[':name'].routes.$post({ param: { name }, json: { route } }));
  output.result(mapped, () => `${mapped.route} leads to ${mapped.app}`);
}
