// peer scale: how many instances of each process, and how much memory each has.

import { answer } from '../client.ts';
import { type Context, textOption, textsOption } from '../context.ts';
import { UsageError } from '../errors.ts';
import { followRollout } from '../rollout.ts';
import { rolloutText } from '../rollout-result.ts';
import { settingsIn } from '../settings.ts';
import { parseName, parseScale, parseVolumes } from '../values.ts';

export async function run({ args, client, options, output }: Context): Promise<void> {
  const [app, ...counts] = args;
  const name = parseName(app!, 'app');
  const memory = textOption(options, 'memory');
  const volumes = textsOption(options, 'volume');
  if (counts.length === 0 && volumes !== undefined) {
    throw new UsageError('N is missing: peer scale APP [web=]N --volume /PATH[:SIZE]');
  }
  if (counts.length === 0 && memory === undefined) {
    throw new UsageError('N is missing: peer scale APP [web=]N … [--memory M]');
  }
  const json = {
    ...(counts.length === 0 ? {} : { scale: parseScale(counts) }),
    ...settingsIn(options),
    ...(volumes === undefined ? {} : { volumes: parseVolumes(volumes, '--volume') }),
  };
  const connected = await client();
  const written = await answer(connected.v1.apps[':name'].scale.$post({ param: { name }, json }));
  const result = await followRollout(connected, output, name, { release: written.releaseId });
  if (written.volumesKept > 0) {
    const what = written.volumesKept === 1 ? '1 volume stays' : `${written.volumesKept} volumes stay`;
    output.note(`${what} with all that is in it: peer volumes lists them, peer volume delete APP/INDEX deletes one`);
  }
  output.result(result, () => rolloutText(result));
}
