// What is known of a volume, how it is kept, and its end.

import { answer } from '../client.ts';
import { confirmed } from '../confirm.ts';
import { type Context, flagOption, textOption } from '../context.ts';
import { CliError, UsageError } from '../errors.ts';
import { formatAge, formatBytes } from '../format.ts';
import type { Options } from '../parse.ts';
import { slotText } from '../services/text.ts';
import { parseChoice, parseDuration, parseSize, parseWhole } from '../values.ts';
import { volumeNamed, volumeText } from './named.ts';

const SNAPSHOT_EVERY = { min: '60s', max: '366d' };
const ON_LOSS = ['wait', 'restore'] as const;
const SNAPSHOTS_KEPT = { min: 1, max: 1000 };

type Args = readonly string[];

export async function pathOf([given]: Args, { client, output }: Context): Promise<void> {
  const connected = await client();
  const { id } = await volumeNamed(connected, given!);
  const found = await answer(connected.v1.volumes[':id'].$get({ param: { id } }));
  if (found.hostPath === null) {
    throw new CliError('no_answer', `${found.node}, which has the volume, did not say where: peer nodes`);
  }
  output.result(found, () => found.hostPath!);
  if (!output.json) output.note(`on ${found.node}`);
}

export async function remove([given]: Args, { options, client, output }: Context): Promise<void> {
  const connected = await client();
  const volume = await volumeNamed(connected, given!);
  const name = slotText(volume);
  const yes = flagOption(options, 'yes');
  await confirmed(`this deletes ${volume.path} of ${name} with all that is in it on ${volume.node}`, name, yes);
  const done = await answer(connected.v1.volumes[':id'].$delete({ param: { id: volume.id } }));
  output.result({ ...done, deleted: true }, () => `${volumeText(volume)} is deleted`);
}

export async function configure([given]: Args, { options, client, output }: Context): Promise<void> {
  const size = textOption(options, 'size');
  const json = {
    ...(size === undefined ? {} : { sizeBytes: parseSize(size, '--size', { min: '1M', max: '16T' }) }),
    ...scheduleIn(options),
  };
  if (Object.keys(json).length === 0) {
    throw new UsageError('nothing to change: peer volume configure APP/INDEX --size, --snapshot, --keep or --on-loss');
  }
  const connected = await client();
  const { id } = await volumeNamed(connected, given!);
  const volume = await answer(connected.v1.volumes[':id'].$patch({ param: { id }, json }));
  const every =
    volume.snapshotEveryMs === 0 ? 'no snapshots by itself' : `a snapshot every ${formatAge(volume.snapshotEveryMs)}`;
  const lost = volume.onLoss === 'restore' ? '; restored elsewhere when its node is lost' : '';
  output.result(volume, () => `${volumeText(volume)}: ${formatBytes(volume.sizeBytes)}, ${every}${lost}`);
}

type Kept = { snapshotEveryMs?: number; snapshotsKept?: number; onLoss?: (typeof ON_LOSS)[number] };

/** `--snapshot 1h --keep 24 --on-loss restore`, as the API takes them. Fails with UsageError. */
export function scheduleIn(options: Options): Kept {
  const every = textOption(options, 'snapshot');
  const keep = textOption(options, 'keep');
  const onLoss = textOption(options, 'onLoss');
  const isNever = every === 'never' || every === '0';
  return {
    ...(every === undefined
      ? {}
      : { snapshotEveryMs: isNever ? 0 : parseDuration(every, '--snapshot', SNAPSHOT_EVERY) }),
    ...(keep === undefined ? {} : { snapshotsKept: parseWhole(keep, '--keep', SNAPSHOTS_KEPT) }),
    ...(onLoss === undefined ? {} : { onLoss: parseChoice(onLoss, '--on-loss', ON_LOSS) }),
  };
}
