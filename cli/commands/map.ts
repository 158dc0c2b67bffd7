// peer map: an app gets a route.

import { answer } from '../client.ts';
import type { Context } from '../context.ts';

export async function run({ args, client, output }: Context): Promise<void> {
  const [name, route] = args as [string, string];
  const mapped = await answer((await client()).v1.apps[':name'].routes.$post({ param: { name }, json: { route } }));
  output.result(mapped, () => `${mapped.route} leads to ${mapped.app}`);
}
