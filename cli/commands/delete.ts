// peer delete: the app, its routes, releases and environment go. Asks nothing: scripts use it, and history keeps what
// it was.

import { answer } from '../client.ts';
import type { Context } from '../context.ts';
import { parseName } from '../values.ts';

export async function run({ args, client, output }: Context): Promise<void> {
  const name = parseName(args[0]!, 'app');
  const written = await answer((await client()).v1.apps[':name'].$delete({ param: { name } }));
  output.result({ app: name, deleted: true, ...written }, () => `${name} is deleted`);
}
