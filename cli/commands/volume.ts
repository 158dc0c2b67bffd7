// peer volume: one volume and what can be done to it. Which options belong to which action is said here.

import type { Context } from '../context.ts';
import { UsageError } from '../errors.ts';
import { kebabCase } from '../parse.ts';
import { closest } from '../suggest.ts';
import { move, recover, restore, snapshot, snapshots } from '../volumes/life.ts';
import { configure, pathOf, remove } from '../volumes/manage.ts';
import { removeOrphan } from '../volumes/orphans.ts';

type Action = {
  /** As people write it. */
  usage: readonly string[];
  /** How many of those must be there. */
  needed: number;
  options: readonly string[];
  run: (args: readonly string[], context: Context) => Promise<void>;
};

const SLOT = 'APP/INDEX[:PATH]';
/** Options of every command. */
const GLOBAL: readonly string[] = ['json', 'api', 'token', 'help', 'h'];

const ACTIONS: Readonly<Record<string, Action>> = {
  path: { usage: [SLOT], needed: 1, options: [], run: pathOf },
  configure: { usage: [SLOT], needed: 1, options: ['size', 'snapshot', 'keep', 'onLoss'], run: configure },
  snapshot: { usage: [SLOT], needed: 1, options: [], run: snapshot },
  snapshots: { usage: [SLOT], needed: 0, options: [], run: snapshots },
  restore: { usage: [SLOT, 'SNAPSHOT'], needed: 2, options: ['to', 'yes'], run: restore },
  move: { usage: [SLOT], needed: 1, options: ['to'], run: move },
  recover: { usage: [SLOT], needed: 1, options: ['to', 'yes'], run: recover },
  delete: { usage: [SLOT], needed: 1, options: ['yes'], run: remove },
  'remove-orphan': { usage: ['ORPHAN'], needed: 1, options: ['node', 'yes'], run: removeOrphan },
};

export async function run(context: Context): Promise<void> {
  const [name = '', ...args] = context.args;
  const action = Object.hasOwn(ACTIONS, name) ? ACTIONS[name] : undefined;
  if (action === undefined) {
    const known = Object.keys(ACTIONS);
    const meant = closest(name, known);
    const hint = meant === undefined ? `it is one of ${known.join(', ')}` : `did you mean ${meant}?`;
    throw new UsageError(`peer volume has no action ${name}: ${hint}; all of them: peer volumes`);
  }
  const usage = `peer volume ${name} ${action.usage.join(' ')}`;
  if (args.length < action.needed) throw new UsageError(`${action.usage[args.length]} is missing: ${usage}`);
  if (args.length > action.usage.length) {
    throw new UsageError(`${JSON.stringify(args[action.usage.length])} is one argument too many: ${usage}`);
  }
  const stray = Object.keys(context.options).find((one) => !GLOBAL.includes(one) && !action.options.includes(one));
  if (stray !== undefined) {
    throw new UsageError(`--${kebabCase(stray)} is no option of ${usage}: see peer volume --help`);
  }
  await action.run(args, context);
}
