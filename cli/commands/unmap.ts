// peer unmap: an app loses a route.

import { answer } from '../client.ts';
import type { Context } from '../context.ts';
import { parseName } from '../values.ts';

export async function run({ args, client, output }: Context): Promise<void> {
  const [app, route] = args as [string, string];
  const name = parseName(app, 'app');
  const { unmap } = (await client()).v1.apps[':name'].routes;
  const unmapped = await answer(unmap.$post({ param: { name }, json: { route } }));
  output.result(unmapped, () =>
    unmapped.lostTo
      ? `${unmapped.app} claims ${unmapped.route} no more, which ${unmapped.lostTo} has`
      : `${unmapped.route} leads to ${unmapped.app} no more`,
  );
}
