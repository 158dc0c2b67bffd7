// peer volume: one volume, by the slot that it belongs to or by its id.

import type { VolumeShape } from '../../node/api/data-shapes.ts';
import { answer, type Client } from '../client.ts';
import { confirmed } from '../confirm.ts';
import { type Context, flagOption } from '../context.ts';
import { CliError, UsageError } from '../errors.ts';
import { slotText } from '../services/text.ts';

export async function run({ args, options, client, output }: Context): Promise<void> {
  const [action, given] = args;
  if (action !== 'delete' && action !== 'path') {
    throw new UsageError(`peer volume has no action ${action}: it is delete or path; all of them: peer volumes`);
  }
  if (given === undefined) {
    throw new UsageError(`APP/INDEX[:PATH] is missing: peer volume ${action} APP/INDEX[:PATH]`);
  }
  const yes = flagOption(options, 'yes');
  if (action === 'path' && yes) throw new UsageError('--yes is of peer volume delete alone');
  const connected = await client();
  const volume = await volumeNamed(connected, given);
  const route = connected.v1.volumes[':id'];
  const param = { id: volume.id };
  if (action === 'path') {
    const found = await answer(route.$get({ param }));
    if (found.hostPath === null) {
      throw new CliError('no_answer', `${found.node}, which has the volume, did not say where: peer nodes`);
    }
    output.result(found, () => found.hostPath!);
    if (!output.json) output.note(`on ${found.node}`);
    return;
  }
  const name = slotText(volume);
  await confirmed(`this deletes ${volume.path} of ${name} with all that is in it on ${volume.node}`, name, yes);
  const done = await answer(route.$delete({ param }));
  output.result({ ...done, deleted: true }, () => `${volume.path} of ${name} is deleted`);
}

/** `hello/0`, `hello/worker/1`, each with `:/data` where the slot has several; or the id, of what nothing mounts. */
async function volumeNamed(client: Client, text: string): Promise<VolumeShape> {
  const volumes = await answer(client.v1.volumes.$get());
  const byId = volumes.find(({ id }) => id === text);
  if (byId !== undefined) return byId;
  const colon = text.indexOf(':');
  const slot = (colon < 0 ? text : text.slice(0, colon)).replace(/^([^/]+)\/web\/(\d+)$/, '$1/$2');
  const path = colon < 0 ? undefined : text.slice(colon + 1);
  const found = volumes.filter((one) => slotText(one) === slot && (path === undefined || one.path === path));
  const mounted = found.filter((one) => one.mounted);
  const [only, another] = mounted.length > 0 ? mounted : found;
  if (only === undefined) throw new CliError('not_found', `there is no volume ${text}: see peer volumes`);
  if (another === undefined) return only;
  const choices = (mounted.length > 0 ? mounted : found).map((one) =>
    mounted.length > 0 ? `${slot}:${one.path}` : one.id,
  );
  throw new CliError('name_ambiguous', `${text} has several volumes: say one of ${choices.join(', ')}`);
}
