// peer run: a one-off task with an app's droplet and environment. Its exit status is this command's.

import { argvOf, attend } from '../attend.ts';
import { type Context, textOption } from '../context.ts';
import { UsageError } from '../errors.ts';
import { parseAppOrSlot, parseName } from '../values.ts';

export async function run({ args, client, options, output }: Context): Promise<void> {
  const [where = '', ...words] = args;
  const { app, slot } = parseAppOrSlot(where);
  const withoutVolumes = options.volumes === false;
  if (withoutVolumes && slot !== undefined) {
    throw new UsageError(`${where} says whose volumes the task sees, and --no-volumes that it sees none`);
  }
  if (words.length === 0) throw new UsageError(`what should run? peer run ${where} -- COMMAND`);
  const given = textOption(options, 'name');
  const name = given === undefined ? undefined : parseName(given, '--name');
  let started: Record<string, unknown> = {};
  const ending = await attend(await client(), {
    path: `/v1/apps/${app}/run`,
    options: {
      argv: argvOf(words),
      ...(name === undefined ? {} : { name }),
      ...slot,
      ...(withoutVolumes ? { volumes: false } : {}),
    },
    mayHaveTerminal: !output.json,
    stdout: output.json ? process.stderr : process.stdout,
    stderr: process.stderr,
    onStarted: (what) => {
      started = what;
    },
  });
  process.exitCode = ending.code;
  const reason = ending.cancelled ? 'cancelled' : (ending.reason ?? null);
  if (output.json) {
    const { task = null, node = null } = started;
    output.result({ app, task, node, exitStatus: ending.code, reason }, () => '');
  } else if (ending.cancelled) output.note(`peer: the task was cancelled, and nothing of it is left: peer logs ${app}`);
  else if (reason !== null) output.note(`peer: the task was ended: ${reason}`);
}
