// What `peer service` does to one service: makes it, gives it credentials, shows, changes, stops and deletes it.

import type { ServiceShape } from '../../node/api/data-shapes.ts';
import type { PushEvent } from '../../node/api/stream-events.ts';
import { answer, type Client } from '../client.ts';
import { confirmed } from '../confirm.ts';
import { type Context, flagOption, textOption } from '../context.ts';
import { UsageError } from '../errors.ts';
import type { Output } from '../output.ts';
import type { Options } from '../parse.ts';
import { createProgress } from '../progress.ts';
import { showEvents } from '../rollout.ts';
import { INSTANCE_MEMORY, parseDuration, parseName, parseNameOrId, parseSize, parseWhole } from '../values.ts';
import { readCredentials } from './credentials.ts';
import { serviceText } from './text.ts';

const BACKUPS_KEPT = { min: 1, max: 1000 };
const BACKUP_EVERY = { min: '1m', max: '366d' };

type Args = readonly (string | undefined)[];

export async function create([kind, given]: Args, { options, client, output }: Context): Promise<void> {
  const name = parseName(given!, 'service');
  const version = textOption(options, 'version');
  const node = textOption(options, 'node');
  const json = {
    name,
    kind: kind!,
    ...settingsIn(options),
    ...(version === undefined ? {} : { version }),
    ...(node === undefined ? {} : { node: parseNameOrId(node, '--node') }),
  };
  const connected = await client();
  const made = await answer(connected.v1.services.$post({ json }));
  output.note(`${name} is ${made.kind} ${made.version}, ${made.plan}, on ${made.node}`);
  if (options.wait !== false) await untilReady(connected, output, name);
  const { state, reason } = await statusOf(connected, name);
  const result = { name, kind: made.kind, node: made.node, state };
  output.result(result, () => `${name} is ${state}${reason === null ? '' : `: ${reason}`}: peer bind ${name} APP`);
}

export async function provide([given]: Args, { options, client, output }: Context): Promise<void> {
  const name = parseName(given!, 'service');
  const credentials = await readCredentials(textOption(options, 'credentials'), {
    stdin: process.stdin,
    stderr: process.stderr,
    note: output.note,
  });
  const made = await answer((await client()).v1.services[':name'].$put({ param: { name }, json: { credentials } }));
  const restart = made.apps.map((app) => `peer restart ${app}`).join('; ');
  const text = made.apps.length === 0 ? `peer bind ${name} APP` : `bound apps get them when restarted: ${restart}`;
  const result = { name, kind: made.kind, node: null, state: 'provided', apps: made.apps };
  output.result(result, () => `${name} has its credentials: ${text}`);
}

export async function status([given]: Args, { client, output }: Context): Promise<void> {
  const service = await statusOf(await client(), parseNameOrId(given!, 'service'));
  output.result(service, () => serviceText(service, output));
}

export async function remove([given]: Args, { options, client, output }: Context): Promise<void> {
  const name = parseNameOrId(given!, 'service');
  const connected = await client();
  const service = await statusOf(connected, name);
  const what = service.node === null ? 'its credentials' : `all its data on ${service.node}`;
  await confirmed(`this deletes ${service.name} and ${what}, for good`, service.name, flagOption(options, 'yes'));
  const held = await answer(connected.v1.services[':name'].backups.$get({ param: { name } }));
  const query = { confirm: service.name };
  const done = await answer(connected.v1.services[':name'].$delete({ param: { name }, query }));
  const kept = held.length === 0 ? '' : `; its backups are kept for 14 days: peer service backups ${service.name}`;
  const result = { name: service.name, deleted: true, backupsKept: held.length, ...done };
  output.result(result, () => `${service.name} is deleted${kept}`);
}

export async function configure([given]: Args, { options, client, output }: Context): Promise<void> {
  const name = parseNameOrId(given!, 'service');
  const json = settingsIn(options);
  if (Object.keys(json).length === 0) {
    throw new UsageError(
      'nothing to change: give --plan, --memory, --storage, --backup-every, --keep, --wal or --without-wal',
    );
  }
  const connected = await client();
  const done = await answer(connected.v1.services[':name'].$patch({ param: { name }, json }));
  if (done.restarts && options.wait !== false) await untilReady(connected, output, name);
  const service = await statusOf(connected, name);
  output.result({ ...service, restarted: done.restarts }, () => serviceText(service, output));
}

/** `stop`, `start` and `restart`. */
export function switched(action: 'stop' | 'start' | 'restart') {
  return async ([given]: Args, { options, client, output }: Context): Promise<void> => {
    const name = parseNameOrId(given!, 'service');
    const connected = await client();
    await answer(connected.v1.services[':name'][action].$post({ param: { name } }));
    if (options.wait !== false) await untilReady(connected, output, name);
    const { state, kind, node } = await statusOf(connected, name);
    output.result({ name, kind, node, state }, () => `${name} is ${state}`);
  };
}

export const statusOf = (client: Client, name: string): Promise<ServiceShape> =>
  answer(client.v1.services[':name'].$get({ param: { name } }));

/** Until it runs, or has stopped, as it was asked to. Fails with why not. */
export async function untilReady(client: Client, output: Output, name: string): Promise<void> {
  const progress = await createProgress(output);
  const path = `/v1/services/${encodeURIComponent(name)}/rollout`;
  await showEvents(client.stream<PushEvent>(path), progress, name);
}

/** What is given of them on the command line, as the API takes it. Fails with UsageError. */
function settingsIn(options: Options) {
  const plan = textOption(options, 'plan');
  const memory = textOption(options, 'memory');
  const storage = textOption(options, 'storage');
  const every = textOption(options, 'backupEvery');
  const keep = textOption(options, 'keep');
  const isNever = every === 'never' || every === '0';
  return {
    ...(flagOption(options, 'wal') ? { wal: true } : flagOption(options, 'withoutWal') ? { wal: false } : {}),
    ...(plan === undefined ? {} : { plan }),
    ...(memory === undefined ? {} : { memoryBytes: parseSize(memory, '--memory', INSTANCE_MEMORY) }),
    ...(storage === undefined ? {} : { storageBytes: parseSize(storage, '--storage', { min: '1M', max: '16T' }) }),
    ...(every === undefined
      ? {}
      : { backupEveryMs: isNever ? 0 : parseDuration(every, '--backup-every', BACKUP_EVERY) }),
    ...(keep === undefined ? {} : { backupsKept: parseWhole(keep, '--keep', BACKUPS_KEPT) }),
  };
}
