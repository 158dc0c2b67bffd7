// peer invite: prints an invite for new nodes, alone on stdout, so that it can be piped.

import { answer } from '../client.ts';
import { type Context, textOption } from '../context.ts';
import { formatTime } from '../format.ts';
import { parseDuration, parseWhole } from '../values.ts';

const USES_MAX = 1000;

export async function run({ client, options, output }: Context): Promise<void> {
  const ttl = textOption(options, 'ttl');
  const uses = textOption(options, 'uses');
  const json = {
    ...(ttl === undefined ? {} : { ttlMs: parseDuration(ttl, '--ttl') }),
    ...(uses === undefined ? {} : { uses: parseWhole(uses, '--uses', { min: 1, max: USES_MAX }) }),
  };
  const made = await answer((await client()).v1.invites.$post({ json }));
  output.result(made, () => made.invite);
  if (!output.json) {
    output.note(
      `good for ${made.uses} node${made.uses === 1 ? '' : 's'} until ${formatTime(made.expiresAtMs)}; on the new machine, with it on stdin: peer start --join -`,
    );
  }
}
