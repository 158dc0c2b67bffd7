// peer env: shows, sets and unsets an app's environment. A change makes a release, which is rolled out. Values are
// shown when that is asked for, as others may look on.

import { answer } from '../client.ts';
import { type Context, flagOption } from '../context.ts';
import { UsageError } from '../errors.ts';
import { refusedText } from '../refused.ts';
import { followRollout } from '../rollout.ts';
import { rolloutText } from '../rollout-result.ts';
import { parseName } from '../values.ts';
import { readVariables } from '../variables.ts';

export async function run({ args, options, client, output }: Context): Promise<void> {
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
    const known = await answer((await client()).v1.apps[':name'].env.$get({ param }));
    const isShown = flagOption(options, 'show');
    const env = isShown ? known.env : Object.fromEntries(Object.keys(known.env).map((key) => [key, null]));
    const shown = { ...known, env };
    output.result(shown, () =>
      [
        ...Object.entries(env).map(
          ([key, value]) => `${key}=${value ?? (isShown ? '(hidden from viewers)' : '(hidden: see --show)')}`,
        ),
        // As a comment: what is printed can be used as a .env file. A node of an older version says nothing of it.
        ...(shown.refused ?? []).map((one) => `# refused: ${refusedText(one)}`),
      ].join('\n'),
    );
    return;
  }
  if (flagOption(options, 'show')) throw new UsageError('--show is of peer env APP alone');
  const what = first === 'set' ? 'K=V…' : 'K…';
  if (app === undefined || variables.length === 0) {
    throw new UsageError(`${app === undefined ? 'APP' : what} is missing: peer env ${first} APP ${what}`);
  }
  const name = parseName(app, 'app');
  const json = first === 'set' ? { set: await readVariables(variables, 'variable', process) } : { unset: variables };
  const connected = await client();
  const written = await answer(connected.v1.apps[':name'].env.$post({ param: { name }, json }));
  const result = await followRollout(connected, output, name, { release: written.releaseId });
  output.result(result, () => rolloutText(result));
}
