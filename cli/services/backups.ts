// Backups of a service: takes one, lists them, puts one back, and brings them out and in as files.

import { createReadStream, createWriteStream } from 'node:fs';
import { rename, rm, stat } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import type { BackupShape } from '../../node/api/data-shapes.ts';
import type { BackupEvent } from '../../node/api/stream-events.ts';
import { ageText } from '../../node/lib/age-text.ts';
import { newestOf, unprovenText } from '../../node/lib/newest-backup.ts';
import { answer, type Client } from '../client.ts';
import { confirmed } from '../confirm.ts';
import { type Context, flagOption, textOption } from '../context.ts';
import { CliError, UsageError } from '../errors.ts';
import { formatBytes } from '../format.ts';
import type { Output } from '../output.ts';
import { createProgress } from '../progress.ts';
import { parseMoment, parseName, parseNameOrId } from '../values.ts';
import { statusOf, untilReady } from './manage.ts';
import { backupsTable } from './text.ts';

type Args = readonly (string | undefined)[];
const NEWEST = 'newest';

const pathOf = (name: string): string => `/v1/services/${encodeURIComponent(name)}`;

export async function backup([given]: Args, { client, output }: Context): Promise<void> {
  const name = parseNameOrId(given!, 'service');
  const connected = await client();
  const taken = await followed(connected.stream(`${pathOf(name)}/backups`, { method: 'POST' }), output, 'backing up');
  output.result(
    taken,
    () => `backup ${taken.id} of ${taken.name}, ${formatBytes(taken.sizeBytes)}, ${provenText(taken)}`,
  );
}

const provenText = ({ proof }: BackupShape): string =>
  proof === null ? 'not tried' : proof.state === 'proven' ? `proven: ${proof.text}` : proof.text;

export async function backups([given]: Args, { client, output }: Context): Promise<void> {
  const { v1 } = await client();
  const found = await (given === undefined
    ? answer(v1.backups.$get())
    : answer(v1.services[':name'].backups.$get({ param: { name: parseNameOrId(given, 'service') } })));
  const none = given === undefined ? 'no backups yet' : `no backups yet: peer service backup ${given}`;
  output.result(found, () =>
    found.length === 0 ? none : backupsTable(found, { ...output, named: given === undefined }),
  );
}

/**
 * With `--as` into a service of its own, of the same kind and plan, which is made for it. With `--at` of a backup that
 * is made of the data as it was then.
 */
export async function restore([given, asked]: Args, { options, client, output }: Context): Promise<void> {
  const name = parseNameOrId(given!, 'service');
  const into = textOption(options, 'as');
  const at = textOption(options, 'at');
  if ((asked === undefined) === (at === undefined)) {
    throw new UsageError(`give either BACKUP or --at TIME: peer service restore ${name} newest`);
  }
  const atMs = at === undefined ? undefined : parseMoment(at, '--at', Date.now());
  const connected = await client();
  if (into === undefined) {
    const service = await statusOf(connected, name);
    const question = `this puts ${at === undefined ? 'a backup' : `what it was at ${at}`} in the place of all that ${service.name} holds now`;
    await confirmed(question, service.name, flagOption(options, 'yes'));
    const backup = atMs === undefined ? asked! : (await made(connected, output, name, atMs)).id;
    const put = await restoreInto(connected, output, { service: name, confirm: service.name, backup });
    return output.result(
      { ...put, restoredInto: service.name },
      () => `${service.name} holds ${backupText(put, atMs)}`,
    );
  }
  const target = parseName(into, '--as');
  const found =
    atMs === undefined ? await backupOf(connected, name, asked!, target) : await made(connected, output, name, atMs);
  const created = await answer(
    connected.v1.services.$post({ json: { name: target, ...(await likeOf(connected, found)) } }),
  );
  output.note(`${target} is ${created.kind} ${created.version}, ${created.plan}, on ${created.node}`);
  await untilReady(connected, output, target);
  const put = await restoreInto(connected, output, { service: target, confirm: target, backup: found.id });
  output.result(
    { ...put, restoredInto: target },
    () => `${target} holds ${backupText(put, atMs)}: peer bind ${target} APP`,
  );
}

const backupText = ({ id }: BackupShape, atMs: number | undefined): string =>
  atMs === undefined ? `backup ${id}` : `what was there at ${new Date(atMs).toISOString()} (backup ${id})`;

function made(client: Client, output: Output, name: string, atMs: number): Promise<BackupShape> {
  const body = Buffer.from(JSON.stringify({ atMs }));
  const headers = { 'content-type': 'application/json' };
  const events = client.stream<BackupEvent>(`${pathOf(name)}/moments`, { method: 'POST', headers, body });
  return followed(events, output, 'making it of that moment');
}

