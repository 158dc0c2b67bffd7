// peer env: shows, sets and unsets an app's environment. A change makes a release, which is rolled out.

import { answer } from '../client.ts';
import type { Context } from '../context.ts';
import { UsageError } from '../errors.ts';
import { refusedText } from '../refused.ts';
import { followRollout } from '../rollout.ts';
import { rolloutText } from '../rollout-result.ts';
import { parseName, parsePairs } from '../values.ts';

export async function run({ args, client, output }: Context): Promise<void> {
  const [first, app, ...variables] = args;
  if (first === undefined)
    throw new UsageError('APP is missing: peer env APP, peer env set APP K=V…, peer env unset APP K…');
  if (first !== 'set' && first !== 'unset') {
    if (app !== undefined) {
      throw new UsageError(
        `${JSON.stringify(app)} is one argument too many: peer env APP; did you mean peer env set APP K=V?`,
      );
    }
    const param = { name: parseName(first, 'app') };
    const shown = await answer((await client()).v1.apps[':name'].env.$get({ param }));
    output.result(shown, () =>
      [
        ...Object.entries(shown.env).map(([key, value]) => `${key}=${value ?? '(hidden from viewers)'}`),
        // As a comment: what is printed can be used as a .env file. A node of an older version says nothing of it.
        ...(shown.refused ?? []).map((one) => `# refused: ${refusedText(one)}`),
      ].join('\n'),
    );
    return;
  }
  const what = first === 'set' ? 'K=V…' : 'K…';
  if (app === undefined || variables.length === 0) {
    throw new UsageError(`${app === undefined ? 'APP' : what} is missing: peer env ${first} APP ${what}`);
  }
  const name = parseName(app, 'app');
  const json = first === 'set' ? { set: parsePairs(variables, 'variable') } : { unset: variables };
  const connected = await client();
  const written = await answer(connected.v1.apps[':name'].env.$post({ param: { name }, json }));
  const result = await followRollout(connected, output, name, { release: written.releaseId });
  output.result(result, () => rolloutText(result));
}
