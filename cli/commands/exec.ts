// peer exec: a command, or a shell, in a running instance.

import { argvOf, attend } from '../attend.ts';
import type { Context } from '../context.ts';
import { UsageError } from '../errors.ts';
import { parseAppOrSlot } from '../values.ts';

export async function run({ args, client, output }: Context): Promise<void> {
  const [where = '', ...words] = args;
  const { app, slot } = parseAppOrSlot(where);
  if (slot === undefined) throw new UsageError(`${where}: should be APP/INDEX or APP/PROCESS/INDEX, such as ${app}/0`);
  const ending = await attend(await client(), {
    path: `/v1/apps/${app}/exec`,
    options: { argv: argvOf(words), ...slot },
    mayHaveTerminal: !output.json,
    // With --json stdout gets the document alone.
    stdout: output.json ? process.stderr : process.stdout,
    stderr: process.stderr,
  });
  process.exitCode = ending.code;
  if (output.json) {
    output.result({ app, ...slot, exitStatus: ending.code, reason: ending.reason ?? null }, () => '');
  } else if (ending.reason !== undefined) output.note(`peer: the command was ended: ${ending.reason}`);
}