/** What its service is like; of one that is gone only the kind and version are known. */
async function likeOf(client: Client, { service, kind, version }: BackupShape) {
  const found = await statusOf(client, service).catch((error: unknown) => {
    if (error instanceof CliError && error.code === 'not_found') return undefined;
    throw error;
  });
  if (found === undefined) return { kind, version };
  const { plan, memoryBytes, storageBytes, backupEveryMs, backupsKept } = found;
  return { kind, version, plan, memoryBytes, storageBytes, backupEveryMs, backupsKept };
}

/** `as`: what it is to be restored into. */
async function backupOf(client: Client, name: string, id: string, as: string): Promise<BackupShape> {
  const held = await answer(client.v1.services[':name'].backups.$get({ param: { name } }));
  const newest = id === NEWEST ? newestOf(held) : undefined;
  const found = id === NEWEST ? newest?.proven : held.find((one) => one.id === id);
  if (newest !== undefined && newest.newest !== found) {
    const command = (one: string): string => `peer service restore ${name} ${one} --as ${as}`;
    const age = ({ ageMs }: BackupShape): string => ageText(ageMs);
    throw new CliError('backup_unproven', unprovenText(name, newest, { age, command }));
  }
  if (found !== undefined) return found;
  throw new CliError('backup_unknown', `${name} has no backup ${id}: see peer service backups ${name}`);
}

function restoreInto(
  client: Client,
  output: Output,
  { service, confirm, backup: id }: { service: string; confirm: string; backup: string },
): Promise<BackupShape> {
  const path = `${pathOf(service)}/restore?confirm=${encodeURIComponent(confirm)}`;
  const body = Buffer.from(JSON.stringify({ backup: id }));
  const headers = { 'content-type': 'application/json' };
  return followed(client.stream(path, { method: 'POST', headers, body }), output, 'restoring');
}

/** To a file that is not there yet, or to stdout. */
export async function download([given, id, file]: Args, { client, output }: Context): Promise<void> {
  const name = parseNameOrId(given!, 'service');
  if (file === '-' && output.json) throw new UsageError('--json says nothing of bytes on stdout: give a FILE');
  if (file === '-' && process.stdout.isTTY)
    throw new UsageError('a backup is bytes, which a terminal cannot show: > FILE');
  if (file !== '-' && (await stat(file!).catch(() => undefined)) !== undefined) {
    throw new UsageError(`${file} is there already: give the name of a new file`);
  }
  const content = await (await client()).download(`${pathOf(name)}/backups/${encodeURIComponent(id!)}/content`);
  if (file === '-') return pipeline(content, process.stdout, { end: false });
  const part = `${file}.part`;
  try {
    await pipeline(content, createWriteStream(part, { mode: 0o600 }));
    await rename(part, file!);
  } catch (error) {
    await rm(part, { force: true });
    throw error;
  }
  const { size } = await stat(file!);
  output.result({ service: name, file, sizeBytes: size }, () => `${file} is the backup, ${formatBytes(size)}`);
}

export async function upload([given, file]: Args, { client, output }: Context): Promise<void> {
  const name = parseNameOrId(given!, 'service');
  if (file !== '-') {
    await stat(file!).catch((error: Error) => {
      throw new UsageError(`cannot read ${file}: ${error.message.split(',')[0]}`);
    });
  }
  const body = file === '-' ? process.stdin : createReadStream(file!);
  const connected = await client();
  const headers = { 'content-type': 'application/octet-stream' };
  const events = connected.stream<BackupEvent>(`${pathOf(name)}/backups/content`, { method: 'POST', headers, body });
  const taken = await followed(events, output, 'uploading');
  output.result(taken, () => `backup ${taken.id} of ${taken.name}: peer service restore ${taken.name} ${taken.id}`);
}

async function followed(events: AsyncIterable<BackupEvent>, output: Output, step: string): Promise<BackupShape> {
  const progress = await createProgress(output);
  progress.step(step);
  try {
    for await (const event of events) {
      if (event.type === 'line') progress.line(event.text);
      else if (event.type === 'failed')
        throw new CliError(event.code, event.message, { mayHold: event.mayHold === true });
      else {
        const { type: _, ...shape } = event;
        progress.end('done');
        return shape;
      }
    }
    throw new CliError('connection_lost', 'the node ended the connection before it was done: see peer service backups');
  } catch (error) {
    progress.end('failed');
    throw error;
  }
}
