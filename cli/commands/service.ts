// peer service: one service and what can be done to it. Which options belong to which action is said here.

import type { Context } from '../context.ts';
import { UsageError } from '../errors.ts';
import { kebabCase } from '../parse.ts';
import { backup, backups, download, restore, upload } from '../services/backups.ts';
import { bind, unbind } from '../services/bind.ts';
import { connect } from '../services/connect.ts';
import { exportService } from '../services/export.ts';
import { move, recover, upgrade } from '../services/life.ts';
import { configure, create, provide, remove, status, switched } from '../services/manage.ts';
import { closest } from '../suggest.ts';

type Action = {
  /** As people write it; `[…]` may be left out. */
  usage: readonly string[];
  options: readonly string[];
  /** Whether the last of them may come more than once. */
  many?: boolean;
  run: (args: readonly string[], context: Context) => Promise<void>;
};

const SETTINGS = ['plan', 'memory', 'storage', 'backupEvery', 'keep', 'wal'];
/** Options of every command. */
const GLOBAL: readonly string[] = ['json', 'api', 'token', 'help', 'h'];

const ACTIONS: Readonly<Record<string, Action>> = {
  create: { usage: ['KIND', 'NAME'], options: [...SETTINGS, 'version', 'node', 'wait'], run: create },
  provide: { usage: ['NAME'], options: ['credentials'], run: provide },
  status: { usage: ['NAME'], options: [], run: status },
  configure: { usage: ['NAME'], options: [...SETTINGS, 'withoutWal', 'wait'], run: configure },
  delete: { usage: ['NAME'], options: ['yes'], run: remove },
  stop: { usage: ['NAME'], options: ['wait'], run: switched('stop') },
  start: { usage: ['NAME'], options: ['wait'], run: switched('start') },
  restart: { usage: ['NAME'], options: ['wait'], run: switched('restart') },
  connect: { usage: ['NAME', '[PORT | -- ARGUMENTS]'], options: ['tunnel'], run: connect, many: true },
  export: { usage: ['NAME', '[HOST:PORT]'], options: ['node', 'stop', 'certificate'], run: exportService },
  backup: { usage: ['NAME'], options: [], run: backup },
  backups: { usage: ['[NAME]'], options: [], run: backups },
  restore: { usage: ['NAME', '[BACKUP|newest]'], options: ['as', 'at', 'yes'], run: restore },
  move: { usage: ['NAME'], options: ['to'], run: move },
  recover: { usage: ['NAME'], options: ['to', 'backup', 'yes'], run: recover },
  upgrade: { usage: ['NAME'], options: ['version', 'to', 'confirm', 'revert', 'yes'], run: upgrade },
  download: { usage: ['NAME', 'BACKUP|newest', 'FILE|-'], options: [], run: download },
  upload: { usage: ['NAME', 'FILE|-'], options: [], run: upload },
  bind: {
    usage: ['NAME', 'APP'],
    options: ['as', 'rotate', 'wait'],
    run: ([service, app], context) => bind({ service, app }, context),
  },
  unbind: {
    usage: ['NAME', 'APP'],
    options: ['wait'],
    run: ([service, app], context) => unbind({ service, app }, context),
  },
};

export async function run(context: Context): Promise<void> {
  const [name = '', ...args] = context.args;
  const action = Object.hasOwn(ACTIONS, name) ? ACTIONS[name] : undefined;
  if (action === undefined) {
    const known = Object.keys(ACTIONS);
    const meant = closest(name, known);
    const hint = meant === undefined ? `it is one of ${known.join(', ')}` : `did you mean ${meant}?`;
    throw new UsageError(`peer service has no action ${name}: ${hint}`);
  }
  const usage = `peer service ${name} ${action.usage.join(' ')}`;
  const missing = action.usage[args.length];
  if (missing !== undefined && !missing.startsWith('[')) throw new UsageError(`${missing} is missing: ${usage}`);
  if (args.length > action.usage.length && action.many !== true) {
    throw new UsageError(`${JSON.stringify(args[action.usage.length])} is one argument too many: ${usage}`);
  }
  const stray = Object.keys(context.options).find((one) => !GLOBAL.includes(one) && !action.options.includes(one));
  if (stray !== undefined) {
    const flag = context.options[stray] === false ? `--no-${kebabCase(stray)}` : `--${kebabCase(stray)}`;
    throw new UsageError(`${flag} is no option of ${usage}: see peer service --help`);
  }
  await action.run(args, context);
}
