// peer volumes: every volume in a line, those that nothing mounts too.

import { answer } from '../client.ts';
import type { Context } from '../context.ts';
import { volumesTable } from '../services/text.ts';

export async function run({ client, output }: Context): Promise<void> {
  const volumes = await answer((await client()).v1.volumes.$get());
  output.result(volumes, () =>
    volumes.length === 0 ? 'no volumes yet: peer push --volume /PATH[:SIZE]' : volumesTable(volumes, output),
  );
}
