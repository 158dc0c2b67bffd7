// peer users: who may use the cluster, and whether apps are for their teams alone. A new user's token is printed once,
// alone on stdout.

import type { UserShape } from '../../node/api/shapes.ts';
import { answer } from '../client.ts';
import { type Context, textOption } from '../context.ts';
import { UsageError } from '../errors.ts';
import { formatTime } from '../format.ts';
import { renderTable } from '../table.ts';
import { parseChoice, parseName, parseNameOrId } from '../values.ts';

export async function run({ args, client, options, output }: Context): Promise<void> {
  const [action, given] = args;
  const role = textOption(options, 'role');
  if (role !== undefined && action !== 'add') throw new UsageError('--role belongs to peer users add NAME --role R');
  if (action === undefined) {
    const users = await answer((await client()).v1.users.$get());
    output.result(users, () =>
      renderTable<UserShape>(
        [
          { title: 'NAME', cell: (user) => user.name },
          { title: 'ROLE', cell: (user) => user.role },
          { title: 'OPERATOR OF', cell: (user) => user.node ?? '', importance: 1 },
          { title: 'SINCE', cell: (user) => formatTime(user.createdAtMs), importance: 0 },
        ],
        users,
        output.width,
      ),
    );
    if (!output.json) output.note(TEAMS_NOTES[(await answer((await client()).v1.status.$get())).cluster.teams]);
    return;
  }
  if (action === 'isolate') return isolate(given, { client, output });
  if (action !== 'add' && action !== 'remove') {
    throw new UsageError(`peer users has no action ${action}: it is add, remove or isolate`);
  }
  if (given === undefined) {
    throw new UsageError(`NAME is missing: peer users ${action} NAME${action === 'add' ? ' --role R' : ''}`);
  }
  if (action === 'remove') {
    const user = parseNameOrId(given, 'user');
    const written = await answer((await client()).v1.users[':name'].$delete({ param: { name: user } }));
    output.result({ name: user, removed: true, ...written }, () => `${user} is removed`);
    return;
  }
  const name = parseName(given, 'user');
  if (role === undefined) throw new UsageError('--role is missing: admin, developer or viewer');
  const json = { name, role: parseChoice(role, '--role', ['admin', 'developer', 'viewer']) };
  const added = await answer((await client()).v1.users.$post({ json }));
  output.result(added, () => added.token);
  if (!output.json)
    output.note(`the token of ${name}, shown only now; they log in with: peer login URL, which asks for it`);
}

const TEAMS_NOTES = {
  flat: 'every developer reads and changes every app: peer users isolate on leaves each to its owner and members',
  owned: 'an app is for its owner, its members (peer apps share APP USER) and admins; others see its status only',
};

async function isolate(given: string | undefined, { client, output }: Pick<Context, 'client' | 'output'>) {
  if (given === undefined) throw new UsageError('on or off is missing: peer users isolate on|off');
  const teams = parseChoice(given, 'isolate', ['on', 'off']) === 'on' ? 'owned' : 'flat';
  const written = await answer((await client()).v1.teams.$post({ json: { teams } }));
  output.result(written, () => TEAMS_NOTES[teams]);
}
