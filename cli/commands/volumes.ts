// peer volumes: every volume in a line, those that nothing mounts too; or files that nothing refers to.

import { answer } from '../client.ts';
import { type Context, flagOption } from '../context.ts';
import { volumesTable } from '../services/text.ts';

export async function run(context: Context): Promise<void> {
  const { client, options, output } = context;
  if (flagOption(options, 'orphans')) return (await import('../volumes/orphans.ts')).listOrphans(context);
  const volumes = await answer((await client()).v1.volumes.$get());
  output.result(volumes, () =>
    volumes.length === 0 ? 'no volumes yet: peer push --volume /PATH[:SIZE]' : volumesTable(volumes, output),
  );
}
