// Snapshots of volumes, and what brings their data back or elsewhere: each is followed to its end.

import type { LifeResultShape, SnapshotShape } from '../../node/api/data-shapes.ts';
import { answer, type Client } from '../client.ts';
import { confirmed } from '../confirm.ts';
import { type Context, flagOption, textOption } from '../context.ts';
import { UsageError } from '../errors.ts';
import { followLife } from '../follow-life.ts';
import { formatAge, formatBytes, formatTook } from '../format.ts';
import type { Output } from '../output.ts';
import { slotText } from '../services/text.ts';
import { renderTable } from '../table.ts';
import { volumeNamed, volumeText } from './named.ts';

type Args = readonly string[];

export async function snapshot([given]: Args, { client, output }: Context): Promise<void> {
  const connected = await client();
  const volume = await volumeNamed(connected, given!);
  const taken = await followed<SnapshotShape>(connected, output, `${volume.id}/snapshots`, {});
  output.result(
    taken,
    () =>
      `${taken.id}: ${volumeText(volume)}, ${formatBytes(taken.sizeBytes)}, held still for ${formatTook(taken.frozenMs)}, on ${taken.holders.join(', ')}`,
  );
}

export async function snapshots([given]: Args, { client, output }: Context): Promise<void> {
  const connected = await client();
  const found =
    given === undefined
      ? await answer(connected.v1.snapshots.$get())
      : await answer(
          connected.v1.volumes[':id'].snapshots.$get({ param: { id: (await volumeNamed(connected, given)).id } }),
        );
  output.result(found, () =>
    found.length === 0 ? 'no snapshots yet: peer volume snapshot APP/INDEX' : snapshotsTable(found, output),
  );
}

export async function restore([given, id]: Args, { options, client, output }: Context): Promise<void> {
  const connected = await client();
  const volume = await volumeNamed(connected, given!);
  const to = textOption(options, 'to');
  const name = slotText(volume);
  const what = `this puts snapshot ${id} in the place of all that ${volumeText(volume)} holds now`;
  await confirmed(what, name, flagOption(options, 'yes'));
  const json = { snapshot: id!, ...(to === undefined ? {} : { node: to }) };
  const done = await followed<LifeResultShape>(connected, output, `${volume.id}/restore`, json);
  output.result(done, () => `${volumeText(volume)} is what it was ${ageOf(done)} ago; ${whereOf(done)}`);
}

export async function move([given]: Args, { options, client, output }: Context): Promise<void> {
  const node = textOption(options, 'to');
  if (node === undefined) throw new UsageError('--to NODE is missing: peer volume move APP/INDEX --to NODE');
  const connected = await client();
  const volume = await volumeNamed(connected, given!);
  const done = await followed<LifeResultShape>(connected, output, `${volume.id}/move`, { node });
  output.result(done, () => `${volumeText(volume)} has moved; ${whereOf(done)}`);
}

export async function recover([given]: Args, { options, client, output }: Context): Promise<void> {
  const connected = await client();
  const volume = await volumeNamed(connected, given!);
  const to = textOption(options, 'to');
  const what = `this gives up what ${volumeText(volume)} holds on ${volume.node} for its newest snapshot`;
  await confirmed(what, slotText(volume), flagOption(options, 'yes'));
  const json = to === undefined ? {} : { node: to };
  const done = await followed<LifeResultShape>(connected, output, `${volume.id}/recover`, json);
  output.result(
    done,
    () => `${volumeText(volume)} is recovered as it was ${ageOf(done)} ago: what came later is lost; ${whereOf(done)}`,
  );
}

const ageOf = ({ ageMs }: LifeResultShape): string => formatAge(ageMs ?? 0);

const whereOf = ({ node, ready }: LifeResultShape): string =>
  ready ? `it runs on ${node}` : `it is on ${node}, and nothing runs on it yet`;

const followed = <T extends object>(client: Client, output: Output, path: string, json: object): Promise<T> =>
  followLife(client, output, { path: `/v1/volumes/${path}`, json, look: 'peer volumes' });

function snapshotsTable(snapshots: readonly SnapshotShape[], { width }: Output): string {
  return renderTable<SnapshotShape>(
    [
      {
        title: 'OF',
        cell: ({ owner, process, index }) => `${owner}/${process === 'web' ? '' : `${process}/`}${index}`,
      },
      { title: 'PATH', cell: (one) => one.path },
      { title: 'SNAPSHOT', cell: (one) => one.id },
      { title: 'AGE', cell: (one) => formatAge(Math.max(0, Date.now() - one.takenAtMs)), align: 'right' },
      { title: 'SIZE', cell: (one) => formatBytes(one.sizeBytes), align: 'right' },
      { title: 'HELD BY', cell: (one) => one.holders.join(', '), importance: 1 },
    ],
    snapshots,
    width,
  );
}
