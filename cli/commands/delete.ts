// peer delete: the app, its routes, releases and environment go. Asks nothing: scripts use it, and history keeps what
// it was. Its volumes stay, unless they are to go too: then it asks, as nothing keeps what was in them.

import { answer } from '../client.ts';
import { confirmed } from '../confirm.ts';
import { type Context, flagOption } from '../context.ts';
import { UsageError } from '../errors.ts';
import { parseName } from '../values.ts';

export async function run({ args, options, client, output }: Context): Promise<void> {
  const name = parseName(args[0]!, 'app');
  const withVolumes = flagOption(options, 'volumes');
  const yes = flagOption(options, 'yes');
  if (yes && !withVolumes) throw new UsageError('--yes is of peer delete APP --volumes: nothing else is asked');
  if (withVolumes) await confirmed(`this deletes ${name} and all that is in its volumes, for good`, name, yes);
  const query = withVolumes ? { volumes: 'true' as const } : {};
  const written = await answer((await client()).v1.apps[':name'].$delete({ param: { name }, query }));
  // A node of an older version says nothing of them.
  const { kept, deleted } = written.volumes ?? { kept: 0, deleted: 0 };
  if (kept > 0) {
    const what = kept === 1 ? '1 volume is kept' : `${kept} volumes are kept`;
    output.note(`${what}: peer volumes lists them, peer volume delete ID deletes one`);
  }
  const also = deleted === 0 ? '' : `, and ${deleted === 1 ? 'its volume' : `its ${deleted} volumes`}`;
  output.result({ app: name, deleted: true, ...written }, () => `${name} is deleted${also}`);
}
