// peer rollback: makes a new release of what an earlier one was.

import { answer } from '../client.ts';
import type { Context } from '../context.ts';
import { UsageError } from '../errors.ts';
import { followRollout } from '../rollout.ts';
import { rolloutText } from '../rollout-result.ts';
import { parseName } from '../values.ts';

export async function run({ args, client, output }: Context): Promise<void> {
  const name = parseName(args[0]!, 'app');
  const release = args[1];
  if (release !== undefined && !/^v\d{1,9}$/.test(release)) {
    throw new UsageError(`release ${release}: should be a release such as v3; see peer releases ${name}`);
  }
  const connected = await client();
  const json = release === undefined ? {} : { release };
  const made = await answer(connected.v1.apps[':name'].rollback.$post({ param: { name }, json }));
  if (!output.json) output.note(`${made.release} is ${made.to} again`);
  const result = await followRollout(connected, output, name, { release: made.releaseId });
  output.result(result, () => rolloutText(result));
}
