// peer exec: a command, or a shell, in a running instance: the one that is named, or an app's only one.

import { argvOf, attend } from '../attend.ts';
import { answer, type Client } from '../client.ts';
import type { Context } from '../context.ts';
import { CliError, UsageError } from '../errors.ts';
import { parseAppOrSlot } from '../values.ts';

const NAMES_SHOWN_MAX = 10;

export async function run({ args, client, output }: Context): Promise<void> {
  const [where = '', ...words] = args;
  const { app, slot: named } = parseAppOrSlot(where);
  const connected = await client();
  const slot = named ?? (await onlySlot(connected, app));
  const ending = await attend(connected, {
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

type Slot = { process: string; index: number };

/** Fails with UsageError where there are more to choose from. */
async function onlySlot(client: Client, app: string): Promise<Slot> {
  const { instances } = await answer(client.v1.apps[':name'].$get({ param: { name: app } }));
  // While one takes the place of another, both are of one slot.
  const running = instances.filter(({ state }) => state === 'starting' || state === 'ready');
  const slots = new Map(running.map(({ process, index }) => [nameOf(app, { process, index }), { process, index }]));
  const [only, ...others] = slots.values();
  if (only === undefined) {
    throw new CliError('not_running', `${app} has no instance that runs: see peer app ${app}`);
  }
  if (others.length === 0) return only;
  const names = [...slots.keys()].sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));
  const shown = names.length > NAMES_SHOWN_MAX ? `${names.slice(0, NAMES_SHOWN_MAX).join(', ')} …` : names.join(', ');
  throw new UsageError(`${app} has ${names.length} instances, so say which: ${shown}`);
}

const nameOf = (app: string, { process, index }: Slot): string =>
  `${app}/${process === 'web' ? '' : `${process}/`}${index}`;
