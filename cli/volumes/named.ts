// The volume that people name, by the slot that it belongs to or by its id.

import type { VolumeShape } from '../../node/api/data-shapes.ts';
import { answer, type Client } from '../client.ts';
import { CliError } from '../errors.ts';
import { slotText } from '../services/text.ts';

/**
 * `hello/0`, `hello/worker/1`, or `hello` where the app has one volume; each with `:/data` where the slot has several;
 * or the id, of what nothing mounts.
 */
export async function volumeNamed(client: Client, text: string): Promise<VolumeShape> {
  const volumes = await answer(client.v1.volumes.$get());
  const byId = volumes.find(({ id }) => id === text);
  if (byId !== undefined) return byId;
  const colon = text.indexOf(':');
  const slot = (colon < 0 ? text : text.slice(0, colon)).replace(/^([^/]+)\/web\/(\d+)$/, '$1/$2');
  const path = colon < 0 ? undefined : text.slice(colon + 1);
  const isMeant = (one: VolumeShape): boolean => slotText(one) === slot || slotText(one).startsWith(`${slot}/`);
  const found = volumes.filter((one) => isMeant(one) && (path === undefined || one.path === path));
  const mounted = found.filter((one) => one.mounted);
  const [only, another] = mounted.length > 0 ? mounted : found;
  if (only === undefined) throw new CliError('not_found', `there is no volume ${text}: see peer volumes`);
  if (another === undefined) return only;
  const choices = (mounted.length > 0 ? mounted : found).map((one) =>
    mounted.length > 0 ? `${slotText(one)}:${one.path}` : one.id,
  );
  throw new CliError('name_ambiguous', `${text} has several volumes: say one of ${choices.join(', ')}`);
}

/** `/data of hello/0`. */
export const volumeText = (volume: VolumeShape): string => `${volume.path} of ${slotText(volume)}`;
