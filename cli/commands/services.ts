// peer services: every service in a line; and the kinds that there are, with their plans and where each can run.

import { answer } from '../client.ts';
import type { Context } from '../context.ts';
import { UsageError } from '../errors.ts';
import { kindsTable, servicesTable } from '../services/text.ts';

export async function run({ args, client, output }: Context): Promise<void> {
  const [action] = args;
  if (action !== undefined && action !== 'kinds') {
    throw new UsageError(
      `peer services has no action ${action}: it is kinds; one service: peer service status ${action}`,
    );
  }
  const { services } = (await client()).v1;
  if (action === 'kinds') {
    const kinds = await answer(services.kinds.$get());
    output.result(kinds, () =>
      kinds.length === 0 ? 'this node knows no kinds of services' : kindsTable(kinds, output),
    );
    return;
  }
  const found = await answer(services.$get());
  output.result(found, () =>
    found.length === 0 ? 'no services yet: peer service create KIND NAME' : servicesTable(found, output),
  );
}
